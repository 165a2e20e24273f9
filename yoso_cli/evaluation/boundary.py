"""Boundary PQ: PQ with the smaller of mask IoU and boundary IoU.

Cheng et al., "Boundary IoU" (https://arxiv.org/abs/2103.16562, Sec. 6 and its published evaluator,
https://github.com/bowenc0221/boundary-iou-api, `coco_panoptic_api/evaluation.py`):

- the boundary of a segment is its pixels at most d pixels (in both directions) from a pixel outside it, the outside of
  the picture included; d is 2 % of the picture's diagonal, rounded, at least 1;
- boundary IoU = I / (T + P - I - V): I the pixels in both boundaries, T and P those in each, V the pixels of the
  predicted boundary whose truth is void;
- the IoU of a pair of segments is the smaller one of mask IoU (as in PQ) and boundary IoU; above 0.5 it is a match;
- missed, spurious and excused segments are PQ's, by the masks' areas.

One difference: the published evaluator marks the inside of segments by an id of its own, the largest
category id + 1, and errs where a segment happens to have that id.
"""

# H W picture size, d boundary width, M matches, P pairs of segments that share pixels

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from yoso_cli.evaluation.matching import Floats, Matching, Overlap, Pairs, Workspace, overlap, pairs_of, pixel_sums
from yoso_cli.evaluation.quality import Tally, tally_of
from yoso_cli.panoptic.regions import Bools, Ints
from yoso_cli.panoptic.types import IdMap, Panoptic

NAME = "boundary"

WIDTH = 0.02
"""Of the picture's diagonal."""


def boundary_width(height: int, width: int) -> int:
    """d, in pixels, for a picture of this size."""
    return max(1, round(WIDTH * float(np.sqrt(height**2 + width**2))))


def boundaries(id_map: IdMap, width: int) -> Bools:
    """(H, W) whether each pixel lies in the boundary of its own segment (or of void's).

    A pixel is inside when the square of 2 d + 1 pixels around it lies in the picture and holds one id. The square is
    separated into a row and a column, and both are computed on runs, so the time does not depend on d.
    """
    along_rows = _inside_runs(id_map, width)
    # Where the row alone is mixed, no column through it is of one id.
    columns = np.where(along_rows, id_map, -1).T
    inside = along_rows & _inside_runs(np.ascontiguousarray(columns), width).T
    outlines: Bools = ~inside
    return outlines


def overlaps(truth: Panoptic, prediction: Panoptic, space: Workspace) -> tuple[Overlap, Overlap, Overlap]:
    """What the maps of a picture share in the boundaries of both, in those of the truth, in those of the prediction."""
    width = boundary_width(*truth.id_map.shape)
    of_true, of_predicted = boundaries(truth.id_map, width), boundaries(prediction.id_map, width)

    def within(chosen: Bools) -> Overlap:
        true, predicted = (replace(one, id_map=one.id_map[chosen][None]) for one in (truth, prediction))
        return overlap(true, predicted, space)

    return within(of_true & of_predicted), within(of_true), within(of_predicted)


def tally(matching: Matching) -> Tally:
    """PQ's matches and errors with the smaller of the two IoUs: matches that it takes below 0.5 become errors."""
    iou = np.minimum(matching.iou, _boundary_iou(matching))
    kept = iou > 0.5
    return tally_of(replace(matching, t=matching.t[kept], p=matching.p[kept], iou=iou[kept]))


def _boundary_iou(matching: Matching) -> Floats:
    """(M,) of each match."""
    both, of_true, of_predicted = (pairs_of([one.within[NAME][n] for one in matching.pictures]) for n in range(3))
    t, p, predicted = matching.t, matching.p, len(matching.predicted.id)
    inside = _pixels_of(both, t, p, predicted)
    true_area = pixel_sums(of_true.t, of_true.pixels, len(matching.true.id))
    predicted_area = pixel_sums(of_predicted.p, of_predicted.pixels, predicted)
    void = pixel_sums(np.where(of_predicted.void, of_predicted.p, -1), of_predicted.pixels, predicted)
    # Never zero: a match shares pixels, so the true segment has some, and a segment with pixels has a boundary.
    return inside / (true_area[t] + predicted_area[p] - inside - void[p])


def _pixels_of(found: Pairs, t: Ints, p: Ints, predicted: int) -> Ints:
    """(M,) the pixels of each wanted pair; where areas are stated wrongly, a segment may be in several."""
    listed = np.flatnonzero((found.t >= 0) & (found.p >= 0))
    keys = found.t[listed] * predicted + found.p[listed]  # rising, as codes are
    # The last place is beyond every key.
    keys, pixels = np.append(keys, np.iinfo(np.int64).max), np.append(found.pixels[listed], 0)
    wanted = t * predicted + p
    place = np.searchsorted(keys, wanted)
    return np.where(keys[place] == wanted, pixels[place], 0)


def _inside_runs(values: npt.NDArray[np.int32], margin: int) -> Bools:
    """(H, W) whether the `margin` values to the left and to the right of each are there and equal to it."""
    height, width = values.shape
    begins = np.ones((height, width + 1), np.bool_)
    np.not_equal(values[:, 1:], values[:, :-1], out=begins[:, 1:-1])
    # A sentinel ends each row.
    marks = np.flatnonzero(begins)
    starts, stops = marks[:-1], marks[1:]
    long = stops - starts > 2 * margin
    turns = np.zeros(begins.size, np.int8)
    turns[starts[long] + margin] = 1
    turns[stops[long] - margin] = -1
    inside: Bools = np.cumsum(turns, dtype=np.int8).view(np.bool_).reshape(height, width + 1)[:, :-1]
    return inside
