"""Stages of a stream keep the order, work at the same time, look ahead only so far, and end cleanly.

Items of one kind come together, and their results come out in the order of the stream.
"""

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoso_cli.runtime.stages import alike, fetched, in_order, newest, stage

kinds = st.lists(st.sampled_from("abc"), max_size=40)
counts = st.integers(1, 6)


def test_results_come_in_order_whoever_is_first() -> None:
    def slow_at_first(item: int) -> int:
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item * 10

    found = list(stage(slow_at_first, range(20), threads=4, ahead=6))
    assert found == [item * 10 for item in range(20)]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_fewer_items_than_it_may_look_ahead_are_no_matter(count: int) -> None:
    assert list(stage(str, range(count), threads=2, ahead=8)) == [str(item) for item in range(count)]


def test_the_stages_work_at_the_same_time() -> None:
    """The second stage holds an item while the first one works on the next: neither could finish alone."""
    meeting = threading.Barrier(2, timeout=20)

    def first(item: int) -> int:
        if item == 1:
            meeting.wait()
        return item

    def second(item: int) -> int:
        if item == 0:
            meeting.wait()
        return item

    assert list(stage(second, stage(first, range(4), threads=1, ahead=2), threads=1, ahead=3)) == [0, 1, 2, 3]


def test_it_never_draws_further_ahead_than_allowed() -> None:
    drawn = 0

    def items() -> Iterator[int]:
        nonlocal drawn
        for item in range(50):
            drawn += 1
            yield item

    for done, _ in enumerate(stage(abs, items(), threads=2, ahead=4), 1):
        assert drawn - done <= 3


def test_what_a_stage_raises_comes_at_its_place_and_ends_the_stream() -> None:
    worked_on = []

    def careful(item: int) -> int:
        worked_on.append(item)
        if item == 3:
            raise ValueError("three")
        return item

    found = stage(careful, range(1000), threads=1, ahead=3)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(found)
    assert list(found) == []
    assert len(worked_on) < 10


def test_a_stream_that_is_left_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    found = stage(abs, stage(abs, range(100), threads=3, ahead=6), threads=2, ahead=4)
    next(found)
    assert threading.active_count() > before
    found.close()  # type: ignore[attr-defined]
    del found
    assert threading.active_count() == before


def test_without_threads_each_item_is_worked_out_when_it_is_asked_for() -> None:
    places = []
    found = stage(lambda item: places.append(threading.current_thread()) or item, iter(range(3)), threads=0, ahead=2)
    assert places == []
    assert next(found) == 0
    assert places == [threading.main_thread()]
    assert list(found) == [1, 2]


@given(kinds, counts, counts)
def test_groups_are_of_one_kind_and_leave_nothing_out(items: list[str], most: int, window: int) -> None:
    groups = list(alike(items, lambda item: item, most=most, window=window))
    assert all(len({item for _, item in group}) == 1 for group in groups)
    assert all(1 <= len(group) <= most for group in groups)
    assert sorted(each for group in groups for each in group) == list(enumerate(items))


@given(kinds, counts, counts)
def test_results_are_in_order_and_no_item_waits_longer_than_the_window(
    items: list[str], most: int, window: int
) -> None:
    read = -1

    def reading() -> Iterator[str]:
        nonlocal read
        for item in items:
            read += 1
            yield item

    results = in_order(alike(reading(), lambda item: item, most=most, window=window))
    for place, (result, item) in enumerate(zip(results, items, strict=True)):
        assert result == item
        assert read <= place + window + 1


@given(kinds, counts)
def test_equal_kinds_are_grouped_as_soon_as_there_are_enough(items: list[str], most: int) -> None:
    groups = list(alike(["a"] * len(items), lambda item: item, most=most, window=len(items) + 1))
    assert [len(group) for group in groups[:-1]] == [most] * (len(groups) - 1)


def test_one_at_a_time_waits_for_nothing() -> None:
    endless = iter(int, 1)
    assert next(in_order(alike(endless, lambda item: item, most=1, window=1))) == 0


def test_fetched_draws_in_one_other_thread_and_so_far_ahead_only() -> None:
    drawn: list[str] = []

    def items() -> Iterator[int]:
        for item in range(30):
            drawn.append(threading.current_thread().name)
            yield item

    found = []
    for item in fetched(items(), ahead=3):
        found.append(item)
        assert len(drawn) <= len(found) + 3
    assert found == list(range(30))
    assert len(set(drawn)) == 1
    assert drawn[0] != threading.current_thread().name


def test_what_fetching_raises_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("the third")

    stream, found = fetched(items(), ahead=8), []
    with pytest.raises(ValueError, match="the third"):
        found.extend(stream)
    assert list(fetched(iter([]), ahead=2)) == []


def test_newest_leaves_out_what_nobody_waited_for() -> None:
    """Three items come before the first is asked for, and the last one comes whatever happened before."""
    ready = threading.Event()

    def items() -> Iterator[int]:
        yield from (1, 2, 3)
        ready.set()
        time.sleep(0.05)
        yield 4

    stream = newest(items())
    first = next(stream)
    ready.wait(10)
    rest = list(stream)
    assert [first, *rest] in ([1, 3, 4], [2, 3, 4], [3, 4])


def test_newest_raises_what_drawing_raised_and_ends_with_whoever_asks() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("unplugged")

    with pytest.raises(ValueError, match="unplugged"):
        list(newest(broken()))
    before = threading.active_count()

    def endless() -> Iterator[int]:
        while True:
            time.sleep(0.001)
            yield 1

    stream = newest(endless())
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
