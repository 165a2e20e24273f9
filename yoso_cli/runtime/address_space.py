"""Little address space (`ulimit -v`): said before anything is loaded, and no library is loaded into too little.

Libraries in C end the process without a word where they get no memory, and OpenBLAS, which numpy and scipy bring along,
asks for its buffers for ever. So with a limit each import looks first at what is left.
"""

import resource
import sys
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


def limit() -> int | None:
    """Bytes of address space that this process may have; None where there is no limit."""
    found, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if found == resource.RLIM_INFINITY else found


@contextmanager
def guarded_imports() -> Iterator[None]:
    """In the block an import raises MemoryError where less is left than a library may need; nothing without a limit."""
    bound = limit()
    if bound is None or not _used():
        yield
        return
    guard = _Guard(bound)
    sys.meta_path.insert(0, guard)
    try:
        yield
    finally:
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
        if self._bound - _used() < _FOR_A_LIBRARY:
            raise MemoryError(NO_MEMORY)
        return None


def _used() -> int:
    """Bytes of address space that this process has; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0
