"""Pictures and id maps on their way to the network: resizing as the released models saw it, and augmentation."""

# H W picture size; sizes are (height, width) throughout

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image

from yoso_cli.panoptic.types import VOID, IdMap, Rgb

Size = tuple[int, int]
Array = TypeVar("Array", Rgb, IdMap)
# What fills a training picture beyond its border; 0..255.
PADDING = 128


def fitted(size: Size, *, short_edge: int, long_edge: int) -> Size:
    """The size at which the short edge is `short_edge`, or the long one `long_edge` if it would pass that (pixels)."""
    scale = short_edge / min(size)
    height, width = (short_edge, scale * size[1]) if size[0] < size[1] else (scale * size[0], short_edge)
    if max(height, width) > long_edge:
        # A second factor, not one scale from the start: the released models' sizes round this way.
        cut = long_edge / max(height, width)
        height, width = height * cut, width * cut
    return max(1, int(height + 0.5)), max(1, int(width + 0.5))


def padded(size: Size, stride: int) -> Size:
    """`size` rounded up to multiples of `stride`."""
    return -(-size[0] // stride) * stride, -(-size[1] // stride) * stride


def resize_image(image: Rgb, size: Size) -> Rgb:
    """(H, W, 3) to (*size, 3), antialiased bilinear as Pillow does it, bit for bit what the released models saw."""
    if image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def resize_ids(ids: IdMap, size: Size) -> IdMap:
    """(H, W) to `size` by nearest neighbour: an id is a name, never an average."""
    if ids.shape == size:
        return ids
    rows = ((np.arange(size[0]) + 0.5) * ids.shape[0] / size[0]).astype(np.intp)
    columns = ((np.arange(size[1]) + 0.5) * ids.shape[1] / size[1]).astype(np.intp)
    return ids[rows[:, None], columns]


@dataclass(frozen=True)
class ScaleJitter:
    """Large-scale jitter (paper Sec. 4.2): flip, scale, crop to a fixed size, pad with grey.

    Attributes:
        crop: size of the result in pixels.
        scale_min: smallest scale; 1 is the size at which the picture just fits into `crop`.
        scale_max: largest scale.
        flip: probability of a horizontal flip.
    """

    crop: Size
    scale_min: float
    scale_max: float
    flip: float

    def __call__(self, image: Rgb, ids: IdMap, random: np.random.Generator) -> tuple[Rgb, IdMap]:
        """(H, W, 3) and (H, W) to (*crop, 3) and (*crop); what lies beyond the picture is grey and void."""
        if random.random() < self.flip:
            image, ids = image[:, ::-1], ids[:, ::-1]
        scale = random.uniform(self.scale_min, self.scale_max)
        fit = min(self.crop[0] / ids.shape[0], self.crop[1] / ids.shape[1]) * scale
        size = (max(1, round(ids.shape[0] * fit)), max(1, round(ids.shape[1] * fit)))
        image, ids = resize_image(np.ascontiguousarray(image), size), resize_ids(ids, size)
        # Rows and columns are drawn apart; the released code uses one number for both and so crops along a diagonal.
        top, left = (
            int(random.random() * (max(have - want, 0) + 1)) for have, want in zip(size, self.crop, strict=True)
        )
        window = slice(top, top + self.crop[0]), slice(left, left + self.crop[1])
        return _placed(image[window], self.crop, PADDING), _placed(ids[window], self.crop, VOID)


def _placed(array: Array, size: Size, fill: int) -> Array:
    """`array` in the top left corner of `size`, the rest `fill`."""
    canvas = np.full((*size, *array.shape[2:]), fill, array.dtype)
    canvas[: array.shape[0], : array.shape[1]] = array
    return canvas
