"""Stages of a stream keep the order, work at the same time, look ahead only so far, and end cleanly."""

import threading
import time
from collections.abc import Iterator

import pytest

from yoso_cli.runtime.stages import stage


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
