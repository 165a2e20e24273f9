"""Changes of classes: every pixel is where the mapping says, counted one by one."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoso_cli.datasets.class_mapping import ClassMapping, Target, changed_classes, merged_classes
from yoso_cli.errors import UsageError
from yoso_cli.panoptic.types import Category, Panoptic, Segment, measured

THINGS = ("cat", "dog", "van")
STUFF = ("sky", "road", "wall")
CATEGORIES = (
    *(Category(number, name, True, (number, 0, 0)) for number, name in zip((3, 5, 9), THINGS, strict=True)),
    *(Category(number, name, False, (0, number, 0)) for number, name in zip((1, 20, 8), STUFF, strict=True)),
)
BY_NAME = {one.name: one for one in CATEGORIES}

TARGETS = st.none() | st.builds(
    Target, st.sampled_from([*THINGS, *STUFF, "new", "other"]), st.sampled_from([None, True, False])
)
MAPPINGS = st.builds(
    ClassMapping, st.dictionaries(st.sampled_from([*THINGS, *STUFF]), TARGETS, max_size=6), st.booleans()
)


@st.composite
def pictures(draw: st.DrawFn) -> Panoptic:
    kinds = draw(st.lists(st.sampled_from(CATEGORIES), min_size=1, max_size=6))
    id_map = np.array(draw(st.lists(st.integers(0, len(kinds)), min_size=24, max_size=24)), np.int32).reshape(4, 6)
    crowds = draw(st.lists(st.booleans(), min_size=6, max_size=6))
    listed = [
        Segment(number, one.id, 0, iscrowd=one.isthing and crowd)
        for number, (one, crowd) in enumerate(zip(kinds, crowds, strict=False), start=1)
    ]
    return Panoptic(id_map * 1000, measured(id_map * 1000, [Segment(one.id * 1000, *vars_of(one)) for one in listed]))


def vars_of(segment: Segment) -> tuple[int, int, tuple[int, int, int, int], bool]:
    return segment.category_id, segment.area, segment.bbox, segment.iscrowd


def names_at(panoptic: Panoptic, categories: tuple[Category, ...]) -> list[str | None]:
    """The class of each pixel."""
    names = {one.id: one.name for one in categories}
    of_segment = {one.id: names[one.category_id] for one in panoptic.segments}
    return [of_segment.get(number) for number in panoptic.id_map.ravel().tolist()]


@given(pictures(), MAPPINGS)
def test_every_pixel_gets_the_class_that_its_own_becomes(panoptic: Panoptic, mapping: ClassMapping) -> None:
    try:
        change = changed_classes(CATEGORIES, mapping, "m")
    except UsageError:
        return
    found = change.applied(panoptic)
    new = {one.name: to.name if (to := mapping.of(one.name)) else None for one in CATEGORIES}
    before = names_at(panoptic, CATEGORIES)
    assert names_at(found, change.categories) == [name and new[name] for name in before]
    assert found.segments == measured(found.id_map, found.segments), "areas and boxes are those of the map"
    assert len({one.id for one in change.categories}) == len(change.categories)
    by_id = {one.id: one for one in change.categories}
    for one in found.segments:
        assert by_id[one.category_id].isthing or not one.iscrowd


@given(pictures(), MAPPINGS)
def test_things_keep_their_number_and_joined_stuff_is_one_segment(panoptic: Panoptic, mapping: ClassMapping) -> None:
    try:
        change = changed_classes(CATEGORIES, mapping, "m")
    except UsageError:
        return
    found = change.applied(panoptic)
    by_id = {one.id: one for one in change.categories}
    names = {one.id: one.name for one in CATEGORIES}
    expected: Counter[str] = Counter()
    joined = set()
    for one in panoptic.segments:
        target = mapping.of(names[one.category_id])
        if target is None:
            continue
        sources = [name for name in names.values() if (to := mapping.of(name)) and to.name == target.name]
        (new,) = [each for each in change.categories if each.name == target.name]
        if not new.isthing and (len(sources) > 1 or BY_NAME[sources[0]].isthing):
            joined.add(new.name)
        else:
            expected[new.name] += 1
    expected.update(joined)
    assert Counter(by_id[one.category_id].name for one in found.segments) == expected
    for one in panoptic.segments:
        target = mapping.of(names[one.category_id])
        new = next((each for each in found.segments if each.id == one.id), None)
        if target and new and by_id[new.category_id].isthing:
            stuff = not BY_NAME[names[one.category_id]].isthing
            assert new.iscrowd == (one.iscrowd or stuff), "stuff that becomes things is a crowd of them"


def test_a_class_keeps_its_id_and_colour_and_a_joined_one_has_those_of_its_name() -> None:
    change = changed_classes(CATEGORIES, ClassMapping({"cat": Target("van"), "dog": Target("hound")}), "m")
    assert change.categories[:2] == (Category(9, "van", True, (9, 0, 0)), Category(5, "hound", True, (5, 0, 0)))
    given_id = changed_classes(CATEGORIES, ClassMapping({"cat": Target("x", False, 77, (7, 7, 7))}), "m")
    assert given_id.categories[0] == Category(77, "x", False, (7, 7, 7))


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"cow": None}, "cow: no class of the set has this name"),
        ({"cat": Target("sky")}, "sky: it is to be made of things and stuff (cat, sky)"),
        ({"cat": Target("x", id=5)}, "x and dog: both have the id 5"),
        ({"cat": Target("x", id=70), "dog": Target("x", id=71)}, "x: has two ids"),
        (dict.fromkeys((*THINGS, *STUFF)), "no class is left"),
    ],
)
def test_a_mapping_that_makes_no_sense_is_refused(mapping: dict[str, Target | None], words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        changed_classes(CATEGORIES, ClassMapping(mapping), "m")


def test_tables_are_merged_by_name() -> None:
    ours = (Category(1, "car", True, (1, 1, 1)), Category(2, "sky", False))
    theirs = (Category(2, "car", True, (2, 2, 2)), Category(1, "tree", False), Category(9, "Sky", False))
    merged = merged_classes([("a", ours), ("b", theirs)], None, "m")
    assert merged.categories == (*ours, Category(3, "tree", False), Category(9, "Sky", False))
    assert merged.remarks == (
        "tree of b gets the id 3: 1 is taken",
        "sky and Sky stay separate classes; --mapping joins them",
    )
    first, second = merged.changes
    assert {old: new and new.name for old, new in first.places.items()} == {1: "car", 2: "sky"}
    assert {old: new and new.id for old, new in second.places.items()} == {2: 1, 1: 3, 9: 9}
    joined = merged_classes([("a", ours), ("b", theirs)], ClassMapping({"Sky": Target("sky"), "tree": None}), "m")
    assert [one.name for one in joined.categories] == ["car", "sky"]
    assert joined.remarks == ()


def test_a_class_of_two_kinds_is_refused_unless_the_mapping_says_which_it_is() -> None:
    tables = [("a", (Category(1, "car", True),)), ("b", (Category(1, "car", False), Category(2, "sky", False)))]
    with pytest.raises(UsageError, match="car: is things in a and stuff in b") as refused:
        merged_classes(tables, None, "m")
    assert "--mapping" in refused.value.hint
    merged = merged_classes(tables, ClassMapping({"car": Target("car", True)}), "m")
    assert [one.isthing for one in merged.categories] == [True, False]
    assert merged.changes[1].was_stuff == {1}
    with pytest.raises(UsageError, match="bus: no class of any set"):
        merged_classes(tables, ClassMapping({"bus": None}), "m")
