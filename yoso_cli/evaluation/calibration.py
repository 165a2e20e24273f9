"""Calibration: how well the scores of predicted segments agree with their precision.

A segment is right when it is a match (same class, IoU above 0.5); one that is excused (in void or crowds) is left out.
The expected calibration error is the mean distance of score and precision over bins, weighed by their segments (Naeini
et al., 2015, Obtaining Well Calibrated Probabilities Using Bayesian Binning).
"""

# S predicted segments of a picture, B bins

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from yoso_cli.evaluation.matching import Matching
from yoso_cli.panoptic.regions import Ints

BINS = 10

# Scores are added as integers: the sum then does not depend on the order, and so not on the number of processes.
SCORE_UNIT = 1 << 32


@dataclass(frozen=True)
class Bin:
    """Predicted segments with about the same score, 0..1."""

    low: float
    high: float
    segments: int
    mean_score: float
    precision: float

    def to_dict(self) -> dict[str, Any]:
        """As fractions, like scores."""
        told = asdict(self)
        return {"from": told.pop("low"), "to": told.pop("high"), **told}


@dataclass(frozen=True)
class Calibration:
    """The bins that hold a segment, by rising score, and the expected calibration error, 0..1."""

    bins: tuple[Bin, ...]
    error: float

    @classmethod
    def of(cls, reliability: Ints) -> "Calibration | None":
        """Of the sum of `reliability` (B, 3) over pictures; None where no segment had a score."""
        total = reliability[:, 0].sum()
        if not total:
            return None
        bins = tuple(
            Bin(place / BINS, (place + 1) / BINS, segments, scores / SCORE_UNIT / segments, right / segments)
            for place, (segments, scores, right) in enumerate(reliability.tolist())
            if segments
        )
        error = sum(one.segments * abs(one.mean_score - one.precision) for one in bins) / float(total)
        return cls(bins, error)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; fractions."""
        return {"error": self.error, "bins": [one.to_dict() for one in self.bins]}


def reliability(matching: Matching) -> Ints:
    """(B, 3): segments, the sum of their scores in units of 2^-32, and how many are right, by score in steps of 0.1.

    Segments without a score from 0 to 1 are left out.
    """
    segments = matching.predicted_segments
    score = np.array([np.nan if one.score is None else one.score for one in segments], np.float64)
    counts = (score >= 0) & (score <= 1)
    right = np.zeros(len(score), np.bool_)
    right[matching.p] = True
    counts &= right | ~matching.excused
    place = np.minimum((score[counts] * BINS).astype(np.int64), BINS - 1)
    found = np.zeros((BINS, 3), np.int64)
    units = (score[counts] * SCORE_UNIT).round().astype(np.int64)
    np.add.at(found, place, np.column_stack([np.ones_like(place), units, right[counts]]))
    return found
