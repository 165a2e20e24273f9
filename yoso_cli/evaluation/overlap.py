"""How many pixels each segment of one map shares with each segment of another.

Counting goes by runs: stretches of pixels, in reading order, of one id. A picture has a hundred times fewer of them
than pixels, so finding where they begin is all that is done for each pixel.
"""

# H W picture size, R runs, U V different ids of the two maps, P pairs of ids that share pixels

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
        ids: (R,) the id of each run.
        shape: height and width of the map.
    """

    starts: npt.NDArray[np.int32]
    ids: npt.NDArray[np.int32]
    shape: tuple[int, int]

    def to_id_map(self) -> IdMap:
        """The map (H, W)."""
        return np.repeat(self.ids, np.diff(self.starts, append=self.shape[0] * self.shape[1])).reshape(self.shape)


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
        self._ranks = np.empty(0, np.int32)

    def flags(self, size: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Two arrays (size,) of anything."""
        if self._flags.shape[1] < size:
            self._flags = np.empty((2, size), np.bool_)
        return self._flags[0, :size], self._flags[1, :size]

    def ranks(self, size: int) -> npt.NDArray[np.int32]:
        """(size,) of anything."""
        if self._ranks.size < size:
            self._ranks = np.empty(size, np.int32)
        return self._ranks[:size]


def runs_of(id_map: IdMap, space: Workspace | None = None) -> Runs:
    """The runs of a map (H, W).

    Raises:
        DataError: it holds a value that cannot be an id.
    """
    pixels = id_map.ravel()
    begins, _ = (space or Workspace()).flags(pixels.size)
    _mark_changes(pixels, begins)
    starts = np.flatnonzero(begins)
    ids = pixels[starts]
    _require_ids(ids, "true")
    return Runs(starts.astype(np.int32), ids, (id_map.shape[0], id_map.shape[1]))


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
    starts, true_ids = _joined(truth, predicted, space) if isinstance(truth, Runs) else _both(truth, predicted, space)
    predicted_ids = predicted[starts]
    _require_ids(true_ids, "true")
    _require_ids(predicted_ids, "predicted")
    return _summed(true_ids, predicted_ids, np.diff(starts, append=predicted.size))


def _mark_changes(pixels: IdMap, begins: npt.NDArray[np.bool_]) -> None:
    begins[:1] = True
    np.not_equal(pixels[1:], pixels[:-1], out=begins[1:])


def _both(true_map: IdMap, predicted: IdMap, space: Workspace) -> tuple[Ints, IdMap]:
    """Where the joint runs of two maps start, and their true ids, (R,) each."""
    true = true_map.ravel()
    begins, others = space.flags(true.size)
    _mark_changes(true, begins)
    _mark_changes(predicted, others)
    begins |= others
    starts = np.flatnonzero(begins)
    return starts, true[starts]


def _joined(truth: Runs, predicted: IdMap, space: Workspace) -> tuple[Ints, IdMap]:
    """The same when one map's runs are known: each is cut into as many as there are joint runs up to the next one."""
    begins, _ = space.flags(predicted.size)
    _mark_changes(predicted, begins)
    begins[truth.starts] = True
    starts = np.flatnonzero(begins)
    ranks = space.ranks(predicted.size)
    ranks[starts] = np.arange(len(starts), dtype=np.int32)
    return starts, np.repeat(truth.ids, np.diff(ranks[truth.starts], append=len(starts)))


def _summed(true_ids: IdMap, predicted_ids: IdMap, lengths: Ints) -> Overlap:
    """Adds the (R,) lengths of the runs of each pair of ids."""
    # Sorting a copy and searching it is four times faster than np.unique's own inverse.
    true, predicted = np.unique(true_ids), np.unique(predicted_ids)
    run_pair = np.searchsorted(true, true_ids) * len(predicted) + np.searchsorted(predicted, predicted_ids)
    cells = len(true) * len(predicted)
    if cells > _LARGEST_TABLE:
        keys, run_pair = np.unique(run_pair, return_inverse=True)
        pixels = np.bincount(run_pair, lengths)
    else:
        table = np.bincount(run_pair, lengths, minlength=cells)
        keys = np.flatnonzero(table)
        pixels = table[keys]
    row, column = np.divmod(keys, max(len(predicted), 1))
    return Overlap(true[row].astype(np.int64), predicted[column].astype(np.int64), pixels.astype(np.int64))


def _require_ids(ids: IdMap, side: str) -> None:
    """Raises DataError where one of the runs' (R,) ids is none."""
    if ids.size and (ids.min() < 0 or ids.max() > LARGEST_ID):
        stray = ids[(ids < 0) | (ids > LARGEST_ID)]
        raise DataError(f"The {side} map holds {stray[0]}, which is outside 0..{LARGEST_ID}.")


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
