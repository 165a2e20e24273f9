"""Batches in an order that is a pure function of the seed, so that training can resume at any iteration."""

# B pictures

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from yoso_cli.errors import DataError, YosoError
from yoso_cli.loading.dataset import PanopticDataset, Sample, Target

# Consecutive pictures tried for a readable one.
_TRIES = 8


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


class IterationOrder(Sampler[list[tuple[int, int]]]):
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

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = -1, np.empty(0, np.intp)
        for iteration in range(self.start, self.stop):
            keys = []
            for place in range(iteration * self.batch, (iteration + 1) * self.batch):
                if place // self.length != epoch:
                    epoch = place // self.length
                    order = np.random.default_rng((self.seed, epoch)).permutation(self.length)
                # The seed of a sample's augmentation: its place in the endless stream of samples.
                keys.append((int(order[place % self.length]), self.seed * 2**40 + place))
            yield keys[self.own]


@dataclass(frozen=True)
class _Loaded:
    """A sample, and what was wrong with those that should have stood there; none where nothing could be read."""

    sample: Sample | None
    errors: tuple[YosoError, ...]


class _Reporting(Dataset[_Loaded]):
    """`dataset`, whose unreadable pictures are replaced by those after them and reported.

    Errors are handed over: a loading process would wrap a raised one in its traceback.
    """

    def __init__(self, dataset: PanopticDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, key: tuple[int, int]) -> _Loaded:
        place, seed = key
        errors: list[YosoError] = []
        for step in range(min(_TRIES, len(self.dataset))):
            try:
                return _Loaded(self.dataset[(place + step) % len(self.dataset), seed], tuple(errors))
            except YosoError as error:
                errors.append(error)
        return _Loaded(None, tuple(errors))


def _collated(loaded: list[_Loaded]) -> tuple[Batch | None, list[YosoError]]:
    samples = [one.sample for one in loaded if one.sample]
    batch = collate(samples) if len(samples) == len(loaded) else None
    return batch, [error for one in loaded for error in one.errors]


def _heed_no_signal(_: int) -> None:
    """Loaders ignore Ctrl-C and SIGTERM: the training process finishes its step and then stops them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


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
) -> Iterator[Batch]:
    """Batches of iterations `start` to `stop` (excluded).

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
    """
    order = IterationOrder(len(dataset), batch=batch, seed=seed, start=start, stop=stop, part=part)
    loader: DataLoader[_Loaded] = DataLoader(
        _Reporting(dataset),
        batch_sampler=order,
        num_workers=workers,
        collate_fn=_collated,
        worker_init_fn=_heed_no_signal,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=False,
    )
    known: set[str] = set()
    for loaded, errors in cast("Iterator[tuple[Batch | None, list[YosoError]]]", iter(loader)):
        fresh = {str(error) for error in errors} - known
        known |= fresh
        if loaded is None or (fresh and len(known) * part[1] > tolerated * len(dataset)):
            raise _too_many(errors[0], len(known), len(dataset), tolerated)
        for problem in sorted(fresh):
            report(problem)
        yield loaded


def _too_many(error: YosoError, count: int, length: int, tolerated: float) -> YosoError:
    if count == 1:
        return error
    more = f"{count} of {length} pictures are unreadable, more than the {tolerated:.2%} that are tolerated."
    return DataError(f"{error.message} {more}", hint=error.hint)
