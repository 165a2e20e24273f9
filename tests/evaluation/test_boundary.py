"""Boundary PQ is the published one: a plain count over eroded masks gives the same."""

import numpy as np
import pytest
from evaluation import plain
from evaluation.plain import CATEGORIES, random_pairs
from evaluation.test_measures import found
from hypothesis import example, given, settings
from hypothesis import strategies as st

from yoso_cli.evaluation.boundary import boundaries, boundary_width
from yoso_cli.panoptic.types import Panoptic, Segment


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_a_boundary_is_what_erosion_takes_away(seed: int, width: int) -> None:
    for truth, _ in random_pairs(seed):
        outlines = boundaries(truth.id_map, width)
        for segment_id in np.unique(truth.id_map):
            mask = truth.id_map == segment_id
            assert np.array_equal(mask & outlines, plain.boundary(mask, width))


@settings(max_examples=80)
@given(st.integers(0, 2**32 - 1))
@example(1_848_337_923)  # an area is stated so small that one true segment matches two predictions
def test_it_agrees_with_a_count_over_masks(seed: int) -> None:
    pairs = random_pairs(seed)
    tp, fp, fn, iou = (dict.fromkeys((one.id for one in CATEGORIES), 0.0) for _ in range(4))
    for truth, prediction in pairs:
        limit = plain.boundary_limit(boundary_width(*truth.id_map.shape))
        result = plain.outcome(truth, prediction, limit)
        for true, _, value in result.matches:
            tp[true.category_id] += 1
            iou[true.category_id] += value
        for one in result.spurious:
            fp[one.category_id] += 1
        for one in result.missed:
            fn[one.category_id] += 1
    seen = found(pairs, metrics=["boundary"])
    assert seen.boundary is not None
    for one in seen.boundary.classes:
        mine = one.category.id
        assert (one.tp, one.fp, one.fn) == (tp[mine], fp[mine], fn[mine])
        count = tp[mine] + (fp[mine] + fn[mine]) / 2
        assert one.pq == (pytest.approx(iou[mine] / count) if count else None)


@pytest.mark.parametrize(("height", "width", "expected"), [(480, 640, 16), (1024, 2048, 46), (3, 4, 1), (1, 1, 1)])
def test_the_width_is_two_percent_of_the_diagonal(height: int, width: int, expected: int) -> None:
    assert boundary_width(height, width) == expected


def test_a_large_segment_with_a_wrong_outline_is_no_match() -> None:
    """Mask IoU forgives a large segment what boundary IoU does not."""
    truth, guess = np.zeros((400, 400), np.int32), np.zeros((400, 400), np.int32)
    truth[100:300, 100:300] = 1
    guess[110:290, 110:290] = 1
    background = (Segment(2, 90, 160000 - 40000),)
    true = Panoptic(np.where(truth, 1, 2).astype(np.int32), (Segment(1, 7, 40000), *background))
    predicted = Panoptic(np.where(guess, 1, 2).astype(np.int32), (Segment(1, 7, 0), Segment(2, 90, 0)))
    seen = found([(true, predicted)], metrics=["boundary"])
    assert seen.boundary is not None
    assert (seen.quality.classes[0].tp, seen.boundary.classes[0].tp) == (1, 0)
    assert (seen.boundary.classes[0].fp, seen.boundary.classes[0].fn) == (1, 1)
