"""Each picture's part in the score survives the file, and tells what was lost where."""

import json

import numpy as np
import pytest
from evaluation.found import CATEGORIES, COUNTED, found
from evaluation.test_confidence import random_counts, tallies
from hypothesis import given
from hypothesis import strategies as st

from yoso_cli.evaluation.per_image import ImageTallies, mean_over_classes, panoptic_quality


@given(seed=st.integers(0, 2**32 - 1))
def test_the_parts_are_the_same_from_the_file(seed: int) -> None:
    whole = tallies(random_counts(np.random.default_rng(seed), 5, len(CATEGORIES)))
    again = ImageTallies.from_list(json.loads(json.dumps(whole.to_list(CATEGORIES))), CATEGORIES)
    assert (again.image_ids, again.files) == (whole.image_ids, whole.files)
    assert np.array_equal(again.counts, whole.counts)


@given(seed=st.integers(0, 2**32 - 1), images=st.integers(0, 6))
def test_what_is_lost_on_the_pictures_adds_up_to_what_is_lost(seed: int, images: int) -> None:
    whole = tallies(random_counts(np.random.default_rng(seed), images))
    figures = panoptic_quality(whole.counts.sum(0))[0]
    pq = mean_over_classes(figures, np.ones(len(figures), np.bool_))
    assert whole.lost().sum() == pytest.approx(0 if np.isnan(pq) else 1 - pq)


def test_the_parts_score_as_the_whole_does() -> None:
    whole = found()
    pq, sq, rq = panoptic_quality(whole.tallies.counts.sum(0))
    for k, one in enumerate(whole.quality.classes):
        if one.pq is None:
            assert np.isnan([pq[k], sq[k], rq[k]]).all()
        else:
            assert (pq[k], sq[k], rq[k]) == pytest.approx((one.pq, one.sq, one.rq))
    assert len(whole.tallies.image_ids) == len(COUNTED)
