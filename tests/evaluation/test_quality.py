"""PQ agrees with the reference evaluator bit for bit, and has an answer where the reference has none."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation.official import official_groups, official_stat
from hypothesis import example, given, settings
from hypothesis import strategies as st

from yoso_cli.errors import DataError
from yoso_cli.evaluation.matching import match, overlap
from yoso_cli.evaluation.measures import added
from yoso_cli.evaluation.quality import PanopticQuality, Tally, tally_of
from yoso_cli.panoptic.types import Category, Panoptic, Segment

Pairs = list[tuple[Panoptic, Panoptic]]

CATEGORIES = (Category(7, "cat", True), Category(2, "dog", True), Category(90, "sky", False), Category(4, "sea", False))


def quality(pairs: Pairs, categories: Sequence[Category] = CATEGORIES) -> PanopticQuality:
    return PanopticQuality.from_tally(tally(pairs, categories), categories)


def tally(pairs: Pairs, categories: Sequence[Category]) -> Tally:
    return tally_of(match([overlap(truth, prediction) for truth, prediction in pairs], categories))


def panoptic(rows: list[list[int]], *segments: Segment) -> Panoptic:
    return Panoptic(np.array(rows, np.int32), segments)


def random_pair(rng: np.random.Generator, categories: Sequence[Category]) -> tuple[Panoptic, Panoptic]:
    """Blocky truth with void, unlisted and absent ids, crowds and wrong areas; a prediction that resembles it."""
    height, width = (int(edge) for edge in rng.integers(1, 13, 2))
    first = int(rng.choice([1, 300, (1 << 24) - 20]))
    *ids, absent = (first + rng.permutation(20)[: rng.integers(2, 9)]).tolist()
    blocks = rng.choice([0, *ids], (4, 4))
    truth_map = blocks[np.arange(height) * 4 // height][:, np.arange(width) * 4 // width].astype(np.int32)
    truth = []
    for segment_id in rng.permutation([*ids, absent]).tolist():
        area = max(1, int((truth_map == segment_id).sum() * rng.choice([1, 1, 1, 0.4, 1.7])))
        category = categories[rng.integers(len(categories))].id
        if rng.random() < 0.85:
            truth.append(Segment(segment_id, category, area, iscrowd=bool(rng.random() < 0.25)))
    return Panoptic(truth_map, tuple(truth)), _resembling(truth_map, truth, categories, rng)


def _resembling(
    truth_map: np.ndarray, truth: list[Segment], categories: Sequence[Category], rng: np.random.Generator
) -> Panoptic:
    noise = rng.random(truth_map.shape) < rng.choice([0, 0.1, 0.3, 0.6])
    noisy = np.where(noise, rng.permutation(truth_map.ravel()).reshape(truth_map.shape), truth_map)
    noisy = np.where(rng.random(truth_map.shape) < rng.choice([0, 0.2]), 0, noisy)
    ids = np.unique(noisy)
    new_ids = np.where((ids == 0) & (rng.random() < 0.5), 0, rng.permutation(np.arange(1, 1 << 24, 65_537))[: len(ids)])
    category_of = {one.id: one.category_id for one in truth}
    segments = []
    for old, new in zip(ids.tolist(), new_ids.tolist(), strict=True):
        guess = categories[rng.integers(len(categories))].id
        if new:
            category = guess if rng.random() < 0.2 else category_of.get(old, guess)
            segments.append(Segment(new, category, int(rng.integers(1, 100)), iscrowd=bool(rng.random() < 0.1)))
    segments = [segments[index] for index in rng.permutation(len(segments))]
    return Panoptic(new_ids[np.searchsorted(ids, noisy)].astype(np.int32), tuple(segments))


@settings(max_examples=300)
@given(seed=st.integers(0, 2**32 - 1), images=st.integers(1, 6), kinds=st.lists(st.booleans(), min_size=1, max_size=5))
@example(seed=876, images=5, kinds=[False, True])  # one true segment matches two predictions, as its area is wrong
def test_every_digit_is_that_of_the_reference_on_random_sets(seed: int, images: int, kinds: list[bool]) -> None:
    rng = np.random.default_rng(seed)
    categories = [Category(10 - 2 * index, f"class {index}", isthing) for index, isthing in enumerate(kinds)]
    pairs = [random_pair(rng, categories) for _ in range(images)]
    with tempfile.TemporaryDirectory() as folder:
        assert_equal_to_reference(pairs, categories, Path(folder))


def assert_equal_to_reference(pairs: Pairs, categories: Sequence[Category], folder: Path) -> PanopticQuality:
    ours, stat = quality(pairs, categories), official_stat(pairs, categories, folder)
    for one in ours.classes:
        theirs = stat[one.category.id]
        assert (one.tp, one.fp, one.fn) == (theirs.tp, theirs.fp, theirs.fn)
        assert one.pq is None or one.pq == theirs.iou / (theirs.tp + 0.5 * theirs.fp + 0.5 * theirs.fn)
    for name, theirs in official_groups(stat, categories).items():
        group = getattr(ours, name)
        assert theirs == {"pq": group.pq, "sq": group.sq, "rq": group.rq, "n": group.n} if theirs else group.n == 0
    return ours


def test_the_order_of_division_among_processes_changes_no_digit() -> None:
    rng = np.random.default_rng(3)
    tallies = [tally([random_pair(rng, CATEGORIES)], CATEGORIES) for _ in range(60)]
    whole = added(tallies)
    halves = added([added(tallies[:23]), added([tally([], CATEGORIES), added(tallies[23:])])])
    assert PanopticQuality.from_tally(whole, CATEGORIES) == PanopticQuality.from_tally(halves, CATEGORIES)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_a_perfect_prediction_scores_100_and_ids_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = np.arange(6, dtype=np.int32)
    id_map = rng.integers(0, 6, (9, 11)).astype(np.int32)
    areas = np.bincount(id_map.ravel(), minlength=6).tolist()
    segments = tuple(Segment(one, CATEGORIES[one % 4].id, areas[one]) for one in range(1, 6) if areas[one])
    truth = Panoptic(id_map, segments)
    new = np.append(0, rng.permutation(np.arange(1000, 1005))).astype(np.int32)[ids]
    renamed = Panoptic(new[id_map], tuple(replace(one, id=int(new[one.id])) for one in reversed(segments)))
    same = quality([(truth, truth)])
    assert same.all.pq == same.all.sq == same.all.rq == 1.0
    assert quality([(truth, renamed)]) == same
    assert same.to_dict()["all"]["pq"] == 100.0


def test_a_set_of_things_only_has_no_figure_for_stuff() -> None:
    truth = panoptic([[1, 1]], Segment(1, 7, 2))
    found = quality([(truth, truth)])
    assert (found.things.n, found.things.pq) == (1, 1.0)
    assert (found.stuff.n, found.stuff.pq, found.stuff.sq, found.stuff.rq) == (0, None, None, None)
    assert [one.pq for one in found.classes] == [1.0, None, None, None]


def test_a_set_of_crowds_only_has_no_figure_at_all() -> None:
    truth = panoptic([[1, 1, 2]], Segment(1, 7, 2, iscrowd=True), Segment(2, 2, 1, iscrowd=True))
    found = quality([(truth, truth), (truth, panoptic([[0, 0, 0]]))])
    assert [found.all.n, found.things.n, found.stuff.n] == [0, 0, 0]
    assert found.to_dict()["all"] == {"pq": None, "sq": None, "rq": None, "n": 0}


def test_no_image_at_all_has_no_figure() -> None:
    assert quality([]).all.n == 0


def test_an_iou_of_exactly_one_half_is_no_match() -> None:
    found = quality([(panoptic([[1, 1, 0]], Segment(1, 7, 2)), panoptic([[5, 0, 0]], Segment(5, 7, 1)))])
    assert (found.classes[0].tp, found.classes[0].fp, found.classes[0].fn) == (0, 1, 1)
    assert found.classes[0].sq == 0.0


def test_a_prediction_half_in_void_counts_and_one_more_pixel_excuses_it() -> None:
    truth = panoptic([[0, 0, 9, 9]])
    half, more = panoptic([[0, 5, 5, 0]], Segment(5, 7, 2)), panoptic([[5, 5, 5, 0]], Segment(5, 7, 3))
    assert quality([(truth, half)]).classes[0].fp == 1
    assert quality([(truth, more)]).classes[0].fp == 0


def test_a_crowd_excuses_predictions_of_its_own_category_only() -> None:
    truth = panoptic([[1, 1]], Segment(1, 7, 2, iscrowd=True))
    assert quality([(truth, panoptic([[5, 5]], Segment(5, 7, 2)))]).classes[0].fp == 0
    assert quality([(truth, panoptic([[5, 5]], Segment(5, 2, 2)))]).classes[1].fp == 1


GOOD = panoptic([[1, 1]], Segment(1, 7, 2))


@pytest.mark.parametrize(
    ("truth", "prediction", "words"),
    [
        (GOOD, panoptic([[1, 2]], Segment(1, 7, 1)), "holds segment 2, which the JSON does not list"),
        (GOOD, panoptic([[1, -3]], Segment(1, 7, 1)), "holds -3"),
        (GOOD, panoptic([[1, 1]], Segment(1, 7, 1), Segment(8, 7, 1)), "segment 8, but the map has no pixel of it"),
        (GOOD, panoptic([[1, 1]], Segment(1, 77, 1)), "has category 77"),
        (GOOD, panoptic([[1, 1]], Segment(1, 7, 1), Segment(1, 7, 1)), "predicted segment 1 is listed more than once"),
        (GOOD, panoptic([[1], [1]], Segment(1, 7, 1)), "predicted map is 1x2 pixels, the true one 2x1"),
        (panoptic([[1, 1]], Segment(1, 77, 2)), GOOD, "true segment 1 has category 77"),
        (panoptic([[1, 1]], Segment(0, 7, 2)), GOOD, "true segment id 0 is outside"),
        (panoptic([[1, 1]], Segment(1, 7, 0)), GOOD, "true segment 1 has an area in the JSON that is too small"),
    ],
)
def test_a_map_that_contradicts_its_segments_is_refused(truth: Panoptic, prediction: Panoptic, words: str) -> None:
    with pytest.raises(DataError, match=words):
        tally([(truth, prediction)], CATEGORIES)
