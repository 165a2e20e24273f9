"""One function over many things in several processes: results in order, and nobody left behind when the parent dies.

Processes and not threads, because decoding a PNG holds Python's lock for half of its time.
"""

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from multiprocessing.pool import Pool
from typing import Any, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# Starting a process costs about as much as a hundred small pictures.
_TOO_FEW = 8


def mapped(
    function: Callable[[_Item], _Result], items: Sequence[_Item], *, workers: int, at_once: int = 8
) -> Iterator[_Result]:
    """`function` of each of `items`, in their order; what it raises is raised here.

    Args:
        function: can be pickled, with all that it holds; sent to each process once.
        items: can be pickled.
        workers: processes; with one, or with few items, all happens in this one.
        at_once: items that are sent together; they should take some ten milliseconds.
    """
    if workers < 2 or len(items) < _TOO_FEW * at_once:
        yield from map(function, items)
        return
    with _pool(workers, function) as pool:
        yield from pool.imap(_work, items, chunksize=at_once)


def _pool(workers: int, function: Callable[[Any], Any]) -> Pool:
    """Fresh interpreters, unless a fork is safe: it takes 10 ms where importing numpy and the rest takes 300.

    A fork copies the locks of threads that it does not copy. Here there are no threads of Python's, and without torch
    none but those that OpenBLAS keeps for matrix products, which it puts in order around a fork by itself.
    """
    safe = sys.platform == "linux" and threading.active_count() == 1 and "torch" not in sys.modules
    with warnings.catch_warnings():
        # Python 3.12 warns of any thread of the process, OpenBLAS' as well.
        warnings.simplefilter("ignore", DeprecationWarning)
        return multiprocessing.get_context("fork" if safe else "spawn").Pool(workers, _start, (function,))


def available() -> int:
    """How many processes this machine can run at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_function: Callable[[Any], Any] | None = None


def _start(function: Callable[[Any], Any]) -> None:
    """Prepares a fresh process: Ctrl-C is the parent's to answer, and its death is the end."""
    global _function
    _function = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _work(item: Any) -> Any:
    assert _function is not None, "_start ran first"
    return _function(item)


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"
    wait([parent.sentinel])
    os._exit(1)
