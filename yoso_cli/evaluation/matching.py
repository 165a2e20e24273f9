"""Matching of true and predicted segments, from the pixels that they share.

Pixels are counted by runs (see `panoptic.regions`): a picture has a hundred times fewer runs than pixels, and
only the search for their starts visits each pixel. The `Overlap` of the two maps of a picture is a few hundred numbers.
Many pictures are then matched together, as the overhead of numpy's calls would dominate for single pictures.

Segments are matched exactly as panopticapi matches them on one core (`panopticapi.evaluation.pq_compute_single_core`).
Behaviour that may be unexpected:

- a truth segment's area is the one its JSON states, a predicted segment's area is measured on its map;
- pixels of a truth map that belong to no listed segment count against a prediction, unlike void (0);
- of several crowd segments of one category in one picture only the last listed makes predictions ignored.

Two maps of different size, an id listed twice or outside 1..2^24-1, a truth segment of an unknown category and an area
that leaves no union are a DataError; there the reference crashes or is silently wrong.
"""

# H W picture size, R runs, N pictures, K categories, S segments of one side, P pairs that share pixels, M matched pairs

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from itertools import chain
from math import prod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from yoso_cli.errors import DataError
from yoso_cli.panoptic.files import EXCHANGED, are_exchanged
from yoso_cli.panoptic.regions import Bools, Ints, Runs, mark_changes, painted, runs_of
from yoso_cli.panoptic.types import VOID, Category, IdMap, Panoptic, Segment

Floats = npt.NDArray[np.float64]

LARGEST_ID = (1 << 24) - 1

UNLISTED, VOIDED, LISTED = 0, 1, 2
"""The code of an id: listed by no segment, void, or a segment's place in its list from 2 on."""

_NO_ID_AND_VOID = np.array([-1, VOID], np.int32)

# Ids are hashed into so many bits: of 100 ids, two share a slot once in fifty pictures, which are then searched.
_SLOT_BITS = 18
# 2^32 over the golden ratio spreads neighbours far apart (Knuth, The Art of Computer Programming, Vol. 3, Sec. 6.4).
_SPREAD = np.uint32(2654435769)

# A table of all pairs is fastest; where a map holds noise instead of segments, it would not fit into memory.
_LARGEST_TABLE = 1 << 20

_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class PanopticRuns:
    """A `Panoptic` with the runs of its map instead of the map, which halves the time of counting."""

    runs: Runs
    segments: tuple[Segment, ...]

    @property
    def id_map(self) -> IdMap:
        """The map (H, W), computed at each access."""
        return painted(self.runs, self.runs.values)


AnyPanoptic = Panoptic | PanopticRuns


@dataclass(frozen=True, eq=False)
class Overlap:
    """The pixels that each true segment of a picture shares with each predicted one.

    Attributes:
        true: the true segments.
        predicted: the predicted ones.
        cells: (P,) rising, the true code x (predicted segments + 2) + the predicted code (see `LISTED`).
        pixels: (P,) of each pair.
        name: of the picture, for errors.
        within: the same of only some of the pixels, by the metric that asks for it.
    """

    true: tuple[Segment, ...]
    predicted: tuple[Segment, ...]
    cells: Ints
    pixels: Ints
    name: str = ""
    within: Mapping[str, tuple["Overlap", ...]] = field(default_factory=dict)

    def true_areas(self) -> Ints:
        """(S + 2,) pixels of each true code: of ids that no segment has, of void, of each segment."""
        codes = self.cells // (LISTED + len(self.predicted))
        return np.bincount(codes, self.pixels, minlength=LISTED + len(self.true)).astype(np.int64)


class Pairs(NamedTuple):
    """Segments that share pixels, in many pictures, (P,) each.

    Attributes:
        t: the row of the true segment, -1 where the true pixels are void or listed by no segment.
        p: the row of the predicted segment, -1 for void.
        void: whether the true pixels are void.
        pixels: that the two share.
    """

    t: Ints
    p: Ints
    void: Bools
    pixels: Ints


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
    """The segments of N pictures, which of them share pixels, and which match: one category and an IoU above 0.5.

    Attributes:
        pictures: N of them.
        categories: the K classes that count.
        true: the true segments.
        predicted: the predicted segments.
        pairs: that share pixels; every metric starts from them.
        t: (M,) the row of each match in `true`; picture after picture, by rising true id, then predicted id.
        p: (M,) its row in `predicted`.
        iou: (M,) its IoU, above 0.5.
        excused: (S,) predicted segments of which more than half is in void or in a crowd of their category.
    """

    pictures: Sequence[Overlap]
    categories: Sequence[Category]
    true: Columns
    predicted: Columns
    pairs: Pairs
    t: Ints
    p: Ints
    iou: Floats
    excused: Bools

    @property
    def predicted_segments(self) -> list[Segment]:
        """The predicted segments in the order of their rows."""
        return list(chain.from_iterable(one.predicted for one in self.pictures))

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


class Workspace:
    """Work memory that is reused for each picture: allocating it anew would take a third of the time.

    It belongs to one thread. It grows with the largest picture and never holds a result.
    """

    def __init__(self) -> None:
        self._flags = np.empty((2, 0), np.bool_)
        # A table of all possible ids would need no hashing, but its page faults cost more than everything else.
        self._codes = np.zeros(1 << _SLOT_BITS, np.int32)

    def flags(self, size: int) -> tuple[Bools, Bools]:
        """Two arrays (size,) of anything."""
        if self._flags.shape[1] < size:
            self._flags = np.empty((2, size), np.bool_)
        return self._flags[0, :size], self._flags[1, :size]

    def codes(self, values: IdMap, listed: IdMap) -> Ints:
        """The code of each of `values` (R,), which are in 0..LARGEST_ID, where `listed` (S,) are the segments' ids."""
        known = np.concatenate([_NO_ID_AND_VOID, listed])  # by code
        slots = _slots(known[VOIDED:])
        if len(set(slots.tolist())) < len(slots):
            return _searched(values, known)
        self._codes[slots] = np.arange(VOIDED, len(known))
        codes = self._codes[_slots(values)]
        self._codes[slots] = UNLISTED
        # Clears the code of other values that were hashed to the slot of an id.
        codes *= known[codes] == values
        return codes.astype(np.int64)


def overlap(truth: AnyPanoptic, prediction: Panoptic, space: Workspace | None = None) -> Overlap:
    """Counts the pixels of each pair of segments in two maps of one size (H, W).

    Args:
        truth: the true segments; their map may hold ids that are not listed.
        prediction: each id of its map must be listed.
        space: to be given again with the next picture.

    Raises:
        DataError: the sizes differ, a map holds a value that cannot be an id or an unlisted predicted one, or an id is
            listed twice or cannot be one.
    """
    true_shape, shape = _shape(truth), _shape(prediction)
    if true_shape != shape:
        raise DataError(
            f"The predicted map is {_size(shape)} pixels, the true one {_size(true_shape)}.",
            hint="Predictions must have the size of the annotated picture.",
        )
    space = space or Workspace()
    true_ids, predicted_ids = _listed_ids(truth.segments, "true"), _listed_ids(prediction.segments, "predicted")
    starts, true_codes, values = _joint_runs(truth, prediction, true_ids, space)
    predicted_codes = space.codes(values, predicted_ids)
    _require_listed(values, predicted_codes, predicted_ids)
    width = LISTED + len(predicted_ids)
    cells, pixels = _summed(
        true_codes * width + predicted_codes, _run_lengths(starts, prod(shape)), (LISTED + len(true_ids)) * width
    )
    return Overlap(truth.segments, prediction.segments, cells, pixels)


def _shape(one: AnyPanoptic) -> tuple[int, ...]:
    return one.runs.shape if isinstance(one, PanopticRuns) else one.id_map.shape


def _joint_runs(
    truth: AnyPanoptic, prediction: Panoptic, true_ids: IdMap, space: Workspace
) -> tuple[Ints, Ints, IdMap]:
    """(R,) where the joint runs of two maps start, the code of each in the truth, and its id in the prediction."""
    predicted = prediction.id_map.reshape(-1)
    if isinstance(truth, PanopticRuns):
        starts, run = _cut(truth.runs, predicted, space)
        true_codes = space.codes(_require_ids(truth.runs.values, "true"), true_ids)[run]
    else:
        joint = runs_of(truth.id_map, prediction.id_map, flags=space.flags(predicted.size))
        starts, true_codes = joint.starts, space.codes(_require_ids(joint.values, "true"), true_ids)
    return starts, true_codes, _require_ids(predicted[starts], "predicted")


def _slots(ids: IdMap) -> npt.NDArray[np.uint32]:
    slots: npt.NDArray[np.uint32] = (ids.view(np.uint32) * _SPREAD) >> np.uint32(32 - _SLOT_BITS)
    return slots


def _searched(values: IdMap, known: IdMap) -> Ints:
    """The code of each of `values` (R,), which is its place in `known`, 0 where it is not there."""
    order = np.argsort(known)
    found = order[np.searchsorted(known, values, sorter=order).clip(max=len(known) - 1)]
    return np.where(known[found] == values, found, UNLISTED)


def _listed_ids(segments: Sequence[Segment], side: str) -> IdMap:
    ids = [segment.id for segment in segments]
    stray = next((one for one in ids if not VOID < one <= LARGEST_ID), None)
    if stray is not None:
        raise DataError(f"The {side} segment id {stray} is outside 1..{LARGEST_ID}.")
    if len(set(ids)) < len(ids):
        repeated = [one for one, times in Counter(ids).items() if times > 1]
        raise DataError(f"The {side} segment {some(repeated)} is listed more than once.")
    return np.array(ids, np.int32)


def _cut(truth: Runs, predicted: IdMap, space: Workspace) -> tuple[Ints, Ints]:
    """(R,) where the joint runs of two maps start, of which one is runs already, and the true run that each is in."""
    begins, true_begins = space.flags(predicted.size)
    mark_changes(predicted, begins)
    true_begins[:] = False
    true_begins[truth.starts] = True
    begins |= true_begins
    starts = np.flatnonzero(begins)
    return starts, np.cumsum(true_begins[starts]) - 1


def _run_lengths(starts: Ints, size: int) -> Ints:
    """(R,) of the runs that start there, in a map of so many pixels."""
    lengths = np.empty_like(starts)
    np.subtract(starts[1:], starts[:-1], out=lengths[:-1])
    lengths[-1:] = size - starts[-1:]
    return lengths


def _require_ids(values: IdMap, side: str) -> IdMap:
    if values.min(initial=0) < 0 or values.max(initial=0) > LARGEST_ID:
        stray = values[(values < 0) | (values > LARGEST_ID)]
        raise DataError(f"The {side} map holds {stray[0]}, which is outside 0..{LARGEST_ID}.")
    # Models' maps come as int64 as well, whatever their type says; hashing reads 32 bits.
    return values.astype(np.int32, copy=False)


def _require_listed(values: IdMap, codes: Ints, listed: IdMap) -> None:
    if codes.size and codes.min() == UNLISTED:
        stray = np.unique(values[codes == UNLISTED]).tolist()
        exchanged = are_exchanged(stray, listed.tolist())
        raise DataError(
            f"The predicted map holds segment {some(stray)}, which the JSON does not list.",
            hint=EXCHANGED if exchanged else "Each id of a predicted map needs an entry in segments_info.",
        )


def _summed(run_cell: Ints, lengths: Ints, cells: int) -> tuple[Ints, Ints]:
    """Which of so many cells occur among the (R,) runs, rising, and the sum of their lengths, (P,) each."""
    if cells > _LARGEST_TABLE:
        present, run_cell = np.unique(run_cell, return_inverse=True)
        return present, np.bincount(run_cell, lengths).astype(np.int64)
    # Exact: floats hold integers below 2^53.
    table = np.bincount(run_cell, lengths, minlength=cells)
    present = np.flatnonzero(table)
    return present, table[present].astype(np.int64)


def pixel_sums(rows: Ints, pixels: Ints, length: int) -> Ints:
    """(length,) pixels per row; rows of -1 are left out. Exact: floats hold integers below 2^53."""
    kept = rows >= 0
    return np.bincount(rows[kept], pixels[kept], minlength=length).astype(np.int64)


def some(ids: Iterable[int]) -> str:
    """The first few of `ids`, for a message."""
    shown = [str(one) for one in ids]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(str(edge) for edge in reversed(shape))


def match(pictures: Sequence[Overlap], categories: Sequence[Category]) -> Matching:
    """Matches the predicted segments of N pictures with the true ones; crowds and void (0) are never an error.

    True areas are used as stated, predicted ones are measured.

    Raises:
        DataError: a segment is of none of the `categories`, a predicted one has no pixel, or a true segment's stated
            area leaves no union.
    """
    place = {category.id: index for index, category in enumerate(categories)}
    true = _columns([one.true for one in pictures], place, "true")
    listed = _columns([one.predicted for one in pictures], place, "predicted")
    pairs = pairs_of(pictures)
    t, p, in_void, pixels = pairs
    area = pixel_sums(p, pixels, len(listed.id))
    _require_present(listed, area)
    predicted = replace(listed, area=area)
    void = pixel_sums(np.where(in_void, p, -1), pixels, len(predicted.id))
    both = np.flatnonzero((t >= 0) & (p >= 0))
    same = both[~true.iscrowd[t[both]] & (true.category[t[both]] == predicted.category[p[both]])]
    t_same, p_same, shared = t[same], p[same], pixels[same]
    union = predicted.area[p_same] + true.area[t_same] - shared - void[p_same]
    _require_union(true, t_same, union)
    iou = shared / union
    hit = np.flatnonzero(iou > 0.5)
    # IoUs are added in this order; the reference's is that of the ids, whatever the order of the JSON.
    hit = hit[np.lexsort((predicted.id[p_same[hit]], true.id[t_same[hit]], true.image[t_same[hit]]))]
    shielded = void + _crowd_pixels(true, predicted, pairs, len(pictures), len(categories))
    return Matching(
        pictures, categories, true, predicted, pairs, t_same[hit], p_same[hit], iou[hit], shielded / area > 0.5
    )


def pairs_of(pictures: Sequence[Overlap]) -> Pairs:
    """The pairs of all pictures; rows count the segments of the pictures before as well."""
    true, predicted = _lengths([one.true for one in pictures]), _lengths([one.predicted for one in pictures])
    image = np.repeat(np.arange(len(pictures)), _lengths([one.cells for one in pictures]))
    cells = np.concatenate([_NONE, *(one.cells for one in pictures)])
    pixels = np.concatenate([_NONE, *(one.pixels for one in pictures)])
    true_code, predicted_code = np.divmod(cells, (LISTED + predicted)[image])
    return Pairs(_row(true_code, image, true), _row(predicted_code, image, predicted), true_code == VOIDED, pixels)


def _row(code: Ints, image: Ints, segments: Ints) -> Ints:
    before = np.cumsum(segments) - segments
    return np.where(code >= LISTED, code - LISTED + before[image], -1)


def _lengths(several: Sequence[Sized]) -> Ints:
    return np.array([len(one) for one in several], np.int64)


def _crowd_pixels(true: Columns, predicted: Columns, pairs: Pairs, images: int, num_categories: int) -> Ints:
    """(S,) pixels that each predicted segment shares with the last listed crowd of its category."""
    crowds = np.flatnonzero(true.iscrowd)
    crowd_of = np.full(images * num_categories, -1)
    crowd_of[by_image(true, num_categories)[crowds]] = crowds
    both = np.flatnonzero((pairs.t >= 0) & (pairs.p >= 0))
    shielded = both[crowd_of[by_image(predicted, num_categories)[pairs.p[both]]] == pairs.t[both]]
    return pixel_sums(pairs.p[shielded], pairs.pixels[shielded], len(predicted.id))


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
            f"The JSON lists predicted segment {some(absent.tolist())}, but the map has no pixel of it.",
            hint="Leave it out of segments_info, or write the PNG and the JSON from the same prediction.",
        )


def _require_union(true: Columns, rows: Ints, union: Ints) -> None:
    """With a correct area the union is positive; the reference continues with an infinite IoU."""
    wrong = rows[union <= 0]
    if wrong.size:
        ids = some(true.id[np.unique(wrong)].tolist())
        raise DataError(
            f"The true segment {ids} has an area in the JSON that is too small for its pixels.",
            hint="State each segment's area in pixels.",
        )
