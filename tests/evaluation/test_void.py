"""What does not count is counted: void pixels, and predictions that no rule calls wrong."""

import numpy as np
import pytest
from evaluation.test_quality import CATEGORIES, random_pair
from hypothesis import given, settings
from hypothesis import strategies as st

from yoso_cli.evaluation.matching import match, overlap
from yoso_cli.evaluation.measures import added
from yoso_cli.evaluation.void import VoidShare, void_of
from yoso_cli.panoptic.types import Panoptic, Segment


@settings(max_examples=80)
@given(st.integers(0, 2**32 - 1))
def test_counts_are_those_of_the_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = [random_pair(rng, CATEGORIES) for _ in range(3)]
    found = VoidShare.of(added([void_of(match([overlap(*pair)], CATEGORIES)) for pair in pairs]))
    pixels = sum(truth.id_map.size for truth, _ in pairs)
    assert found.share == sum((truth.id_map == 0).sum() for truth, _ in pairs) / pixels
    stuff = {category.id for category in CATEGORIES if not category.isthing}
    ids = [[one.id for one in truth.segments if one.category_id in stuff] for truth, _ in pairs]
    assert found.stuff == sum(np.isin(pair[0].id_map, own).sum() for pair, own in zip(pairs, ids, strict=True)) / pixels


def box(width: int, *segments: Segment) -> Panoptic:
    id_map = np.zeros((1, 10), np.int32)
    for place, segment in enumerate(segments):
        id_map[0, place * width : (place + 1) * width] = segment.id
    return Panoptic(id_map, segments)


@pytest.mark.parametrize(
    ("truth", "ignored", "hides"),
    [
        (box(2, Segment(1, 7, 2)), 2, True),
        (box(2, Segment(1, 7, 2), Segment(2, 90, 2)), 1, False),
        (box(10, Segment(1, 7, 10)), 0, False),
    ],
)
def test_false_detections_in_void_are_told_where_only_things_are_labelled(
    truth: Panoptic, ignored: int, hides: bool
) -> None:
    prediction = box(2, Segment(5, 7, 2), Segment(6, 7, 2), Segment(7, 2, 2))
    found = VoidShare.of(void_of(match([overlap(truth, prediction)], CATEGORIES)))
    assert (found.ignored, found.hides_errors) == (ignored, hides)


def test_nothing_at_all_has_no_share() -> None:
    found = VoidShare.of(void_of(match([], CATEGORIES)))
    assert (found.share, found.ignored, found.hides_errors) == (None, 0, False)
