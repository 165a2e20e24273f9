"""The figures of a split, and their picture."""

from pathlib import Path
from statistics import median

import numpy as np
import pytest
from conversion import raw
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from yoso_cli.inspection.census import Census, take_census
from yoso_cli.inspection.chart import draw_chart, draw_numbers
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


PICTURES = st.lists(
    st.lists(
        st.builds(
            Segment,
            id=st.integers(1, 99),
            category_id=st.sampled_from([one.id for one in CATEGORIES]),
            area=st.integers(0, 12_000),
            iscrowd=st.booleans(),
        ),
        max_size=5,
    ).map(tuple),
    max_size=5,
)


@given(PICTURES)
def test_every_figure_is_that_of_counting_one_by_one(pictures: list[tuple[Segment, ...]]) -> None:
    found = census(*pictures)
    assert found.per_image == tuple(sum(not one.iscrowd for one in segments) for segments in pictures)
    for category, told in zip(CATEGORIES, found.to_dict()["classes"], strict=True):
        own = [[one for one in segments if one.category_id == category.id] for segments in pictures]
        flat = [one for segments in own for one in segments]
        areas = [one.area for one in flat if not one.iscrowd]
        assert found.areas[category.id].tolist() == areas
        assert told["median_area"] == (median(areas) if areas else None)
        assert told["images"] == sum(map(bool, own))
        assert (told["segments"], told["crowds"]) == (len(areas), len(flat) - len(areas))
        assert told["pixels"] == sum(one.area for one in flat)
    whole = sum(one.area for segments in pictures for one in segments)
    crowds = sum(one.area for segments in pictures for one in segments if one.iscrowd)
    pixels = 20_000 * len(pictures)
    assert found.statistics.void_share == (1 - whole / pixels if pixels else 0)
    assert found.statistics.crowd_share == (crowds / pixels if pixels else 0)


def drawn(path: Path, found: Census) -> np.ndarray:
    draw_chart(path, found)
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_the_picture_shows_each_class_in_its_colour(mine: Census, tmp_path: Path) -> None:
    colors = {tuple(color) for color in drawn(tmp_path / "mine.png", mine).reshape(-1, 3).tolist()}
    assert {(10, 20, 30), (40, 50, 60)} <= colors, "road and car have segments"


@pytest.mark.parametrize("pictures", [(), ((),), ((), (Segment(1, raw.ROAD, 20000),))])
def test_a_split_without_much_in_it_has_a_picture(pictures: tuple[tuple[Segment, ...], ...], tmp_path: Path) -> None:
    found = census(*pictures)
    assert drawn(tmp_path / "little.png", found).shape[2] == 3
    assert found.to_dict()["images"] == len(pictures)


def test_many_classes_make_the_picture_wider(mine: Census, tmp_path: Path) -> None:
    """Whatever they are called: `$` begins no formula, and letters that the font lacks are no warning."""
    names = ("$x_{", "class $1$", "日本語", "a name that is far too long to stand beside a bar")
    many = tuple(Category(number, f"{names[number % 4]} {number}", number % 2 == 0) for number in range(150))
    wide = take_census(PanopticSet("$mine$", "train", many, (), Path(), Path()))
    assert drawn(tmp_path / "wide.png", wide).shape[1] > drawn(tmp_path / "mine.png", mine).shape[1]


def test_a_white_class_has_a_bar_that_is_seen(tmp_path: Path) -> None:
    white = Category(1, "snow", False, (255, 255, 255))
    records = (ImageRecord(1, "1.jpg", "1.png", 10, 10, (segment(1, 1, 100),)),)
    picture = drawn(tmp_path / "snow.png", take_census(PanopticSet("a", "b", (white,), records, Path(), Path())))
    bar = (picture == 255).all(2)
    across = bar[np.argmax(bar.sum(1))]
    first, last = np.flatnonzero(across)[[0, -1]]
    row = picture[np.argmax(bar.sum(1))].astype(int)
    assert last - first > 50
    assert min(row[first - 2 : first].min(), row[last + 1 : last + 3].min()) < 200, "its edges are dark"


@pytest.mark.parametrize("per_image", [[42], [0, 1], [*[3] * 5, 250]])
def test_numbers_of_segments_stand_at_whole_numbers(per_image: list[int]) -> None:
    """Each picture is in the bar over its own number, and no axis begins below nothing."""
    axes = Figure().subplots()
    draw_numbers(axes, per_image)
    bars = [bar for bar in axes.patches if bar.get_height()]
    assert sum(bar.get_height() for bar in bars) == len(per_image)
    for number, bar in zip(sorted(set(per_image)), bars, strict=True):
        assert bar.get_x() - 1 <= number <= bar.get_x() + bar.get_width() + 1
    low, high = axes.get_xlim()
    assert -1 < low < min(per_image) < max(per_image) + 1 < high + 1
    assert all(float(tick).is_integer() for tick in axes.get_xticks() if low <= tick <= high)
