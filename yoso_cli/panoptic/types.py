"""The one type for truth and for prediction: an id map and its segments.

Names follow the COCO panoptic format (https://cocodataset.org/#format-data): `category_id` is the published id,
`train_id` (0..K-1) is a category's place in the list.
"""

# H, W height and width of the picture in pixels

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

IdMap = npt.NDArray[np.int32]
Rgb = npt.NDArray[np.uint8]

VOID = 0


@dataclass(frozen=True)
class Category:
    """One class: its published id, its name, whether it is countable (a thing), and its colour in pictures."""

    id: int
    name: str
    isthing: bool
    color: tuple[int, int, int] = (128, 128, 128)


@dataclass(frozen=True)
class Segment:
    """One region of a panoptic picture.

    Attributes:
        id: its value in the id map, 1..2^24-1.
        category_id: the published id of its category.
        area: pixels. The format stores it, and evaluation uses the stored figure.
        bbox: x, y, width, height in pixels.
        iscrowd: a group of things not told apart; never a target, never an error.
        score: the model's confidence, 0..1; None for ground truth.
    """

    id: int
    category_id: int
    area: int
    bbox: tuple[int, int, int, int] = (0, 0, 0, 0)
    iscrowd: bool = False
    score: float | None = None


@dataclass(frozen=True)
class Panoptic:
    """A picture's segments: `id_map` is int32 (H, W), 0 = void; each other value names one of `segments`."""

    id_map: IdMap
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class ImageRecord:
    """One picture of a set, as its JSON lists it.

    Attributes:
        image_id: COCO's are integers, Cityscapes' and Mapillary's are strings.
        image_file: the picture, relative to the set's `image_dir`.
        panoptic_file: the PNG, relative to the set's `panoptic_dir`.
        height: pixels.
        width: pixels.
        segments: as annotated.
    """

    image_id: int | str
    image_file: str
    panoptic_file: str
    height: int
    width: int
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class PanopticSet:
    """A split of a dataset: what is in it and where its files lie. `categories` in list order define `train_id`."""

    name: str
    split: str
    categories: tuple[Category, ...]
    records: tuple[ImageRecord, ...]
    image_dir: Path
    panoptic_dir: Path

    def image_path(self, record: ImageRecord) -> Path:
        """Where the picture of `record` lies."""
        return self.image_dir / record.image_file

    def panoptic_path(self, record: ImageRecord) -> Path:
        """Where the PNG of `record` lies."""
        return self.panoptic_dir / record.panoptic_file


def measured(id_map: IdMap, segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """`segments` with area and bbox measured on `id_map` (H, W); those without a pixel are left out."""
    runs = _runs(id_map)
    ids, inverse = np.unique(runs.ids, return_inverse=True)
    areas = np.bincount(inverse, weights=runs.stops - runs.starts).astype(int)
    # Runs stand in reading order, so a stable sort by segment leaves each one's rows ascending.
    order = np.argsort(inverse, kind="stable")
    firsts = np.searchsorted(inverse[order], np.arange(len(ids)))
    lefts = np.minimum.reduceat(runs.starts[order], firsts)
    rights = np.maximum.reduceat(runs.stops[order], firsts)
    tops = runs.rows[order][firsts]
    bottoms = runs.rows[order][np.append(firsts[1:], len(order)) - 1]
    place = {int(segment_id): index for index, segment_id in enumerate(ids)}
    kept = []
    for segment in segments:
        index = place.get(segment.id)
        if index is None:
            continue
        x, y = int(lefts[index]), int(tops[index])
        box = (x, y, int(rights[index]) - x, int(bottoms[index]) - y + 1)
        kept.append(replace(segment, area=int(areas[index]), bbox=box))
    return tuple(kept)


def present_ids(id_map: IdMap) -> list[int]:
    """The values that occur in `id_map` (H, W), ascending, 0 (void) included where it occurs."""
    # Segments are large: a few thousand run starts are sorted instead of all the pixels.
    return [int(value) for value in np.unique(_runs(id_map).ids)]


class _Runs(NamedTuple):
    """Stretches of one id along a row, in reading order: columns `starts` up to but not including `stops`."""

    ids: IdMap
    rows: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    stops: npt.NDArray[np.int64]


def _runs(id_map: IdMap) -> _Runs:
    height, width = id_map.shape
    begins = np.ones((height, width), dtype=bool)
    np.not_equal(id_map[:, 1:], id_map[:, :-1], out=begins[:, 1:])
    places = np.flatnonzero(begins)
    rows, starts = np.divmod(places, width)
    lengths = np.diff(places, append=height * width)
    return _Runs(id_map.ravel()[places], rows, starts, starts + lengths)
