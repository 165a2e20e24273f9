"""Choosing pictures: each condition alone, and all of them together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoso_cli.datasets.selection import Selection
from yoso_cli.errors import DataError
from yoso_cli.panoptic.types import ImageRecord, Segment

PICTURES = st.lists(
    st.tuples(
        st.integers(1, 40),
        st.integers(1, 40),
        st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=3),
    ),
    min_size=1,
    max_size=20,
)


def records_of(pictures: list[tuple[int, int, list[tuple[int, bool]]]]) -> list[ImageRecord]:
    return [
        ImageRecord(
            place,
            f"f{place % 3}/{place}.jpg",
            f"{place}.png",
            height,
            width,
            tuple(Segment(number, kind, 1, iscrowd=crowd) for number, (kind, crowd) in enumerate(segments, start=1)),
        )
        for place, (height, width, segments) in enumerate(pictures)
    ]


@given(
    PICTURES,
    st.frozensets(st.integers(1, 4)),
    st.integers(0, 20),
    st.none() | st.integers(10, 40),
    st.none() | st.sets(st.integers(0, 19)),
)
def test_what_is_chosen_fits_everything_and_nothing_else_does(
    pictures: list[tuple[int, int, list[tuple[int, bool]]]],
    ids: frozenset[int],
    least: int,
    most: int | None,
    named: set[int] | None,
) -> None:
    records = records_of(pictures)
    names = None if named is None else tuple(one.image_file for one in records if one.image_id in named)
    fitting = [
        one
        for one in records
        if min(one.height, one.width) >= least
        and (most is None or max(one.height, one.width) <= most)
        and (not ids or any(segment.category_id in ids and not segment.iscrowd for segment in one.segments))
        and (names is None or one.image_file in names)
    ]
    chosen = Selection(ids, least, most, names)
    if fitting:
        assert chosen.of(records) == fitting
    else:
        with pytest.raises(DataError, match="No picture fits"):
            chosen.of(records)


@given(PICTURES, st.integers(1, 25), st.integers())
def test_a_draw_has_the_count_and_the_order_and_repeats_itself(
    pictures: list[tuple[int, int, list[tuple[int, bool]]]], count: int, seed: int
) -> None:
    records = records_of(pictures)
    chosen = Selection(count=count, seed=seed)
    if count > len(records):
        with pytest.raises(DataError, match=f"only {len(records)} pictures fit"):
            chosen.of(records)
        return
    found = chosen.of(records)
    assert len(found) == count
    assert [one.image_id for one in found] == sorted({one.image_id for one in found})
    assert chosen.of(records) == found
    assert Selection(share=count / len(records), seed=seed).of(records) == found


def test_another_seed_draws_others() -> None:
    records = records_of([(9, 9, [])] * 40)
    drawn = {tuple(one.image_id for one in Selection(count=10, seed=seed).of(records)) for seed in range(5)}
    assert len(drawn) == 5


@pytest.mark.parametrize("name", ["a/x.jpg", "a/x", "x.jpg", "x"])
def test_a_picture_is_named_with_or_without_folder_and_suffix(name: str) -> None:
    records = [ImageRecord(1, "a/x.jpg", "p", 1, 1, ()), ImageRecord(2, "b/y.jpg", "q", 1, 1, ())]
    assert Selection(names=(name,)).of(records) == records[:1]


def test_names_of_none_and_of_several_are_told() -> None:
    records = [ImageRecord(1, "a/x.jpg", "p", 1, 1, ()), ImageRecord(2, "b/x.jpg", "q", 1, 1, ())]
    with pytest.raises(DataError, match="1 of the names are of no picture: z"):
        Selection(names=("z", "a/x")).of(records)
    with pytest.raises(DataError, match="1 of the names are of several pictures: x"):
        Selection(names=("x", "a/x")).of(records)
    both = [*records, ImageRecord(3, "x", "r", 1, 1, ())]
    assert Selection(names=("x",)).of(both) == both[2:], "its whole path"
