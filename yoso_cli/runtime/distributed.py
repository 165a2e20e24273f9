"""The process group of one job, as torchrun starts it: who works on what, and how values reach all of them."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from yoso_cli.errors import RunError, YosoError

_Item = TypeVar("_Item")
_Value = TypeVar("_Value")

# The slowest process may have the largest pictures: nobody gives up on it before it is dead.
_PATIENCE = timedelta(days=2)


@dataclass(frozen=True)
class ProcessGroup:
    """This process among `size` of one job: number `rank`, and `local_rank` on its machine; alone by default."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    def part(self, items: Sequence[_Item]) -> Sequence[_Item]:
        """The items of this process: a stretch, so that the parts laid end to end are in order, each item once."""
        start, stop = (len(items) * place // self.size for place in (self.rank, self.rank + 1))
        return items[start:stop]

    def all_gather(self, value: _Value) -> list[_Value]:
        """The values of all processes by rank; every process gets them, and waits for the others. They are pickled."""
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def in_turn(self, work: Callable[[], _Value]) -> _Value:
        """What `work` gives, where one does for all what it does to a disk, such as a download.

        The first process goes alone, then the first of each other machine, which may or may not share its disk, then
        the rest, who find what those have brought.

        Raises:
            YosoError: what `work` raised, in this process or in another: nobody waits for one that has failed.
        """
        turns = (self.rank == 0, self.rank > 0 and self.local_rank == 0, self.local_rank > 0)
        for mine in turns:
            failure = None
            if mine:
                try:
                    value = work()
                except YosoError as error:
                    failure = error
            for one in self.all_gather(failure):
                if one is not None:
                    raise one
        return value


ALONE = ProcessGroup()
"""What a function takes that is not given a group."""


@contextlib.contextmanager
def process_group(backend: str = "gloo") -> Iterator[ProcessGroup]:
    """The group of this process, connected while the block runs; it is alone unless torchrun says otherwise.

    Args:
        backend: what carries the values. Counts go by gloo, of a GPU's process as well; gradients want more.

    Raises:
        RunError: another process has ended.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, rank, count = next(rendezvous("env://", timeout=_PATIENCE))
    # torchrun starts processes again with the store of those before them, full of addresses where nobody is any more.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    fresh = PrefixStore(f"attempt {attempt} of {count}", store)
    dist.init_process_group(backend, store=fresh, rank=rank, world_size=count, timeout=_PATIENCE)
    try:
        yield ProcessGroup(rank, count, int(os.environ.get("LOCAL_RANK", "0")))
    except RuntimeError as error:
        # NCCL's errors have a type of their own, gloo's only their text.
        if not isinstance(error, dist.DistError) and "/gloo/" not in str(error):
            raise
        raise RunError(
            f"Process {rank} of {count} has lost its connection to the others: one of them has ended.",
            hint="Why stands above or below.",
        ) from error
    finally:
        dist.destroy_process_group()
