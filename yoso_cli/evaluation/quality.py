"""Panoptic quality (https://arxiv.org/abs/1801.00868, Eq. 1), counted exactly as panopticapi counts it on one core.

Matches (see `matching`), sums and every float operation follow `panopticapi.evaluation` (`PQStat`), so that the figures
agree to the last bit. Where the reference crashes or goes wrong silently, this module answers:

- a group without any class seen (only things, only crowds, nothing): n = 0 and None, where it divides by zero;
- a class seen nowhere: None, where it reports 0.
"""

# K categories, M matched pairs

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yoso_cli.evaluation.matching import Floats, Matching
from yoso_cli.evaluation.overlap import Ints
from yoso_cli.panoptic.types import Category


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

    match_category: Ints
    match_iou: Floats
    false_positives: Ints
    false_negatives: Ints

    @classmethod
    def empty(cls, num_categories: int) -> "Tally":
        """The tally of no picture."""
        zeros = np.zeros(num_categories, np.int64)
        return cls(np.zeros(0, np.int64), np.zeros(0), zeros, zeros)

    def __add__(self, other: "Tally") -> "Tally":
        return total((self, other), len(self.false_positives))

    @property
    def true_positives(self) -> Ints:
        """(K,) matches per category."""
        return np.bincount(self.match_category, minlength=len(self.false_positives))

    @property
    def iou(self) -> Floats:
        """(K,) sum of the matches' IoU per category, added one by one in the order of the pictures."""
        sums = np.bincount(self.match_category, self.match_iou, minlength=len(self.false_positives))
        return sums.astype(np.float64)


def total(tallies: Iterable[Tally], num_categories: int) -> Tally:
    """The sum of `tallies` in their order; it reads a stream once and keeps only counts and matches."""
    category, iou = [np.zeros(0, np.int64)], [np.zeros(0)]
    false_positives, false_negatives = np.zeros(num_categories, np.int64), np.zeros(num_categories, np.int64)
    for one in tallies:
        category.append(one.match_category)
        iou.append(one.match_iou)
        false_positives += one.false_positives
        false_negatives += one.false_negatives
    return Tally(np.concatenate(category), np.concatenate(iou), false_positives, false_negatives)


def tally_of(matching: Matching, num_categories: int) -> Tally:
    """The matches and errors, counted per category."""
    true, predicted = matching.true.category, matching.predicted.category
    return Tally(
        true[matching.t],
        matching.iou,
        np.bincount(predicted[matching.spurious], minlength=num_categories),
        np.bincount(true[matching.missed], minlength=num_categories),
    )


@dataclass(frozen=True)
class GroupQuality:
    """The mean over the `n` classes of a group that were seen; fractions 0..1, None where n is 0."""

    pq: float | None
    sq: float | None
    rq: float | None
    n: int

    def to_dict(self) -> dict[str, Any]:
        """PQ, SQ and RQ in percent, unrounded."""
        return {"pq": percent(self.pq), "sq": percent(self.sq), "rq": percent(self.rq), "n": self.n}


@dataclass(frozen=True)
class ClassQuality:
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
        """The category, PQ, SQ and RQ in percent, unrounded, and the counts."""
        named = {"id": self.category.id, "name": self.category.name, "isthing": self.category.isthing}
        percents = {"pq": percent(self.pq), "sq": percent(self.sq), "rq": percent(self.rq)}
        return {**named, **percents, "tp": self.tp, "fp": self.fp, "fn": self.fn}


@dataclass(frozen=True)
class PanopticQuality:
    """PQ, SQ and RQ over all classes, things, stuff, and of each class, in the order of the categories."""

    all: GroupQuality
    things: GroupQuality
    stuff: GroupQuality
    classes: tuple[ClassQuality, ...]

    @classmethod
    def from_tally(cls, counted: Tally, categories: Sequence[Category]) -> "PanopticQuality":
        """The quality that `counted`, made with the same `categories`, amounts to."""
        classes = tuple(_class_qualities(counted, categories))
        things = [one for one in classes if one.category.isthing]
        stuff = [one for one in classes if not one.category.isthing]
        return cls(_mean(classes), _mean(things), _mean(stuff), classes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: figures in percent (0..100, unrounded), null where nothing was seen."""
        groups = {"all": self.all.to_dict(), "things": self.things.to_dict(), "stuff": self.stuff.to_dict()}
        return {**groups, "classes": [one.to_dict() for one in self.classes]}


def _class_qualities(counted: Tally, categories: Sequence[Category]) -> Iterator[ClassQuality]:
    columns = (counted.iou, counted.true_positives, counted.false_positives, counted.false_negatives)
    for category, iou, tp, fp, fn in zip(categories, *(column.tolist() for column in columns), strict=True):
        if tp + fp + fn == 0:
            yield ClassQuality(category, None, None, None, tp, fp, fn)
            continue
        found = tp + 0.5 * fp + 0.5 * fn
        yield ClassQuality(category, iou / found, iou / tp if tp else 0.0, tp / found, tp, fp, fn)


def _mean(classes: Iterable[ClassQuality]) -> GroupQuality:
    """Added in the order of the categories, as the reference does."""
    pq = sq = rq = 0.0
    n = 0
    for one in classes:
        if one.pq is None or one.sq is None or one.rq is None:
            continue
        pq, sq, rq, n = pq + one.pq, sq + one.sq, rq + one.rq, n + 1
    return GroupQuality(pq / n, sq / n, rq / n, n) if n else GroupQuality(None, None, None, 0)


def percent(fraction: float | None) -> float | None:
    """0..1 to 0..100; None stays None."""
    return None if fraction is None else 100 * fraction
