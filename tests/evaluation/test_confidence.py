"""The interval is the bootstrap's: it agrees with a plain loop, holds the score, and covers what it promises."""

import numpy as np
import pytest
from evaluation.found import found
from hypothesis import given, settings
from hypothesis import strategies as st

from yoso_cli.evaluation import per_image
from yoso_cli.evaluation.per_image import FN, FP, IOU, TP, ImageTallies, confidence, draws, members_of, scores
from yoso_cli.panoptic.types import Category

CATEGORIES = (Category(1, "cat", True), Category(5, "sky", False), Category(2, "dog", True))


def random_counts(random: np.random.Generator, images: int, classes: int = 3) -> np.ndarray:
    """(N, K, 4) pictures that differ in how hard they are."""
    hard = random.uniform(0.1, 0.9, (images, 1))
    segments = random.poisson(1.2, (images, classes))
    counts = np.zeros((images, classes, 4))
    counts[..., TP] = random.binomial(segments, 1 - hard)
    counts[..., FN] = segments - counts[..., TP]
    counts[..., FP] = random.poisson(hard, (images, classes))
    counts[..., IOU] = (counts[..., TP] * (1 - hard / 2)).round(7)
    return counts


def tallies(counts: np.ndarray) -> ImageTallies:
    numbers = range(len(counts))
    return ImageTallies(tuple(numbers), tuple(f"{number}.jpg" for number in numbers), counts)


def test_the_draws_are_those_of_a_plain_loop() -> None:
    counts = random_counts(np.random.default_rng(5), 7)
    groups, classes = draws(counts, members_of(CATEGORIES))
    assert (groups.shape, classes.shape) == ((per_image.RESAMPLES, 3, 3), (per_image.RESAMPLES, 3))
    random = np.random.default_rng(per_image.SEED)
    first = counts[random.integers(0, 7, (200, 7))[0]].sum(0)
    expected_groups, expected_classes = scores(first, members_of(CATEGORIES))
    assert np.allclose(groups[0], expected_groups, equal_nan=True)
    assert np.allclose(classes[0], expected_classes, equal_nan=True)


def test_the_same_pictures_have_the_same_interval() -> None:
    counts = random_counts(np.random.default_rng(1), 40)
    assert confidence(tallies(counts), CATEGORIES) == confidence(tallies(counts), CATEGORIES)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), images=st.integers(12, 60))
def test_the_interval_holds_the_score(seed: int, images: int) -> None:
    counts = random_counts(np.random.default_rng(seed), images)
    sure = confidence(tallies(counts), CATEGORIES)
    groups, _ = scores(counts.sum(0), members_of(CATEGORIES))
    assert sure.all.pq
    assert 0 <= sure.all.pq.low <= groups[0, 0] <= sure.all.pq.high <= 1


def test_pictures_that_are_all_alike_leave_nothing_to_chance() -> None:
    counts = np.repeat(random_counts(np.random.default_rng(2), 1), 9, axis=0)
    sure = confidence(tallies(counts), CATEGORIES)
    assert sure.all.pq
    assert sure.all.pq.high - sure.all.pq.low < 1e-12


@pytest.mark.parametrize("images", [0, 1])
def test_fewer_than_two_pictures_have_no_interval(images: int) -> None:
    sure = confidence(tallies(random_counts(np.random.default_rng(0), images)), CATEGORIES)
    assert sure.all.pq is sure.things.sq is sure.stuff.rq is None
    assert sure.classes == (None, None, None)


def test_a_class_that_was_never_seen_has_no_interval() -> None:
    sure = found().confidence
    assert sure.classes[3] is None
    assert sure.to_dict()["classes"][3] is None


def test_the_intervals_are_in_percent_and_say_how_they_were_made() -> None:
    told = found().confidence.to_dict()
    assert (told["level"], told["resamples"], told["seed"]) == (0.95, 2000, 0)
    assert told["things"]["pq"] == pytest.approx([20.6667, 34.0], abs=1e-3)


def test_the_interval_covers_the_true_score_about_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many sets of 100 pictures from a large world, whose score is known, about 95 % hold it in their interval."""
    monkeypatch.setattr(per_image, "RESAMPLES", 400)
    random = np.random.default_rng(0)
    world = random_counts(random, 20_000)
    truth = scores(world.sum(0), members_of(CATEGORIES))[0][0, 0]
    sets = 300
    held = 0
    for _ in range(sets):
        interval = confidence(tallies(world[random.integers(0, len(world), 100)]), CATEGORIES).all.pq
        assert interval
        held += interval.low <= truth <= interval.high
    assert 0.91 <= held / sets <= 0.98


@given(counts=st.integers(1, 300), seed=st.integers(0, 2**32 - 1))
def test_an_interval_is_numpys_quantiles(counts: int, seed: int) -> None:
    """To the last bit, of each figure alone and of several together, with draws that lack the class."""
    rng = np.random.default_rng(seed)
    drawn = rng.random((counts, 4)) ** 2
    drawn[rng.random(drawn.shape) < [0, 0, 0.3, 1]] = np.nan
    seen = [one[~np.isnan(one)] for one in drawn.T]
    ends = (1 - per_image.LEVEL) / 2, (1 + per_image.LEVEL) / 2
    expected = [tuple(np.quantile(one, ends).tolist()) if one.size else None for one in seen]
    assert [per_image.interval_of(one) for one in drawn.T] == expected
    assert list(per_image._intervals_of(drawn)) == expected
