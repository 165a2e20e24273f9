"""Sizes of a set and what they suggest: figures by plain counting, values that a recipe takes, rules at known sets."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoso_cli.errors import DataError
from yoso_cli.inspection.sizing import SetSize, suggestions
from yoso_cli.panoptic.types import Category, ImageRecord, PanopticSet, Segment
from yoso_cli.recipe import file as recipe_file

CATEGORIES = (Category(1, "cat", True), Category(2, "dog", True), Category(3, "sky", False))


def set_of(pictures: list[tuple[int, int, tuple[Segment, ...]]]) -> PanopticSet:
    records = tuple(ImageRecord(place, f"{place}.jpg", f"{place}.png", *one) for place, one in enumerate(pictures))
    return PanopticSet("mine", "train", CATEGORIES, records, Path(), Path())


def alike(images: int, height: int, width: int, count: int = 1, area: int = 5000) -> SetSize:
    segments = tuple(Segment(number, 1, area) for number in range(1, count + 1))
    return replace(SetSize.of(set_of([(height, width, segments)] * 3)), images=images)


SEGMENTS = st.lists(
    st.builds(Segment, st.just(1), st.integers(1, 3), st.integers(1, 9000), iscrowd=st.booleans()), max_size=4
).map(tuple)
PICTURES = st.lists(st.tuples(st.integers(8, 3000), st.integers(8, 3000), SEGMENTS), min_size=1, max_size=8)


@given(PICTURES)
def test_figures_are_those_of_plain_counting(pictures: list[tuple[int, int, tuple[Segment, ...]]]) -> None:
    size = SetSize.of(set_of(pictures))
    counts = [sum(not one.iscrowd for one in segments) for *_, segments in pictures]
    assert size.per_image == (np.median(counts), round(np.percentile(counts, 99.9), 2), max(counts))
    short = sorted(min(height, width) for height, width, _ in pictures)
    assert (size.short_edge[0], size.short_edge[2]) == (short[0], short[-1])
    things = [one.area for *_, segments in pictures for one in segments if one.category_id < 3 and not one.iscrowd]
    assert size.instances == (len(things), np.mean([area < 1024 for area in things]) if things else 0)
    seen = {one.category_id for *_, segments in pictures for one in segments if not one.iscrowd}
    assert size.classes == {"things": (len(seen & {1, 2}), 2), "stuff": (len(seen & {3}), 1)}


@given(PICTURES, st.none() | st.sampled_from([320, 512]))
def test_every_suggestion_is_one_that_a_recipe_takes(
    pictures: list[tuple[int, int, tuple[Segment, ...]]], largest: int | None
) -> None:
    found = suggestions([SetSize.of(set_of(pictures))], largest=largest)
    recipe = recipe_file.load("coco", [f"{one.key}={one.value}" for one in found])
    assert recipe.augment.crop_height * recipe.augment.crop_width <= 2 * 1024 * 1024
    assert recipe.inference.short_edge <= (largest or 2048)
    assert all(one.reason or one.key == "augment.crop_width" for one in found)


def values(*sizes: SetSize, largest: int | None = None) -> dict[str, object]:
    return {one.key.rpartition(".")[2]: one.value for one in suggestions(sizes, largest=largest)}


def test_known_sets_get_about_what_the_paper_uses() -> None:
    coco = values(alike(118_287, 480, 640, 11))
    assert coco["num_proposals"] == 100
    assert coco["short_edge"] == 800
    assert coco["iterations"] == 369_600
    ade = values(alike(20_210, 512, 683, 12))
    assert ade["short_edge"] == 800
    assert 120_000 < float(str(ade["iterations"])) < 180_000
    city = values(alike(2975, 1024, 2048, 30))
    assert (city["short_edge"], city["long_edge"]) == (1024, 2048)
    assert (city["crop_height"], city["crop_width"]) == (736, 1472)
    assert 30_000 < float(str(city["iterations"])) < 200_000


def test_proposals_are_enough_for_nearly_all_pictures() -> None:
    assert values(alike(10, 500, 500, 100))["num_proposals"] == 100
    assert values(alike(10, 500, 500, 101))["num_proposals"] == 150
    assert values(alike(10, 500, 500, 3), alike(10, 500, 500, 180))["num_proposals"] == 200, "also those of val"
    rare = [(500, 500, tuple(Segment(number, 1, 9) for number in range(1, 900)))]
    rare += [(500, 500, (Segment(1, 1, 9),))] * 2000
    found = suggestions([SetSize.of(set_of(rare))])[0]
    assert found.value == 100
    assert "up to 899 segments, 99.9 % of them at most 1" in found.reason
    assert "899 would need 900" in found.reason


def test_noise_asks_for_no_network_without_end() -> None:
    assert values(alike(10, 500, 500, 20_000))["num_proposals"] == 1000


def test_small_objects_in_large_pictures_ask_for_a_larger_size() -> None:
    assert values(alike(10, 1600, 1600, area=5000))["short_edge"] == 1024
    assert values(alike(10, 1600, 1600, area=2000))["short_edge"] == 1600
    assert values(alike(10, 1600, 1600, area=2000), largest=320)["short_edge"] == 320


def test_tiny_sets_are_not_trained_for_ever() -> None:
    assert values(alike(48, 128, 128))["iterations"] == 3000, "a thousand epochs, as Cityscapes has"


def test_a_set_without_pictures_is_refused() -> None:
    with pytest.raises(DataError, match="mine/train: has no pictures"):
        SetSize.of(set_of([]))
