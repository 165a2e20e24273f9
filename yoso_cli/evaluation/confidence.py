"""How far chance could move a score: the bootstrap over pictures.

Pictures are drawn again with replacement, as many as there are, and the score is computed anew each time (Efron and
Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13: the percentile interval). Whole pictures are drawn because
the segments of one picture succeed and fail together. Draws are the same for every set of as many pictures, so that two
models are compared on the same ones: a hard picture is hard for both, and the difference moves less than either score.

What it cannot know: another training of the same recipe moves the score as well, and pictures of another kind more.
"""

# N pictures, K categories, R resamples, G groups (all, things, stuff)

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from yoso_cli.evaluation.matching import Floats
from yoso_cli.evaluation.tallies import ImageTallies, mean_over_classes, panoptic_quality
from yoso_cli.panoptic.types import Category

LEVEL = 0.95
RESAMPLES = 2000
SEED = 0

GROUPS = ("all", "things", "stuff")
FIGURES = ("pq", "sq", "rq")

HOW = {"level": LEVEL, "resamples": RESAMPLES, "seed": SEED}
"""How an interval was made, for JSON."""

# Draws are made in blocks of so many pictures in all: memory grows neither with their number nor with the pictures'.
_AT_ONCE, _MOST_DRAWS = 250_000, 200


@dataclass(frozen=True)
class Interval:
    """Where a figure lies in 95 % of the draws; fractions 0..1, or -1..1 for a difference."""

    low: float
    high: float

    def to_list(self) -> list[float]:
        """In percent."""
        return [100 * self.low, 100 * self.high]


@dataclass(frozen=True)
class GroupIntervals:
    """The intervals of a group's PQ, SQ and RQ; None where there is no figure."""

    pq: Interval | None
    sq: Interval | None
    rq: Interval | None

    def to_dict(self) -> dict[str, Any]:
        """Pairs of percents, or null."""
        return {name: _listed(getattr(self, name)) for name in FIGURES}


@dataclass(frozen=True)
class Confidence:
    """The intervals of a score: its groups' PQ, SQ and RQ, and each class' PQ in the order of the categories."""

    all: GroupIntervals
    things: GroupIntervals
    stuff: GroupIntervals
    classes: tuple[Interval | None, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, in percent, with how they were made."""
        groups = {name: getattr(self, name).to_dict() for name in GROUPS}
        return {**HOW, **groups, "classes": [_listed(one) for one in self.classes]}


def confidence(tallies: ImageTallies, categories: Sequence[Category]) -> Confidence:
    """The 95 % intervals of a score; each is None for fewer than two pictures, which tell nothing about chance."""
    groups, classes = draws(tallies.counts, members_of(categories))
    by_group = [GroupIntervals(*(interval_of(groups[:, group, figure]) for figure in range(3))) for group in range(3)]
    return Confidence(by_group[0], by_group[1], by_group[2], tuple(interval_of(column) for column in classes.T))


def members_of(categories: Sequence[Category]) -> npt.NDArray[np.bool_]:
    """(G, K) which classes belong to all, things and stuff."""
    things = np.array([category.isthing for category in categories], np.bool_)
    return np.stack([np.ones_like(things), things, ~things])


def scores(sums: Floats, members: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Figures, NaN where nothing was seen: (..., G, 3) PQ, SQ, RQ of the groups and (..., K) PQ of the classes.

    Args:
        sums: (..., K, 4) IoU, TP, FP and FN over pictures.
        members: (G, K) from `members_of`.
    """
    by_class = panoptic_quality(sums)
    groups = [np.stack([mean_over_classes(figure, chosen) for figure in by_class], -1) for chosen in members]
    return np.stack(groups, -2), by_class[0]


def draws(counts: Floats, members: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """The `scores`, with R in front, of R draws of the pictures whose counts are (N, ..., K, 4).

    Fewer than two pictures tell nothing about chance: then all is NaN.
    """
    if len(counts) < 2:
        return scores(np.zeros((1, *counts.shape[1:])), members)
    flat = counts.reshape(len(counts), -1)
    blocks = [scores((times @ flat).reshape(-1, *counts.shape[1:]), members) for times in _times_drawn(len(flat))]
    return np.concatenate([groups for groups, _ in blocks]), np.concatenate([classes for _, classes in blocks])


def interval_of(drawn: Floats) -> Interval | None:
    """Of a figure in each draw (R,); a draw in which no picture holds the class says nothing about it."""
    seen = drawn[~np.isnan(drawn)]
    if not seen.size:
        return None
    low, high = np.quantile(seen, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return Interval(low, high)


def _times_drawn(images: int) -> Iterator[Floats]:
    """Blocks of draws: how often each picture is in each of them, (block, N)."""
    random = np.random.default_rng(SEED)
    at_once = min(_MOST_DRAWS, max(1, _AT_ONCE // images))
    for start in range(0, RESAMPLES, at_once):
        block = min(at_once, RESAMPLES - start)
        drawn = random.integers(0, images, (block, images))
        drawn += np.arange(block)[:, None] * images
        yield np.bincount(drawn.ravel(), minlength=block * images).reshape(block, images).astype(np.float64)


def _listed(interval: Interval | None) -> list[float] | None:
    return None if interval is None else interval.to_list()
