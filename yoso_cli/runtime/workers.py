"""A process pool: one function over many items, results in order, no process left when the parent ends.

Processes and not threads, because decoding a PNG holds Python's lock for half of its time.

Each process has a pipe of its own, and nothing is shared between processes: no lock and no queue that one could hold
while it ends. So neither an error nor a killed process can leave the others, or the parent, waiting for ever, as
multiprocessing.Pool does now and then.
"""

import os
import queue
import signal
import sys
import threading
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from yoso_cli.errors import RunError

if TYPE_CHECKING:  # where one process does it all, these take as long to import as three pictures to score
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkContext, SpawnContext
    from multiprocessing.process import BaseProcess

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# Starting a process costs about as much as a hundred small pictures.
_TOO_FEW = 8
# Chunks that a process has at once: while one is worked on, the next one is there already.
_GIVEN = 2
# Chunks for each process that may be handed out before the oldest one's results were taken: memory is bounded by it.
_AHEAD = 16
# Seconds in which a process has to finish its chunk when no more is wanted.
_GRACE = 5.0
_NO_MORE = b""


def mapped(
    function: Callable[[_Item], _Result], items: Sequence[_Item], *, workers: int, at_once: int = 8
) -> Generator[_Result, None, None]:
    """`function` of each of `items`, in their order; what it raises is raised here, after the results before it.

    Whoever may stop before the last result closes the generator, which waits for the processes.

    Args:
        function: can be pickled, with all that it holds; sent to each process once.
        items: can be pickled.
        workers: processes; with one, or with few items, all happens in this one.
        at_once: items that are sent together; they should take some ten milliseconds.

    Raises:
        RunError: a process was ended from outside, as the system does when the memory is full.
    """
    if workers < 2 or len(items) < _TOO_FEW * at_once:
        yield from map(function, items)
        return
    crew: list[_Worker] = []
    try:
        _start(crew, workers, function)
        for results, error, trace in _answers(crew, items, at_once):
            yield from results
            if error is not None:
                raise error from RuntimeError(f"in a worker process:\n{trace}")
    finally:
        _dismiss(crew)


_Answer = tuple[list[Any], "Exception | None", str]
"""The results of a chunk up to its first error, that error, and its traceback."""


@dataclass
class _Worker:
    """One process, this end of its pipe, and the places of the chunks that it has not answered yet."""

    process: "BaseProcess"
    pipe: "Connection[Any, Any]"
    given: deque[int] = field(default_factory=deque)


def can_fork() -> bool:
    """Whether a process starts as a fork, in 10 ms, and not as a fresh interpreter, which takes 300 to import numpy.

    A fork copies the locks of threads that it does not copy. Here there are no threads of Python's, and without torch
    none but those that OpenBLAS keeps for matrix products, which it puts in order around a fork by itself.
    """
    return sys.platform == "linux" and threading.active_count() == 1 and "torch" not in sys.modules


def _start(crew: list[_Worker], count: int, function: Callable[[Any], Any]) -> None:
    from multiprocessing import get_context

    context: ForkContext | SpawnContext = get_context("fork") if can_fork() else get_context("spawn")
    for _ in range(count):
        pipe, far_end = context.Pipe()
        # A daemon does not outlive a parent that is interrupted once more while it waits for its processes.
        process = context.Process(target=_work, args=(function, far_end), daemon=True)
        with warnings.catch_warnings():
            # Python 3.12 warns of any thread of the process, OpenBLAS' as well.
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        # Now only the process holds its end, so that reading from the pipe ends when the process does.
        far_end.close()
        crew.append(_Worker(process, pipe))


def _answers(crew: list[_Worker], items: Sequence[Any], at_once: int) -> Iterator[_Answer]:
    """The answers to chunks of `at_once` items, in their order."""
    starts = range(0, len(items), at_once)
    found: dict[int, _Answer] = {}
    given = 0
    for place in range(len(starts)):
        while True:
            while given < min(len(starts), place + _AHEAD * len(crew)):
                worker = min(crew, key=lambda one: len(one.given))
                if len(worker.given) >= _GIVEN:
                    break
                with suppress(OSError):  # of a process that has ended: `_collect` notices it
                    worker.pipe.send(items[starts[given] : starts[given] + at_once])
                worker.given.append(given)
                given += 1
            # Also when the answer is there: no process should be idle while results are used.
            _collect(crew, found, block=place not in found)
            if place in found:
                break
        yield found.pop(place)


def _collect(crew: list[_Worker], found: dict[int, _Answer], *, block: bool) -> None:
    """Adds the answers that are there, or at least one if it is to `block`, to `found`."""
    from multiprocessing.connection import wait

    ready = wait([worker.pipe for worker in crew], None if block else 0)
    for worker in crew:
        if worker.pipe in ready:
            try:
                answer: _Answer = worker.pipe.recv()
            except (EOFError, OSError):
                raise _ended(worker) from None
            found[worker.given.popleft()] = answer


def _ended(worker: _Worker) -> RunError:
    worker.process.join(_GRACE)
    code = worker.process.exitcode or 0
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with the exit code {code}"
    return RunError(f"A worker process was ended {how}.", hint="If it ran out of memory, use fewer --workers.")


def _dismiss(crew: list[_Worker]) -> None:
    """Lets each process finish the chunk that it is at, and waits for it; what is slower than that is ended."""
    from multiprocessing.connection import wait

    for worker in crew:
        with suppress(OSError):
            worker.pipe.send_bytes(_NO_MORE)
    deadline = time.monotonic() + _GRACE
    for worker in crew:
        process, pipe = worker.process, worker.pipe
        # A process cannot end before the answer that it is writing was taken.
        while pipe in wait([pipe, process.sentinel], max(0.0, deadline - time.monotonic())):
            try:
                pipe.recv_bytes()
            except (EOFError, OSError):
                break
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
        pipe.close()


def _work(function: Callable[[Any], Any], pipe: "Connection[Any, Any]") -> None:
    """A process's life: answers chunk after chunk. Ctrl-C is the parent's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    chunks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(pipe, chunks), daemon=True).start()
    with suppress(BrokenPipeError, ConnectionResetError):
        while chunk := chunks.get():
            pipe.send_bytes(_answer(function, chunk))


def _receive(pipe: "Connection[Any, Any]", chunks: "queue.SimpleQueue[bytes]") -> None:
    """Takes chunks as they come, so that the parent never waits with one; ends the process when the parent dies."""
    from multiprocessing import parent_process
    from multiprocessing.connection import wait

    parent = parent_process()
    assert parent is not None, "a worker has a parent"
    with suppress(EOFError, OSError):
        while pipe in wait([pipe, parent.sentinel]) and (chunk := pipe.recv_bytes()):
            chunks.put(chunk)
    # No more is wanted: what has not been begun is dropped.
    with suppress(queue.Empty):
        while True:
            chunks.get_nowait()
    chunks.put(_NO_MORE)
    wait([parent.sentinel])
    os._exit(1)


def _answer(function: Callable[[Any], Any], chunk: bytes) -> memoryview:
    """The pickled `_Answer` to a pickled chunk."""
    from multiprocessing.reduction import ForkingPickler

    results: list[Any] = []
    try:
        for item in ForkingPickler.loads(chunk):
            results.append(function(item))
        return ForkingPickler.dumps((results, None, ""))
    except Exception as error:
        trace = traceback.format_exc()
        try:
            # Some errors can be pickled and not be made again from that.
            ForkingPickler.loads(ForkingPickler.dumps((results, error)))
            return ForkingPickler.dumps((results, error, trace))
        except Exception:
            return ForkingPickler.dumps(([], RuntimeError(f"{type(error).__name__}: {error}"), trace))
