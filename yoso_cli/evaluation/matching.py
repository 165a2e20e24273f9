"""Which predicted segments are which true ones, exactly as panopticapi decides it on one core.

Many pictures are looked at together: what they share is a few hundred numbers for each, and the time of numpy's calls
would be most of all if each picture had its own.

What that evaluator (`panopticapi.evaluation.pq_compute_single_core`) does and a reader may not expect:

- a truth segment's area is the one its JSON states, a predicted segment's area is measured on its map;
- pixels of a truth map that no segment claims count against a prediction, unlike void (0);
- of several crowd segments of one category in one picture only the last listed shields predictions.

Two maps of different size, an id listed twice or outside 1..2^24-1, a truth segment of an unknown category and an area
that leaves no union are a DataError; there the reference crashes or goes wrong silently.
"""

# N pictures, K categories, S segments of one side of all pictures, P pairs that share pixels, M matched pairs

from collections.abc import Sequence, Sized
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from yoso_cli.errors import DataError
from yoso_cli.evaluation.overlap import LISTED, VOIDED, Bools, Ints, Shared, pixel_sums, some
from yoso_cli.panoptic.types import Category, Segment

Floats = npt.NDArray[np.float64]

_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class Columns:
    """Segments of one side, (S,) each, picture after picture; a category is its place in the list of categories.

    `image` is the place of the segment's picture, `area` is as stated in the truth and measured in the prediction.
    """

    image: Ints
    id: Ints
    category: Ints
    area: Ints
    iscrowd: Bools


@dataclass(frozen=True, eq=False)
class Matching:
    """The matches of one picture or of many: the same category and an IoU above 0.5.

    Attributes:
        images: N.
        true: the true segments.
        predicted: the predicted segments.
        t: (M,) the row of each match in `true`; picture after picture, by rising true id, then predicted id.
        p: (M,) its row in `predicted`.
        iou: (M,) its IoU, above 0.5.
        excused: (S,) predicted segments that lie for more than half in void or in a crowd of their category.
    """

    images: int
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
    """What the two maps of each picture share; every metric starts from it.

    Attributes:
        images: N.
        true: the true segments.
        predicted: the predicted segments.
        t: (P,) the row of each pair in `true`, -1 where the true pixels are void or listed by no segment.
        p: (P,) its row in `predicted`, -1 for void.
        void: (P,) whether the true pixels are void.
        pixels: (P,) that the two share.
    """

    images: int
    true: Columns
    predicted: Columns
    t: Ints
    p: Ints
    void: Bools
    pixels: Ints


def pair(pictures: Sequence[Shared], categories: Sequence[Category]) -> Pairing:
    """Lays predictions over their truths.

    Args:
        pictures: what the maps of each of N pictures share; true areas are used as stated, predicted ones are measured.
        categories: the K classes that count, in the order of the result.

    Raises:
        DataError: a segment is of no such category, or a predicted one has no pixel.
    """
    place = {category.id: index for index, category in enumerate(categories)}
    true = _columns([one.true for one in pictures], place, "true")
    listed = _columns([one.predicted for one in pictures], place, "predicted")
    t, p, void = rows(pictures)
    pixels = np.concatenate([_NONE, *(one.pixels for one in pictures)])
    area = pixel_sums(p, pixels, len(listed.id))
    _require_present(listed, area)
    predicted = Columns(listed.image, listed.id, listed.category, area, listed.iscrowd)
    return Pairing(len(pictures), true, predicted, t, p, void, pixels)


def rows(pictures: Sequence[Shared]) -> tuple[Ints, Ints, Bools]:
    """(P,) each: the row of every pair among all true segments and all predicted ones, and whether it is in void."""
    true, predicted = _lengths([one.true for one in pictures]), _lengths([one.predicted for one in pictures])
    image = np.repeat(np.arange(len(pictures)), _lengths([one.cells for one in pictures]))
    cells = np.concatenate([_NONE, *(one.cells for one in pictures)])
    true_code, predicted_code = np.divmod(cells, (LISTED + predicted)[image])
    return _row(true_code, image, true), _row(predicted_code, image, predicted), true_code == VOIDED


def _row(code: Ints, image: Ints, segments: Ints) -> Ints:
    before = np.cumsum(segments) - segments
    return np.where(code >= LISTED, code - LISTED + before[image], -1)


def _lengths(several: Sequence[Sized]) -> Ints:
    return np.array([len(one) for one in several], np.int64)


def match(found: Pairing, num_categories: int) -> Matching:
    """Matches predicted segments with true ones; crowds and void (0) are never an error.

    Raises:
        DataError: a true segment's stated area leaves no union.
    """
    true, predicted, pixels, t, p = found.true, found.predicted, found.pixels, found.t, found.p
    void = pixel_sums(np.where(found.void, p, -1), pixels, len(predicted.id))
    both = np.flatnonzero((t >= 0) & (p >= 0))
    same = both[~true.iscrowd[t[both]] & (true.category[t[both]] == predicted.category[p[both]])]
    t_same, p_same, shared = t[same], p[same], pixels[same]
    union = predicted.area[p_same] + true.area[t_same] - shared - void[p_same]
    _require_union(true, t_same, union)
    iou = shared / union
    hit = np.flatnonzero(iou > 0.5)
    # IoUs are added in this order; the reference's is that of the ids, whatever the order of the JSON.
    hit = hit[np.lexsort((predicted.id[p_same[hit]], true.id[t_same[hit]], true.image[t_same[hit]]))]
    excused = (void + _crowd_pixels(found, num_categories)) / predicted.area > 0.5
    return Matching(found.images, true, predicted, t_same[hit], p_same[hit], iou[hit], excused)


def _crowd_pixels(found: Pairing, num_categories: int) -> Ints:
    """(S,) pixels that each predicted segment shares with the last listed crowd of its category."""
    true, predicted, t, p = found.true, found.predicted, found.t, found.p
    crowds = np.flatnonzero(true.iscrowd)
    crowd_of = np.full(found.images * num_categories, -1)
    crowd_of[by_image(true, num_categories)[crowds]] = crowds
    both = np.flatnonzero((t >= 0) & (p >= 0))
    shielded = both[crowd_of[by_image(predicted, num_categories)[p[both]]] == t[both]]
    return pixel_sums(p[shielded], found.pixels[shielded], len(predicted.id))


def by_image(segments: Columns, num_categories: int) -> Ints:
    """(S,) a number for each segment's picture and category: its place in an array (N, K), read as one row."""
    return segments.image * num_categories + segments.category


def _columns(listed: Sequence[Sequence[Segment]], place: dict[int, int], side: str) -> Columns:
    segments = list(chain.from_iterable(listed))
    unknown = next((one for one in segments if one.category_id not in place), None)
    if unknown is not None:
        raise DataError(
            f"The {side} segment {unknown.id} has category {unknown.category_id}, which the set does not list.",
            hint="Predictions must use the published category ids of the truth's JSON.",
        )
    return Columns(
        np.repeat(np.arange(len(listed)), _lengths(listed)),
        np.array([one.id for one in segments], np.int64),
        np.array([place[one.category_id] for one in segments], np.int64),
        np.array([one.area for one in segments], np.int64),
        np.array([one.iscrowd for one in segments], np.bool_),
    )


def _require_present(predicted: Columns, area: Ints) -> None:
    absent = predicted.id[area == 0]
    if absent.size:
        raise DataError(
            f"The JSON lists predicted segment {some(absent.tolist())}, of which the map has no pixel.",
            hint="Leave it out of segments_info, or write the PNG and the JSON from the same prediction.",
        )


def _require_union(true: Columns, rows: Ints, union: Ints) -> None:
    """With a true area the union is positive; the reference goes on with an infinite IoU."""
    wrong = np.unique(rows[union <= 0])
    if wrong.size:
        ids = some(true.id[wrong].tolist())
        raise DataError(
            f"The true segment {ids} has an area in the JSON that is too small for its pixels.",
            hint="State each segment's area in pixels.",
        )
