"""What is in a split: its classes, how large segments are, how many a picture has, and what is void or crowd.

All of it comes from the JSON, so that a hundred thousand pictures take seconds; `yoso check` says whether the JSON's
areas are those of the PNGs.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

from yoso_cli.panoptic.types import Category, PanopticSet, Segment

# COCO's bounds between small, medium and large objects, pixels: https://cocodataset.org/#detection-eval.
SMALL, LARGE = 32**2, 96**2


@dataclass(frozen=True)
class ClassCensus:
    """One class. Crowds count as `crowds` and in `pixels`, nowhere else.

    Attributes:
        category: which.
        segments: how many.
        crowds: how many groups that are not told apart.
        images: pictures with at least one segment or crowd.
        pixels: of all of them.
        median_area: of the segments, in pixels; None without any.
    """

    category: Category
    segments: int
    crowds: int
    images: int
    pixels: int
    median_area: float | None


@dataclass(frozen=True)
class Census:
    """A split.

    Attributes:
        name: of the dataset.
        split: train or val, say.
        images: how many pictures.
        pixels: of all pictures.
        classes: in the order of the set.
        thing_areas: of each instance, in pixels.
        stuff_areas: of each stuff segment, in pixels.
        per_image: how many segments each picture has, crowds aside.
        crowd_pixels: of all crowds.
        smallest: height and width of the picture with the fewest pixels.
        largest: of the one with the most.
    """

    name: str
    split: str
    images: int
    pixels: int
    classes: tuple[ClassCensus, ...]
    thing_areas: tuple[int, ...]
    stuff_areas: tuple[int, ...]
    per_image: tuple[int, ...]
    crowd_pixels: int
    smallest: tuple[int, int]
    largest: tuple[int, int]

    def shares(self) -> dict[str, float]:
        """The parts of all pixels, 0..1: things, stuff, crowd and void."""
        whole = max(self.pixels, 1)
        things, stuff, crowd = sum(self.thing_areas), sum(self.stuff_areas), self.crowd_pixels
        parts = {"things": things, "stuff": stuff, "crowd": crowd, "void": self.pixels - things - stuff - crowd}
        return {name: count / whole for name, count in parts.items()}

    def thing_sizes(self) -> dict[str, int]:
        """How many instances are small, medium and large, as COCO bounds them."""
        return {
            "small": sum(area < SMALL for area in self.thing_areas),
            "medium": sum(SMALL <= area < LARGE for area in self.thing_areas),
            "large": sum(area >= LARGE for area in self.thing_areas),
        }

    def to_dict(self) -> dict[str, Any]:
        """Ready for `json.dump`; shares are 0..1, areas pixels."""
        return {
            "split": self.split,
            "images": self.images,
            "segments": sum(self.per_image),
            "segments_per_image": {
                "min": min(self.per_image, default=0),
                "median": median(self.per_image) if self.per_image else 0,
                "mean": mean(self.per_image) if self.per_image else 0,
                "max": max(self.per_image, default=0),
            },
            "instances_by_size": self.thing_sizes(),
            "pixel_shares": self.shares(),
            "smallest_image": list(self.smallest),
            "largest_image": list(self.largest),
            "classes": [self._class_to_dict(one) for one in self.classes],
        }

    def _class_to_dict(self, one: ClassCensus) -> dict[str, Any]:
        return {
            "id": one.category.id,
            "name": one.category.name,
            "isthing": one.category.isthing,
            "segments": one.segments,
            "crowds": one.crowds,
            "images": one.images,
            "pixel_share": one.pixels / max(self.pixels, 1),
            "median_area": one.median_area,
        }


def take_census(found: PanopticSet) -> Census:
    """Counts what the JSON of a split lists."""
    by_class: dict[int, list[Segment]] = {category.id: [] for category in found.categories}
    images: Counter[int] = Counter()
    for record in found.records:
        for segment in record.segments:
            by_class[segment.category_id].append(segment)
        images.update({segment.category_id for segment in record.segments})
    classes = tuple(_of_class(one, by_class[one.id], images[one.id]) for one in found.categories)
    things = {category.id for category in found.categories if category.isthing}
    whole = [segment for segments in by_class.values() for segment in segments if not segment.iscrowd]
    sizes = sorted(((record.height, record.width) for record in found.records), key=lambda size: size[0] * size[1])
    return Census(
        name=found.name,
        split=found.split,
        images=len(found.records),
        pixels=sum(height * width for height, width in sizes),
        classes=classes,
        thing_areas=tuple(one.area for one in whole if one.category_id in things),
        stuff_areas=tuple(one.area for one in whole if one.category_id not in things),
        per_image=tuple(sum(not one.iscrowd for one in record.segments) for record in found.records),
        crowd_pixels=sum(one.area for segments in by_class.values() for one in segments if one.iscrowd),
        smallest=sizes[0] if sizes else (0, 0),
        largest=sizes[-1] if sizes else (0, 0),
    )


def _of_class(category: Category, segments: Sequence[Segment], images: int) -> ClassCensus:
    areas = [segment.area for segment in segments if not segment.iscrowd]
    pixels = sum(segment.area for segment in segments)
    crowds = len(segments) - len(areas)
    return ClassCensus(category, len(areas), crowds, images, pixels, median(areas) if areas else None)
