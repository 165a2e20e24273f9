"""A prepared panoptic set as training samples. Here `category_id` becomes `train_id`."""

# M segments, H W size after the transform

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from yoso_cli.errors import DataError
from yoso_cli.panoptic.files import read_image, read_panoptic
from yoso_cli.panoptic.types import IdMap, PanopticSet, Rgb, Segment

Transform = Callable[[Rgb, IdMap, np.random.Generator], tuple[Rgb, IdMap]]


@dataclass(frozen=True)
class Target:
    """What a picture shows.

    Attributes:
        labels: (M,) int64 train ids.
        masks: (M, H, W) bool; none is empty, crowds are left out.
    """

    labels: Tensor
    masks: Tensor

    def to(self, device: torch.device) -> "Target":
        """The same on `device`."""
        return Target(self.labels.to(device, non_blocking=True), self.masks.to(device, non_blocking=True))


@dataclass(frozen=True)
class Sample:
    """One training picture: (3, H, W) uint8 RGB, its target, and its id in the set."""

    image: Tensor
    target: Target
    image_id: int | str


class PanopticDataset(Dataset[Sample]):
    """Samples of `panoptic_set`, each through `transform` with randomness of its own.

    An item's key is (place in the set, seed): the same key gives the same sample, in whichever process.
    """

    def __init__(self, panoptic_set: PanopticSet, transform: Transform) -> None:
        self.panoptic_set = panoptic_set
        self.transform = transform
        self.train_ids = {category.id: place for place, category in enumerate(panoptic_set.categories)}

    def __len__(self) -> int:
        return len(self.panoptic_set.records)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """Reads, transforms and splits one picture into masks.

        Raises:
            DataError: the picture or its segments are unreadable, or of different sizes.
        """
        place, seed = key
        record = self.panoptic_set.records[place]
        panoptic = read_panoptic(self.panoptic_set, record)
        path = self.panoptic_set.image_path(record)
        image = read_image(path)
        _require_size(path, image, panoptic.id_map)
        image, ids = self.transform(image, panoptic.id_map, np.random.default_rng(seed))
        target = self._target(ids, panoptic.segments)
        return Sample(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), target, record.image_id)

    def _target(self, ids: IdMap, segments: tuple[Segment, ...]) -> Target:
        """Masks of the segments in view. One cropped out of view has nothing to learn from and is left out."""
        seen = set(np.unique(ids).tolist())
        kept = [segment for segment in segments if not segment.iscrowd and segment.id in seen]
        labels = torch.tensor([self.train_ids[segment.category_id] for segment in kept], dtype=torch.int64)
        values = np.array([segment.id for segment in kept], dtype=np.int32)
        return Target(labels, torch.from_numpy(ids[None] == values[:, None, None]))  # (M, H, W)


def _require_size(path: Path, image: Rgb, ids: IdMap) -> None:
    """Resizing would squeeze one onto the other, and training would go on with masks that lie beside their things."""
    (height, width), (high, wide) = image.shape[:2], ids.shape
    if (height, width) != (high, wide):
        raise DataError(
            f"{path}: is {width}x{height} where its panoptic PNG is {wide}x{high}.",
            hint="They belong to different pictures, or one was resized: fetch both again.",
        )
