"""What a recipe for a set should be like: proposals, sizes and schedule, each with its reason.

All of it comes from the JSON. The rules are those of the paper's recipes, carried over to other sets: where they are
between COCO, Cityscapes and ADE20K, what is suggested is near to what these use.
"""

# S segments, N pictures

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from yoso_cli.errors import DataError
from yoso_cli.inspection.census import SMALL
from yoso_cli.panoptic.packed_segments import SegmentTable
from yoso_cli.panoptic.types import PanopticSet
from yoso_cli.runtime.words import counted

PROPOSALS = 100
"""Of the paper's recipes; released weights can be used with as many only."""

# Proposals are added by so many; each attends to all others, so that there is an end.
_STEP, _MOST_PROPOSALS = 50, 1000
_NEARLY_ALL = 99.9
# Edges of what the network sees, pixels: multiples of its stride, smallest and largest of the paper's short edges but
# for Mapillary's, and the factor by which COCO's pictures are enlarged (480 to 800).
_STRIDE, _LEAST, _USUAL, _MOST, _LARGEST = 32, 128, 800, 1024, 2048
_ENLARGED = 5 / 3
# Pixels of COCO's crop.
_LARGEST_CROP = 1024 * 1024
# Share of instances that may be small (below 32x32 pixels) at the network's size before a larger one is worth its time.
_FEW_SMALL = 1 / 3
# COCO's schedule: 50 epochs of 118,287 pictures. ADE20K's has 127 of 20,210, by the square root of the number.
_EPOCHS, _OF_IMAGES = 50, 118_287
# Cityscapes' has 968.
_MOST_EPOCHS = 1000
_BATCH = 16


@dataclass(frozen=True)
class Suggestion:
    """A value of a recipe.

    Attributes:
        key: as in `--set`.
        value: of the recipe.
        reason: why.
    """

    key: str
    value: Any
    reason: str


@dataclass(frozen=True, eq=False)
class SetSize:
    """The sizes of a split.

    Attributes:
        name: of the dataset.
        split: for example train or val.
        images: N.
        per_image: segments of each picture, crowds not counted: median, 99.9th percentile, most.
        short_edge: pixels: least, median, most.
        long_edge: the same.
        aspect: width over height: 5th percentile, median, 95th.
        instances: how many, and the share of them below 32x32 pixels.
        classes: things and stuff that have a segment, and that are listed.
        rarest: the class with fewest pictures, and how many.
        edges: (N, 2) height and width.
        things: (S, 2) area of each instance and the place of its picture.
    """

    name: str
    split: str
    images: int
    per_image: tuple[float, float, int]
    short_edge: tuple[int, int, int]
    long_edge: tuple[int, int, int]
    aspect: tuple[float, float, float]
    instances: tuple[int, float]
    classes: dict[str, tuple[int, int]]
    rarest: tuple[str, int]
    edges: npt.NDArray[np.int64] = field(repr=False)
    things: npt.NDArray[np.int64] = field(repr=False)

    @classmethod
    def of(cls, found: PanopticSet) -> "SetSize":
        """Raises DataError for a set without pictures."""
        if not found.records:
            raise DataError(f"{found.name}/{found.split}: has no pictures.")
        table = SegmentTable.of(found.records)
        whole = ~table.iscrowd
        counts = np.bincount(table.image[whole], minlength=len(found.records))
        edges = np.array([(one.height, one.width) for one in found.records], np.int64)
        ids = np.array([one.id for one in found.categories if one.isthing], np.int64)
        isthing = whole & np.isin(table.category_id, ids)
        things = np.stack([table.area[isthing], table.image[isthing]], axis=1)
        images_of = {
            one.id: len(np.unique(table.image[whole & (table.category_id == one.id)])) for one in found.categories
        }
        seen = [one for one in found.categories if images_of[one.id]]
        rarest = min(seen, key=lambda one: images_of[one.id], default=None)
        aspect = edges[:, 1] / edges[:, 0]
        return cls(
            found.name,
            found.split,
            len(found.records),
            (float(np.median(counts)), round(float(np.percentile(counts, _NEARLY_ALL)), 2), int(counts.max())),
            _spread(edges.min(axis=1)),
            _spread(edges.max(axis=1)),
            (float(np.percentile(aspect, 5)), float(np.median(aspect)), float(np.percentile(aspect, 95))),
            (len(things), float((things[:, 0] < SMALL).mean()) if len(things) else 0.0),
            {
                kind: (
                    sum(one.isthing is isthing for one in seen),
                    sum(one.isthing is isthing for one in found.categories),
                )
                for kind, isthing in (("things", True), ("stuff", False))
            },
            (rarest.name, images_of[rarest.id]) if rarest else ("", 0),
            edges,
            things,
        )

    def to_dict(self) -> dict[str, Any]:
        """Ready for `json.dump`; edges are pixels, shares 0..1."""
        return {
            "name": self.name,
            "split": self.split,
            "images": self.images,
            "segments_per_image": dict(zip(("median", "p99.9", "max"), self.per_image, strict=True)),
            "short_edge": dict(zip(("min", "median", "max"), self.short_edge, strict=True)),
            "long_edge": dict(zip(("min", "median", "max"), self.long_edge, strict=True)),
            "aspect": dict(zip(("p5", "median", "p95"), self.aspect, strict=True)),
            "instances": self.instances[0],
            "small_share": self.instances[1],
            "classes": {kind: dict(zip(("seen", "listed"), pair, strict=True)) for kind, pair in self.classes.items()},
            "rarest_class": dict(zip(("name", "images"), self.rarest, strict=True)),
        }

    def small_share_at(self, short_edge: int) -> float:
        """The share of instances below 32x32 pixels where pictures have this short edge."""
        if not len(self.things):
            return 0.0
        scale = short_edge / self.edges.min(axis=1)
        return float((self.things[:, 0] * scale[self.things[:, 1]] ** 2 < SMALL).mean())


def _spread(edges: npt.NDArray[np.int64]) -> tuple[int, int, int]:
    return int(edges.min()), int(np.median(edges)), int(edges.max())


def suggestions(sizes: Sequence[SetSize], *, largest: int | None = None) -> list[Suggestion]:
    """Recipe values for sets of these sizes, of which the first is trained on.

    Args:
        sizes: of the training split and of others of the dataset.
        largest: limit of the short edge, pixels, for a machine that can do no more; None for none.
    """
    train = sizes[0]
    short, why = _short_edge(train, largest)
    return [
        _proposals(sizes),
        *_inference_size(train, short, why),
        *_crop(train, short),
        *_schedule(train),
    ]


def _proposals(sizes: Sequence[SetSize]) -> Suggestion:
    nearly, most = max(one.per_image[1] for one in sizes), max(one.per_image[2] for one in sizes)
    told = f"a picture has up to {counted(most, 'segment')}, 99.9 % of them at most {math.ceil(nearly)}"
    if most <= PROPOSALS:
        return Suggestion("model.num_proposals", PROPOSALS, f"{told}; so many are also what released weights have")
    count = _upwards(nearly, _STEP)
    # All of them, where that is one step more.
    count = count + _STEP if count < most <= count + _STEP else count
    beyond = f"; {most} would need {_upwards(most, _STEP)}" if most > count else ""
    return Suggestion("model.num_proposals", min(max(count, PROPOSALS), _MOST_PROPOSALS), f"{told}{beyond}")


def _short_edge(train: SetSize, largest: int | None) -> tuple[int, str]:
    """The short edge of what the network sees, and why."""
    median = train.short_edge[1]
    if median < _USUAL:
        edge = min(_upwards(median * _ENLARGED, _STRIDE), _USUAL)
        why = f"the median short edge is {median}; COCO's pictures are enlarged from 480 to {_USUAL} in the same way"
    else:
        edge = min(_downwards(median, _STRIDE), _MOST)
        why = f"the median short edge is {median}"
    small = train.small_share_at(edge)
    if edge < min(median, _LARGEST) and small > _FEW_SMALL:
        larger = min(_downwards(median, _STRIDE), _LARGEST)
        why = (
            f"{small:.0%} of instances would be below 32x32 pixels at {edge}, {train.small_share_at(larger):.0%} are so"
        )
        edge = larger
    if largest is not None and edge > largest:
        return max(largest, _LEAST), f"{edge} would suit the pictures, but takes a GPU"
    return max(edge, _LEAST), why


def _inference_size(train: SetSize, short: int, why: str) -> list[Suggestion]:
    ratios = train.edges.max(axis=1) / train.edges.min(axis=1)
    ratio = min(float(np.percentile(ratios, 99)), 4.0)
    long = max(_upwards(short * ratio, _STRIDE), short)
    return [
        Suggestion("inference.short_edge", short, why),
        Suggestion("inference.long_edge", long, f"99 % of pictures are at most {ratio:.2f} times as long as short"),
    ]


def _crop(train: SetSize, short: int) -> list[Suggestion]:
    """A crop of the area that a picture has at the network's size, of its shape where all have nearly one."""
    low, median, high = train.aspect
    alike = high / low < 1.5
    aspect = median if alike else 1.0
    area = min(short * short * max(median, 1 / median), _LARGEST_CROP)
    height, width = (_upwards(math.sqrt(area) * factor, _STRIDE) for factor in (aspect**-0.5, aspect**0.5))
    shape = f"the median shape, {median:.2f} times as wide as high" if alike else "square, as pictures differ in shape"
    return [
        Suggestion("augment.crop_height", height, f"a picture of short edge {short}, at most 1024x1024; {shape}"),
        Suggestion("augment.crop_width", width, ""),
    ]


def _schedule(train: SetSize) -> list[Suggestion]:
    epochs = min(_EPOCHS * math.sqrt(_OF_IMAGES / train.images), _MOST_EPOCHS)
    iterations = max(100, round(epochs * train.images / _BATCH, -2))
    reason = (
        f"{counted(train.images, 'picture')} for {epochs:.0f} epochs at a batch of {_BATCH}; the paper's schedules "
        "grow with the square root of the number of pictures"
    )
    return [Suggestion("train.iterations", int(iterations), reason)]


def _upwards(value: float, step: int) -> int:
    return max(step, math.ceil(value / step - 1e-9) * step)


def _downwards(value: float, step: int) -> int:
    return max(step, math.floor(value / step) * step)
