"""Things of a stream that belong together are worked on together, and their results come out in the stream's order."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


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
        # Groups stand in the order in which they were begun.
        if waiting and place - next(iter(waiting.values()))[0][0] >= window:
            yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()


def in_order(groups: Iterable[Iterable[tuple[int, _Result]]]) -> Iterator[_Result]:
    """The results of such groups by their places, each as soon as all before it are there."""
    early: dict[int, _Result] = {}
    due = 0
    for group in groups:
        early.update(group)
        while due in early:
            yield early.pop(due)
            due += 1
