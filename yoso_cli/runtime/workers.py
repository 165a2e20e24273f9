"""A process pool: one function over many items, results in order, no process left when the parent ends.

Processes and not threads, because decoding a PNG holds Python's lock for half of its time.

Each process has a pipe of its own, and nothing is shared between processes: no lock and no queue that one could hold
while it ends. So neither an error nor a killed process can leave the others, or the parent, waiting for ever, as
multiprocessing.Pool does now and then. Large arrays come back in anonymous memory (memfd), which the size of /dev/shm
does not bound.

A process that is stopped (SIGSTOP) for some seconds is ended, and so is every process when this one ends.
"""

import atexit
import mmap
import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
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
# Seconds for which a process may be stopped while this one is not.
_STOPPED = 8
_NO_MORE = b""
# Bytes of an array from which on it goes through memory and not through the pipe.
_LARGE = 1 << 16
_ALIGNED = 64


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
    method = "fork" if can_fork() else "spawn"
    yield from in_processes(function, items, workers=workers, at_once=at_once, ahead=_AHEAD, method=method)


def in_processes(
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    *,
    workers: int,
    at_once: int,
    ahead: int,
    method: str,
    begin: Callable[[], None] | None = None,
) -> Generator[_Result, None, None]:
    """As `mapped`, always in `workers` processes.

    Args:
        function: as for `mapped`.
        items: as for `mapped`.
        workers: processes, 1 or more.
        at_once: items that are sent together.
        ahead: chunks of items for each process that may be handed out before the oldest one's results were taken.
        method: how processes start, `fork` or `spawn`.
        begin: called in each process before its first item.

    Raises:
        RunError: a process was ended or stopped from outside.
    """
    crew: list[_Worker] = []
    # Processes may ignore the signal that multiprocessing sends at exit, and it then waits for them.
    end = partial(_kill, crew)
    try:
        _start(crew, workers, function, method, begin)
        atexit.register(end)
        with _watched(crew):
            for results, error, trace in _answers(crew, items, at_once, ahead):
                yield from results
                if error is not None:
                    raise error from RuntimeError(f"in a worker process:\n{trace}")
    finally:
        _dismiss(crew)
        atexit.unregister(end)


_Answer = tuple[list[Any], "Exception | None", str]
"""The results of a chunk up to its first error, that error, and its traceback."""


@dataclass
class _Worker:
    """One process, this end of its pipe, and the places of the chunks that it has not answered yet."""

    process: "BaseProcess"
    pipe: "Connection[Any, Any]"
    given: deque[int] = field(default_factory=deque)
    stopped: int = 0


def can_fork() -> bool:
    """Whether a process starts as a fork, in 10 ms, and not as a fresh interpreter, which takes 300 to import numpy.

    A fork copies the locks of threads that it does not copy. Here there are no threads of Python's, and without torch
    none but those that OpenBLAS keeps for matrix products, which it puts in order around a fork by itself.
    """
    return sys.platform == "linux" and threading.active_count() == 1 and "torch" not in sys.modules


def _start(
    crew: list[_Worker], count: int, function: Callable[[Any], Any], method: str, begin: Callable[[], None] | None
) -> None:
    from multiprocessing import get_context

    context: ForkContext | SpawnContext = get_context("fork") if method == "fork" else get_context("spawn")
    for _ in range(count):
        pipe, far_end = context.Pipe()
        # A daemon does not outlive a parent that is interrupted once more while it waits for its processes.
        process = context.Process(target=_work, args=(function, begin, far_end), daemon=True)
        with warnings.catch_warnings():
            # Python 3.12 warns of any thread of the process, OpenBLAS' as well.
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        # Now only the process holds its end, so that reading from the pipe ends when the process does.
        far_end.close()
        crew.append(_Worker(process, pipe))


@contextmanager
def _watched(crew: list[_Worker]) -> Iterator[None]:
    """Ends workers that are stopped, in a thread: wherever this process waits for one of them, it goes on then."""
    if sys.platform != "linux":
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_watch, args=(crew, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _watch(crew: list[_Worker], done: threading.Event) -> None:
    while not done.wait(1.0):
        for worker in crew:
            with suppress(OSError, ValueError):
                state = Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
                # Seconds in which this process ran: after Ctrl-Z all are stopped, and none is counted.
                worker.stopped = worker.stopped + 1 if state == "T" else 0
                if worker.stopped == _STOPPED:
                    worker.process.kill()


def _kill(crew: list[_Worker]) -> None:
    for worker in crew:
        worker.process.kill()


def _answers(crew: list[_Worker], items: Sequence[Any], at_once: int, ahead: int) -> Iterator[_Answer]:
    """The answers to chunks of `at_once` items, in their order."""
    starts = range(0, len(items), at_once)
    found: dict[int, _Answer] = {}
    given = 0
    for place in range(len(starts)):
        while True:
            while given < min(len(starts), place + ahead * len(crew)):
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
                answer = _received(worker.pipe)
            except (EOFError, OSError):
                raise _ended(worker) from None
            found[worker.given.popleft()] = answer


def _ended(worker: _Worker) -> RunError:
    worker.process.join(_GRACE)
    if worker.stopped >= _STOPPED:
        return RunError(
            f"A worker process was stopped (SIGSTOP) for {_STOPPED} s and has been ended.",
            hint="Run the command again, and stop or continue all of its processes together.",
        )
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
                _received(pipe)
            except (EOFError, OSError):
                break
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
        pipe.close()


def _work(function: Callable[[Any], Any], begin: Callable[[], None] | None, pipe: "Connection[Any, Any]") -> None:
    """A process's life: answers chunk after chunk. Ctrl-C is the parent's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if begin:
        begin()
    chunks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    try:
        threading.Thread(target=_receive, args=(pipe, chunks), daemon=True).start()
    except (MemoryError, RuntimeError):
        os._exit(1)  # no room for a thread; the parent tells of it
    with suppress(BrokenPipeError, ConnectionResetError):
        while chunk := chunks.get():
            _send(pipe, _answer(function, chunk))


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


@dataclass(frozen=True)
class _Message:
    """A pickled answer; its large arrays are one after the other, of these `sizes`, in the anonymous file `memory`."""

    content: bytes
    sizes: list[int]
    memory: int | None

    @classmethod
    def of(cls, answer: _Answer) -> "_Message":
        """Raises whatever pickling raises, or OSError without memory."""
        memory = _anonymous_file()
        sizes: list[int] = []

        def is_small(buffer: pickle.PickleBuffer) -> bool:
            array = buffer.raw()
            if memory is None or array.nbytes < _LARGE:
                return True
            os.lseek(memory, _start_after(sizes), os.SEEK_SET)
            while array:
                array = array[os.write(memory, array) :]
            sizes.append(buffer.raw().nbytes)
            return False

        try:
            return cls(pickle.dumps(answer, protocol=5, buffer_callback=is_small), sizes, memory)
        except BaseException:
            if memory is not None:
                os.close(memory)
            raise


def _start_after(sizes: Sequence[int]) -> int:
    """Where the next array starts: as aligned as numpy and torch like it."""
    return sum(-(-size // _ALIGNED) * _ALIGNED for size in sizes)


def _anonymous_file() -> int | None:
    """A file in memory; None where the system has none."""
    try:
        return os.memfd_create("yoso")
    except (OSError, AttributeError):
        return None


def _send(pipe: "Connection[Any, Any]", message: _Message) -> None:
    from multiprocessing.reduction import send_handle

    pipe.send(message.sizes)
    pipe.send_bytes(message.content)
    if message.memory is not None:
        if message.sizes:
            send_handle(pipe, message.memory, None)
        os.close(message.memory)


def _received(pipe: "Connection[Any, Any]") -> _Answer:
    """An answer. Raises EOFError or OSError if the process ends before it was all there."""
    from multiprocessing.reduction import recv_handle

    sizes: list[int] = pipe.recv()
    content = pipe.recv_bytes()
    arrays = []
    if sizes:
        handle = recv_handle(pipe)
        # Mapped, not copied; given back when the last array that lies in it goes.
        memory = memoryview(mmap.mmap(handle, _start_after(sizes[:-1]) + sizes[-1]))
        os.close(handle)
        arrays = [memory[start : start + size] for start, size in zip(_starts(sizes), sizes, strict=True)]
    answer: _Answer = pickle.loads(content, buffers=arrays)  # noqa: S301 - from a process of our own
    return answer


def _starts(sizes: Sequence[int]) -> list[int]:
    return [_start_after(sizes[:place]) for place in range(len(sizes))]


def _answer(function: Callable[[Any], Any], chunk: bytes) -> _Message:
    """The answer to a pickled chunk."""
    results: list[Any] = []
    try:
        for item in pickle.loads(chunk):  # noqa: S301 - from the parent
            results.append(function(item))
        return _Message.of((results, None, ""))
    except Exception as error:
        trace = traceback.format_exc()
        try:
            # Some errors can be pickled and not be made again from that.
            pickle.loads(pickle.dumps(error))  # noqa: S301
            return _Message.of((results, error, trace))
        except Exception:
            return _Message.of(([], RuntimeError(f"{type(error).__name__}: {error}"), trace))
