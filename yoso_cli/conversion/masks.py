"""The masks of COCO's instance annotations: polygons and run lengths, from a stranger's JSON.

Source: https://cocodataset.org/#format-data. Polygons become pixels as pycocotools does it. Run lengths are decoded
here: its C code trusts them to be well-formed.
"""

# H, W height and width of the picture in pixels

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from yoso_cli.panoptic import entries
from yoso_cli.panoptic.entries import MalformedError

Mask = npt.NDArray[np.bool_]

# Beyond this many pictures' widths a coordinate is a mistake that would only fill the memory.
_FARTHEST = 4


def read_mask(annotation: Any, height: int, width: int) -> Mask:
    """The `segmentation` of an annotation as bool (H, W). Raises MalformedError when it is none."""
    found = entries.get(annotation, "segmentation")
    if isinstance(found, dict):
        return _from_run_lengths(found, height, width)
    if isinstance(found, list):
        return _from_polygons(found, height, width)
    raise MalformedError("has a 'segmentation' that is neither polygons nor run lengths")


def to_run_lengths(mask: Mask) -> dict[str, Any]:
    """A mask (H, W) as COCO's compressed run lengths."""
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode("ascii")}


def _from_polygons(polygons: Sequence[Any], height: int, width: int) -> Mask:
    if not polygons:
        return np.zeros((height, width), bool)
    limit = _FARTHEST * max(height, width)
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise MalformedError("has a polygon that is not three or more points x, y")
        if not all(isinstance(one, (int, float)) and abs(one) <= limit for one in polygon):
            raise MalformedError(f"has a polygon that goes far beyond the picture of {width}x{height}")
    merged = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    return _to_mask(_uncompressed(merged["counts"].decode("ascii")), height, width)


def _from_run_lengths(found: dict[str, Any], height: int, width: int) -> Mask:
    if entries.numbers(found, "size", 2) != [height, width]:
        raise MalformedError(f"has run lengths of the size {found['size']} where the picture is {[height, width]}")
    counts = entries.get(found, "counts")
    lengths = _uncompressed(counts) if isinstance(counts, str) else counts
    if not isinstance(lengths, list) or not all(isinstance(one, int) and one >= 0 for one in lengths):
        raise MalformedError("has run lengths that are no list of counts")
    if sum(lengths) != height * width:
        raise MalformedError(f"has run lengths of {sum(lengths)} pixels where the picture has {height * width}")
    return _to_mask(lengths, height, width)


def _to_mask(lengths: list[int], height: int, width: int) -> Mask:
    values = np.arange(len(lengths)) % 2 == 1
    # Runs go down the columns.
    mask: Mask = np.repeat(values, lengths).reshape(width, height).T
    return mask


def _uncompressed(text: str) -> list[int]:
    """COCO's compressed counts: six bits a letter, low ones first; from the third on, differences to two before."""
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise MalformedError("has compressed run lengths that are damaged")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise MalformedError("has compressed run lengths that are cut short")
    return counts
