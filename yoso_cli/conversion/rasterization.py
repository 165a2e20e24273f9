"""Polygons, ellipses and masks as the pixels of a picture.

Polygons become pixels as pycocotools does it, whatever format they come in, so that the same outline is the same mask
in all of them: a pixel belongs to a polygon whose inside holds the pixel's centre, to a fifth of a pixel. (OpenCV and
Pillow add the pixels that the outline crosses.) Coordinates start at the upper left corner of the first pixel.
"""

# H, W height and width of the picture in pixels, R runs

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from yoso_cli.panoptic.annotations import MalformedError
from yoso_cli.panoptic.types import MOST_PIXELS

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
"""(H, W), or of a part of the picture."""

FARTHEST = 4
"""Beyond this many pictures' edges a coordinate is a mistake that would only fill the memory."""


@dataclass(frozen=True)
class Region:
    """Pixels of a picture as runs down its columns, numbered x * H + y.

    Attributes:
        starts: (R), rising.
        lengths: (R), pixels.
    """

    starts: Ints
    lengths: Ints

    @property
    def area(self) -> int:
        """Pixels."""
        return int(self.lengths.sum())

    def pixels(self) -> Ints:
        """The number of each pixel, rising."""
        before = np.cumsum(self.lengths) - self.lengths
        places: Ints = np.repeat(self.starts - before, self.lengths) + np.arange(self.area)
        return places


def polygon_region(polygon: Sequence[float], height: int, width: int) -> Region:
    """The pixels inside a polygon of x, y, x, y, ...; what lies outside of the picture is cut off.

    Raises:
        MalformedError: fewer than three points, or one that is no number or far outside of the picture.
    """
    if len(polygon) < 6 or len(polygon) % 2:
        raise MalformedError("has a polygon that is not three or more points x, y")
    limit = FARTHEST * max(height, width)
    if not all(abs(one) <= limit for one in map(number, polygon)):
        raise MalformedError(f"has a polygon far outside the picture of {width}x{height}")
    (encoded,) = coco_mask.frPyObjects([list(polygon)], height, width)
    return _from_lengths(uncompressed(encoded["counts"].decode("ascii")))


def box_region(left: float, top: float, right: float, bottom: float, height: int, width: int) -> Region:
    """The pixels of a rectangle, as those of the polygon of its corners."""
    return polygon_region([left, top, right, top, right, bottom, left, bottom], height, width)


def ellipse_region(
    x: float, y: float, radius_x: float, radius_y: float, height: int, width: int, *, degrees: float = 0
) -> Region:
    """The pixels whose centres lie in an ellipse around x, y, turned clockwise by `degrees`.

    Raises:
        MalformedError: a figure is no number, or far outside of the picture.
    """
    limit = FARTHEST * max(height, width)
    if not all(abs(one) <= limit for one in map(number, (x, y, radius_x, radius_y))):
        raise MalformedError(f"has an ellipse far outside the picture of {width}x{height}")
    reach = max(abs(radius_x), abs(radius_y))
    left, right = (max(0, min(width, math.floor(edge))) for edge in (x - reach, x + reach + 1))
    top, bottom = (max(0, min(height, math.floor(edge))) for edge in (y - reach, y + reach + 1))
    across = np.arange(left, right)[None] + 0.5 - x
    down = np.arange(top, bottom)[:, None] + 0.5 - y
    cosine, sine = math.cos(math.radians(number(degrees))), math.sin(math.radians(degrees))
    along, over = across * cosine + down * sine, down * cosine - across * sine
    inside = (along * radius_y) ** 2 + (over * radius_x) ** 2 <= (radius_x * radius_y) ** 2
    flat = not radius_x or not radius_y
    return mask_region(np.zeros_like(inside) if flat else inside, left, top, height, width)


def mask_region(mask: Mask, left: int, top: int, height: int, width: int) -> Region:
    """The pixels of a mask that lies at `left`, `top` in the picture.

    Raises:
        MalformedError: it does not lie inside of the picture.
    """
    high, wide = mask.shape
    if left < 0 or top < 0 or left + wide > width or top + high > height:
        raise MalformedError(
            f"has a mask of {wide}x{high} at {left}, {top} that leaves the picture of {width}x{height}"
        )
    # A row of zeros below ends the run of each column.
    flat = np.pad(mask.T, ((0, 0), (0, 1))).reshape(-1)
    changes = np.flatnonzero(np.diff(flat, prepend=False, append=False))
    first, last = changes[::2], changes[1::2]
    column, row = first // (high + 1), first % (high + 1)
    return Region((left + column) * height + top + row, last - first)


def row_lengths_mask(lengths: Sequence[int], height: int, width: int) -> Mask:
    """The mask (height, width) of run lengths that go along the rows, zeros first.

    Raises:
        MalformedError: they are not the pixels of such a mask.
    """
    if not 0 < height * width <= MOST_PIXELS or min(lengths, default=-1) < 0 or sum(lengths) != height * width:
        raise MalformedError(f"has run lengths of {sum(lengths)} pixels where its mask is {width}x{height}")
    values = np.arange(len(lengths)) % 2 == 1
    mask: Mask = np.repeat(values, lengths).reshape(height, width)
    return mask


def union(regions: Iterable[Region]) -> Region:
    """The pixels that belong to any of them."""
    found = list(regions)
    if len(found) == 1:
        return found[0]
    pixels = np.unique(np.concatenate([one.pixels() for one in found]))
    first = np.flatnonzero(np.diff(pixels, prepend=-2) != 1)
    return Region(pixels[first], np.diff(first, append=len(pixels)))


def number(value: Any) -> float:
    """A finite number. Raises MalformedError for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise MalformedError(f"has {value!r} where a number is expected")
    return float(value)


def uncompressed(text: str) -> list[int]:
    """COCO's compressed counts: six bits a letter, low ones first; from the third on, differences to two before.

    Raises:
        MalformedError: it is damaged or cut short.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise MalformedError("has compressed RLE that is damaged")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise MalformedError("has compressed RLE that is truncated")
    return counts


def _from_lengths(lengths: Sequence[int]) -> Region:
    counts = np.array(lengths, np.int64)
    starts = np.cumsum(counts) - counts
    return Region(starts[1::2], counts[1::2])
