"""PQ-dagger: stuff is scored by its IoU, without the 0.5 that a match needs.

Porzi et al., "Seamless Scene Segmentation" (https://arxiv.org/abs/1905.01220): for things PQ† is PQ. A class c of
stuff is at most one segment of a picture in truth and in prediction, and PQ†_c = sum of their IoUs / |S_c|, whatever
their height, where |S_c| is the number of true segments, so of pictures whose truth has the class. A region of stuff at
IoU 0.49 counts 0.49 instead of two errors, and stuff predicted in a picture without that class costs nothing by itself
(it costs the class it covers).

That is the formula of torchmetrics as well (`ModifiedPanopticQuality`,
https://lightning.ai/docs/torchmetrics/stable/detection/modified_panoptic_quality.html); the authors' released code has
plain PQ only (https://github.com/mapillary/seamseg, `seamseg/utils/panoptic.py`). Evaluators of lidar scans print
another figure under this name: for stuff the IoU over all scans at once, which is a class' part in mIoU.

Where a map splits one class of stuff into several segments of a picture, they count as one. Crowds are left out of the
truth, and a prediction's pixels in void out of the union, as in PQ.
"""

# K categories, N pairs of a picture and a class of stuff in its truth, P pairs of segments that share pixels

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yoso_cli.evaluation.matching import Floats, Pairing, by_image
from yoso_cli.evaluation.overlap import Bools, Ints, pixel_sums
from yoso_cli.evaluation.quality import PanopticQuality, percent
from yoso_cli.panoptic.types import Category


@dataclass(frozen=True, eq=False)
class StuffOverlap:
    """IoU (N,) of each class of stuff in each picture whose truth has it; `category` (N,) is its place in the list."""

    category: Ints
    iou: Floats


@dataclass(frozen=True)
class StuffQuality:
    """PQ† of one class of stuff, 0..1, and the pictures whose truth has it; None where there is none."""

    category: Category
    pq: float | None
    images: int


@dataclass(frozen=True)
class DaggerQuality:
    """PQ† over all classes, things and stuff, 0..1, None where no class was seen; and of each class of stuff."""

    all: float | None
    things: float | None
    stuff: float | None
    classes: tuple[StuffQuality, ...]

    @classmethod
    def from_overlap(cls, stuff: StuffOverlap, quality: PanopticQuality) -> "DaggerQuality":
        """From the IoUs of stuff and the PQ over the same pictures."""
        classes = tuple(_classes(stuff, [one.category for one in quality.classes]))
        mine = [one.pq for one in classes if one.pq is not None]
        things = [one.pq for one in quality.classes if one.category.isthing and one.pq is not None]
        return cls(_mean([*things, *mine]), quality.things.pq, _mean(mine), classes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: figures in percent, unrounded, null where nothing was seen."""
        groups = {"all": percent(self.all), "things": percent(self.things), "stuff": percent(self.stuff)}
        rows = [
            {"id": one.category.id, "name": one.category.name, "pq": percent(one.pq), "images": one.images}
            for one in self.classes
        ]
        return {**groups, "classes": rows}


def stuff_overlap(found: Pairing, is_stuff: Bools) -> StuffOverlap:
    """The IoU of each class of stuff in each picture whose truth has it; `is_stuff` (K,) tells the classes apart."""
    true, predicted, t, p, pixels, k = found.true, found.predicted, found.t, found.p, found.pixels, len(is_stuff)
    cells = found.images * k
    of_true = np.where(true.iscrowd, -1, by_image(true, k))  # each side's segments by picture and class
    of_predicted = by_image(predicted, k)
    t_cell = np.where(t >= 0, of_true[t] if of_true.size else -1, -1)  # (P,)
    p_cell = np.where(p >= 0, of_predicted[p] if of_predicted.size else -1, -1)
    shared = pixel_sums(np.where(t_cell == p_cell, t_cell, -1), pixels, cells)
    void = pixel_sums(np.where(found.void, p_cell, -1), pixels, cells)
    union = pixel_sums(of_true, true.area, cells) + pixel_sums(of_predicted, predicted.area, cells) - shared - void
    seen = np.bincount(of_true[of_true >= 0], minlength=cells) > 0
    present = np.flatnonzero(seen & np.tile(is_stuff, found.images))
    # A stated area of 0 can leave no union; nothing is shared then either, or PQ would have refused the picture.
    return StuffOverlap(present % k, shared[present] / np.maximum(union[present], 1))


def total(parts: Iterable[StuffOverlap]) -> StuffOverlap:
    """All of `parts` in their order."""
    category, iou = [np.zeros(0, np.int64)], [np.zeros(0)]
    for one in parts:
        category.append(one.category)
        iou.append(one.iou)
    return StuffOverlap(np.concatenate(category), np.concatenate(iou))


def _classes(stuff: StuffOverlap, categories: Sequence[Category]) -> Iterable[StuffQuality]:
    sums = np.bincount(stuff.category, stuff.iou, minlength=len(categories)).tolist()
    images = np.bincount(stuff.category, minlength=len(categories)).tolist()
    for category, iou, count in zip(categories, sums, images, strict=True):
        if not category.isthing:
            yield StuffQuality(category, iou / count if count else None, count)


def _mean(figures: Sequence[float]) -> float | None:
    return sum(figures) / len(figures) if figures else None
