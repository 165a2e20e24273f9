"""Pipelines: concurrent stages, and batching of items with results in order.

While one stage waits for a disk or a device, the others go on.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import repeat
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from concurrent.futures import Future

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def stage(
    function: Callable[[_Item], _Result], items: Iterable[_Item], *, threads: int, ahead: int
) -> Iterator[_Result]:
    """`function` of each of `items`, in order, computed ahead in threads.

    Items are drawn in the thread that asks for results, so a stage may stand on another one, and whatever has to stay
    in that thread can produce the items. Threads and not processes: what is passed on is large and lies in memory, and
    decoding, numpy and torch let go of Python's lock.

    Args:
        function: works on one item; what it raises is raised when its result is asked for, and ends the stream.
        items: drawn one by one, `ahead` of them before the first result is there.
        threads: how many items are worked on at once; 0 is one after the other in the thread that asks, for where no
            core is free.
        ahead: how many results and items under way there are at most: memory is bounded by it.
    """
    if not threads:
        yield from map(function, items)
        return
    from concurrent.futures import ThreadPoolExecutor

    under_way: deque[Future[_Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            under_way.append(pool.submit(function, item))
            if len(under_way) >= ahead:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        # If the stream ends early, pending work is cancelled.
        pool.shutdown(cancel_futures=True)


class Stopwatch:
    """Adds up the time that its owner waits for items.

    Attributes:
        seconds: so far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def timing(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """`items`, while the time until each is there is added up."""
        iterator = iter(items)
        while True:
            began = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.seconds += time.perf_counter() - began
            yield item


def fetched(items: Iterable[_Item], *, ahead: int) -> Iterator[_Item]:
    """`items`, drawn ahead in a thread of their own, one after the other and at most `ahead` of them."""
    stream, end = iter(items), object()
    for item in stage(lambda _: next(stream, end), repeat(None), threads=1, ahead=ahead):
        if item is end:
            return
        yield cast(_Item, item)


def newest(items: Iterable[_Item]) -> Iterator[_Item]:
    """Of `items` that come at their own pace, drawn in a thread of their own, the newest one when one is asked for.

    The others are let go of, so that nobody sees a camera's picture of a minute ago. What drawing raises is raised
    here.
    """
    slot: deque[_Item] = deque(maxlen=1)
    changed, ended = threading.Condition(), threading.Event()
    failures: list[BaseException] = []

    def draw() -> None:
        try:
            for item in items:
                with changed:
                    slot.append(item)
                    changed.notify()
                if ended.is_set():
                    return
        except BaseException as error:
            failures.append(error)
        finally:
            ended.set()
            with changed:
                changed.notify()

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        while True:
            with changed:
                changed.wait_for(lambda: slot or ended.is_set())
                if not slot:
                    break
                item = slot.pop()
            yield item
    finally:
        ended.set()
        thread.join()
    if failures:
        raise failures[0]


def alike(
    items: Iterable[_Item], kind: Callable[[_Item], Hashable], *, most: int, window: int
) -> Iterator[list[tuple[int, _Item]]]:
    """Groups of at most `most` items of one kind, each item with its place in the stream.

    Args:
        items: read as far as groups are asked for.
        kind: only items of equal kinds come together.
        most: a group of so many is complete.
        window: an item waits for others of its kind until so many have gone by: memory is bounded by it.
    """
    waiting: dict[Hashable, list[tuple[int, _Item]]] = {}
    for place, item in enumerate(items):
        group = waiting.setdefault(kind(item), [])
        group.append((place, item))
        if len(group) == most:
            yield waiting.pop(kind(item))
        # Groups are in the order of their first item.
        if waiting and place - next(iter(waiting.values()))[0][0] >= window:
            yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()


def in_order(groups: Iterable[Iterable[tuple[int, _Result]]]) -> Iterator[_Result]:
    """The results of `alike`'s groups by their places, each as soon as all before it are there."""
    early: dict[int, _Result] = {}
    due = 0
    for group in groups:
        early.update(group)
        while due in early:
            yield early.pop(due)
            due += 1
