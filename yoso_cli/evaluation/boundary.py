"""Boundary PQ: PQ whose matches must agree along their outlines as well.

Cheng et al., "Boundary IoU" (https://arxiv.org/abs/2103.16562, Sec. 6 and its published evaluator,
https://github.com/bowenc0221/boundary-iou-api, `coco_panoptic_api/evaluation.py`):

- the boundary of a segment is its pixels at most d pixels (in both directions) from a pixel outside it, the outside of
  the picture included; d is 2 % of the picture's diagonal, rounded, at least 1;
- boundary IoU = I / (T + P - I - V): I the pixels in both boundaries, T and P those in each, V the pixels of the
  predicted boundary whose truth is void;
- the IoU of a pair of segments is the smaller one of mask IoU (as in PQ) and boundary IoU; above 0.5 it is a match;
- missed, spurious and excused segments are PQ's, by the masks' areas.

One thing is not followed: the published evaluator marks the inside of segments by an id of its own, the largest
category id + 1, and errs where a segment happens to have that id.
"""

# H W picture size, d boundary width, M matches, P pairs of segments that share pixels

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from yoso_cli.evaluation.matching import Floats, Matching, rows
from yoso_cli.evaluation.overlap import Bools, Ints, Workspace, pixel_sums, shared
from yoso_cli.panoptic.types import IdMap, Panoptic

WIDTH = 0.02
"""Of the picture's diagonal."""


def boundary_width(height: int, width: int) -> int:
    """d, in pixels, for a picture of this size."""
    return max(1, round(WIDTH * float(np.sqrt(height**2 + width**2))))


def boundaries(id_map: IdMap, width: int) -> Bools:
    """(H, W) whether each pixel lies in the boundary of its own segment (or of void's).

    A pixel is inside when the square of 2 d + 1 pixels around it lies in the picture and holds one id. The square is
    taken apart into a row and a column, and each of these goes by runs: the time does not depend on d.
    """
    along_rows = _inside_runs(id_map, width)
    # Where the row alone is mixed, no column through it is of one id.
    columns = np.where(along_rows, id_map, -1).T
    inside = along_rows & _inside_runs(np.ascontiguousarray(columns), width).T
    outlines: Bools = ~inside
    return outlines


def narrowed(matching: Matching, truth: Panoptic, prediction: Panoptic, space: Workspace) -> Matching:
    """PQ's matches of one picture with the smaller of the two IoUs, and without those that it unmakes."""
    iou = np.minimum(matching.iou, boundary_iou(matching, truth, prediction, space))
    kept = iou > 0.5
    return replace(matching, t=matching.t[kept], p=matching.p[kept], iou=iou[kept])


def boundary_iou(matching: Matching, truth: Panoptic, prediction: Panoptic, space: Workspace) -> Floats:
    """(M,) the boundary IoU of each match of one picture."""
    width = boundary_width(*truth.id_map.shape)
    of_true, of_predicted = boundaries(truth.id_map, width), boundaries(prediction.id_map, width)
    t, p = matching.t, matching.p

    inside = _pixels_of(_where(of_true & of_predicted, truth, prediction, space), t, p, len(matching.predicted.id))
    true = _where(of_true, truth, prediction, space)
    true_area = pixel_sums(true.t, true.pixels, len(matching.true.id))
    found = _where(of_predicted, truth, prediction, space)
    predicted_area = pixel_sums(found.p, found.pixels, len(matching.predicted.id))
    void = pixel_sums(np.where(found.void, found.p, -1), found.pixels, len(matching.predicted.id))
    # Never zero: a match shares pixels, so the true segment has some, and a segment with pixels has a boundary.
    return inside / (true_area[t] + predicted_area[p] - inside - void[p])


class _Pairs(NamedTuple):
    """Some of a picture's pixels by pair of segments: rows (-1 for none), whether truth is void, pixels; (P,) each."""

    t: Ints
    p: Ints
    void: Bools
    pixels: Ints


def _pixels_of(found: _Pairs, t: Ints, p: Ints, predicted: int) -> Ints:
    """(M,) the pixels of each wanted pair; where areas are stated wrongly, a segment may be in several."""
    listed = np.flatnonzero((found.t >= 0) & (found.p >= 0))
    keys = found.t[listed] * predicted + found.p[listed]  # rising, as codes are
    # The last place is beyond every key.
    keys, pixels = np.append(keys, np.iinfo(np.int64).max), np.append(found.pixels[listed], 0)
    wanted = t * predicted + p
    place = np.searchsorted(keys, wanted)
    return np.where(keys[place] == wanted, pixels[place], 0)


def _where(chosen: Bools, truth: Panoptic, prediction: Panoptic, space: Workspace) -> _Pairs:
    """Of the pixels where `chosen` (H, W) holds."""
    true, predicted = (replace(one, id_map=one.id_map[chosen]) for one in (truth, prediction))
    found = shared(true, predicted, space)
    return _Pairs(*rows([found]), found.pixels)


def _inside_runs(values: npt.NDArray[np.int32], margin: int) -> Bools:
    """(H, W) whether the `margin` values to the left and to the right of each are there and equal to it."""
    height, width = values.shape
    begins = np.ones((height, width + 1), np.bool_)
    np.not_equal(values[:, 1:], values[:, :-1], out=begins[:, 1:-1])
    # Each row ends with a mark of its own, which opens no run.
    marks = np.flatnonzero(begins)
    starts, stops = marks[:-1], marks[1:]
    long = stops - starts > 2 * margin
    turns = np.zeros(begins.size, np.int8)
    turns[starts[long] + margin] = 1
    turns[stops[long] - margin] = -1
    inside: Bools = np.cumsum(turns, dtype=np.int8).view(np.bool_).reshape(height, width + 1)[:, :-1]
    return inside
