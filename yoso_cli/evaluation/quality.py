"""Panoptic quality (https://arxiv.org/abs/1801.00868, Eq. 1), counted exactly as panopticapi counts it on one core.

Matches, errors and every float operation follow `panopticapi.evaluation` (`pq_compute_single_core`, `PQStat`), so that
the figures agree to the last bit. What that evaluator does and a reader may not expect:

- a truth segment's area is the one its JSON states, a predicted segment's area is measured on its map;
- pixels of a truth map that no segment claims count against a prediction, unlike void (0);
- of several crowd segments of one category in one picture only the last listed shields predictions.

Where the reference crashes or goes wrong silently, this module answers:

- a group without any class seen (only things, only crowds, nothing): n = 0 and None, where it divides by zero;
- a class seen nowhere: None, where it reports 0;
- two maps of different size, an id listed twice or outside 1..2^24-1, a truth segment of an unknown category, an area
  that leaves no union: DataError.
"""

# K categories, S segments of one side of a picture, P pairs of ids that share pixels, M matched pairs, H W picture size

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from yoso_cli.errors import DataError
from yoso_cli.evaluation.overlap import LARGEST_ID, Ints, Overlap, overlap, pixel_sums, rows_of
from yoso_cli.panoptic.types import VOID, Category, IdMap, Panoptic, Segment

Floats = npt.NDArray[np.float64]


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


def tally(truth: Panoptic, prediction: Panoptic, categories: Sequence[Category]) -> Tally:
    """Matches predicted segments with true ones: the same category and an IoU above 0.5.

    Args:
        truth: its segments' areas are used as stated; crowd segments and void (0) are never an error.
        prediction: each id of its map must be listed and each listed id must be in its map; areas are measured.
        categories: the K classes that count, in the order of the result.

    Raises:
        DataError: the two maps differ in size, or one of them does not agree with its segments or the categories.
    """
    if truth.id_map.shape != prediction.id_map.shape:
        raise DataError(
            f"The predicted map is {_size(prediction.id_map)} pixels, the true one {_size(truth.id_map)}.",
            hint="Predictions must have the size of the annotated picture.",
        )
    place = {category.id: index for index, category in enumerate(categories)}
    true, predicted = _columns(truth.segments, place, "true"), _columns(prediction.segments, place, "predicted")
    pairs = overlap(truth.id_map, prediction.id_map)
    return _match(true, predicted, pairs, len(categories))


@dataclass(frozen=True, eq=False)
class _Columns:
    """Segments of one side: id, category (its place) and stated area, (S,) each, and whether it is a crowd."""

    id: Ints
    category: Ints
    area: Ints
    iscrowd: npt.NDArray[np.bool_]


def _columns(segments: Sequence[Segment], place: dict[int, int], side: str) -> _Columns:
    for segment in segments:
        if segment.category_id not in place:
            raise DataError(
                f"The {side} segment {segment.id} has category {segment.category_id}, which the set does not list.",
                hint="Predictions must use the published category ids of the truth's JSON.",
            )
        if not VOID < segment.id <= LARGEST_ID:
            raise DataError(f"The {side} segment id {segment.id} is outside 1..{LARGEST_ID}.")
    ids = [segment.id for segment in segments]
    repeated = [segment_id for segment_id, times in Counter(ids).items() if times > 1]
    if repeated:
        raise DataError(f"The {side} segment {_listed(repeated)} is listed more than once.")
    return _Columns(
        np.array(ids, np.int64),
        np.array([place[segment.category_id] for segment in segments], np.int64),
        np.array([segment.area for segment in segments], np.int64),
        np.array([segment.iscrowd for segment in segments], np.bool_),
    )


def _match(true: _Columns, predicted: _Columns, pairs: Overlap, num_categories: int) -> Tally:
    t, p = rows_of(true.id, pairs.true_id), rows_of(predicted.id, pairs.predicted_id)  # (P,) rows of each side, or -1
    _require_listed(predicted, pairs, p)
    area = pixel_sums(p, pairs.pixels, len(predicted.id))
    _require_present(predicted, area)
    void = pixel_sums(np.where(pairs.true_id == VOID, p, -1), pairs.pixels, len(predicted.id))

    both = np.flatnonzero((t >= 0) & (p >= 0))
    same = both[~true.iscrowd[t[both]] & (true.category[t[both]] == predicted.category[p[both]])]
    t_same, p_same, shared = t[same], p[same], pairs.pixels[same]
    union = area[p_same] + true.area[t_same] - shared - void[p_same]
    _require_union(true, t_same, union)
    iou = shared / union
    hit = iou > 0.5

    missed = ~true.iscrowd
    missed[t_same[hit]] = False
    crowd = _crowd_pixels(true, predicted, pairs.pixels, (t, p), num_categories)
    spurious = ~((void + crowd) / area > 0.5)
    spurious[p_same[hit]] = False
    return Tally(
        true.category[t_same[hit]],
        iou[hit],
        np.bincount(predicted.category[spurious], minlength=num_categories),
        np.bincount(true.category[missed], minlength=num_categories),
    )


def _crowd_pixels(
    true: _Columns, predicted: _Columns, pixels: Ints, rows: tuple[Ints, Ints], num_categories: int
) -> Ints:
    """(S,) pixels that each predicted segment shares with the last listed crowd of its category."""
    t, p = rows
    crowds = np.flatnonzero(true.iscrowd)
    crowd_of = np.full(num_categories, -1)
    crowd_of[true.category[crowds]] = crowds
    both = np.flatnonzero((t >= 0) & (p >= 0))
    shielded = both[crowd_of[predicted.category[p[both]]] == t[both]]
    return pixel_sums(p[shielded], pixels[shielded], len(predicted.id))


def _require_listed(predicted: _Columns, pairs: Overlap, rows: Ints) -> None:
    stray = np.unique(pairs.predicted_id[(rows < 0) & (pairs.predicted_id != VOID)])
    if stray.size:
        raise DataError(f"The predicted map holds segment {_listed(stray)}, which the JSON does not list.")


def _require_present(predicted: _Columns, area: Ints) -> None:
    absent = predicted.id[area == 0]
    if absent.size:
        raise DataError(f"The JSON lists predicted segment {_listed(absent)}, of which the map has no pixel.")


def _require_union(true: _Columns, rows: Ints, union: Ints) -> None:
    """With a true area the union is positive; the reference goes on with an infinite IoU."""
    wrong = np.unique(rows[union <= 0])
    if wrong.size:
        raise DataError(
            f"The true segment {_listed(true.id[wrong])} has an area in the JSON that is too small for its pixels.",
            hint="State each segment's area in pixels.",
        )


def _listed(ids: Iterable[int]) -> str:
    shown = [str(segment_id) for segment_id in ids]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")


def _size(id_map: IdMap) -> str:
    return "x".join(str(edge) for edge in reversed(id_map.shape))


@dataclass(frozen=True)
class GroupQuality:
    """The mean over the `n` classes of a group that were seen; fractions 0..1, None where n is 0."""

    pq: float | None
    sq: float | None
    rq: float | None
    n: int

    def to_dict(self) -> dict[str, Any]:
        """PQ, SQ and RQ in percent, unrounded."""
        return {"pq": _percent(self.pq), "sq": _percent(self.sq), "rq": _percent(self.rq), "n": self.n}


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
        percents = {"pq": _percent(self.pq), "sq": _percent(self.sq), "rq": _percent(self.rq)}
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


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction
