"""Answers that were given, kept up to so many bytes: the one that was asked for longest ago goes first."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable


class Answers:
    """A memory of bounded size; threads may share it.

    Args:
        most_bytes: of all answers together.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """The answer kept for `key`, or a new one. Two threads may make the same one at a time."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            self._size += len(made) - len(self._kept.pop(key, b""))
            self._kept[key] = made
            while self._size > self._most and self._kept:
                self._size -= len(self._kept.popitem(last=False)[1])
        return made
