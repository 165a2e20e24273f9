"""Atomic writes: files and folders are written under a temporary name, then renamed."""

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from yoso_cli.errors import RunError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it replaces `path` in one step.

    A kill at any moment leaves either the old file or the new one. If the block raises, the temporary is removed.

    Raises:
        RunError: the disk is full or the place cannot be written.
    """
    with reporting(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        os.close(handle)
    temporary = Path(name)
    try:
        with reporting(path):
            yield temporary
            _sync(temporary)
            # mkstemp makes files private; apply the user's umask instead.
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yields a temporary folder beside `path`; on success it replaces `path`, which may exist.

    Raises:
        RunError: the disk is full or the place cannot be written.
    """
    with reporting(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
    try:
        with reporting(path):
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    _sync(file)
            temporary.chmod(0o777 & ~_umask())
            _swap(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def resumable_folder(path: Path) -> Iterator[Path]:
    """Yields a folder beside `path`, always the same one; on success it becomes `path`.

    If the block raises, or the machine stops, the folder is kept and used again the next time. The caller checks which
    of its files are valid.

    Raises:
        RunError: another process is writing it, the disk is full or the place cannot be written.
    """
    import fcntl

    temporary = path.with_name(f".{path.name}.partial")
    with reporting(path):
        temporary.mkdir(parents=True, exist_ok=True)
        handle = os.open(temporary, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{path}: is being written by another process.", hint="Wait for it, or stop it.") from None
        with reporting(path):
            yield temporary
            # One call for tens of thousands of files: syncing each one takes longer than writing it.
            os.sync()
            _swap(temporary, path)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content` to `path` in one step. Raises RunError as `replacing` does."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 `text` to `path` in one step. Raises RunError as `replacing` does."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any, *, indent: int | None = None) -> None:
    """Writes `value` as JSON to `path` in one step. Raises RunError as `replacing` does."""
    # Half of a surrogate pair, as a file name that is not UTF-8 has, is no UTF-8 either; its escape is valid JSON.
    text = json.dumps(value, indent=indent, ensure_ascii=False) + "\n"
    write_bytes(path, text.encode(errors="backslashreplace"))


@contextlib.contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Turns an OSError of the block into a RunError with advice, for a full or read-only disk."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunError(
            f"{path}: cannot be written: {reason}.",
            hint=f"{advice(error)}; existing files are unchanged.",
        ) from error


def advice(error: OSError) -> str:
    """What to do about a path that cannot be written."""
    closed = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    return "Choose a path that you may write to" if closed else "Free some space or choose another path"


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


def _swap(new: Path, path: Path) -> None:
    """A folder cannot be renamed over a non-empty one: the old one is moved aside first, then removed."""
    if not path.exists():
        new.replace(path)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
    path.replace(aside / path.name)
    try:
        new.replace(path)
    except OSError:
        (aside / path.name).replace(path)
        aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
