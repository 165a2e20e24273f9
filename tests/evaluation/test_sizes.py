"""PQ by size deals PQ's matches and errors out by area, as a plain count over masks does."""

import pytest
from evaluation.plain import CATEGORIES, outcome, random_pairs
from evaluation.test_measures import found
from hypothesis import given, settings
from hypothesis import strategies as st

from yoso_cli.panoptic.types import Segment


def size(area: int) -> str:
    return "small" if area < 1024 else "medium" if area < 9216 else "large"


@settings(max_examples=80)
@given(st.integers(0, 2**32 - 1))
def test_it_agrees_with_a_count_over_masks(seed: int) -> None:
    pairs = random_pairs(seed)
    counts = {(name, one.id): [0, 0, 0, 0.0] for name in ("small", "medium", "large") for one in CATEGORIES}
    for truth, prediction in pairs:
        pixels = {one.id: int((prediction.id_map == one.id).sum()) for one in prediction.segments}
        result = outcome(truth, prediction)
        for true, _, iou in result.matches:
            counts[size(true.area), true.category_id][0] += 1
            counts[size(true.area), true.category_id][3] += iou
        for one in result.spurious:
            counts[size(pixels[one.id]), one.category_id][1] += 1
        for one in result.missed:
            counts[size(one.area), one.category_id][2] += 1
    seen = found(pairs, metrics=["pq"]).sizes
    for (name, category), (tp, fp, fn, iou) in counts.items():
        one = next(one for one in getattr(seen, name).classes if one.category.id == category)
        assert (one.tp, one.fp, one.fn) == (tp, fp, fn)
        assert one.pq == (pytest.approx(iou / (tp + (fp + fn) / 2)) if tp + fp + fn else None)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_each_match_and_each_error_counts_at_one_size(seed: int) -> None:
    seen = found(random_pairs(seed), metrics=["pq"])
    for place, whole in enumerate(seen.quality.classes):
        parts = [one.classes[place] for one in (seen.sizes.small, seen.sizes.medium, seen.sizes.large)]
        assert [sum(getattr(one, name) for one in parts) for name in ("tp", "fp", "fn")] == [
            whole.tp,
            whole.fp,
            whole.fn,
        ]


@pytest.mark.parametrize(
    ("area", "expected"), [(1023, "small"), (1024, "medium"), (9215, "medium"), (9216, "large"), (10**7, "large")]
)
def test_the_limits_belong_to_the_larger_size(area: int, expected: str) -> None:
    truth, _ = random_pairs(0)[0]
    truth = type(truth)(truth.id_map, (Segment(1 << 23, 7, area),))
    empty = type(truth)(truth.id_map * 0, ())
    seen = found([(truth, empty)], metrics=["pq"]).sizes
    assert {name: getattr(seen, name).classes[0].fn for name in ("small", "medium", "large") if name == expected} == {
        expected: 1
    }
