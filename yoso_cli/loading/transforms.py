"""Resizing of pictures and id maps, identical to that of the released models."""

# H W picture size; sizes are (height, width) throughout

from typing import NamedTuple

import numpy as np
from PIL import Image

from yoso_cli.panoptic.types import IdMap, Rgb

Size = tuple[int, int]


class Window(NamedTuple):
    """A rectangle of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int


def fitted(size: Size, *, short_edge: int, long_edge: int) -> Size:
    """The size at which the short edge is `short_edge`, or the long one `long_edge` if it would pass that (pixels)."""
    scale = short_edge / min(size)
    height, width = (short_edge, scale * size[1]) if size[0] < size[1] else (scale * size[0], short_edge)
    if max(height, width) > long_edge:
        # A second factor, not one scale from the start: the released models' sizes round this way.
        cut = long_edge / max(height, width)
        height, width = height * cut, width * cut
    return max(1, int(height + 0.5)), max(1, int(width + 0.5))


def fitted_into(size: Size, frame: Size) -> Size:
    """The largest size of the same shape that fits into `frame`, up to rounding (pixels)."""
    scale = min(frame[0] / size[0], frame[1] / size[1])
    height, width = (min(max(1, int(scale * edge + 0.5)), most) for edge, most in zip(size, frame, strict=True))
    return height, width


def padded(size: Size, stride: int) -> Size:
    """`size` rounded up to multiples of `stride`."""
    return -(-size[0] // stride) * stride, -(-size[1] // stride) * stride


def resize_image(image: Rgb, size: Size, window: Window | None = None) -> Rgb:
    """(H, W, 3) to (*size, 3), antialiased bilinear as Pillow does it, bit for bit what the released models saw.

    With a window, only that part of the result is made: a crop of a picture at twice its size is four times cheaper.
    """
    top, left, height, width = window or Window(0, 0, *size)
    if image.shape[:2] == size:
        return image[top : top + height, left : left + width]
    down, across = image.shape[0] / size[0], image.shape[1] / size[1]
    # Rounding must not put the box a hair beyond the picture.
    bottom, right = min((top + height) * down, image.shape[0]), min((left + width) * across, image.shape[1])
    box = (left * across, top * down, right, bottom)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR, box))


def resize_ids(ids: IdMap, size: Size, window: Window | None = None) -> IdMap:
    """(H, W) to `size`, or that window of it, by nearest neighbour, as ids must not be averaged."""
    top, left, height, width = window or Window(0, 0, *size)
    if ids.shape == size:
        return ids[top : top + height, left : left + width]
    rows = ((np.arange(top, top + height) + 0.5) * ids.shape[0] / size[0]).astype(np.intp)
    columns = ((np.arange(left, left + width) + 0.5) * ids.shape[1] / size[1]).astype(np.intp)
    # Rows, then columns: a third of the time of indexing by both at once.
    return ids.take(rows, axis=0).take(columns, axis=1)
