"""A prepared panoptic set as training samples. Here `category_id` becomes `train_id`."""

# M segments, H W size after the transform

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from yoso_cli.errors import DataError
from yoso_cli.loading.augmentation import Augmentation, AugmentedPicture
from yoso_cli.loading.copy_paste import pasted
from yoso_cli.panoptic.files import read_panoptic
from yoso_cli.panoptic.photos import read_image
from yoso_cli.panoptic.types import IdMap, PanopticSet, Rgb, present_ids


@dataclass(frozen=True)
class Target:
    """The target of a picture.

    Attributes:
        labels: (M,) int64 train ids.
        masks: (M, H, W) bool; none is empty, crowds are left out.
        extent: share of width and of height, 0..1, that shows the picture; beyond it is padding, where no loss is.
    """

    labels: Tensor
    masks: Tensor
    extent: tuple[float, float] = (1.0, 1.0)

    def to(self, device: torch.device) -> "Target":
        """The same on `device`."""
        labels, masks = (tensor.to(device, non_blocking=True) for tensor in (self.labels, self.masks))
        return Target(labels, masks, self.extent)


@dataclass(frozen=True)
class Sample:
    """One training picture: (3, H, W) uint8 RGB, its target, and its id in the set."""

    image: Tensor
    target: Target
    image_id: int | str


class PanopticDataset(Dataset[Sample]):
    """Samples of `panoptic_set`, each through `augmentation` with randomness of its own.

    An item's key is (place in the set, seed): the same key gives the same sample, in whichever process.

    Args:
        panoptic_set: a prepared set.
        augmentation: makes pictures of one size.
        copy_paste: probability of copy-paste augmentation.
    """

    def __init__(self, panoptic_set: PanopticSet, augmentation: Augmentation, *, copy_paste: float = 0.0) -> None:
        self.panoptic_set = panoptic_set
        self.augmentation = augmentation
        self.copy_paste = copy_paste
        self.train_ids = {category.id: place for place, category in enumerate(panoptic_set.categories)}
        self._things = frozenset(category.id for category in panoptic_set.categories if category.isthing)

    def __len__(self) -> int:
        return len(self.panoptic_set.records)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """Reads, augments and splits one picture into masks.

        Raises:
            DataError: the picture or its segments are unreadable, or of different sizes.
        """
        picture = self.picture(key)
        image = torch.from_numpy(np.ascontiguousarray(picture.image.transpose(2, 0, 1)))
        return Sample(image, self._target(picture), self.panoptic_set.records[key[0]].image_id)

    def picture(self, key: tuple[int, int]) -> AugmentedPicture:
        """The augmented picture. Raises as indexing does."""
        place, seed = key
        random = np.random.default_rng(seed)
        picture = self._augmented(place, random)
        if self.copy_paste and random.random() < self.copy_paste:
            other = self._augmented(int(random.integers(len(self))), random)
            picture = pasted(picture, other, self._things, random)
        return picture

    def _augmented(self, place: int, random: np.random.Generator) -> AugmentedPicture:
        record = self.panoptic_set.records[place]
        panoptic = read_panoptic(self.panoptic_set, record)
        path = self.panoptic_set.image_path(record)
        image = read_image(path)
        _require_size(path, image, panoptic.id_map)
        return self.augmentation(AugmentedPicture.of(image, panoptic), random)

    def _target(self, picture: AugmentedPicture) -> Target:
        """Masks of the segments in view. One cropped out of view has nothing to learn from and is left out."""
        ids = picture.panoptic.id_map
        seen = set(present_ids(ids))
        kept = [segment for segment in picture.panoptic.segments if not segment.iscrowd and segment.id in seen]
        labels = torch.tensor([self.train_ids[segment.category_id] for segment in kept], dtype=torch.int64)
        values = np.array([segment.id for segment in kept], dtype=np.int32)
        masks = torch.from_numpy(ids[None] == values[:, None, None])  # (M, H, W)
        return Target(labels, masks, (picture.extent[1] / ids.shape[1], picture.extent[0] / ids.shape[0]))


def _require_size(path: Path, image: Rgb, ids: IdMap) -> None:
    """Raises DataError if the sizes differ: resizing would hide it, and masks would not fit their things."""
    (height, width), (high, wide) = image.shape[:2], ids.shape
    if (height, width) != (high, wide):
        raise DataError(
            f"{path}: is {width}x{height}, but its panoptic PNG is {wide}x{high}.",
            hint="They belong to different pictures, or one was resized: download both again.",
        )
