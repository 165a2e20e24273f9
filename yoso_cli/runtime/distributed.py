"""The process group of a torchrun job: dividing work and exchanging values."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from yoso_cli.errors import RunError, YosoError

_Item = TypeVar("_Item")
_Value = TypeVar("_Value")

# A slow process may just have the largest pictures, so the timeout is long.
_PATIENCE = timedelta(days=2)


@dataclass(frozen=True)
class ProcessGroup:
    """This process of a job of `size` processes: its `rank`, and its `local_rank` on its machine; alone by default."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    def part(self, items: Sequence[_Item]) -> Sequence[_Item]:
        """The items of this process: a contiguous part, so that all parts in order of rank are `items`."""
        start, stop = (len(items) * place // self.size for place in (self.rank, self.rank + 1))
        return items[start:stop]

    def all_gather(self, value: _Value) -> list[_Value]:
        """The values of all processes by rank, pickled; every process gets them and waits for the others."""
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def leaders_first(self, work: Callable[[], _Value]) -> _Value:
        """The result of `work`, such as a download: one process per machine runs it first; the others reuse it.

        The order is: the first process, the first process of each other machine (which may have its own disk), the
        rest.

        Raises:
            YosoError: the error of `work`, in this process or in another one.
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
"""The default group: a single process."""


@contextlib.contextmanager
def process_group(backend: str = "gloo") -> Iterator[ProcessGroup]:
    """The group of this process, connected while the block runs; a single process if not started by torchrun.

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
    # torchrun restarts processes with the store of the previous ones, which has outdated addresses.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    fresh = PrefixStore(f"attempt {attempt} of {count}", store)
    dist.init_process_group(backend, store=fresh, rank=rank, world_size=count, timeout=_PATIENCE)
    try:
        yield ProcessGroup(rank, count, int(os.environ.get("LOCAL_RANK", "0")))
    except RuntimeError as error:
        # NCCL's errors have their own type, gloo's only a message.
        if not isinstance(error, dist.DistError) and "/gloo/" not in str(error):
            raise
        raise RunError(
            f"Process {rank} of {count} has lost its connection: another process has ended.",
            hint="Its error is above or below.",
        ) from error
    finally:
        dist.destroy_process_group()
