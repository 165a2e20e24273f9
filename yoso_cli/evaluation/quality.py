"""Panoptic quality (https://arxiv.org/abs/1801.00868, Eq. 1), counted exactly as panopticapi counts it on one core.

Matches (see `matching`), sums and every float operation follow `panopticapi.evaluation` (`PQStat`), so that the figures
agree to the last bit. Where the reference crashes or is silently wrong, the result here is:

- a group without any class seen (only things, only crowds, nothing): n = 0 and None, where it divides by zero;
- a class seen nowhere: None, where it reports 0.

PQ by size: PQ's own matches, divided by area at COCO's limits (https://cocodataset.org/#detection-eval): small is below
32² pixels, medium below 96², large the rest. A match and a missed segment count at the size of the true segment (the
area that its JSON states), a spurious one at the size of the predicted segment (measured). So every match and every
error of PQ counts at exactly one size; matching ignores sizes, so a small segment found as a medium one is a
match.

PQ-dagger: stuff is scored by its IoU, without the 0.5 that a match needs.

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

# K categories, M matched pairs, N pairs of a picture and a class of stuff in its truth, P pairs that share pixels

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from yoso_cli.evaluation.matching import Floats, Matching, by_image, pixel_sums
from yoso_cli.panoptic.regions import Ints
from yoso_cli.panoptic.types import Category

SIZES = ("small", "medium", "large")
LIMITS = (32**2, 96**2)
"""The area in pixels at which medium begins, and at which large does."""


class Figures:
    """A frozen record of what was measured, fractions and counts, which JSON has by the names of its fields."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values: fractions in percent, unrounded, null where nothing was seen; a class by its id and name."""
        told: dict[str, Any] = {}
        for each in fields(self):  # type: ignore[arg-type] # all are dataclasses
            value = getattr(self, each.name)
            is_class = isinstance(value, Category)
            told |= {"id": value.id, "name": value.name} if is_class else {each.name: _plain(value)}
        return told


def _plain(value: Any) -> Any:
    if isinstance(value, Figures):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return 100 * value if isinstance(value, float) else value


@dataclass(frozen=True, eq=False)
class Tally:
    """What one picture, or many, add to the score.

    The IoUs of the matches stay apart and in order until the end: floats are then summed in one order however the
    pictures were divided among processes.

    Attributes:
        match_category: (M,) the category of each match, its place in the list of categories.
        match_iou: (M,) the IoU of each match, above 0.5.
        false_positives: (K,) predicted segments that match nothing.
        false_negatives: (K,) truth segments that nothing matches.
    """

    JOINED: ClassVar = {"match_category": 0, "match_iou": 0}

    match_category: Ints
    match_iou: Floats
    false_positives: Ints
    false_negatives: Ints

    @property
    def columns(self) -> tuple[Floats, Ints, Ints, Ints]:
        """(K,) each: the sum of the matches' IoU, added one by one in the order of the pictures; TP, FP and FN."""
        k = len(self.false_positives)
        iou = np.bincount(self.match_category, self.match_iou, minlength=k).astype(np.float64)
        return iou, np.bincount(self.match_category, minlength=k), self.false_positives, self.false_negatives


def tally_of(matching: Matching) -> Tally:
    """The matches and errors, counted per category."""
    return _tally(matching, matching.true.category, matching.predicted.category, len(matching.categories))


def tally_by_size(matching: Matching) -> Tally:
    """A tally over 3 K columns: first the K categories of small segments, then of medium, then of large."""
    k = len(matching.categories)
    true, predicted = (np.digitize(one.area, LIMITS) * k + one.category for one in (matching.true, matching.predicted))
    return _tally(matching, true, predicted, len(SIZES) * k)


def _tally(matching: Matching, true: Ints, predicted: Ints, columns: int) -> Tally:
    """Of matches and errors by the column of each segment."""
    return Tally(
        true[matching.t],
        matching.iou,
        np.bincount(predicted[matching.spurious], minlength=columns),
        np.bincount(true[matching.missed], minlength=columns),
    )


@dataclass(frozen=True)
class GroupQuality(Figures):
    """The mean over the `n` classes of a group that were seen; fractions 0..1, None where n is 0."""

    pq: float | None
    sq: float | None
    rq: float | None
    n: int


@dataclass(frozen=True)
class ClassQuality(Figures):
    """One class: fractions 0..1 (None where it was seen in neither truth nor prediction) and the counts behind them.

    PQ = SQ x RQ: `sq` is the mean IoU of the matches, `rq` the F1 score of finding segments.
    """

    category: Category
    pq: float | None
    sq: float | None
    rq: float | None
    tp: int
    fp: int
    fn: int

    def to_dict(self) -> dict[str, Any]:
        """As of all figures, and whether it is a thing."""
        named = {"id": self.category.id, "name": self.category.name, "isthing": self.category.isthing}
        return named | super().to_dict()


@dataclass(frozen=True)
class PanopticQuality(Figures):
    """PQ, SQ and RQ over all classes, things, stuff, and of each class, in the order of the categories."""

    all: GroupQuality
    things: GroupQuality
    stuff: GroupQuality
    classes: tuple[ClassQuality, ...]

    @classmethod
    def from_tally(cls, counted: Tally, categories: Sequence[Category]) -> "PanopticQuality":
        """The quality that `counted`, made with the same `categories`, amounts to."""
        return cls.from_columns(counted.columns, categories)

    @classmethod
    def from_columns(cls, columns: Sequence[Floats | Ints], categories: Sequence[Category]) -> "PanopticQuality":
        """The same of `Tally.columns`."""
        classes = tuple(_class_qualities(columns, categories))
        things = [one for one in classes if one.category.isthing]
        stuff = [one for one in classes if not one.category.isthing]
        return cls(_group(classes), _group(things), _group(stuff), classes)


@dataclass(frozen=True)
class SizeQuality(Figures):
    """PQ, SQ and RQ of the segments of each size."""

    small: PanopticQuality
    medium: PanopticQuality
    large: PanopticQuality

    @classmethod
    def from_tally(cls, counted: Tally, categories: Sequence[Category]) -> "SizeQuality":
        """The qualities that `counted`, summed from `tally_by_size`, amounts to."""
        by_size = zip(*(column.reshape(len(SIZES), -1) for column in counted.columns), strict=True)
        return cls(*(PanopticQuality.from_columns(columns, categories) for columns in by_size))

    def to_dict(self) -> dict[str, Any]:
        """The limits in pixels, and the quality of each size."""
        return {"limits": list(LIMITS), **super().to_dict()}


@dataclass(frozen=True, eq=False)
class StuffOverlap:
    """IoU (N,) of each class of stuff in each picture whose truth has it; `category` (N,) is its place in the list."""

    JOINED: ClassVar = {"category": 0, "iou": 0}

    category: Ints
    iou: Floats


@dataclass(frozen=True)
class StuffQuality(Figures):
    """PQ† of one class of stuff, 0..1, and the pictures whose truth has it; None where there is none."""

    category: Category
    pq: float | None
    images: int


@dataclass(frozen=True)
class DaggerQuality(Figures):
    """PQ† over all classes, things and stuff, 0..1, None where no class was seen; and of each class of stuff."""

    all: float | None
    things: float | None
    stuff: float | None
    classes: tuple[StuffQuality, ...]

    @classmethod
    def from_overlap(cls, stuff: StuffOverlap, quality: PanopticQuality) -> "DaggerQuality":
        """From the IoUs of stuff and the PQ over the same pictures."""
        classes = tuple(_stuff_classes(stuff, [one.category for one in quality.classes]))
        mine = [one.pq for one in classes if one.pq is not None]
        things = [one.pq for one in quality.classes if one.category.isthing and one.pq is not None]
        return cls(_mean([*things, *mine]), quality.things.pq, _mean(mine), classes)


def stuff_overlap(matching: Matching) -> StuffOverlap:
    """The IoU of each class of stuff in each picture whose truth has it."""
    true, predicted, (t, p, in_void, pixels) = matching.true, matching.predicted, matching.pairs
    k = len(matching.categories)
    cells = len(matching.pictures) * k
    of_true = np.where(true.iscrowd, -1, by_image(true, k))  # each side's segments by picture and class
    of_predicted = by_image(predicted, k)
    t_cell = np.where(t >= 0, of_true[t] if of_true.size else -1, -1)  # (P,)
    p_cell = np.where(p >= 0, of_predicted[p] if of_predicted.size else -1, -1)
    shared = pixel_sums(np.where(t_cell == p_cell, t_cell, -1), pixels, cells)
    void = pixel_sums(np.where(in_void, p_cell, -1), pixels, cells)
    union = pixel_sums(of_true, true.area, cells) + pixel_sums(of_predicted, predicted.area, cells) - shared - void
    is_stuff = np.array([not category.isthing for category in matching.categories], np.bool_)
    seen = np.bincount(of_true[of_true >= 0], minlength=cells) > 0
    present = np.flatnonzero(seen & np.tile(is_stuff, len(matching.pictures)))
    # A stated area of 0 can leave no union; nothing is shared then either, or PQ would have refused the picture.
    return StuffOverlap(present % k, shared[present] / np.maximum(union[present], 1))


def _stuff_classes(stuff: StuffOverlap, categories: Sequence[Category]) -> Iterable[StuffQuality]:
    sums = np.bincount(stuff.category, stuff.iou, minlength=len(categories)).tolist()
    images = np.bincount(stuff.category, minlength=len(categories)).tolist()
    for category, iou, count in zip(categories, sums, images, strict=True):
        if not category.isthing:
            yield StuffQuality(category, iou / count if count else None, count)


def _class_qualities(columns: Sequence[Floats | Ints], categories: Sequence[Category]) -> Iterator[ClassQuality]:
    for category, iou, tp, fp, fn in zip(categories, *(column.tolist() for column in columns), strict=True):
        if tp + fp + fn == 0:
            yield ClassQuality(category, None, None, None, tp, fp, fn)
            continue
        found = tp + 0.5 * fp + 0.5 * fn
        yield ClassQuality(category, iou / found, iou / tp if tp else 0.0, tp / found, tp, fp, fn)


def _group(classes: Iterable[ClassQuality]) -> GroupQuality:
    """Added in the order of the categories, as the reference does."""
    pq = sq = rq = 0.0
    n = 0
    for one in classes:
        if one.pq is None or one.sq is None or one.rq is None:
            continue
        pq, sq, rq, n = pq + one.pq, sq + one.sq, rq + one.rq, n + 1
    return GroupQuality(pq / n, sq / n, rq / n, n) if n else GroupQuality(None, None, None, 0)


def _mean(figures: Sequence[float]) -> float | None:
    return sum(figures) / len(figures) if figures else None
