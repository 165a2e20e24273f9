"""Thresholds swept over a set: what pictures add to the score at each pair, and the pair of the highest PQ.

The figures of a pair are exactly those of an evaluation with it: the same matches, added in the same order.
"""

# S pairs of thresholds

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, NamedTuple, cast

import numpy as np

from yoso_cli.evaluation.matching import Floats, Overlap, match
from yoso_cli.evaluation.measures import AT_A_TIME, added
from yoso_cli.evaluation.per_image import Confidence, ImageCounts, ImageTallies, Interval, confidence
from yoso_cli.evaluation.quality import PanopticQuality, Tally, tally_of
from yoso_cli.panoptic.regions import Ints
from yoso_cli.panoptic.types import Category
from yoso_cli.runtime.words import counted

FORMAT = "yoso-sweep"
VERSION = 1


class Thresholds(NamedTuple):
    """Of the merge of masks: a query's least class score, and the least share of its mask that it keeps; 0..1."""

    score: float
    overlap: float


class SweepCount(NamedTuple):
    """What some pictures add at one pair: to the score, and each of them."""

    tally: Tally
    images: ImageCounts


def count_at(overlap: Overlap, categories: Sequence[Category]) -> SweepCount:
    """What one picture adds. Raises DataError if it contradicts itself."""
    matching = match([overlap], categories)
    images = ImageCounts.of(matching)
    # A picture has a few rows, and there are as many of them as pairs: a third of the memory.
    image, category = (cast(Ints, one.astype(np.int32)) for one in (images.image, images.category))
    counts = cast(Floats, images.counts.astype(np.float32))
    return SweepCount(tally_of(matching), ImageCounts(images.images, image, category, counts))


def summed(parts: Iterable[Sequence[SweepCount]]) -> list[SweepCount]:
    """The sum at each of S pairs of what pictures add there, (S,) for each, in their order; read as a stream."""
    stream, sums = iter(parts), list[SweepCount]()
    while some := list(islice(stream, AT_A_TIME)):
        columns = zip(*([sums] if sums else []), *some, strict=True)
        sums = [
            SweepCount(added([one.tally for one in each]), ImageCounts.total([one.images for one in each]))
            for each in columns
        ]
    return sums


@dataclass(frozen=True)
class Cell:
    """PQ at one pair of thresholds, fractions; None where no class was seen."""

    thresholds: Thresholds
    pq: float | None
    things: float | None
    stuff: float | None

    @classmethod
    def of(cls, thresholds: Thresholds, found: SweepCount, categories: Sequence[Category]) -> "Cell":
        """What was counted at them."""
        quality = PanopticQuality.from_tally(found.tally, categories)
        return cls(thresholds, quality.all.pq, quality.things.pq, quality.stuff.pq)

    def to_dict(self) -> dict[str, Any]:
        """In percent."""
        figures = {"pq": self.pq, "pq_things": self.things, "pq_stuff": self.stuff}
        return {
            "score": self.thresholds.score,
            "overlap": self.thresholds.overlap,
            **{name: None if one is None else 100 * one for name, one in figures.items()},
        }


@dataclass(frozen=True)
class Reported:
    """PQ at one pair on the pictures that it is reported on, with its 95 % interval over pictures."""

    cell: Cell
    interval: Interval | None

    @classmethod
    def of(cls, thresholds: Thresholds, found: SweepCount, categories: Sequence[Category]) -> "Reported":
        """What was counted at them on these pictures."""
        images = tuple((place, str(place)) for place in range(found.images.images))
        sure: Confidence = confidence(ImageTallies.of(images, found.images, len(categories)), categories)
        return cls(Cell.of(thresholds, found, categories), sure.all.pq)

    def to_dict(self) -> dict[str, Any]:
        """In percent."""
        interval = None if self.interval is None else [100 * end for end in self.interval]
        return {**self.cell.to_dict(), "interval": interval}


@dataclass(frozen=True)
class Pictures:
    """Some pictures of a set: which split, how many, and which of them, in words."""

    dataset: str
    split: str
    images: int
    which: str = ""

    def __str__(self) -> str:
        """`coco val2017, 5000 images`, or `half of coco val2017, 2500 images`."""
        of = f"{self.which} of " if self.which else ""
        return f"{of}{self.dataset} {self.split}, {counted(self.images, 'image')}"


@dataclass(frozen=True)
class Sweep:
    """A finished sweep.

    Attributes:
        scores: the score thresholds, rising.
        overlaps: the overlap thresholds, rising.
        cells: of every pair, score by score.
        chosen_on: what the cells were measured on.
        reported_on: what the two below were measured on; the same pictures, or others.
        best: at the pair of the highest PQ among the cells.
        present: at the thresholds that the weights have.
    """

    scores: tuple[float, ...]
    overlaps: tuple[float, ...]
    cells: tuple[Cell, ...]
    chosen_on: Pictures
    reported_on: Pictures
    best: Reported
    present: Reported

    @property
    def on_others(self) -> bool:
        """Whether the best pair is reported on other pictures than those that it was chosen on."""
        return self.chosen_on != self.reported_on

    def at(self, score: float, overlap: float) -> Cell:
        """The cell of a pair of the grid."""
        return self.cells[self.scores.index(score) * len(self.overlaps) + self.overlaps.index(overlap)]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, figures in percent."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "chosen_on": asdict(self.chosen_on),
            "reported_on": asdict(self.reported_on),
            "on_others": self.on_others,
            "best": self.best.to_dict(),
            "present": self.present.to_dict(),
            "scores": list(self.scores),
            "overlaps": list(self.overlaps),
            "cells": [one.to_dict() for one in self.cells],
        }


def grid(scores: Sequence[float], overlaps: Sequence[float]) -> tuple[Thresholds, ...]:
    """Every pair, score by score."""
    return tuple(Thresholds(score, overlap) for score in scores for overlap in overlaps)


def best_of(cells: Sequence[Cell], present: Thresholds) -> Thresholds:
    """The pair of the highest PQ; of equal ones that nearest to `present`."""

    def worth(cell: Cell) -> tuple[float, float]:
        away = sum((a - b) ** 2 for a, b in zip(cell.thresholds, present, strict=True))
        return (-1.0 if cell.pq is None else cell.pq, -away)

    return max(cells, key=worth).thresholds


# Columns of the table: of a label, and of a cell; as many cells as fit into 80.
_LABEL, _CELL, _MOST = 9, 7, 10


def table(sweep: Sweep) -> str:
    """The sweep as text of at most 80 columns: PQ of all pairs, the best one and what it is worth."""
    by_score = len(sweep.scores) >= len(sweep.overlaps)
    rows, columns = (sweep.scores, sweep.overlaps) if by_score else (sweep.overlaps, sweep.scores)
    names = ("score", "overlap") if by_score else ("overlap", "score")
    chosen = sweep.best.cell.thresholds
    shown = _around(columns, chosen.overlap if by_score else chosen.score)
    lines = [f"PQ at each {names[0]} (rows) and {names[1]} threshold (columns)", f"of {sweep.chosen_on}", ""]
    lines.append(" " * _LABEL + "".join(f"{one:>{_CELL}g}" for one in shown))
    for row in rows:
        found = [sweep.at(*((row, one) if by_score else (one, row))) for one in shown]
        marks = ["*" if one.thresholds == chosen else " " for one in found]
        figures = [f"{percent(one.pq):>{_CELL - 1}}{mark}" for one, mark in zip(found, marks, strict=True)]
        lines.append(f"{row:>{_LABEL}g}{''.join(figures)}".rstrip())
    if len(shown) < len(columns):
        lines.append(f"({len(shown)} of {len(columns)} columns, those around the best; --json has all)")
    return "\n".join([*lines, "", *_conclusion(sweep)])


def percent(fraction: float | None) -> str:
    """A figure as people read it."""
    return "-" if fraction is None else f"{100 * fraction:.1f}"


def _around(values: Sequence[float], chosen: float) -> Sequence[float]:
    """At most as many values as fit, `chosen` among them."""
    start = min(max(0, values.index(chosen) - _MOST // 2), max(0, len(values) - _MOST))
    return values[start : start + _MOST]


def _conclusion(sweep: Sweep) -> list[str]:
    best, present = sweep.best.cell, sweep.present.cell
    lines = [_told("Best", sweep.best), _told("Present", sweep.present)]
    if best.thresholds == present.thresholds:
        lines[1:] = ["These are the present thresholds."]
    if sweep.on_others:
        return [f"On other pictures ({sweep.reported_on}):", *lines]
    return [
        *lines,
        "Chosen on these very pictures, so the figure flatters: --sweep-on half or train",
        "chooses on others.",
    ]


def _told(name: str, one: Reported) -> str:
    cell, interval = one.cell, one.interval
    span = "" if interval is None else f" ({100 * interval.low:.1f} - {100 * interval.high:.1f})"
    pair = f"score {cell.thresholds.score:g}, overlap {cell.thresholds.overlap:g}"
    return f"{name:<8}{pair}: PQ {percent(cell.pq)}{span}, things {percent(cell.things)}, stuff {percent(cell.stuff)}"
