"""Which predicted segments of a picture are which true ones, exactly as panopticapi decides it on one core.

What that evaluator (`panopticapi.evaluation.pq_compute_single_core`) does and a reader may not expect:

- a truth segment's area is the one its JSON states, a predicted segment's area is measured on its map;
- pixels of a truth map that no segment claims count against a prediction, unlike void (0);
- of several crowd segments of one category in one picture only the last listed shields predictions.

Two maps of different size, an id listed twice or outside 1..2^24-1, a truth segment of an unknown category and an area
that leaves no union are a DataError; there the reference crashes or goes wrong silently.
"""

# K categories, S segments of one side of a picture, P pairs of ids that share pixels, M matched pairs, H W picture size

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from yoso_cli.errors import DataError
from yoso_cli.evaluation.overlap import (
    LARGEST_ID,
    Ints,
    Overlap,
    PanopticRuns,
    Workspace,
    overlap,
    pixel_sums,
    rows_of,
)
from yoso_cli.panoptic.types import VOID, Category, Panoptic, Segment

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Columns:
    """Segments of one side of a picture, (S,) each; a category is its place in the list of categories.

    `area` is as stated in the truth and measured in the prediction.
    """

    id: Ints
    category: Ints
    area: Ints
    iscrowd: Bools


@dataclass(frozen=True, eq=False)
class Matching:
    """One picture's matches: the same category and an IoU above 0.5.

    Attributes:
        true: the true segments.
        predicted: the predicted segments.
        t: (M,) the row of each match in `true`.
        p: (M,) its row in `predicted`.
        iou: (M,) its IoU, above 0.5.
        excused: (S,) predicted segments that lie for more than half in void or in a crowd of their category.
    """

    true: Columns
    predicted: Columns
    t: Ints
    p: Ints
    iou: Floats
    excused: Bools

    @property
    def missed(self) -> Ints:
        """Rows of the true segments that nothing matches; crowds are never missed."""
        missed = ~self.true.iscrowd
        missed[self.t] = False
        return np.flatnonzero(missed)

    @property
    def spurious(self) -> Ints:
        """Rows of the predicted segments that match nothing and are not excused."""
        spurious = ~self.excused
        spurious[self.p] = False
        return np.flatnonzero(spurious)


@dataclass(frozen=True, eq=False)
class Pairing:
    """What two panoptic maps of one picture share; every metric starts from it.

    Attributes:
        true: the true segments.
        predicted: the predicted segments.
        pairs: the pixels shared by each pair of ids.
        t: (P,) the row of each pair in `true`, -1 where its true id is void or listed by no segment.
        p: (P,) its row in `predicted`, -1 for void.
    """

    true: Columns
    predicted: Columns
    pairs: Overlap
    t: Ints
    p: Ints


def pair(
    truth: Panoptic | PanopticRuns,
    prediction: Panoptic,
    categories: Sequence[Category],
    space: Workspace | None = None,
) -> Pairing:
    """Lays a prediction over its truth.

    Args:
        truth: its segments' areas are used as stated.
        prediction: each id of its map must be listed and each listed id must be in its map; areas are measured.
        categories: the K classes that count, in the order of the result.
        space: to be given again with the next picture.

    Raises:
        DataError: the two maps differ in size, or one of them does not agree with its segments or the categories.
    """
    place = {category.id: index for index, category in enumerate(categories)}
    true, listed = _columns(truth.segments, place, "true"), _columns(prediction.segments, place, "predicted")
    pairs = overlap(truth.runs if isinstance(truth, PanopticRuns) else truth.id_map, prediction.id_map, space)
    t, p = rows_of(true.id, pairs.true_id), rows_of(listed.id, pairs.predicted_id)
    _require_listed(pairs, p)
    area = pixel_sums(p, pairs.pixels, len(listed.id))
    _require_present(listed, area)
    return Pairing(true, Columns(listed.id, listed.category, area, listed.iscrowd), pairs, t, p)


def match(found: Pairing, num_categories: int) -> Matching:
    """Matches predicted segments with true ones; crowds and void (0) are never an error.

    Raises:
        DataError: a true segment's stated area leaves no union.
    """
    true, predicted, pixels, t, p = found.true, found.predicted, found.pairs.pixels, found.t, found.p
    void = pixel_sums(np.where(found.pairs.true_id == VOID, p, -1), pixels, len(predicted.id))
    both = np.flatnonzero((t >= 0) & (p >= 0))
    same = both[~true.iscrowd[t[both]] & (true.category[t[both]] == predicted.category[p[both]])]
    t_same, p_same, shared = t[same], p[same], pixels[same]
    union = predicted.area[p_same] + true.area[t_same] - shared - void[p_same]
    _require_union(true, t_same, union)
    iou = shared / union
    hit = iou > 0.5
    excused = (void + _crowd_pixels(found, num_categories)) / predicted.area > 0.5
    return Matching(true, predicted, t_same[hit], p_same[hit], iou[hit], excused)


def _crowd_pixels(found: Pairing, num_categories: int) -> Ints:
    """(S,) pixels that each predicted segment shares with the last listed crowd of its category."""
    true, predicted, t, p = found.true, found.predicted, found.t, found.p
    crowds = np.flatnonzero(true.iscrowd)
    crowd_of = np.full(num_categories, -1)
    crowd_of[true.category[crowds]] = crowds
    both = np.flatnonzero((t >= 0) & (p >= 0))
    shielded = both[crowd_of[predicted.category[p[both]]] == t[both]]
    return pixel_sums(p[shielded], found.pairs.pixels[shielded], len(predicted.id))


def _columns(segments: Sequence[Segment], place: dict[int, int], side: str) -> Columns:
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
    return Columns(
        np.array(ids, np.int64),
        np.array([place[segment.category_id] for segment in segments], np.int64),
        np.array([segment.area for segment in segments], np.int64),
        np.array([segment.iscrowd for segment in segments], np.bool_),
    )


def _require_listed(pairs: Overlap, rows: Ints) -> None:
    stray = np.unique(pairs.predicted_id[(rows < 0) & (pairs.predicted_id != VOID)])
    if stray.size:
        raise DataError(f"The predicted map holds segment {_listed(stray)}, which the JSON does not list.")


def _require_present(predicted: Columns, area: Ints) -> None:
    absent = predicted.id[area == 0]
    if absent.size:
        raise DataError(f"The JSON lists predicted segment {_listed(absent)}, of which the map has no pixel.")


def _require_union(true: Columns, rows: Ints, union: Ints) -> None:
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
