"""Samples to batches, in an order that is a pure function of the seed: any iteration can be made again anywhere."""

# B pictures

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from yoso_cli.errors import YosoError
from yoso_cli.loading.dataset import PanopticDataset, Sample, Target


@dataclass(frozen=True)
class Batch:
    """Pictures of one size: (B, 3, H, W) uint8 RGB, their targets, and their ids in the set."""

    images: Tensor
    targets: list[Target]
    image_ids: list[int | str]

    def to(self, device: torch.device) -> "Batch":
        """The same on `device`."""
        images = self.images.to(device, non_blocking=True)
        return Batch(images, [target.to(device) for target in self.targets], self.image_ids)


class IterationOrder(Sampler[list[tuple[int, int]]]):
    """Keys of the batches of iterations `start` to `stop` (excluded); every sample once per epoch, shuffled anew."""

    def __init__(self, length: int, *, batch: int, seed: int, start: int, stop: int) -> None:
        self.length = length
        self.batch = batch
        self.seed = seed
        self.start = start
        self.stop = stop

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
            yield keys


class _Reporting(Dataset[Sample | YosoError]):
    """`dataset`, which hands its errors over: a loading process would wrap a raised one in its traceback."""

    def __init__(self, dataset: PanopticDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, key: tuple[int, int]) -> Sample | YosoError:
        try:
            return self.dataset[key]
        except YosoError as error:
            return error


def _collate_or_report(samples: list[Sample | YosoError]) -> Batch | YosoError:
    errors = [sample for sample in samples if isinstance(sample, YosoError)]
    return errors[0] if errors else collate([sample for sample in samples if isinstance(sample, Sample)])


def collate(samples: list[Sample]) -> Batch:
    """Samples of one size to a batch."""
    return Batch(
        torch.stack([sample.image for sample in samples]),
        [sample.target for sample in samples],
        [sample.image_id for sample in samples],
    )


def batches(dataset: PanopticDataset, *, batch: int, seed: int, start: int, stop: int, workers: int) -> Iterator[Batch]:
    """Batches of iterations `start` to `stop` (excluded).

    Args:
        dataset: samples of one size.
        batch: pictures per batch; may be more than the dataset holds.
        seed: of order and augmentation.
        start: first iteration.
        stop: one past the last iteration.
        workers: processes that load; 0 loads in this one. The batches are the same.

    Raises:
        DataError: a picture is unreadable.
    """
    order = IterationOrder(len(dataset), batch=batch, seed=seed, start=start, stop=stop)
    loader: DataLoader[Sample | YosoError] = DataLoader(
        _Reporting(dataset),
        batch_sampler=order,
        num_workers=workers,
        collate_fn=_collate_or_report,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=False,
    )
    for loaded in cast("Iterator[Batch | YosoError]", loader):
        if isinstance(loaded, YosoError):
            raise loaded
        yield loaded
