"""What is in a split: its classes, how large segments are, how many a picture has, and what is void or crowd.

All of it comes from the JSON, so that a hundred thousand pictures take seconds; `yoso check` says whether the JSON's
areas are those of the PNGs.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

import numpy as np
import numpy.typing as npt

from yoso_cli.datasets.statistics import ClassStatistics, SplitStatistics, rows_of, statistics_of
from yoso_cli.panoptic.packed_segments import SegmentTable
from yoso_cli.panoptic.types import Category, PanopticSet

Areas = npt.NDArray[np.int64]
"""(S,) pixels of each of S segments."""

# COCO's bounds between small, medium and large objects, pixels: https://cocodataset.org/#detection-eval.
SMALL, LARGE = 32**2, 96**2


@dataclass(frozen=True)
class Census:
    """A split.

    Attributes:
        name: of the dataset.
        split: for example train or val.
        categories: in the order of the set.
        statistics: what `yoso prepare` counts, too.
        areas: of each segment that is no crowd, in pixels, by category id.
        per_image: how many segments each picture has, crowds aside.
        smallest: height and width of the picture with the fewest pixels.
        largest: of the one with the most.
    """

    name: str
    split: str
    categories: tuple[Category, ...]
    statistics: SplitStatistics
    areas: Mapping[int, Areas]
    per_image: tuple[int, ...]
    smallest: tuple[int, int]
    largest: tuple[int, int]

    def areas_of(self, *, things: bool) -> Areas:
        """Of all instances, or of all stuff segments."""
        none = np.zeros(0, np.int64)
        return np.concatenate([none, *(self.areas[one.id] for one in self.categories if one.isthing is things)])

    def shares(self) -> dict[str, float]:
        """The parts of all pixels, 0..1: things, stuff, crowd and void."""
        whole = max(self.statistics.pixels, 1)
        return {
            "things": int(self.areas_of(things=True).sum()) / whole,
            "stuff": int(self.areas_of(things=False).sum()) / whole,
            "crowd": self.statistics.crowd_share,
            "void": self.statistics.void_share,
        }

    def to_dict(self) -> dict[str, Any]:
        """Ready for `json.dump`; shares are 0..1, areas pixels."""
        instances = self.areas_of(things=True)
        return {
            "split": self.split,
            "images": self.statistics.images,
            "segments": self.statistics.segments,
            "crowds": sum(one.crowds for one in self.statistics.classes),
            "segments_per_image": {
                "min": min(self.per_image, default=0),
                "median": self.statistics.segments_per_image,
                "mean": mean(self.per_image or [0]),
                "max": self.statistics.most_segments,
            },
            "instances_by_size": {
                "small": int((instances < SMALL).sum()),
                "medium": int(((instances >= SMALL) & (instances < LARGE)).sum()),
                "large": int((instances >= LARGE).sum()),
            },
            "pixel_shares": self.shares(),
            "smallest_image": list(self.smallest),
            "largest_image": list(self.largest),
            "classes": [self._class_to_dict(one) for one in self.statistics.classes],
        }

    def _class_to_dict(self, one: ClassStatistics) -> dict[str, Any]:
        areas = self.areas[one.id]
        share = one.pixels / max(self.statistics.pixels, 1)
        return {**asdict(one), "pixel_share": share, "median_area": _median(areas) if len(areas) else None}


def _median(areas: Areas) -> float:
    low, high = (int(np.partition(areas, place)[place]) for place in ((len(areas) - 1) // 2, len(areas) // 2))
    return low if len(areas) % 2 else (low + high) / 2


def take_census(found: PanopticSet) -> Census:
    """Counts what the JSON of a split lists."""
    table = SegmentTable.of(found.records)
    whole = ~table.iscrowd
    areas = [table.area[rows[whole[rows]]] for rows in rows_of(found.categories, table)]
    sizes = sorted(((record.height, record.width) for record in found.records), key=lambda size: size[0] * size[1])
    return Census(
        name=found.name,
        split=found.split,
        categories=found.categories,
        statistics=statistics_of(found, table),
        areas=dict(zip((category.id for category in found.categories), areas, strict=True)),
        per_image=tuple(np.bincount(table.image[whole], minlength=len(found.records)).tolist()),
        smallest=sizes[0] if sizes else (0, 0),
        largest=sizes[-1] if sizes else (0, 0),
    )
