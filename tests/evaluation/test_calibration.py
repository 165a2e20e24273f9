"""A score is held against how often it is right."""

import numpy as np
import pytest
from evaluation.test_quality import CATEGORIES, panoptic

from yoso_cli.evaluation.calibration import BINS, SCORE_UNIT, Calibration, reliability
from yoso_cli.evaluation.matching import match, overlap
from yoso_cli.panoptic.types import Panoptic, Segment

TRUTH = panoptic([[1, 1, 2, 2, 0, 0]], Segment(1, 7, 2), Segment(2, 2, 2))


def prediction(*scores: float | None) -> Panoptic:
    """A match, an error, and a segment in void, with these scores."""
    categories = (7, 7, 7)
    segments = [
        Segment(index + 1, category, 2, score=score)
        for index, (category, score) in enumerate(zip(categories, scores, strict=True))
    ]
    return panoptic([[1, 1, 2, 2, 3, 3]], *segments)


def reliability_of(predicted: Panoptic) -> np.ndarray:
    return reliability(match([overlap(TRUTH, predicted)], CATEGORIES))


def test_scores_are_held_against_what_is_right_and_excused_segments_say_nothing() -> None:
    found = Calibration.of(reliability_of(prediction(0.93, 0.91, 0.5)))
    assert found
    (only,) = found.bins
    assert (only.low, only.high, only.segments, only.precision) == (0.9, 1.0, 2, 0.5)
    assert only.mean_score == pytest.approx(0.92)
    assert found.error == pytest.approx(0.42)
    assert found.to_dict()["bins"][0]["from"] == 0.9


def test_the_error_weighs_bins_by_their_segments() -> None:
    table = np.zeros((BINS, 3), np.int64)
    table[2] = [30, 7.5 * SCORE_UNIT, 6]
    table[9] = [10, 9.5 * SCORE_UNIT, 9]
    found = Calibration.of(table)
    assert found
    assert found.error == pytest.approx((30 * 0.05 + 10 * 0.05) / 40)


def test_a_score_of_one_is_in_the_last_bin() -> None:
    assert reliability_of(prediction(1.0, 0.0, None))[[0, -1], 0].tolist() == [1, 1]


@pytest.mark.parametrize("score", [None, float("nan"), -0.1, 1.5, 1e300])
def test_what_is_no_score_from_0_to_1_is_left_out(score: float | None) -> None:
    assert Calibration.of(reliability_of(prediction(score, score, score))) is None
