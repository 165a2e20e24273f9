"""Panoptic quality of small, medium and large segments: PQ's own matches, dealt out by area.

COCO's limits (https://cocodataset.org/#detection-eval): small is below 32² pixels, medium below 96², large the rest.
A match and a missed segment count at the size of the true segment (the area that its JSON states), a spurious one at
the size of the predicted segment (measured). So every match and every error of PQ counts at exactly one size, and a
size's PQ is PQ over what counts there: matching itself knows no sizes, and a small segment found as a medium one is a
match.
"""

# K categories

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yoso_cli.evaluation.matching import Matching
from yoso_cli.evaluation.overlap import Ints
from yoso_cli.evaluation.quality import PanopticQuality, Tally
from yoso_cli.panoptic.types import Category

SIZES = ("small", "medium", "large")
LIMITS = (32**2, 96**2)
"""The area in pixels at which medium begins, and at which large does."""


@dataclass(frozen=True)
class SizeQuality:
    """PQ, SQ and RQ of the segments of each size."""

    small: PanopticQuality
    medium: PanopticQuality
    large: PanopticQuality

    @classmethod
    def from_tally(cls, counted: Tally, categories: Sequence[Category]) -> "SizeQuality":
        """The qualities that `counted`, summed from `tally_by_size`, amounts to."""
        small, medium, large = (
            PanopticQuality.from_tally(_at(counted, place, len(categories)), categories) for place in range(len(SIZES))
        )
        return cls(small, medium, large)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the limits in pixels, and the quality of each size in percent."""
        return {"limits": list(LIMITS), **{size: getattr(self, size).to_dict() for size in SIZES}}


def size_of(area: Ints) -> Ints:
    """The place in `SIZES` of areas in pixels."""
    return np.digitize(area, LIMITS)


def tally_by_size(matching: Matching, num_categories: int) -> Tally:
    """A tally over 3 K columns: first the K categories of small segments, then of medium, then of large."""
    true, predicted = matching.true, matching.predicted
    true_column = size_of(true.area) * num_categories + true.category
    predicted_column = size_of(predicted.area) * num_categories + predicted.category
    columns = len(SIZES) * num_categories
    return Tally(
        true_column[matching.t],
        matching.iou,
        np.bincount(predicted_column[matching.spurious], minlength=columns),
        np.bincount(true_column[matching.missed], minlength=columns),
    )


def all_sizes(counted: Tally, num_categories: int) -> Tally:
    """The tally over the K categories that a tally by size adds up to: PQ's own."""
    return Tally(
        counted.match_category % num_categories,
        counted.match_iou,
        counted.false_positives.reshape(len(SIZES), num_categories).sum(0),
        counted.false_negatives.reshape(len(SIZES), num_categories).sum(0),
    )


def _at(counted: Tally, place: int, num_categories: int) -> Tally:
    """The tally of one size over the K categories."""
    first = place * num_categories
    here = slice(first, first + num_categories)
    mine = counted.match_category // num_categories == place
    return Tally(
        counted.match_category[mine] - first,
        counted.match_iou[mine],
        counted.false_positives[here],
        counted.false_negatives[here],
    )
