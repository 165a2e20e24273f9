"""PQ loss by error type: each unit of PQ loss is attributed to one cause.

With D = TP + FP/2 + FN/2, a class loses 1 - PQ = (sum of (1 - IoU) over its matches + FP/2 + FN/2) / D: what its
matches lack in IoU, and half a segment for each error. So the causes below, each error having exactly one, add up to
what is lost, in each class and in the means over classes. Matches lose by their IoU alone:

- imprecise: a match (same class, IoU above 0.5) whose masks are not the same.

An error is a true segment that nothing matches, or a predicted one that matches nothing and is not excused. It has the
first of these causes that applies. "Mostly in" is to have more than half of one's pixels there (void does not count to
a prediction's pixels); a segment is taken if it is matched, or if two or more segments of its class lie mostly in it.

- wrong_class: it has an IoU above 0.5 with a segment of another class.
- merged, split: a true segment that lies mostly in a taken prediction of its class was merged with another; a
  prediction that lies mostly in a taken true segment of its class is a split of it. If that is not so: a prediction
  more than half of which is two or more true segments of its class that lie mostly in it merged them, and a true
  segment more than half of which is two or more predictions of its class that lie mostly in it was split.
- void_crowd: a true segment lies mostly in a prediction of its class that is excused, because that lies mostly in void
  or in a crowd; or void, crowds and pixels of no segment make up half or more of a prediction, which yet is not
  excused, as only void and a crowd of its own class excuse.
- poor_mask: it has an IoU above 0.1 (and at most 0.5) with a segment of its class.
- missed: none of these, a true segment. spurious: none of these, a predicted one.

Exchange truth and prediction, and without void and crowds merged becomes split and missed becomes spurious; the others
stay. The 0.1 is that of TIDE (https://arxiv.org/abs/2008.08115, Sec. 2.2), which does the same for detection. Where the
truth's JSON states areas that are too small, an IoU can exceed 1, and imprecise masks then win instead of losing.
"""

# K categories, C causes of errors, S segments of one side of a picture, P pairs that share pixels

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from yoso_cli.evaluation.matching import Floats, Matching, pixel_sums
from yoso_cli.evaluation.quality import Figures, PanopticQuality
from yoso_cli.panoptic.regions import Bools, Ints
from yoso_cli.panoptic.types import Category

_WORDS = {
    "missed": ("missed", "true segments without a prediction"),
    "spurious": ("spurious", "predicted segments without a true segment of their class"),
    "poor_mask": ("poor masks", "right class and place, but an IoU of 0.5 or less"),
    "wrong_class": ("wrong class", "right mask (IoU above 0.5), wrong class"),
    "merged": ("merged", "several true segments predicted as one"),
    "split": ("split", "one true segment predicted as several"),
    "void_crowd": ("void and crowds", "errors on unlabelled pixels and crowds"),
    "imprecise": ("imprecise masks", "matched, but with an IoU below 1"),
}
CAUSES = tuple(_WORDS)
ERRORS = CAUSES[:-1]
"""All but imprecise masks, which are matches."""
MISSED, SPURIOUS, POOR_MASK, WRONG_CLASS, MERGED, SPLIT, VOID_CROWD = range(len(ERRORS))

NAMES = {cause: name for cause, (name, _) in _WORDS.items()}
"""Display name of each cause."""
MEANINGS = {cause: meaning for cause, (_, meaning) in _WORDS.items()}
"""Each cause in a few words."""

_POOR = 0.1


@dataclass(frozen=True, eq=False)
class Errors:
    """The errors of one picture, or of many.

    Attributes:
        true: (K, C) unmatched true segments by category and cause.
        predicted: (K, C) unmatched predicted segments by category and cause.
        met: (n, 2) for each segment that counts, the category of the true and of the predicted one which have an IoU
            above 0.5, whatever their classes; -1 where a segment has no such counterpart.
    """

    JOINED: ClassVar = {"met": 0}

    true: Ints
    predicted: Ints
    met: Ints


def errors(matching: Matching) -> Errors:
    """The cause of each error."""
    k = len(matching.categories)
    met = _meetings(matching)
    of_true, of_predicted = _segment_causes(met, matching)
    counted = _counted(matching.true.category, of_true, k), _counted(matching.predicted.category, of_predicted, k)
    return Errors(*counted, _confusion_rows(met, matching))


def segment_causes(matching: Matching) -> tuple[Ints, Ints]:
    """(S,) the cause of each true and of each predicted segment, its place in ERRORS; -1 where it is no error."""
    return _segment_causes(_meetings(matching), matching)


def _segment_causes(met: "_Meetings", matching: Matching) -> tuple[Ints, Ints]:
    of_true = _causes(met, absorbed=MERGED, fragmented=SPLIT, alone=MISSED)
    of_predicted = _causes(met.from_the_other_side(), absorbed=SPLIT, fragmented=MERGED, alone=SPURIOUS)
    of_true[~_flagged(matching.missed, len(of_true))] = -1
    of_predicted[~_flagged(matching.spurious, len(of_predicted))] = -1
    return of_true, of_predicted


@dataclass(frozen=True, eq=False)
class _Side:
    """The segments (S,) of truth or prediction.

    Attributes:
        category: its place.
        extent: pixels that count: as stated in the truth, outside of void in a prediction.
        matched: whether it is half of a match.
        excused: a prediction that lies mostly in void or in a crowd of its class.
        astray: a prediction of which half or more is void, crowd or claimed by no segment.
    """

    category: Ints
    extent: Ints
    matched: Bools
    excused: Bools
    astray: Bools


@dataclass(frozen=True, eq=False)
class _Meetings:
    """Pairs (P,) of a true segment, no crowd, and a predicted one that share pixels; seen from one of the two sides.

    `row` and `other_row` are their places in `side` and in `other`.
    """

    side: _Side
    other: _Side
    row: Ints
    other_row: Ints
    pixels: Ints
    iou: Floats

    def from_the_other_side(self) -> "_Meetings":
        return _Meetings(self.other, self.side, self.other_row, self.row, self.pixels, self.iou)


def _meetings(matching: Matching) -> _Meetings:
    true, predicted, (t, p, in_void, pixels) = matching.true, matching.predicted, matching.pairs
    claimed = t >= 0
    claimed[claimed] = ~true.iscrowd[t[claimed]]
    void = pixel_sums(np.where(in_void, p, -1), pixels, len(predicted.id))
    inside = pixel_sums(np.where(claimed, p, -1), pixels, len(predicted.id))
    no = np.zeros(len(true.id), np.bool_)
    true_side = _Side(true.category, true.area, _flagged(matching.t, len(true.id)), no, no)
    predicted_side = _Side(
        predicted.category,
        predicted.area - void,
        _flagged(matching.p, len(predicted.id)),
        matching.excused,
        2 * inside <= predicted.area,
    )
    both = np.flatnonzero(claimed & (p >= 0))
    t, p, shared = t[both], p[both], pixels[both]
    union = predicted_side.extent[p] + true.area[t] - shared
    # A stated area may be too small for its pixels.
    return _Meetings(true_side, predicted_side, t, p, shared, shared / np.maximum(union, shared))


def _causes(met: _Meetings, *, absorbed: int, fragmented: int, alone: int) -> Ints:
    """(S,) the cause that applies first to each segment of `met.side`, were it an error; written last."""
    side, other, row, other_row = met.side, met.other, met.row, met.other_row
    same = side.category[row] == other.category[other_row]
    lies_in = same & (2 * met.pixels > side.extent[row])
    holds = same & (2 * met.pixels > other.extent[other_row])
    taken = other.matched | (np.bincount(other_row[lies_in], minlength=len(other.category)) >= 2)
    parts = np.bincount(row[holds], minlength=len(side.category))
    filled = pixel_sums(np.where(holds, row, -1), met.pixels, len(side.category))

    cause = np.full(len(side.category), alone)
    cause[row[same & (met.iou > _POOR)]] = POOR_MASK
    cause[side.astray] = VOID_CROWD
    cause[row[lies_in & other.excused[other_row]]] = VOID_CROWD
    cause[(parts >= 2) & (2 * filled > side.extent)] = fragmented
    cause[row[lies_in & taken[other_row]]] = absorbed
    cause[row[~same & (met.iou > 0.5)]] = WRONG_CLASS
    return cause


def _confusion_rows(met: _Meetings, matching: Matching) -> Ints:
    """(n, 2) as `Errors.met` has them."""
    true, predicted = met.side.category, met.other.category
    wrong = (met.iou > 0.5) & (true[met.row] != predicted[met.other_row])
    t, p = met.row[wrong], met.other_row[wrong]
    matched = true[matching.t]
    missed, spurious = matching.missed, matching.spurious
    alone_true = true[missed[~_flagged(t, len(true))[missed]]]
    alone_predicted = predicted[spurious[~_flagged(p, len(predicted))[spurious]]]
    of_true = np.concatenate([matched, true[t], alone_true, np.full(len(alone_predicted), -1)])
    of_predicted = np.concatenate([matched, predicted[p], np.full(len(alone_true), -1), alone_predicted])
    return np.stack([of_true, of_predicted], -1)


def _flagged(rows: Ints, length: int) -> Bools:
    flags = np.zeros(length, np.bool_)
    flags[rows] = True
    return flags


def _counted(category: Ints, cause: Ints, num_categories: int) -> Ints:
    wrong = cause >= 0
    cells = np.bincount(category[wrong] * len(ERRORS) + cause[wrong], minlength=num_categories * len(ERRORS))
    return cells.reshape(num_categories, len(ERRORS))


@dataclass(frozen=True)
class Loss(Figures):
    """The PQ loss of one cause.

    Attributes:
        cause: one of `causes.CAUSES`.
        pq: PQ loss, a fraction.
        true: unmatched true segments with this cause; matches, where the cause is imprecise.
        predicted: the same of predicted segments.
    """

    cause: str
    pq: float
    true: int
    predicted: int


@dataclass(frozen=True)
class Losses(Figures):
    """PQ loss of each cause, in the order of `causes.CAUSES`: together 1 - PQ. Empty where there are no segments."""

    all: tuple[Loss, ...]
    things: tuple[Loss, ...]
    stuff: tuple[Loss, ...]
    classes: tuple[tuple[Loss, ...], ...]

    @classmethod
    def of(cls, errors: Errors, quality: PanopticQuality) -> "Losses":
        """From the errors of all pictures, weighted as in PQ."""
        seen = np.array([one.pq is not None for one in quality.classes], np.bool_)
        things = np.array([one.category.isthing for one in quality.classes], np.bool_)
        matches = np.array([one.tp for one in quality.classes], np.int64)
        weights = _weights(quality, errors)  # (K, C)
        true, predicted = (np.column_stack([side, matches]) for side in (errors.true, errors.predicted))

        def group(chosen: Ints) -> tuple[Loss, ...]:
            if not len(chosen):
                return ()
            columns = weights[chosen].mean(0).tolist(), true[chosen].sum(0).tolist(), predicted[chosen].sum(0).tolist()
            return tuple(Loss(*one) for one in zip(CAUSES, *columns, strict=True))

        each = (np.array([k] if one else [], np.int64) for k, one in enumerate(seen.tolist()))
        all_, *kinds = (np.flatnonzero(chosen) for chosen in (seen, seen & things, seen & ~things))
        return cls(group(all_), group(kinds[0]), group(kinds[1]), tuple(map(group, each)))


def _weights(quality: PanopticQuality, errors: Errors) -> Floats:
    """(K, C) the PQ loss of each class by cause, a fraction; 0 where the class was not seen."""
    counts = np.array([(one.tp, one.fp, one.fn) for one in quality.classes], np.float64).reshape(-1, 3)
    found = np.maximum(counts @ [1, 0.5, 0.5], 0.5)
    iou = np.array([(one.sq or 0.0) * one.tp for one in quality.classes])
    return np.column_stack([0.5 * (errors.true + errors.predicted), counts[:, 0] - iou]) / found[:, None]


@dataclass(frozen=True)
class ConfusionEntry:
    """How often true segments of one class and predicted ones of another have an IoU above 0.5; None is nothing."""

    truth: Category | None
    prediction: Category | None
    count: int

    def to_dict(self) -> dict[str, Any]:
        """By the published ids; null is nothing."""
        truth, prediction = (side.id if side else None for side in (self.truth, self.prediction))
        return {"truth": truth, "prediction": prediction, "count": self.count}


def confusion(errors: Errors, categories: Sequence[Category]) -> tuple[ConfusionEntry, ...]:
    """The confusion of classes, the most frequent pair first; pairs of one class are true positives."""
    named: list[Category | None] = [None, *categories]
    cells = (errors.met + 1) @ [len(named), 1]
    times = np.bincount(cells, minlength=len(named) ** 2)
    seen = np.flatnonzero(times)
    seen = seen[np.argsort(-times[seen], kind="stable")]
    columns = (*np.divmod(seen, len(named)), times[seen])
    return tuple(
        ConfusionEntry(named[t], named[p], n) for t, p, n in zip(*(one.tolist() for one in columns), strict=True)
    )


def mistaken(met: Sequence[ConfusionEntry]) -> list[tuple[Category, Category, int]]:
    """The true class, the predicted one, and how often, of those in `met` where one class was taken for another."""
    pairs = ((one.truth, one.prediction, one.count) for one in met)
    return [(true, guess, count) for true, guess, count in pairs if true and guess and true != guess]
