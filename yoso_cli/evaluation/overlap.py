"""How many pixels each segment of one map shares with each segment of another.

Counting goes by runs: stretches of pixels, in reading order, of one id. A picture has a hundred times fewer of them
than pixels, so finding where they begin is all that is done for each pixel.
"""

# H W picture size, R runs, U different ids of a map, P pairs of ids that share pixels

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from yoso_cli.errors import DataError
from yoso_cli.panoptic.types import IdMap, Segment

Ints = npt.NDArray[np.int64]

_ID_BITS = 24
LARGEST_ID = (1 << _ID_BITS) - 1

# A table of all pairs of ids is fastest; where a map holds noise instead of segments, it would not fit into memory.
_LARGEST_TABLE = 1 << 20
# Up to here a table of all ids is faster than sorting those that there are; most tools number segments from 1.
_LARGEST_SMALL_ID = 1 << 18

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Overlap:
    """True id, predicted id and the pixels they share, (P,) each, by rising true id, then rising predicted id."""

    true_id: Ints
    predicted_id: Ints
    pixels: Ints


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


class Workspace:
    """Memory that is used again for each picture: getting fresh pages would take a third of the time.

    It belongs to one thread. It grows with the largest picture and never holds a result.
    """

    def __init__(self) -> None:
        self._flags = np.empty((2, 0), np.bool_)

    def flags(self, size: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Two arrays (size,) of anything."""
        if self._flags.shape[1] < size:
            self._flags = np.empty((2, size), np.bool_)
        return self._flags[0, :size], self._flags[1, :size]


def runs_of(id_map: IdMap, space: Workspace | None = None) -> Runs:
    """The runs of a map (H, W).

    Raises:
        DataError: it holds a value that cannot be an id.
    """
    pixels = id_map.ravel()
    begins, _ = (space or Workspace()).flags(pixels.size)
    _mark_changes(pixels, begins)
    starts = np.flatnonzero(begins)
    ids, codes = _coded(pixels[starts], "true")
    return Runs(starts.astype(np.int32), codes, ids, (id_map.shape[0], id_map.shape[1]))


def overlap(truth: IdMap | Runs, predicted_map: IdMap, space: Workspace | None = None) -> Overlap:
    """Counts the pixels of each pair of ids in two maps of one size (H, W).

    Args:
        truth: the true map, or its runs.
        predicted_map: the other map.
        space: to be given again with the next picture.

    Raises:
        DataError: a map holds a value that cannot be an id, or their sizes differ.
    """
    if truth.shape != predicted_map.shape:
        raise DataError(
            f"The predicted map is {_size(predicted_map.shape)} pixels, the true one {_size(truth.shape)}.",
            hint="Predictions must have the size of the annotated picture.",
        )
    space = space or Workspace()
    predicted = predicted_map.ravel()
    if isinstance(truth, Runs):
        starts, true_codes = _cut(truth, predicted, space)
        true_ids = truth.ids
    else:
        starts = _joint_starts(truth.ravel(), predicted, space)
        true_ids, true_codes = _coded(truth.ravel()[starts], "true")
    predicted_ids, predicted_codes = _coded(predicted[starts], "predicted")
    pairs, pixels = _summed(
        true_codes * len(predicted_ids) + predicted_codes,
        np.diff(starts, append=predicted.size),
        len(true_ids) * len(predicted_ids),
    )
    row, column = np.divmod(pairs, max(len(predicted_ids), 1))
    return Overlap(true_ids[row].astype(np.int64), predicted_ids[column].astype(np.int64), pixels)


def _mark_changes(pixels: IdMap, begins: npt.NDArray[np.bool_]) -> None:
    begins[:1] = True
    np.not_equal(pixels[1:], pixels[:-1], out=begins[1:])


def _joint_starts(true: IdMap, predicted: IdMap, space: Workspace) -> Ints:
    """(R,) where the joint runs of two maps start."""
    begins, others = space.flags(true.size)
    _mark_changes(true, begins)
    _mark_changes(predicted, others)
    begins |= others
    return np.flatnonzero(begins)


def _cut(truth: Runs, predicted: IdMap, space: Workspace) -> tuple[Ints, Codes]:
    """The same when one map's runs are known, and the code of the true run that each joint run is cut from."""
    begins, true_begins = space.flags(predicted.size)
    _mark_changes(predicted, begins)
    true_begins[:] = False
    true_begins[truth.starts] = True
    begins |= true_begins
    starts = np.flatnonzero(begins)
    return starts, truth.codes[np.cumsum(true_begins[starts]) - 1]


def _coded(ids: IdMap, side: str) -> tuple[IdMap, Codes]:
    """The different values (U,) among (R,) `ids`, rising, and the place of each of `ids` among them.

    Raises:
        DataError: one of them cannot be an id.
    """
    largest = ids.max(initial=0)
    if ids.min(initial=0) < 0 or largest > LARGEST_ID:
        stray = ids[(ids < 0) | (ids > LARGEST_ID)]
        raise DataError(f"The {side} map holds {stray[0]}, which is outside 0..{LARGEST_ID}.")
    if largest > _LARGEST_SMALL_ID:
        # Sorting a copy and searching it is four times faster than np.unique's own inverse.
        different = np.unique(ids)
        return different, np.searchsorted(different, ids)
    seen = np.zeros(largest + 1, np.bool_)
    seen[ids] = True
    places = np.flatnonzero(seen)
    table = np.empty(largest + 1, np.int64)
    table[places] = np.arange(len(places))
    return places.astype(np.int32), table[ids]


def _summed(run_pair: Codes, lengths: Ints, pairs: int) -> tuple[Ints, Ints]:
    """Which of so many pairs occur among the (R,) runs, rising, and the sum of their lengths, (P,) each."""
    if pairs > _LARGEST_TABLE:
        present, run_pair = np.unique(run_pair, return_inverse=True)
        return present, np.bincount(run_pair, lengths).astype(np.int64)
    table = np.bincount(run_pair, lengths, minlength=pairs)
    present = np.flatnonzero(table)
    return present, table[present].astype(np.int64)


def pixel_sums(rows: Ints, pixels: Ints, length: int) -> Ints:
    """(length,) pixels per row; rows of -1 are left out. Exact: floats hold integers below 2^53."""
    kept = rows >= 0
    return np.bincount(rows[kept], pixels[kept], minlength=length).astype(np.int64)


def rows_of(ids: Ints, wanted: Ints) -> Ints:
    """The row of each of `wanted` in `ids`, -1 where it is not there."""
    if not ids.size:
        return np.full(len(wanted), -1)
    order = np.argsort(ids)
    row = order[np.searchsorted(ids, wanted, sorter=order).clip(max=len(ids) - 1)]
    return np.where(ids[row] == wanted, row, -1)


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(str(edge) for edge in reversed(shape))
