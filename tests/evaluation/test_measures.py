"""What all measures have in common: perfection is 100, names of segments do not matter, nothing seen is no crash."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from evaluation.plain import CATEGORIES, Pairs, enlarged, random_pairs
from evaluation.test_quality import random_pair
from hypothesis import given, settings
from hypothesis import strategies as st

from yoso_cli.errors import DataError
from yoso_cli.evaluation.matching import Overlap
from yoso_cli.evaluation.measures import DETAILS, METRICS, Counts, Measures, count, counts, measures, overlap_for, total
from yoso_cli.evaluation.quality import PanopticQuality
from yoso_cli.panoptic.types import Category, Panoptic, Segment, measured

seeds = st.integers(0, 2**32 - 1)


def found(pairs: Pairs, categories: Sequence[Category] = CATEGORIES, metrics: Sequence[str] = METRICS) -> Measures:
    return measures(counts(overlaps(pairs, metrics), categories, metrics), categories, metrics)


def overlaps(pairs: Pairs, metrics: Sequence[str] = METRICS) -> list[Overlap]:
    return [overlap_for(str(number), *pair, metrics) for number, pair in enumerate(pairs)]


def annotated(seed: int) -> Panoptic:
    """A truth that agrees with itself, so that a prediction can equal it; every segment has a score."""
    rng = np.random.default_rng(seed)
    truth = enlarged(random_pair(rng, CATEGORIES)[0], int(rng.choice([1, 9, 40])))
    segments = [replace(one, iscrowd=False, score=0.5) for one in truth.segments]
    claimed = np.isin(truth.id_map, [one.id for one in segments])
    id_map = np.where(claimed, truth.id_map, 0).astype(np.int32)
    # A class of stuff is one segment.
    for one in [one for one in segments if one.category_id in (90, 4)]:
        first = next(other for other in segments if other.category_id == one.category_id)
        id_map[id_map == one.id] = first.id
    return Panoptic(id_map, measured(id_map, segments))


@settings(max_examples=60)
@given(seeds)
def test_a_perfect_prediction_has_100_everywhere(seed: int) -> None:
    truth = annotated(seed)
    seen = found([(truth, truth)])
    assert seen.semantic is not None
    assert seen.instances is not None
    assert seen.boundary is not None
    sizes = (seen.sizes.small, seen.sizes.medium, seen.sizes.large)
    figures = [seen.quality.all.pq, seen.boundary.all.pq, seen.dagger.all, seen.semantic.miou, seen.instances.ap]
    figures += [seen.semantic.weighted_iou, seen.semantic.pixel_accuracy, seen.semantic.mean_accuracy]
    figures += [one.all.pq for one in sizes]
    # COCO's precision is hits / (all + a last bit).
    assert [one for one in figures if one is not None and one != pytest.approx(1.0, abs=1e-12)] == []
    assert (seen.quality.all.pq is None) == (not truth.segments)


@settings(max_examples=60)
@given(seeds)
def test_the_names_of_segments_change_nothing(seed: int) -> None:
    """But the last digit of a sum: as in the reference, IoUs are added in the order of the ids."""
    rng = np.random.default_rng(seed)
    pairs = random_pairs(seed)
    others = [(renamed(truth, rng), renamed(prediction, rng)) for truth, prediction in pairs]
    assert list(leaves(found(others).to_dict())) == pytest.approx(list(leaves(found(pairs).to_dict())), abs=1e-9)


def leaves(value: Any) -> Iterator[float]:
    """Every figure, in order; -1 where there is none."""
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from leaves(inner)
    elif not isinstance(value, str):
        yield -1.0 if value is None else value


def renamed(panoptic: Panoptic, rng: np.random.Generator) -> Panoptic:
    """Other ids, unlisted ones included; void stays void."""
    ids = np.unique([0, *panoptic.id_map.ravel().tolist(), *(one.id for one in panoptic.segments)])
    new = rng.choice(np.arange(1, 5000), len(ids), replace=False)
    new[0] = 0
    name = dict(zip(ids.tolist(), new.tolist(), strict=True))
    segments = tuple(replace(one, id=name[one.id]) for one in panoptic.segments)
    return Panoptic(new[np.searchsorted(ids, panoptic.id_map)].astype(np.int32), segments)


@settings(max_examples=30)
@given(seeds, st.integers(0, 40))
def test_the_division_among_processes_changes_no_digit(seed: int, cut: int) -> None:
    pairs = [pair for offset in range(12) for pair in random_pairs((seed + offset) % 2**32)]
    seen, wanted = overlaps(pairs), (*METRICS, DETAILS)
    alone = [count([one], CATEGORIES, wanted) for one in seen]
    halves = [total(part, CATEGORIES, wanted) for part in (alone[:cut], alone[cut:])]
    apart, together = total(halves, CATEGORIES, wanted), count(seen, CATEGORIES, wanted)
    assert apart.images == together.images == len(pairs)
    assert figures(apart) == figures(together)
    for one in (lambda part: part["per_image"].dense(len(CATEGORIES)), lambda part: part["calibration"]):
        assert np.array_equal(one(apart.parts), one(together.parts))
    errors, others = apart.parts["losses"], together.parts["losses"]
    assert np.array_equal(errors.true, others.true)
    assert np.array_equal(errors.predicted, others.predicted)
    assert sorted(errors.met.tolist()) == sorted(others.met.tolist())


def figures(counted: Counts) -> dict[str, Any]:
    return measures([counted], CATEGORIES, (*METRICS, DETAILS)).to_dict()


def test_of_pictures_counted_together_the_one_that_contradicts_itself_is_named() -> None:
    good = Panoptic(np.ones((2, 2), np.int32), (Segment(1, CATEGORIES[0].id, 4),))
    bad = replace(good, segments=(replace(good.segments[0], area=-9),))
    some = [overlap_for(name, truth, good) for name, truth in {"a": good, "b": bad, "c": good}.items()]
    with pytest.raises(DataError, match=r"^b: The true segment 1 has an area"):
        count(some, CATEGORIES)


def test_only_what_was_asked_for_is_measured() -> None:
    seen = found(random_pairs(1), metrics=["pq"])
    assert (seen.semantic, seen.instances, seen.boundary) == (None, None, None)
    assert found(random_pairs(1), metrics=["miou"]).semantic == found(random_pairs(1)).semantic
    assert seen.to_dict()["boundary"] is None


@pytest.mark.parametrize("kinds", [(True,), (False,), (True, True)])
def test_a_set_of_one_kind_has_no_figure_for_the_other(kinds: tuple[bool, ...]) -> None:
    categories = tuple(Category(index, str(index), isthing) for index, isthing in enumerate(kinds))
    whole = Panoptic(np.ones((4, 5), np.int32), (Segment(1, 0, 20, score=0.5),))
    seen = found([(whole, whole)], categories)
    assert seen.semantic is not None
    assert seen.instances is not None
    assert (seen.dagger.things is None, seen.dagger.stuff is None) == (not kinds[0], kinds[0])
    assert (seen.instances.ap is None) is not kinds[0]
    assert (seen.dagger.all, seen.semantic.miou) == (1.0, 1.0)
    assert seen.sizes.large.all.n == 0


@pytest.mark.parametrize("pairs", [[], [(Panoptic(np.zeros((3, 3), np.int32), ()),) * 2]])
def test_nothing_at_all_is_no_figure_and_no_crash(pairs: Pairs) -> None:
    seen = found(pairs)
    assert isinstance(seen.boundary, PanopticQuality)
    assert (seen.quality.all.n, seen.sizes.small.all.n, seen.boundary.all.n) == (0, 0, 0)
    told = seen.to_dict()
    assert told["dagger"]["all"] is told["semantic"]["miou"] is told["instances"]["ap"] is None


def test_only_crowds_are_no_figure_but_have_a_class() -> None:
    truth = Panoptic(np.ones((4, 4), np.int32), (Segment(1, 7, 16, iscrowd=True),))
    prediction = Panoptic(truth.id_map, (Segment(1, 7, 16, score=0.9),))
    seen = found([(truth, prediction)])
    assert seen.semantic is not None
    assert seen.instances is not None
    assert (seen.quality.all.n, seen.instances.ap, seen.dagger.all) == (0, None, None)
    assert seen.semantic.miou == 1.0


def test_ap_without_scores_is_refused_with_the_way_out() -> None:
    whole = Panoptic(np.ones((4, 5), np.int32), (Segment(1, 7, 20),))
    with pytest.raises(DataError, match="has no score, which AP needs for ranking"):
        found([(whole, whole)])
    assert found([(whole, whole)], metrics=["pq", "miou", "boundary"]).quality.all.pq == 1.0
