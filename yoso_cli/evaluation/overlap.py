"""How many pixels each segment of one map shares with each segment of another."""

# H W picture size, P pairs of ids that share pixels

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from yoso_cli.errors import DataError
from yoso_cli.panoptic.types import IdMap

Ints = npt.NDArray[np.int64]

_ID_BITS = 24
LARGEST_ID = (1 << _ID_BITS) - 1


@dataclass(frozen=True, eq=False)
class Overlap:
    """True id, predicted id and the pixels they share, (P,) each, by rising true id, then rising predicted id."""

    true_id: Ints
    predicted_id: Ints
    pixels: Ints


def overlap(true_map: IdMap, predicted_map: IdMap) -> Overlap:
    """Counts the pixels of each pair of ids in two maps of one size (H, W).

    It goes by runs of equal pairs: a picture has a hundred times fewer of them than pixels, and sorting is what costs.

    Raises:
        DataError: the predicted map holds a value that cannot be an id.
    """
    true, predicted = true_map.ravel(), predicted_map.ravel()  # (H*W,)
    changes = np.flatnonzero((true[1:] != true[:-1]) | (predicted[1:] != predicted[:-1])) + 1
    starts = np.concatenate(([0] if true.size else [], changes)).astype(np.int64)
    lengths = np.diff(starts, append=true.size)
    run_true, run_predicted = true[starts].astype(np.int64), predicted[starts].astype(np.int64)
    stray = run_predicted[(run_predicted < 0) | (run_predicted > LARGEST_ID)]
    if stray.size:
        raise DataError(f"The predicted map holds {stray[0]}, which is outside 0..{LARGEST_ID}.")
    keys, run_pair = np.unique((run_true << _ID_BITS) | run_predicted, return_inverse=True)
    return Overlap(keys >> _ID_BITS, keys & LARGEST_ID, pixel_sums(run_pair, lengths, len(keys)))


def rows_of(ids: Ints, wanted: Ints) -> Ints:
    """The row of each of `wanted` in `ids`, -1 where it is not there."""
    if not ids.size:
        return np.full(len(wanted), -1)
    order = np.argsort(ids)
    row = order[np.searchsorted(ids, wanted, sorter=order).clip(max=len(ids) - 1)]
    return np.where(ids[row] == wanted, row, -1)


def pixel_sums(rows: Ints, pixels: Ints, length: int) -> Ints:
    """(length,) pixels per row; rows of -1 are left out. Exact: bincount's floats hold integers below 2^53."""
    kept = rows >= 0
    return np.bincount(rows[kept], pixels[kept], minlength=length).astype(np.int64)
