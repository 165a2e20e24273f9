"""Segments keep their ids from frame to frame as long as their masks tell who is who."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yoso_cli.errors import DataError
from yoso_cli.panoptic.tracking import MEMORY, Tracked, Tracker
from yoso_cli.panoptic.types import Category, IdMap, Panoptic, Segment, measured

CATEGORIES = (Category(3, "cat", True), Category(5, "dog", True), Category(8, "sky", False), Category(2, "sea", False))
CAT, DOG, SKY, SEA = (category.id for category in CATEGORIES)
HEIGHT, WIDTH = 60, 80


def frame(*drawn: tuple[int, npt.NDArray[np.bool_]]) -> Panoptic:
    """Masks of category ids, later ones over earlier ones; their ids are 1, 2, 3 ..."""
    id_map: IdMap = np.zeros((HEIGHT, WIDTH), np.int32)
    for number, (_, mask) in enumerate(drawn):
        id_map[mask] = number + 1
    segments = [Segment(number + 1, category_id, 0, score=0.5) for number, (category_id, _) in enumerate(drawn)]
    return Panoptic(id_map, measured(id_map, segments))


def disc(row: float, column: float, radius: float = 8) -> npt.NDArray[np.bool_]:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    mask: npt.NDArray[np.bool_] = (y - row) ** 2 + (x - column) ** 2 <= radius**2
    return mask


def whole() -> npt.NDArray[np.bool_]:
    return np.ones((HEIGHT, WIDTH), np.bool_)


def at(tracked: Tracked, row: float, column: float) -> int:
    return int(tracked.panoptic.id_map[round(row), round(column)])


@st.composite
def frames(draw: st.DrawFn) -> Panoptic:
    """A few discs of any class, some of them hidden."""
    drawn = []
    for _ in range(draw(st.integers(0, 5))):
        place = draw(st.integers(0, HEIGHT - 1)), draw(st.integers(0, WIDTH - 1)), draw(st.integers(2, 20))
        drawn.append((draw(st.sampled_from([CAT, DOG, SKY])), disc(*place)))
    return frame(*drawn)


def permuted(panoptic: Panoptic, random: np.random.Generator) -> Panoptic:
    """The same masks under other ids, listed in another order."""
    ids = random.permutation(np.arange(1, 1 + len(panoptic.segments)) * 7)
    table = np.zeros(1 + max((one.id for one in panoptic.segments), default=0), np.int32)
    segments = []
    for segment, new_id in zip(panoptic.segments, ids.tolist(), strict=True):
        table[segment.id] = new_id
        segments.append(Segment(new_id, segment.category_id, segment.area, segment.bbox, score=segment.score))
    order = random.permutation(len(segments))
    return Panoptic(table[panoptic.id_map], tuple(segments[place] for place in order))


@settings(max_examples=40)
@given(st.lists(frames(), min_size=1, max_size=5), st.integers(0, 99))
def test_the_ids_of_the_frames_do_not_matter(several: list[Panoptic], seed: int) -> None:
    random = np.random.default_rng(seed)
    one, other = Tracker(CATEGORIES), Tracker(CATEGORIES)
    for panoptic in several:
        found, same = one.update(panoptic), other.update(permuted(panoptic, random))
        assert np.array_equal(found.panoptic.id_map, same.panoptic.id_map)
        assert found.panoptic.segments == same.panoptic.segments
        assert found.numbers == same.numbers


@settings(max_examples=40)
@given(st.lists(frames(), min_size=1, max_size=6))
def test_masks_stay_and_ids_belong_to_one_class(several: list[Panoptic]) -> None:
    tracker = Tracker(CATEGORIES, memory=2)
    classes: dict[int, int] = {}
    numbers: dict[int, int] = {}
    for panoptic in several:
        found = tracker.update(panoptic).panoptic
        tracked = tracker.update(panoptic)
        assert np.array_equal(tracked.panoptic.id_map, found.id_map), "the same frame again changes nothing"
        assert tracked.panoptic.segments == measured(found.id_map, found.segments), "areas and boxes are those of masks"
        assert tracked.numbers.keys() == {one.id for one in found.segments}
        of = {one.id: one.category_id for one in panoptic.segments}
        for segment in found.segments:
            assert {of[one] for one in np.unique(panoptic.id_map[found.id_map == segment.id]).tolist()} == {
                segment.category_id
            }
            assert classes.setdefault(segment.id, segment.category_id) == segment.category_id
            number = tracked.numbers[segment.id]
            assert numbers.setdefault(segment.id, number) == number, "a number never changes"
        assert np.array_equal(found.id_map == 0, panoptic.id_map == 0)
    things = [(classes[one], number) for one, number in numbers.items() if classes[one] in (CAT, DOG)]
    assert len(set(things)) == len(things), "no two things of a class have one number"


@settings(max_examples=20)
@given(frames(), st.integers(2, 5))
def test_what_does_not_change_keeps_its_ids(panoptic: Panoptic, count: int) -> None:
    tracker = Tracker(CATEGORIES)
    first = tracker.update(panoptic)
    for _ in range(count):
        assert np.array_equal(tracker.update(panoptic).panoptic.id_map, first.panoptic.id_map)


def test_a_moving_disc_keeps_its_id_also_once_it_moves_by_more_than_its_size() -> None:
    """At 0.9 pixels more each frame, masks of a radius of 8 soon share nothing, but the way to expect is known."""
    tracker = Tracker(CATEGORIES)
    place, seen = 8.0, set()
    for step in range(13):
        place += 0.9 * step
        if place < WIDTH - 8:
            seen.add(at(tracker.update(frame((SKY, whole()), (CAT, disc(30, place)))), 30, place))
    assert len(seen) == 1


@pytest.mark.parametrize("hidden", [1, 4, 5])
def test_a_hidden_disc_is_known_again_within_the_memory(hidden: int) -> None:
    tracker = Tracker(CATEGORIES, memory=4)
    before = [tracker.update(frame((CAT, disc(30, 20 + 2 * time)))) for time in range(3)]
    for _ in range(hidden):
        assert tracker.update(frame((SKY, whole()))).numbers.keys() != before[0].numbers.keys()
    place = 20 + 2 * (2 + hidden + 1)
    after = tracker.update(frame((SKY, whole()), (CAT, disc(30, place))))
    known = at(after, 30, place) == at(before[0], 30, 20)
    assert known == (hidden <= 4)
    assert after.numbers[at(after, 30, place)] == (1 if known else 2)


def test_a_hidden_disc_is_expected_further_on_its_way() -> None:
    """Six pixels a frame for five frames: it comes out where its old mask never was."""
    tracker = Tracker(CATEGORIES)
    first, *_ = [tracker.update(frame((CAT, disc(30, 10 + 6 * time)))) for time in range(3)]
    for _ in range(5):
        tracker.update(frame())
    assert at(tracker.update(frame((CAT, disc(30, 10 + 6 * 8)))), 30, 58) == at(first, 30, 10)


def test_two_that_cross_keep_their_ids() -> None:
    """One passes before the other, which is hidden for some frames in the middle."""
    tracker = Tracker(CATEGORIES)
    ids = set()
    for time in range(21):
        left, right = 8 + 3 * time, 70 - 3 * time
        found = tracker.update(frame((CAT, disc(30, right, 6)), (CAT, disc(32, left, 8))))
        if abs(left - right) > 16:
            ids.add((at(found, 32, left), at(found, 30, right)))
    assert len(ids) == 1
    assert len(set(next(iter(ids)))) == 2


def test_one_that_is_seen_goes_before_one_that_is_hidden() -> None:
    """A dog in the mask of one that just vanished stays itself."""
    tracker = Tracker(CATEGORIES)
    first = tracker.update(frame((DOG, disc(30, 30, 10)), (DOG, disc(30, 44, 7))))
    second = tracker.update(frame((DOG, disc(30, 38, 9))))
    assert at(second, 30, 38) == at(first, 30, 44)


def test_stuff_is_one_segment_of_one_id_and_things_are_counted_by_class() -> None:
    tracker = Tracker(CATEGORIES)
    left, right = disc(30, 10), disc(30, 70)
    first = tracker.update(frame((SKY, left), (SKY, right), (CAT, disc(10, 40)), (DOG, disc(45, 40))))
    assert [(one.category_id, one.area) for one in first.panoptic.segments if one.category_id == SKY] == [
        (SKY, int(left.sum() + right.sum()))
    ]
    assert sorted(first.numbers.values()) == [1, 1, 1]
    second = tracker.update(frame((SKY, whole()), (CAT, disc(10, 40)), (CAT, disc(45, 40))))
    assert at(second, 30, 10) == at(first, 30, 10), "the sky is the sky"
    assert at(second, 45, 40) not in first.numbers, "a dog does not become a cat"
    assert second.numbers[at(second, 45, 40)] == 2


def test_memory_is_bounded() -> None:
    """New things in every frame: those hidden for longer than the memory are forgotten."""
    tracker = Tracker(CATEGORIES)
    for time in range(4 * MEMORY):
        tracker.update(frame((CAT, disc(10 + 40 * (time % 2), 10 + 60 * (time // 2 % 2), 3 + time % 5))))
    kept = sum(len(several) for several in tracker._things.values())
    assert kept <= MEMORY + 1


def test_a_frame_of_another_size_or_class_is_refused() -> None:
    tracker = Tracker(CATEGORIES)
    tracker.update(frame())
    with pytest.raises(DataError, match="must have one size"):
        tracker.update(Panoptic(np.zeros((5, 5), np.int32), ()))
    with pytest.raises(DataError, match="category 99, which is not among"):
        tracker.update(frame((99, whole())))
