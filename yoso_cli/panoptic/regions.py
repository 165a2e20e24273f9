"""A label map as runs: what a picture's segments are made of, thousands of numbers instead of millions of pixels."""

# H, W height and width of the map in pixels, R runs, S regions

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

LabelMap = npt.NDArray[Any]
"""Whole numbers (H, W)."""


_NARROW = 1 << 16


class Runs(NamedTuple):
    """Stretches of one value along a row, in reading order: columns `starts` up to but not including `stops`.

    Attributes:
        values: (R), of the map's type.
        rows: (R).
        starts: (R).
        stops: (R).
    """

    values: LabelMap
    rows: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    stops: npt.NDArray[np.int64]


class Regions(NamedTuple):
    """The pixels of one value each, ascending by value.

    Attributes:
        values: (S), of the map's type.
        areas: int64 (S), pixels.
        boxes: int64 (S, 4): x, y, width, height in pixels.
        first: (S), the first run of each.
    """

    values: LabelMap
    areas: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]


def runs_of(*layers: LabelMap) -> Runs:
    """The runs of a map (H, W), or of several, which end where any of them changes; `values` are the first one's."""
    height, width = layers[0].shape
    flats = [layer.reshape(-1) for layer in layers]
    begins = np.ones(height * width, dtype=bool)
    np.not_equal(flats[0][1:], flats[0][:-1], out=begins[1:])
    for flat in flats[1:]:
        begins[1:] |= flat[1:] != flat[:-1]
    begins[:: max(width, 1)] = True
    places = np.flatnonzero(begins)
    rows, starts = np.divmod(places, max(width, 1))
    return Runs(flats[0][places], rows, starts, starts + np.diff(places, append=height * width))


def painted(runs: Runs, values: LabelMap, height: int, width: int) -> LabelMap:
    """The map (H, W) of `runs` with other `values` (R): four times faster than looking up every pixel."""
    return np.repeat(values, runs.stops - runs.starts).reshape(height, width)


def regions_of(runs: Runs) -> Regions:
    """The regions that `runs` make up."""
    # Runs stand in reading order, so a stable sort by value leaves each one's rows ascending.
    # 16 bits are sorted by radix, several times faster than more of them by comparison.
    narrow = len(runs.values) and runs.values.min() >= 0 and runs.values.max() < _NARROW
    order = np.argsort(runs.values.astype(np.uint16) if narrow else runs.values, kind="stable")
    values = runs.values[order]
    firsts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]])) if len(values) else order
    lasts = np.append(firsts[1:], len(order))[: len(firsts)] - 1
    rows, starts, stops = runs.rows[order], runs.starts[order], runs.stops[order]
    if not len(firsts):
        return Regions(values, starts, np.empty((0, 4), np.int64), order)
    lefts, rights = np.minimum.reduceat(starts, firsts), np.maximum.reduceat(stops, firsts)
    boxes = np.stack([lefts, rows[firsts], rights - lefts, rows[lasts] - rows[firsts] + 1], axis=1)
    return Regions(values[firsts], np.add.reduceat(stops - starts, firsts), boxes, order[firsts])
