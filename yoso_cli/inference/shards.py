"""Several processes that share an evaluation, as torchrun starts them: each sees its own part of the pictures."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

_Item = TypeVar("_Item")
_Value = TypeVar("_Value")

# The slowest process may have the largest pictures: nobody gives up on it before it is dead.
_PATIENCE = timedelta(days=2)


@dataclass(frozen=True)
class Shard:
    """This process among those that share the work: number `rank` of `count`."""

    rank: int = 0
    count: int = 1

    def part(self, items: Sequence[_Item]) -> Sequence[_Item]:
        """The items of this process: a stretch, so that the parts laid end to end are in order, each item once."""
        start, stop = (len(items) * place // self.count for place in (self.rank, self.rank + 1))
        return items[start:stop]

    def gathered(self, value: _Value) -> list[_Value]:
        """The values of all processes by rank; every process gets them, and waits for the others. They are pickled."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values


@contextlib.contextmanager
def joined(backend: str = "gloo") -> Iterator[Shard]:
    """This process' shard, connected with the others while the block runs; alone unless torchrun says otherwise.

    Args:
        backend: what carries the values. Counts go by gloo, of a GPU's process as well; gradients want more.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Shard()
        return
    dist.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield Shard(dist.get_rank(), count)
    finally:
        dist.destroy_process_group()
