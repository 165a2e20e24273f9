"""Batches in an order that is a pure function of the seed, so that training can resume at any iteration."""

# B pictures

import signal
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from yoso_cli.errors import DataError, YosoError
from yoso_cli.loading.dataset import PanopticDataset, Sample, Target
from yoso_cli.runtime.workers import in_processes

# Consecutive pictures tried for a readable one.
_TRIES = 8
# Batches that each loader process makes ahead.
_AHEAD = 2


@dataclass(frozen=True)
class Batch:
    """Pictures of one size.

    Attributes:
        images: (B, 3, H, W) uint8 RGB.
        targets: one for each.
        image_ids: their ids in the set.
    """

    images: Tensor
    targets: list[Target]
    image_ids: list[int | str]

    def to(self, device: torch.device) -> "Batch":
        """The same on `device`."""
        images = self.images.to(device, non_blocking=True)
        return replace(self, images=images, targets=[target.to(device) for target in self.targets])

    def parts(self, size: int) -> Iterator[tuple["Batch", int, bool]]:
        """Batches of at most `size` pictures, each with the index of its first picture and whether it is the last."""
        for start in range(0, len(self.image_ids), size):
            some = slice(start, start + size)
            part = Batch(self.images[some], self.targets[some], self.image_ids[some])
            yield part, start, start + size >= len(self.image_ids)


class IterationOrder:
    """Keys of the batches of iterations `start` to `stop` (excluded); every sample once per epoch, in a new order.

    `part` is (number, count) of a process that takes its part of each batch; all parts together are the batch.
    """

    def __init__(
        self, length: int, *, batch: int, seed: int, start: int, stop: int, part: tuple[int, int] = (0, 1)
    ) -> None:
        self.length = length
        self.batch = batch
        self.seed = seed
        self.start = start
        self.stop = stop
        self.own = slice(batch * part[0] // part[1], batch * (part[0] + 1) // part[1])
        self._epoch, self._order = -1, np.empty(0, np.intp)

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return map(self.keys, range(self.start, self.stop))

    def keys(self, iteration: int) -> list[tuple[int, int]]:
        """The keys of one batch."""
        keys = []
        for place in range(iteration * self.batch, (iteration + 1) * self.batch):
            if place // self.length != self._epoch:
                self._epoch = place // self.length
                self._order = np.random.default_rng((self.seed, self._epoch)).permutation(self.length)
            # The seed of a sample's augmentation: its place in the endless stream of samples.
            keys.append((int(self._order[place % self.length]), self.seed * 2**40 + place))
        return keys[self.own]


@dataclass(frozen=True)
class _Loaded:
    """A batch as arrays, which travel between processes without a copy, and what was wrong with replaced pictures.

    Attributes:
        images: (B, 3, H, W) uint8.
        targets: labels, masks and extent of each.
        image_ids: of each; fewer than asked for if nothing could be read.
        errors: of unreadable pictures.
    """

    images: npt.NDArray[np.uint8]
    targets: list[tuple[npt.NDArray[Any], npt.NDArray[Any], tuple[float, float]]]
    image_ids: list[int | str]
    errors: list[YosoError]

    @classmethod
    def of(cls, samples: list[Sample], errors: list[YosoError]) -> "_Loaded":
        """What was loaded for one batch."""
        images = torch.stack([sample.image for sample in samples]) if samples else torch.empty(0, dtype=torch.uint8)
        targets = [(one.target.labels.numpy(), one.target.masks.numpy(), one.target.extent) for one in samples]
        return cls(images.numpy(), targets, [sample.image_id for sample in samples], errors)

    def batch(self) -> Batch:
        """The same as tensors."""
        targets = [
            Target(torch.from_numpy(labels), torch.from_numpy(masks), extent) for labels, masks, extent in self.targets
        ]
        return Batch(torch.from_numpy(self.images), targets, self.image_ids)


@dataclass(frozen=True)
class _Loader:
    """Loads the batch of an iteration. Unreadable pictures are replaced by those after them and reported."""

    dataset: PanopticDataset
    order: IterationOrder

    def __call__(self, iteration: int) -> _Loaded:
        samples: list[Sample] = []
        errors: list[YosoError] = []
        for key in self.order.keys(iteration):
            samples += self._readable(key, errors)
        return _Loaded.of(samples, errors)

    def _readable(self, key: tuple[int, int], errors: list[YosoError]) -> list[Sample]:
        place, seed = key
        for step in range(min(_TRIES, len(self.dataset))):
            try:
                return [self.dataset[(place + step) % len(self.dataset), seed]]
            except YosoError as error:
                errors.append(error)
        return []


def _begin() -> None:
    """Loaders ignore Ctrl-C and SIGTERM: the training process finishes its step and then stops them.

    Each uses one thread: a forked process cannot use those of its parent, and there are as many loaders as cores.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)


def collate(samples: list[Sample]) -> Batch:
    """Samples of one size to a batch."""
    return Batch(
        torch.stack([sample.image for sample in samples]),
        [sample.target for sample in samples],
        [sample.image_id for sample in samples],
    )


def batches(
    dataset: PanopticDataset,
    *,
    batch: int,
    seed: int,
    start: int,
    stop: int,
    workers: int,
    part: tuple[int, int] = (0, 1),
    tolerated: float = 0.0,
    report: Callable[[str], None] = lambda _: None,
) -> Generator[Batch, None, None]:
    """Batches of iterations `start` to `stop` (excluded). Whoever may stop before the last one closes it.

    Args:
        dataset: samples of one size.
        batch: pictures per batch of all processes together; may be more than the dataset holds.
        seed: of order and augmentation.
        start: first iteration.
        stop: one past the last iteration.
        workers: loader processes; 0 loads in this one. The batches are the same.
        part: (number, count) of this process among those that share each batch; `count` divides `batch`.
        tolerated: share of the dataset, 0..1, that may be unreadable; such pictures are replaced by others.
        report: called once for each of them.

    Raises:
        DataError: more pictures than that are unreadable.
        RunError: a loader process was ended or stopped from outside.
    """
    order = IterationOrder(len(dataset), batch=batch, seed=seed, start=start, stop=stop, part=part)
    known: set[str] = set()
    with closing(_loaded(_Loader(dataset, order), range(start, stop), workers)) as loads:
        for loaded in loads:
            fresh = {str(error) for error in loaded.errors} - known
            known |= fresh
            unreadable = len(loaded.image_ids) < batch // part[1]
            if unreadable or (fresh and len(known) * part[1] > tolerated * len(dataset)):
                raise _too_many(loaded.errors[0], len(known), len(dataset), tolerated)
            for problem in sorted(fresh):
                report(problem)
            yield loaded.batch()


def _loaded(load: _Loader, iterations: range, workers: int) -> Generator[_Loaded, None, None]:
    if not workers:
        yield from map(load, iterations)
        return
    # A script without `if __name__ == "__main__"` can train where processes fork.
    method = "fork" if sys.platform == "linux" else "spawn"
    yield from in_processes(load, iterations, workers=workers, at_once=1, ahead=_AHEAD, method=method, begin=_begin)


def _too_many(error: YosoError, count: int, length: int, tolerated: float) -> YosoError:
    if count == 1:
        return error
    more = f"{count} of {length} pictures are unreadable, more than the {tolerated:.2%} that are tolerated."
    return DataError(f"{error.message} {more}", hint=error.hint)
