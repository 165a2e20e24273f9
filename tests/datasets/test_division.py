"""Dividing pictures: every picture in one part, groups whole, sizes near to what is asked, the same for a seed."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoso_cli.datasets.division import Part, divided, drawn_order, sizes_of
from yoso_cli.errors import UsageError

SHARES = st.lists(st.integers(1, 9), min_size=1, max_size=4)
GROUPS = st.lists(st.integers(0, 30).map(str), min_size=1, max_size=80)


def parts_of(shares: list[int]) -> list[Part]:
    return [Part(f"p{place}", share / sum(shares)) for place, share in enumerate(shares)]


@given(GROUPS, SHARES, st.integers(), st.booleans())
def test_groups_are_never_torn_and_no_part_is_empty(
    groups: list[str], shares: list[int], seed: int, stratified: bool
) -> None:
    classes = np.random.default_rng(abs(seed)).random((len(groups), 5)) < 0.3 if stratified else None
    wanted = sizes_of(parts_of(shares), len(groups))
    if len(set(groups)) < len(shares):
        with pytest.raises(UsageError, match="of pictures for"):
            divided(groups, wanted, seed=seed, classes=classes)
        return
    found = divided(groups, wanted, seed=seed, classes=classes)
    assert len(found) == len(groups)
    assert set(found) == set(range(len(shares)))
    assert len(set(zip(groups, found, strict=True))) == len(set(groups))
    assert divided(groups, wanted, seed=seed, classes=classes) == found


@given(st.integers(1, 200), SHARES, st.integers())
def test_without_groups_sizes_are_those_that_are_asked_for(images: int, shares: list[int], seed: int) -> None:
    if images < 10 * len(shares):
        images *= 10 * len(shares)
    wanted = sizes_of(parts_of(shares), images)
    found = Counter(divided([str(place) for place in range(images)], wanted, seed=seed))
    for part, size in enumerate(wanted.tolist()):
        assert abs(found[part] - size) <= max(1, len(shares) - 1)


@given(GROUPS, st.integers(), st.randoms())
def test_the_order_of_pictures_does_not_matter(groups: list[str], seed: int, random: "object") -> None:
    wanted = sizes_of([Part("a", 0.7), Part("b", 0.3)], len(groups))
    if len(set(groups)) < 2:
        return
    shuffled = sorted(groups, key=lambda _: random.random())  # type: ignore[attr-defined]
    first = dict(zip(groups, divided(groups, wanted, seed=seed), strict=True))
    assert dict(zip(shuffled, divided(shuffled, wanted, seed=seed), strict=True)) == first


def test_a_seed_draws_the_same_on_every_machine() -> None:
    """SHA-256 of seed and name, as anybody can compute it."""
    assert drawn_order(["a", "b", "c", "d", "é", "\udcff"], 0) == ["\udcff", "d", "c", "a", "é", "b"]
    names = [f"{number}.jpg" for number in range(10)]
    assert divided(names, sizes_of([Part("a", 0.7), Part("b")], 10), seed=3) == [0, 1, 0, 0, 0, 0, 1, 1, 0, 0]
    assert divided(names, sizes_of([Part("a", 0.7), Part("b")], 10), seed=4) == [1, 0, 0, 0, 0, 0, 1, 0, 1, 0]


def test_classes_are_spread_evenly_where_it_is_asked_for() -> None:
    """Ten classes in one to ninety of four hundred pictures: each within one picture of its share."""
    random = np.random.default_rng(0)
    classes = np.zeros((400, 10), np.bool_)
    for category in range(10):
        classes[random.choice(400, 10 + 9 * category, replace=False), category] = True
    names = [str(place) for place in range(400)]
    wanted = sizes_of([Part("train", 0.8), Part("val", 0.2)], 400)

    def off(parts: list[int]) -> float:
        in_val = classes[np.array(parts) == 1].sum(0)
        return float(np.abs(in_val - 0.2 * classes.sum(0)).max())

    stratified = divided(names, wanted, seed=0, classes=classes)
    assert off(stratified) <= 2.5
    assert off(divided(names, wanted, seed=0)) > 3.5
    assert abs(sum(stratified) - 80) <= 8


def test_large_groups_leave_sizes_near_what_is_asked() -> None:
    groups = [str(scene) for scene, size in enumerate([50, 30, 20, 10, *[5] * 18]) for _ in range(size)]
    wanted = sizes_of([Part("train", 0.8), Part("val", 0.2)], len(groups))
    for seed in range(20):
        in_val = sum(divided(groups, wanted, seed=seed))
        assert abs(in_val - 40) <= 20


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([Part("a", 0.8)], "take 80 of 100 pictures"),
        ([Part("a", 0.8), Part("b", 0.3)], "take 110 of 100 pictures"),
        ([Part("a"), Part("b")], "a and b are both the rest"),
        ([Part("a", count=101), Part("b")], "take 101 of 100"),
        ([Part("a", 1.0), Part("b")], "nothing is left for b"),
    ],
)
def test_parts_that_are_not_all_pictures_are_refused(parts: list[Part], words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        sizes_of(parts, 100)


def test_counts_and_the_rest() -> None:
    assert sizes_of([Part("a"), Part("b", count=30), Part("c", 0.2)], 100).tolist() == [50, 30, 20]
    thirds = sizes_of([Part("a", 0.333), Part("b", 0.333), Part("c", 0.333)], 100)
    assert thirds.tolist() == pytest.approx([33.3] * 3)
