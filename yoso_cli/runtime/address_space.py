"""Little address space (`ulimit -v`): said before anything is loaded, and no library is loaded into too little.

Libraries in C end the process without a word where they get no memory, and OpenBLAS, which numpy and scipy bring along,
asks for its buffers for ever. Python waits for ever for a thread that gets no memory to say that it has begun. So with
a limit each import and each start of a thread looks first at what is left.
"""

import resource
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

FOR_NETWORKS = 4 << 30
"""Bytes that are enough for any command."""

NO_MEMORY = (
    "out of memory: the system gives this process no more. `ulimit -v` shows its limit in kB, and `free -m` what the "
    "machine has; yoso needs 4 GB of address space, and less with fewer --workers."
)

# OpenBLAS takes 32 to 128 MiB for each thread when it is loaded.
_FOR_A_LIBRARY = 320 << 20
# A stack of 8 MiB, and a heap of its own.
_FOR_A_THREAD = 64 << 20


def limit() -> int | None:
    """Bytes of address space that this process may have; None where there is no limit."""
    found, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if found == resource.RLIM_INFINITY else found


def require_left() -> None:
    """Raises MemoryError where hardly any is left: what failed then lacks nothing else."""
    bound = limit()
    if bound is not None:
        _require(bound, _FOR_A_THREAD)


@contextmanager
def guarded() -> Iterator[None]:
    """In the block imports and threads raise MemoryError where too little is left for them; nothing without a limit."""
    bound = limit()
    if bound is None or not _used():
        yield
        return
    guard, start = _Guard(bound), threading.Thread.start

    def start_where_it_fits(thread: threading.Thread) -> None:
        _require(bound, _FOR_A_THREAD)
        start(thread)

    sys.meta_path.insert(0, guard)
    threading.Thread.start = start_where_it_fits  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        threading.Thread.start = start  # type: ignore[method-assign]
        sys.meta_path.remove(guard)


class _Guard(MetaPathFinder):
    """Finds nothing, and is asked first."""

    def __init__(self, bound: int) -> None:
        self._bound = bound

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Called for each module that is not loaded yet."""
        # Python's own, and ours, which name the libraries.
        if fullname.partition(".")[0] in sys.stdlib_module_names or fullname.startswith("yoso_cli"):
            return None
        _require(self._bound, _FOR_A_LIBRARY)
        return None


def _require(bound: int, needed: int) -> None:
    if bound - _used() < needed:
        raise MemoryError(NO_MEMORY)


def _used() -> int:
    """Bytes of address space that this process has; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0
