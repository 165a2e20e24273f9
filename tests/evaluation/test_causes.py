"""Each error has one cause, the causes add up to what is lost, and each is what its name says."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from evaluation.test_quality import CATEGORIES, panoptic, random_pair
from hypothesis import given, settings
from hypothesis import strategies as st

from yoso_cli.evaluation.causes import CAUSES, ERRORS, MEANINGS, Errors, Losses, confusion, errors
from yoso_cli.evaluation.matching import match, overlap
from yoso_cli.evaluation.quality import PanopticQuality, tally_of
from yoso_cli.panoptic.types import Category, Panoptic, Segment, measured

CAT, DOG, SKY = 7, 2, 90


def errors_of(truth: Panoptic, prediction: Panoptic, categories: Sequence[Category] = CATEGORIES) -> Errors:
    return errors(match([overlap(truth, prediction)], categories))


def found_in(
    pairs: Sequence[tuple[Panoptic, Panoptic]], categories: Sequence[Category]
) -> tuple[PanopticQuality, Errors]:
    matched = match([overlap(truth, prediction) for truth, prediction in pairs], categories)
    return PanopticQuality.from_tally(tally_of(matched), categories), errors(matched)


def causes(truth: Panoptic, prediction: Panoptic) -> tuple[dict[str, int], dict[str, int]]:
    """How many unmatched true segments, and predicted ones, have each cause."""
    found = errors_of(truth, prediction)
    named = ({ERRORS[c]: n for c, n in enumerate(side.sum(0).tolist()) if n} for side in (found.true, found.predicted))
    true, predicted = named
    return true, predicted


@settings(max_examples=200)
@given(seed=st.integers(0, 2**32 - 1), images=st.integers(1, 4), kinds=st.lists(st.booleans(), min_size=1, max_size=4))
def test_the_causes_add_up_to_what_is_lost_in_each_class_and_group(seed: int, images: int, kinds: list[bool]) -> None:
    rng = np.random.default_rng(seed)
    categories = [Category(10 - 2 * index, f"class {index}", isthing) for index, isthing in enumerate(kinds)]
    quality, found = found_in([random_pair(rng, categories) for _ in range(images)], categories)
    lost = Losses.of(found, quality)
    for group, losses in ((quality.all, lost.all), (quality.things, lost.things), (quality.stuff, lost.stuff)):
        assert sum(one.pq for one in losses) == pytest.approx(0 if group.pq is None else 1 - group.pq, abs=1e-12)
    for one, losses in zip(quality.classes, lost.classes, strict=True):
        assert sum(loss.pq for loss in losses) == pytest.approx(0 if one.pq is None else 1 - one.pq, abs=1e-12)
        assert sum(loss.true for loss in losses) == one.tp + one.fn
        assert sum(loss.predicted for loss in losses) == one.tp + one.fp
        # A stated area that is too small makes an IoU above 1, so only imprecise masks may gain.
        assert all(loss.pq >= 0 for loss in losses[:-1])


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_segment_that_counts_meets_one_class_or_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    quality, found = found_in([random_pair(rng, CATEGORIES) for _ in range(2)], CATEGORIES)
    met = confusion(found, CATEGORIES)
    for one in quality.classes:
        same = sum(each.count for each in met if each.truth == each.prediction == one.category)
        assert same == one.tp
        assert sum(each.count for each in met if each.truth == one.category) >= one.tp + one.fn
        assert sum(each.count for each in met if each.prediction == one.category) >= one.tp + one.fp
    counts = [each.count for each in met]
    assert counts == sorted(counts, reverse=True)


MIRROR = {"missed": "spurious", "spurious": "missed", "merged": "split", "split": "merged"}


@settings(max_examples=200)
@given(seed=st.integers(0, 2**32 - 1))
def test_truth_and_prediction_exchanged_have_mirrored_causes(seed: int) -> None:
    """Without void and crowds: what was merged is split, and what was missed is spurious."""
    rng = np.random.default_rng(seed)
    first, second = (whole_map(rng) for _ in range(2))
    true, predicted = causes(first, second)
    true_back, predicted_back = causes(second, first)
    assert predicted_back == {MIRROR.get(cause, cause): count for cause, count in true.items()}
    assert true_back == {MIRROR.get(cause, cause): count for cause, count in predicted.items()}


def whole_map(rng: np.random.Generator) -> Panoptic:
    """A map of blocks without void, two classes, areas as measured."""
    id_map = (1 + rng.integers(0, 6, (3, 4))).astype(np.int32).repeat(2, 0).repeat(2, 1)
    id_map[rng.random(id_map.shape) < 0.15] = 1
    segments = [Segment(one, (CAT, DOG)[rng.integers(2)], 0) for one in range(1, 7)]
    return Panoptic(id_map, measured(id_map, segments))


def row(text: str) -> list[list[int]]:
    """One row of pixels, a digit each."""
    return [[int(one) for one in text]]


def one_class(text: str, category: int = CAT, crowds: str = "") -> Panoptic:
    """A row of segments of one class."""
    id_map = np.array(row(text), np.int32)
    areas = Counter(id_map.ravel().tolist())
    ids = sorted(set(areas) - {0})
    return Panoptic(id_map, tuple(Segment(one, category, areas[one], iscrowd=str(one) in crowds) for one in ids))


@pytest.mark.parametrize(
    ("truth", "prediction", "true", "predicted"),
    [
        ("1111000000", "0000000000", {"missed": 1}, {}),
        ("1111222222", "0000222222", {"missed": 1}, {}),
        ("1111111122", "1100000022", {"poor_mask": 1}, {"poor_mask": 1}),
        # Two cats as one: neither has an IoU above 0.5.
        ("1111222200", "1111111100", {"merged": 2}, {"merged": 1}),
        # A large and a small cat as one, which matches the large one.
        ("1111111220", "1111111110", {"merged": 1}, {}),
        # A cat in two halves, and a cat with a tail of its own.
        ("1111111100", "1111222200", {"split": 1}, {"split": 2}),
        ("1111111110", "1111111220", {}, {"split": 1}),
    ],
)
def test_a_cause_is_what_its_name_says(
    truth: str, prediction: str, true: dict[str, int], predicted: dict[str, int]
) -> None:
    assert causes(one_class(truth), one_class(prediction)) == (true, predicted)


def test_something_where_nothing_of_its_class_is_is_spurious() -> None:
    sky = one_class("1111111111", SKY)
    cat = panoptic(row("1111111155"), Segment(1, SKY, 8), Segment(5, CAT, 2))
    assert causes(sky, cat) == ({}, {"spurious": 1})


def test_the_right_mask_with_the_wrong_class() -> None:
    truth, prediction = one_class("1111100000", CAT), one_class("1111000000", DOG)
    assert causes(truth, prediction) == ({"wrong_class": 1}, {"wrong_class": 1})
    (met,) = confusion(errors_of(truth, prediction), CATEGORIES)
    assert (met.truth, met.prediction, met.count) == (CATEGORIES[0], CATEGORIES[1], 1)
    assert met.to_dict() == {"truth": CAT, "prediction": DOG, "count": 1}


def test_the_wrong_class_comes_before_all_other_causes() -> None:
    """A dog predicted as a cat, of which the rest lies on a real cat."""
    truth = panoptic(row("1111222222"), Segment(1, DOG, 4), Segment(2, CAT, 6))
    prediction = panoptic(row("1111122222"), Segment(1, CAT, 5), Segment(2, CAT, 5))
    true, predicted = causes(truth, prediction)
    assert (true, predicted) == ({"wrong_class": 1}, {"wrong_class": 1})


def test_a_cat_that_is_lost_in_the_prediction_of_a_crowd() -> None:
    truth, prediction = one_class("1199999999", crowds="9"), one_class("5555555555")
    assert causes(truth, prediction) == ({"void_crowd": 1}, {})


def test_a_prediction_on_a_crowd_of_another_class() -> None:
    truth = panoptic(row("9999991111"), Segment(9, DOG, 6, iscrowd=True), Segment(1, SKY, 4))
    prediction = panoptic(row("5555551111"), Segment(5, CAT, 6), Segment(1, SKY, 4))
    assert causes(truth, prediction) == ({}, {"void_crowd": 1})


def test_what_is_excused_is_no_error() -> None:
    truth = one_class("9999991110", crowds="9")
    prediction = panoptic(row("5555551117"), Segment(5, CAT, 6), Segment(1, CAT, 3), Segment(7, DOG, 1))
    assert causes(truth, prediction) == ({}, {})


def test_the_truth_itself_loses_nothing() -> None:
    truth = one_class("1122334455")
    quality, found = found_in([(truth, truth)], CATEGORIES)
    lost = Losses.of(found, quality)
    assert [one.cause for one in lost.all] == list(CAUSES) == list(MEANINGS)
    assert {one.pq for one in lost.all} == {0}


def test_nothing_seen_has_no_losses() -> None:
    quality, found = found_in([], CATEGORIES)
    lost = Losses.of(found, quality)
    assert (lost.all, lost.things, lost.stuff) == ((), (), ())
    assert lost.to_dict()["classes"] == [[], [], [], []]
