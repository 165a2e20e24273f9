"""Why a score is not 100: each lost unit of PQ is attributed to one cause.

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

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from yoso_cli.evaluation.matching import Floats, Matching, Pairing
from yoso_cli.evaluation.overlap import Bools, Ints, pixel_sums

IMPRECISE = "imprecise"
ERRORS = ("missed", "spurious", "poor_mask", "wrong_class", "merged", "split", "void_crowd")
CAUSES = (*ERRORS, IMPRECISE)
MISSED, SPURIOUS, POOR_MASK, WRONG_CLASS, MERGED, SPLIT, VOID_CROWD = range(len(ERRORS))

_POOR = 0.1


@dataclass(frozen=True, eq=False)
class Errors:
    """What went wrong in one picture, or in many.

    Attributes:
        true: (K, C) unmatched true segments by category and cause.
        predicted: (K, C) unmatched predicted segments by category and cause.
        met: (n, 2) for each segment that counts, the category of the true and of the predicted one which have an IoU
            above 0.5, whatever their classes; -1 where a segment has no such counterpart.
    """

    true: Ints
    predicted: Ints
    met: Ints

    @classmethod
    def total(cls, parts: Iterable["Errors"], num_categories: int) -> "Errors":
        """The sum of `parts`."""
        nothing = np.zeros((num_categories, len(ERRORS)), np.int64)
        true, predicted, met = nothing.copy(), nothing.copy(), [np.zeros((0, 2), np.int64)]
        for one in parts:
            true += one.true
            predicted += one.predicted
            met.append(one.met)
        return cls(true, predicted, np.concatenate(met))


def errors(found: Pairing, matching: Matching, num_categories: int) -> Errors:
    """The cause of each error."""
    met = _meetings(found, matching)
    of_true = _causes(met, absorbed=MERGED, fragmented=SPLIT, alone=MISSED)
    of_predicted = _causes(met.from_the_other_side(), absorbed=SPLIT, fragmented=MERGED, alone=SPURIOUS)
    missed, spurious = matching.missed, matching.spurious
    true, predicted = matching.true.category, matching.predicted.category
    return Errors(
        _counted(true[missed], of_true[missed], num_categories),
        _counted(predicted[spurious], of_predicted[spurious], num_categories),
        _encounters(met, matching),
    )


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


def _meetings(found: Pairing, matching: Matching) -> _Meetings:
    true, predicted, pixels, t, p = found.true, found.predicted, found.pixels, found.t, found.p
    claimed = t >= 0
    claimed[claimed] = ~true.iscrowd[t[claimed]]
    void = pixel_sums(np.where(found.void, p, -1), pixels, len(predicted.id))
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


def _encounters(met: _Meetings, matching: Matching) -> Ints:
    """(n, 2) as `Errors.met` has them."""
    true, predicted = met.side.category, met.other.category
    wrong = (met.iou > 0.5) & (true[met.row] != predicted[met.other_row])
    t, p = met.row[wrong], met.other_row[wrong]
    matched = true[matching.t]
    alone_true = true[np.setdiff1d(matching.missed, t)]
    alone_predicted = predicted[np.setdiff1d(matching.spurious, p)]
    of_true = np.concatenate([matched, true[t], alone_true, np.full(len(alone_predicted), -1)])
    of_predicted = np.concatenate([matched, predicted[p], np.full(len(alone_true), -1), alone_predicted])
    return np.stack([of_true, of_predicted], -1)


def _flagged(rows: Ints, length: int) -> Bools:
    flags = np.zeros(length, np.bool_)
    flags[rows] = True
    return flags


def _counted(category: Ints, cause: Ints, num_categories: int) -> Ints:
    cells = np.bincount(category * len(ERRORS) + cause, minlength=num_categories * len(ERRORS))
    return cells.reshape(num_categories, len(ERRORS))
