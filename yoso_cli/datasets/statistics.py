"""What a split holds, counted from its listing: pixels, segments and pictures of each class, void and crowd."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

from yoso_cli.atomic import write_json
from yoso_cli.panoptic.packed_segments import SegmentTable
from yoso_cli.panoptic.types import Category, PanopticSet

STATISTICS = "statistics.json"


@dataclass(frozen=True)
class ClassStatistics:
    """How much there is of one class.

    Attributes:
        id: the published category id.
        name: of the class.
        isthing: whether it is countable.
        images: pictures that show it.
        segments: crowds not counted.
        crowds: segments that are crowds.
        pixels: of segments and crowds.
    """

    id: int
    name: str
    isthing: bool
    images: int
    segments: int
    crowds: int
    pixels: int


@dataclass(frozen=True)
class SplitStatistics:
    """How much there is in a split.

    Attributes:
        images: pictures.
        pixels: of all of them.
        void_share: the part of the pixels that belongs to no segment, 0..1.
        crowd_share: the part that belongs to crowds, 0..1.
        segments: crowds not counted.
        segments_per_image: median over the pictures, crowds not counted.
        most_segments: of one picture.
        classes: in the order of the categories.
    """

    images: int
    pixels: int
    void_share: float
    crowd_share: float
    segments: int
    segments_per_image: float
    most_segments: int
    classes: tuple[ClassStatistics, ...]


def statistics_of(panoptic_set: PanopticSet, table: SegmentTable | None = None) -> SplitStatistics:
    """Counted from the listing alone: no picture is opened.

    Args:
        panoptic_set: the split.
        table: its segments, where they are there already.
    """
    found = table or SegmentTable.of(panoptic_set.records)
    pixels = sum(record.height * record.width for record in panoptic_set.records)
    counts = np.bincount(found.image[~found.iscrowd], minlength=len(panoptic_set.records)).tolist()
    return SplitStatistics(
        images=len(panoptic_set.records),
        pixels=pixels,
        void_share=1 - int(found.area.sum()) / pixels if pixels else 0.0,
        crowd_share=int(found.area[found.iscrowd].sum()) / pixels if pixels else 0.0,
        segments=sum(counts),
        segments_per_image=float(median(counts)) if counts else 0.0,
        most_segments=max(counts, default=0),
        classes=tuple(_class_statistics(panoptic_set, found)),
    )


def _class_statistics(panoptic_set: PanopticSet, table: SegmentTable) -> Iterator[ClassStatistics]:
    for category, rows in zip(panoptic_set.categories, rows_of(panoptic_set.categories, table), strict=True):
        # Rows are in the order of the pictures: a picture begins where its place is another than the one before.
        image, crowds = table.image[rows], int(table.iscrowd[rows].sum())
        images = int(np.count_nonzero(np.diff(image, prepend=-1)))
        pixels = int(table.area[rows].sum())
        yield ClassStatistics(category.id, category.name, category.isthing, images, len(rows) - crowds, crowds, pixels)


def rows_of(categories: Sequence[Category], table: SegmentTable) -> list[npt.NDArray[np.int64]]:
    """The places in `table` of each category's segments, in their order."""
    order = np.argsort(table.category_id, kind="stable")
    rising = table.category_id[order]
    ids = [category.id for category in categories]
    starts, stops = np.searchsorted(rising, ids, "left").tolist(), np.searchsorted(rising, ids, "right").tolist()
    return [order[start:stop] for start, stop in zip(starts, stops, strict=True)]


def write_statistics(folder: Path, panoptic_set: PanopticSet) -> None:
    """Writes `statistics.json` into a split's folder. Raises RunError when it cannot be written."""
    write_json(folder / STATISTICS, asdict(statistics_of(panoptic_set)), indent=2)
