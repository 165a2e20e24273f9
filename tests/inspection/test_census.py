"""The figures of a split, and their picture."""

from pathlib import Path

import numpy as np
import pytest
from conversion import raw

from yoso_cli.inspection.census import Census, take_census
from yoso_cli.inspection.chart import chart
from yoso_cli.panoptic.types import Category, ImageRecord, PanopticSet, Segment

CATEGORIES = (*raw.TABLE.categories, Category(50, "nowhere to be seen, with a name that is far too long", True))


def census(*pictures: tuple[Segment, ...], size: tuple[int, int] = (100, 200)) -> Census:
    records = tuple(
        ImageRecord(index, f"{index}.jpg", f"{index}.png", *size, segments) for index, segments in enumerate(pictures)
    )
    return take_census(PanopticSet("mine", "train", CATEGORIES, records, Path(), Path()))


def segment(number: int, category_id: int, area: int, *, iscrowd: bool = False) -> Segment:
    return Segment(number, category_id, area, iscrowd=iscrowd)


@pytest.fixture
def mine() -> Census:
    return census(
        (segment(1, raw.ROAD, 8000), segment(2, raw.CAR, 1023), segment(3, raw.CAR, 1024)),
        (segment(1, raw.CAR, 9216), segment(2, raw.PERSON, 500, iscrowd=True)),
    )


def test_shares_are_of_all_pixels_and_make_up_the_whole(mine: Census) -> None:
    assert mine.shares() == pytest.approx(
        {"things": 11263 / 40000, "stuff": 0.2, "crowd": 500 / 40000, "void": 20237 / 40000}
    )
    assert sum(mine.shares().values()) == pytest.approx(1)


def test_instances_are_sized_by_cocos_bounds(mine: Census) -> None:
    assert mine.to_dict()["instances_by_size"] == {"small": 1, "medium": 1, "large": 1}


def test_a_class_is_counted_with_its_crowds_apart(mine: Census) -> None:
    by_name = {one["name"]: one for one in mine.to_dict()["classes"]}
    assert by_name["car"] == {
        "id": raw.CAR,
        "name": "car",
        "isthing": True,
        "segments": 3,
        "crowds": 0,
        "images": 2,
        "pixels": 11263,
        "pixel_share": pytest.approx(11263 / 40000),
        "median_area": 1024,
    }
    person = by_name["person"]
    assert (person["segments"], person["crowds"], person["images"], person["median_area"]) == (0, 1, 1, None)


def test_crowds_are_no_segments_of_a_picture(mine: Census) -> None:
    assert mine.per_image == (3, 1)
    assert mine.to_dict()["segments_per_image"] == {"min": 1, "median": 2, "mean": 2, "max": 3}


def test_the_picture_shows_each_class_in_its_colour(mine: Census) -> None:
    picture = chart(mine)
    assert picture.dtype == np.uint8
    colors = {tuple(color) for color in picture.reshape(-1, 3).tolist()}
    assert {(10, 20, 30), (40, 50, 60)} <= colors, "road and car have segments"


@pytest.mark.parametrize("pictures", [(), ((),), ((), (Segment(1, raw.ROAD, 20000),))])
def test_a_split_without_much_in_it_has_a_picture(pictures: tuple[tuple[Segment, ...], ...]) -> None:
    found = census(*pictures)
    assert chart(found).shape[2] == 3
    assert found.to_dict()["images"] == len(pictures)


def test_many_classes_make_the_picture_wider(mine: Census) -> None:
    many = tuple(Category(number, f"class {number}", number % 2 == 0) for number in range(150))
    wide = take_census(PanopticSet("mine", "train", many, (), Path(), Path()))
    assert chart(wide).shape[1] > chart(mine).shape[1]
