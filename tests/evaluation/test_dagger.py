"""PQ-dagger: stuff by IoU over the pictures that have it, things by PQ."""

from collections import defaultdict

import numpy as np
import pytest
from evaluation.plain import CATEGORIES, Pairs, random_pairs
from evaluation.test_measures import found
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from yoso_cli.panoptic.types import Panoptic, Segment


@settings(max_examples=80)
@given(st.integers(0, 2**32 - 1))
def test_it_agrees_with_a_count_over_masks(seed: int) -> None:
    pairs = random_pairs(seed)
    seen = found(pairs, metrics=["pq"])
    expected = plain(pairs)
    assume(all(iou is not None for values in expected.values() for iou in values))
    for one in seen.dagger.classes:
        values = expected[one.category.id]
        assert one.images == len(values)
        assert one.pq == (pytest.approx(sum(values) / len(values)) if values else None)
    things = [one.pq for one in seen.quality.classes if one.category.isthing and one.pq is not None]
    stuff = [one.pq for one in seen.dagger.classes if one.pq is not None]
    assert seen.dagger.things == seen.quality.things.pq
    assert seen.dagger.all == (pytest.approx(np.mean([*things, *stuff])) if things or stuff else None)


def plain(pairs: Pairs) -> dict[int, list[float]]:
    """The IoU of each class of stuff in each picture whose truth has it."""
    found: dict[int, list[float]] = defaultdict(list)
    for truth, prediction in pairs:
        void = truth.id_map == 0
        for category in [one for one in CATEGORIES if not one.isthing]:
            true = [one for one in truth.segments if one.category_id == category.id and not one.iscrowd]
            guess = [one.id for one in prediction.segments if one.category_id == category.id]
            mask, other = np.isin(truth.id_map, [one.id for one in true]), np.isin(prediction.id_map, guess)
            shared = (mask & other).sum()
            union = sum(one.area for one in true) + other.sum() - shared - (other & void).sum()
            if true:
                found[category.id].append(float(shared / union))
    return found


def test_stuff_below_an_iou_of_one_half_counts_its_iou() -> None:
    truth = Panoptic(np.array([[1, 1, 1, 1]], np.int32), (Segment(1, 90, 4),))
    guess = Panoptic(np.array([[5, 0, 0, 0]], np.int32), (Segment(5, 90, 1),))
    seen = found([(truth, guess)], metrics=["pq"])
    assert (seen.quality.stuff.pq, seen.dagger.stuff, seen.dagger.all) == (0.0, 0.25, 0.25)


def test_stuff_that_is_not_there_costs_nothing_by_itself() -> None:
    truth = Panoptic(np.array([[1, 1, 2, 2]], np.int32), (Segment(1, 90, 2), Segment(2, 7, 2)))
    guess = Panoptic(np.array([[1, 1, 3, 3]], np.int32), (Segment(1, 90, 2), Segment(3, 4, 2)))
    seen = found([(truth, guess)], metrics=["pq"])
    assert (seen.quality.stuff.pq, seen.dagger.stuff) == (0.5, 1.0)
