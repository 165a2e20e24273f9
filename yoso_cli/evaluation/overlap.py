"""How many pixels each segment of one map shares with each segment of another.

Counting goes by runs: stretches of pixels, in reading order, of one id. A picture has a hundred times fewer of them
than pixels, so finding where they begin is all that is done for each pixel.
"""

# H W picture size, R runs, U different ids of a map, S listed segments, P pairs that share pixels

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from yoso_cli.errors import DataError
from yoso_cli.panoptic.types import VOID, IdMap, Panoptic, Segment

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int64]

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


@dataclass(frozen=True, eq=False)
class Runs:
    """An id map (H, W) by its runs; it takes a fiftieth of the memory, and counting with it half the time.

    Attributes:
        starts: (R,) the first pixel of each run, rising, the first one 0; a run may go on in the next row.
        codes: (R,) the place of each run's id in `ids`.
        ids: (U,) the ids of the map, rising.
        shape: height and width of the map.
    """

    starts: npt.NDArray[np.int32]
    codes: Codes
    ids: npt.NDArray[np.int32]
    shape: tuple[int, int]

    def to_id_map(self) -> IdMap:
        """The map (H, W)."""
        lengths = np.diff(self.starts, append=self.shape[0] * self.shape[1])
        return np.repeat(self.ids[self.codes], lengths).reshape(self.shape)


@dataclass(frozen=True, eq=False)
class PanopticRuns:
    """What `Panoptic` is, with the runs of its map instead of the map."""

    runs: Runs
    segments: tuple[Segment, ...]

    @property
    def id_map(self) -> IdMap:
        """The map (H, W), made anew each time."""
        return self.runs.to_id_map()


@dataclass(frozen=True, eq=False)
class Shared:
    """What the true and the predicted map of one picture share; a few hundred numbers.

    Attributes:
        true: the true segments.
        predicted: the predicted ones.
        cells: (P,) rising, the true code x (predicted segments + 2) + the predicted code (see `LISTED`).
        pixels: (P,) of each pair.
    """

    true: tuple[Segment, ...]
    predicted: tuple[Segment, ...]
    cells: Ints
    pixels: Ints


class Workspace:
    """Memory that is used again for each picture: getting fresh pages would take a third of the time.

    It belongs to one thread. It grows with the largest picture and never holds a result.
    """

    def __init__(self) -> None:
        self._flags = np.empty((2, 0), np.bool_)
        # A place for every possible id would take no hashing, but fetching its pages costs more than all the rest.
        self._codes = np.zeros(1 << _SLOT_BITS, np.int32)

    def flags(self, size: int) -> tuple[Bools, Bools]:
        """Two arrays (size,) of anything."""
        if self._flags.shape[1] < size:
            self._flags = np.empty((2, size), np.bool_)
        return self._flags[0, :size], self._flags[1, :size]

    def codes(self, values: IdMap, listed: IdMap) -> Codes:
        """The code of each of `values` (R,), which are in 0..LARGEST_ID, where `listed` (S,) are the segments' ids."""
        known = np.concatenate([_NO_ID_AND_VOID, listed])  # by code
        slots = _slots(known[VOIDED:])
        if len(set(slots.tolist())) < len(slots):
            return _searched(values, known)
        self._codes[slots] = np.arange(VOIDED, len(known))
        codes = self._codes[_slots(values)]
        self._codes[slots] = UNLISTED
        # Whatever else falls into the slot of an id is not that id.
        codes *= known[codes] == values
        return codes.astype(np.int64)


def runs_of(id_map: IdMap, space: Workspace | None = None) -> Runs:
    """The runs of a map (H, W).

    Raises:
        DataError: it holds a value that cannot be an id.
    """
    pixels = id_map.ravel()
    begins, _ = (space or Workspace()).flags(pixels.size)
    _mark_changes(pixels, begins)
    starts = np.flatnonzero(begins)
    values = _require_ids(pixels[starts], "true")
    ids = np.unique(values)
    return Runs(starts.astype(np.int32), np.searchsorted(ids, values), ids, (id_map.shape[0], id_map.shape[1]))


def shared(truth: Panoptic | PanopticRuns, prediction: Panoptic, space: Workspace | None = None) -> Shared:
    """Counts the pixels of each pair of segments in two maps of one size (H, W).

    Args:
        truth: the true segments; their map may hold ids that are not listed.
        prediction: each id of its map must be listed.
        space: to be given again with the next picture.

    Raises:
        DataError: the sizes differ, a map holds a value that cannot be an id or an unlisted predicted one, or an id is
            listed twice or cannot be one.
    """
    true_map = truth.runs if isinstance(truth, PanopticRuns) else truth.id_map
    if true_map.shape != prediction.id_map.shape:
        raise DataError(
            f"The predicted map is {_size(prediction.id_map.shape)} pixels, the true one {_size(true_map.shape)}.",
            hint="Predictions must have the size of the annotated picture.",
        )
    space = space or Workspace()
    true_ids, predicted_ids = _listed_ids(truth.segments, "true"), _listed_ids(prediction.segments, "predicted")
    predicted = prediction.id_map.ravel()
    if isinstance(true_map, Runs):
        starts, run = _cut(true_map, predicted, space)
        true_codes = space.codes(true_map.ids, true_ids)[true_map.codes][run]
    else:
        starts = _joint_starts(true_map.ravel(), predicted, space)
        true_codes = space.codes(_require_ids(true_map.ravel()[starts], "true"), true_ids)
    values = _require_ids(predicted[starts], "predicted")
    predicted_codes = space.codes(values, predicted_ids)
    _require_listed(values, predicted_codes)
    width = LISTED + len(predicted_ids)
    cells, pixels = _summed(
        true_codes * width + predicted_codes, _lengths(starts, predicted.size), (LISTED + len(true_ids)) * width
    )
    return Shared(truth.segments, prediction.segments, cells, pixels)


def _slots(ids: IdMap) -> npt.NDArray[np.uint32]:
    slots: npt.NDArray[np.uint32] = (ids.view(np.uint32) * _SPREAD) >> np.uint32(32 - _SLOT_BITS)
    return slots


def _searched(values: IdMap, known: IdMap) -> Codes:
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


def _mark_changes(pixels: IdMap, begins: Bools) -> None:
    begins[:1] = True
    np.not_equal(pixels[1:], pixels[:-1], out=begins[1:])


def _joint_starts(true: IdMap, predicted: IdMap, space: Workspace) -> Ints:
    """(R,) where the joint runs of two maps start."""
    begins, others = space.flags(true.size)
    _mark_changes(true, begins)
    _mark_changes(predicted, others)
    begins |= others
    return np.flatnonzero(begins)


def _cut(truth: Runs, predicted: IdMap, space: Workspace) -> tuple[Ints, Ints]:
    """The same when one map's runs are known, and the number of the true run that each joint run is cut from."""
    begins, true_begins = space.flags(predicted.size)
    _mark_changes(predicted, begins)
    true_begins[:] = False
    true_begins[truth.starts] = True
    begins |= true_begins
    starts = np.flatnonzero(begins)
    return starts, np.cumsum(true_begins[starts]) - 1


def _lengths(starts: Ints, size: int) -> Ints:
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


def _require_listed(values: IdMap, codes: Codes) -> None:
    if codes.size and codes.min() == UNLISTED:
        stray = np.unique(values[codes == UNLISTED])
        raise DataError(
            f"The predicted map holds segment {some(stray.tolist())}, which the JSON does not list.",
            hint="Each id of a predicted map needs an entry in segments_info.",
        )


def _summed(run_cell: Codes, lengths: Ints, cells: int) -> tuple[Ints, Ints]:
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
