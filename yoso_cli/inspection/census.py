"""What is in a split: its classes, how large segments are, how many a picture has, and what is void or crowd.

All of it comes from the JSON, so that a hundred thousand pictures take seconds; `yoso check` says whether the JSON's
areas are those of the PNGs.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import mean, median
from typing import Any

from yoso_cli.datasets.statistics import ClassStatistics, SplitStatistics, statistics_of
from yoso_cli.panoptic.types import Category, PanopticSet

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
    areas: Mapping[int, tuple[int, ...]]
    per_image: tuple[int, ...]
    smallest: tuple[int, int]
    largest: tuple[int, int]

    def areas_of(self, *, things: bool) -> list[int]:
        """Of all instances, or of all stuff segments."""
        kinds = (category.id for category in self.categories if category.isthing is things)
        return [area for category_id in kinds for area in self.areas[category_id]]

    def shares(self) -> dict[str, float]:
        """The parts of all pixels, 0..1: things, stuff, crowd and void."""
        whole = max(self.statistics.pixels, 1)
        return {
            "things": sum(self.areas_of(things=True)) / whole,
            "stuff": sum(self.areas_of(things=False)) / whole,
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
            "segments_per_image": {
                "min": min(self.per_image, default=0),
                "median": self.statistics.segments_per_image,
                "mean": mean(self.per_image or [0]),
                "max": self.statistics.most_segments,
            },
            "instances_by_size": {
                "small": sum(area < SMALL for area in instances),
                "medium": sum(SMALL <= area < LARGE for area in instances),
                "large": sum(area >= LARGE for area in instances),
            },
            "pixel_shares": self.shares(),
            "smallest_image": list(self.smallest),
            "largest_image": list(self.largest),
            "classes": [self._class_to_dict(one) for one in self.statistics.classes],
        }

    def _class_to_dict(self, one: ClassStatistics) -> dict[str, Any]:
        areas = self.areas[one.id]
        share = one.pixels / max(self.statistics.pixels, 1)
        return {**asdict(one), "pixel_share": share, "median_area": median(areas) if areas else None}


def take_census(found: PanopticSet) -> Census:
    """Counts what the JSON of a split lists."""
    areas: dict[int, list[int]] = {category.id: [] for category in found.categories}
    for record in found.records:
        for segment in record.segments:
            if not segment.iscrowd:
                areas[segment.category_id].append(segment.area)
    sizes = sorted(((record.height, record.width) for record in found.records), key=lambda size: size[0] * size[1])
    return Census(
        name=found.name,
        split=found.split,
        categories=found.categories,
        statistics=statistics_of(found),
        areas={category_id: tuple(found) for category_id, found in areas.items()},
        per_image=tuple(sum(not one.iscrowd for one in record.segments) for record in found.records),
        smallest=sizes[0] if sizes else (0, 0),
        largest=sizes[-1] if sizes else (0, 0),
    )
