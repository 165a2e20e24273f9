"""Locks between processes: one writer of a path at a time.

A writer of PATH makes `.NAME.lock` beside it, locks that file (flock) and removes it at the end. The kernel drops the
lock of a process that ends in any way, so that a lock file that nobody holds is what a kill has left, and is removed.
Nothing is ever written to a file that was there before, and no link is followed.
"""

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from yoso_cli.errors import RunError

# Seconds for which a writer waits for another one of the same path: most write for milliseconds, and the workers of a
# killed process hold its lock until they notice.
PATIENCE = 3.0
_PAUSE = 0.02
_LONGEST_ID = 20


@contextlib.contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Only one process, and one thread, at a time is in the block for the same `path`, whose folder exists.

    File systems without locks give none: the block then runs without waiting.

    Raises:
        RunError: another one still is after some seconds; says which process that is.
        OSError: the folder cannot be written.
    """
    import fcntl

    lock = lock_of(path)
    handle = _acquired(lock, path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()
        with contextlib.suppress(OSError):
            # Forked processes share the lock: closing it here would not drop it.
            fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


def _acquired(lock: Path, path: Path) -> int:
    deadline = time.monotonic() + PATIENCE
    while True:
        handle = _made(lock)
        if handle is not None:
            return handle
        owner = _owner(lock)
        if owner is not None and time.monotonic() > deadline:
            process = f", process {owner}" if owner else ""
            raise RunError(f"{path}: another yoso is writing here{process}.", hint="Wait for it, or stop it.")
        if owner is not None:
            time.sleep(_PAUSE)


def _made(lock: Path) -> int | None:
    """A handle of the lock file, made and locked just now; None if there is one already."""
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    except FileExistsError:
        return None
    try:
        # Between the two calls another process may have taken it for one that a kill has left.
        if _flock(handle) and _is_at(handle, lock):
            os.write(handle, b"%d" % os.getpid())
            return handle
    except BaseException:
        with contextlib.suppress(OSError):
            lock.unlink()
        os.close(handle)
        raise
    os.close(handle)
    return None


def _owner(lock: Path) -> str | None:
    """The process that holds the lock, "" if unknown; None if nobody does, and the file is removed."""
    try:
        handle = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        if lock.is_symlink():
            raise _in_the_way(lock, "is a link") from None
        raise error
    try:
        found = os.fstat(handle)
        content = os.read(handle, _LONGEST_ID) if stat.S_ISREG(found.st_mode) else b"-"
        if found.st_size > _LONGEST_ID or not (content.isdigit() or not content):
            raise _in_the_way(lock, "is not a lock file of yoso")
        if not _flock(handle):
            return content.decode()
        if _is_at(handle, lock):
            lock.unlink()
        return None
    finally:
        os.close(handle)


def lock_of(path: Path) -> Path:
    """The lock file of a path."""
    whole = path.absolute()  # the current folder has no name as it is typed
    return whole.with_name(f".{whole.name}.lock")


def holder(handle: int) -> str:
    """Says ", process N" for the one that has locked an open file with flock; nothing where the system does not."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(os.fstat(handle).st_ino):
                return f", process {fields[4]}"
    return ""


def remove_stale(folder: Path) -> None:
    """Removes the lock files that killed processes have left in `folder`."""
    for lock in folder.glob(".*.lock"):
        with contextlib.suppress(RunError, OSError):
            _owner(lock)


def _in_the_way(lock: Path, what: str) -> RunError:
    return RunError(f"{lock}: {what}, and nothing is written over it.", hint="Remove it.")


def _flock(handle: int) -> bool:
    """Locks the file; False if another process has it locked."""
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks
    return True


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file still has this name."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False
