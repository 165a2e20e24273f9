"""Augmentation of training pictures: quarter turns, scale, crop to a fixed size, flip.

Every step takes and gives an `AugmentedPicture`, and draws all of its randomness from the generator it is handed.
"""

# H W picture size; sizes are (height, width) throughout

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

from yoso_cli.loading.transforms import Size, Window, fitted, resize_ids, resize_image
from yoso_cli.panoptic.types import VOID, IdMap, Panoptic, Rgb

Array = TypeVar("Array", Rgb, IdMap)
# The grey of padding, 0..255.
PADDING = 128
# Crops tried for one in which no category is too large; then the last is used.
_TRIES = 10


class AugmentedPicture(NamedTuple):
    """A picture during augmentation.

    Attributes:
        image: (H, W, 3).
        panoptic: (H, W) ids; its segments are those of the uncropped picture; some may not be visible.
        extent: rows and columns, from the top left corner, that show the picture; beyond them is padding.
    """

    image: Rgb
    panoptic: Panoptic
    extent: Size

    @classmethod
    def of(cls, image: Rgb, panoptic: Panoptic) -> "AugmentedPicture":
        """The picture as it is."""
        return cls(image, panoptic, (image.shape[0], image.shape[1]))


Augmentation = Callable[[AugmentedPicture, np.random.Generator], AugmentedPicture]


@dataclass(frozen=True)
class Compose:
    """A sequence of steps."""

    steps: Sequence[Augmentation]

    def __call__(self, picture: AugmentedPicture, random: np.random.Generator) -> AugmentedPicture:
        """The picture after all of them."""
        for step in self.steps:
            picture = step(picture, random)
        return picture


@dataclass(frozen=True)
class ScaleJitter:
    """Large-scale jitter (paper Sec. 4.2, https://arxiv.org/abs/2012.07177): flip, scale, crop to a fixed size, pad.

    Attributes:
        crop: size of the result in pixels.
        scale_min: smallest scale; 1 is the size at which the picture just fits into `crop`.
        scale_max: largest scale.
        flip: probability of a horizontal flip.
        place: where crops are cut, one of PLACES.
    """

    crop: Size
    scale_min: float
    scale_max: float
    flip: float
    place: str = "free"

    def __call__(self, picture: AugmentedPicture, random: np.random.Generator) -> AugmentedPicture:
        """Any size to `crop`; padding is grey and void."""
        if random.random() < self.flip:
            picture = mirrored(picture)
        scale = random.uniform(self.scale_min, self.scale_max)
        height, width = picture.panoptic.id_map.shape
        fit = min(self.crop[0] / height, self.crop[1] / width) * scale
        size = (max(1, round(height * fit)), max(1, round(width * fit)))
        return _padded(_cropped(picture, size, PLACES[self.place](size, self.crop, random)), self.crop)


@dataclass(frozen=True)
class ShortEdgeCrop:
    """Multi-scale training of the released models for Cityscapes, ADE20K and Mapillary: scale, crop, pad, flip.

    Attributes:
        crop: size of the result in pixels.
        short_edges: lengths to choose from for the short edge, pixels.
        long_edge: upper limit of the long edge, pixels.
        category_share: a crop of which one category fills more than this share, void aside, is drawn again, ten times
            at most; with 1 the first is taken.
        flip: probability of a horizontal flip.
    """

    crop: Size
    short_edges: Sequence[int]
    long_edge: int
    category_share: float
    flip: float

    def __call__(self, picture: AugmentedPicture, random: np.random.Generator) -> AugmentedPicture:
        """Any size to `crop`; padding is grey and void."""
        edge = self.short_edges[int(random.integers(len(self.short_edges)))]
        height, width = picture.panoptic.id_map.shape
        size = fitted((height, width), short_edge=edge, long_edge=self.long_edge)
        window = free_place(size, self.crop, random)
        if self.category_share < 1:
            for _ in range(_TRIES - 1):
                if self._mixed(picture.panoptic, size, window):
                    break
                window = free_place(size, self.crop, random)
        cropped = _cropped(picture, size, window)
        return _padded(mirrored(cropped) if random.random() < self.flip else cropped, self.crop)

    def _mixed(self, panoptic: Panoptic, size: Size, window: Window) -> bool:
        """Whether no category fills more than its share of the labelled part of a window."""
        category = {segment.id: segment.category_id for segment in panoptic.segments}
        ids, counts = np.unique(resize_ids(panoptic.id_map, size, window), return_counts=True)
        pixels: dict[int, int] = {}
        for segment_id, count in zip(ids.tolist(), counts.tolist(), strict=True):
            if segment_id in category:
                pixels[category[segment_id]] = pixels.get(category[segment_id], 0) + count
        return len(pixels) > 1 and max(pixels.values()) <= self.category_share * sum(pixels.values())


def padding_as_picture(picture: AugmentedPicture, _: np.random.Generator) -> AugmentedPicture:
    """Makes padding count as background, as in the released training."""
    return picture._replace(extent=(picture.image.shape[0], picture.image.shape[1]))


def quarter_turned(picture: AugmentedPicture, random: np.random.Generator) -> AugmentedPicture:
    """A picture without padding turned by 0, 90, 180 or 270 degrees: with flips, all eight symmetries of a square."""
    turns = int(random.integers(4))
    image = np.ascontiguousarray(np.rot90(picture.image, turns))
    ids = np.ascontiguousarray(np.rot90(picture.panoptic.id_map, turns))
    return AugmentedPicture.of(image, Panoptic(ids, picture.panoptic.segments))


def mirrored(picture: AugmentedPicture) -> AugmentedPicture:
    """A horizontal flip of a picture without padding."""
    image, ids = np.ascontiguousarray(picture.image[:, ::-1]), np.ascontiguousarray(picture.panoptic.id_map[:, ::-1])
    return AugmentedPicture(image, Panoptic(ids, picture.panoptic.segments), picture.extent)


def free_place(size: Size, crop: Size, random: np.random.Generator) -> Window:
    """A crop with independent random row and column."""
    return _window(size, crop, (random.random(), random.random()))


def diagonal_place(size: Size, crop: Size, random: np.random.Generator) -> Window:
    """A crop along the picture's diagonal: the released code's large-scale jitter uses one number for both."""
    share = random.random()
    return _window(size, crop, (share, share))


PLACES: dict[str, Callable[[Size, Size, np.random.Generator], Window]] = {
    "free": free_place,
    "diagonal": diagonal_place,
}


def _window(size: Size, crop: Size, shares: tuple[float, float]) -> Window:
    top, left = (int(share * (max(have - want, 0) + 1)) for share, have, want in zip(shares, size, crop, strict=True))
    return Window(top, left, min(size[0], crop[0]), min(size[1], crop[1]))


def _cropped(picture: AugmentedPicture, size: Size, window: Window) -> AugmentedPicture:
    """The window of the picture at `size`."""
    ids = resize_ids(picture.panoptic.id_map, size, window)
    return AugmentedPicture.of(resize_image(picture.image, size, window), Panoptic(ids, picture.panoptic.segments))


def _padded(picture: AugmentedPicture, size: Size) -> AugmentedPicture:
    """The picture in the top left corner of `size`, the rest grey and void."""
    panoptic = Panoptic(_placed(picture.panoptic.id_map, size, VOID), picture.panoptic.segments)
    return AugmentedPicture(_placed(picture.image, size, PADDING), panoptic, picture.extent)


def _placed(array: Array, size: Size, fill: int) -> Array:
    """`array` in the top left corner of `size`, the rest `fill`."""
    if array.shape[:2] == size:
        return array
    canvas = np.full((*size, *array.shape[2:]), fill, array.dtype)
    canvas[: array.shape[0], : array.shape[1]] = array
    return canvas
