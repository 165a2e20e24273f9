"""Atomic writes: files and folders are written under a temporary name, then renamed.

Temporary names are unpredictable and made fresh, so none of them leads elsewhere; what a kill has left under such a
name is removed by the next writer of the same path. Nothing is written or removed through a link.
"""

import contextlib
import errno
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from yoso_cli.errors import DataError, RunError
from yoso_cli.locks import lock_of, remove_stale, sole_writer

# Half of a surrogate pair, as a file name that is not UTF-8 has, is no UTF-8 either; its escape is valid JSON.
_ESCAPED = "backslashreplace"

# Files of a folder from which on all of the system is synced at once.
_MANY = 1000

_PARTIAL, _OLD = ".partial", ".old"
# As tempfile names them, unpredictably: `.NAME.xxxxxxxx.partial`.
_TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.(?:partial|old)", re.DOTALL)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it replaces `path` in one step.

    A kill at any moment leaves either the old file or the new one. If the block raises, the temporary is removed.

    Raises:
        RunError: the disk is full, the place cannot be written, or another process is writing it.
    """
    with _alone(path):
        for leftover in _found_before(path.parent.absolute()).pop(path.name, ()):
            _remove_own(leftover)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_PARTIAL, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
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

    What earlier calls that were killed have left is removed.

    Raises:
        RunError: the disk is full, the place cannot be written, or another process is writing it.
    """
    with _alone(path):
        for leftover in _recovered(path):
            _remove_own(leftover)
        temporary = _made_folder(path)
        try:
            yield temporary
            files = [file for file in temporary.rglob("*") if file.is_file()]
            if len(files) > _MANY:
                # One call for tens of thousands of files: syncing each one takes longer than writing it.
                os.sync()
            else:
                for file in files:
                    _sync(file)
            _place(temporary, path)
        finally:
            remove(temporary)


@contextlib.contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Yields a folder beside `path`, for what goes into it, and removes it afterwards.

    Inside the block of `replacing(path)`: the next one removes what a kill has left.
    """
    temporary = _made_folder(path)
    try:
        yield temporary
    finally:
        remove(temporary)


@contextlib.contextmanager
def resumable_folder(path: Path) -> Iterator[Path]:
    """Yields a folder beside `path`; on success it becomes `path`.

    If the block raises, or the machine stops, the folder is kept and used again the next time. The caller checks which
    of its files are valid. One that another user made, or with a link in it, is not used: only what this function has
    written is resumed.

    Raises:
        RunError: the disk is full, the place cannot be written, or another process is writing it.
    """
    with _alone(path):
        found = sorted(filter(_is_own_folder, _recovered(path)), key=lambda one: one.lstat().st_mtime_ns)
        for superseded in found[:-1]:
            remove(superseded)
        temporary = found[-1] if found else _made_folder(path)
        try:
            yield temporary
            os.sync()  # as `replacing_folder` does for many files
            _place(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.rmdir()  # nothing was written yet


def recover(path: Path) -> None:
    """Puts a folder back that a kill has left moved aside (see `_place`); removes what is left of a finished writer.

    For whoever finds `path` complete and does not write it.

    Raises:
        RunError: the place cannot be written, or another process is writing it.
    """
    old = any(one.suffix == _OLD for one in _leftovers(path.parent).get(path.name, ()))
    if old or lock_of(path).exists():
        with _alone(path):
            _recovered(path)


def remove_leftovers(folder: Path) -> None:
    """Removes what killed writers have left in `folder`."""
    for name, leftovers in _leftovers(folder).items():
        with contextlib.suppress(RunError), sole_writer(folder / name):
            for leftover in leftovers:
                if leftover.suffix == _PARTIAL:
                    _remove_own(leftover)
    remove_stale(folder)


def remove_folder(path: Path) -> None:
    """Removes a folder, or a link to one alone; a kill leaves no part of it under its name.

    Raises:
        OSError: that is not possible.
    """
    if path.is_symlink():
        path.unlink()
        return
    with sole_writer(path):
        aside = _made_folder(path)
        try:
            path.replace(aside)  # a folder may be renamed over an empty one
        except OSError:
            aside.rmdir()
            raise
        shutil.rmtree(aside)


def traces(path: Path) -> set[Path]:
    """What a writer of `path` that was killed may have left beside it."""
    return {lock_of(path), *_leftovers(path.parent).get(path.name, ())}


def remove(path: Path) -> None:
    """Removes a file, a link (not what it points to), or a folder with all that is in it, as far as possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def make_inside(root: Path, folder: Path) -> None:
    """Makes `folder`, which is `root` or below it, and those between. `root` may be a link, nothing below it.

    Raises:
        DataError: one of them is a link.
        RunError: they cannot be made.
    """
    with reporting(folder):
        root.mkdir(parents=True, exist_ok=True)
        place = root
        for part in folder.relative_to(root).parts:
            place = place / part
            require_no_link(place)
            place.mkdir(exist_ok=True)


def require_no_link(path: Path) -> None:
    """Raises DataError for a link."""
    if path.is_symlink():
        raise DataError(
            f"{path}: is a link, and nothing is written through links.",
            hint="Replace it by a folder or file, or name another place to write to.",
        )


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content` to `path` in one step. Raises RunError as `replacing` does."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 `text` to `path` in one step. Raises RunError as `replacing` does."""
    write_bytes(path, text.encode())


def write_parts(path: Path, parts: Iterable[str]) -> None:
    """Writes UTF-8 text that comes in `parts`, and a line break after it. Raises RunError as `replacing` does."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", errors=_ESCAPED, newline="") as file:
        file.writelines(parts)
        file.write("\n")


def write_json(path: Path, value: Any, *, indent: int | None = None) -> None:
    """Writes `value` as JSON to `path` in one step. Raises RunError as `replacing` does."""
    text = json.dumps(value, indent=indent, ensure_ascii=False) + "\n"
    write_bytes(path, text.encode(errors=_ESCAPED))


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """In the block this process is the only one that writes `path`, whose folder is made.

    Raises:
        RunError: another one does, or an OSError of the block, with advice.
    """
    with reporting(path):
        _require_ordinary(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with sole_writer(path):
            yield


def _require_ordinary(path: Path) -> None:
    """Raises RunError for a device, a pipe or a socket, also behind a link: a rename would put a file in its place."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise RunError(f"{path}: is a device or pipe, which no file may replace.", hint="Name another path.")


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
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Choose a path that you may write to"
    # None: of a library in Rust, which raises its own for a full disk.
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, None)
    return "Free some space or choose another path" if full else "Choose another path"


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


def _leftovers(folder: Path) -> dict[str, list[Path]]:
    """The temporary files and folders of `replacing` and the others in `folder`, by the name they were made for."""
    found: dict[str, list[Path]] = {}
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if match := _TEMPORARY.fullmatch(entry.name):
                found.setdefault(match[1], []).append(folder / entry.name)
    return found


@lru_cache(maxsize=16)
def _found_before(folder: Path) -> dict[str, list[Path]]:
    """`_leftovers` when this process first wrote to `folder`: looking each time would take a second per 1000 files."""
    return _leftovers(folder)


def _recovered(path: Path) -> list[Path]:
    """The temporary folders that killed writers of `path` have left. If `path` was moved aside, it is put back."""
    found = _leftovers(path.parent).get(path.name, [])
    for aside in [one for one in found if one.suffix == _OLD and _is_own(one)]:
        if os.path.lexists(path):
            remove(aside)
        else:
            aside.replace(path)
    return [one for one in found if one.suffix == _PARTIAL]


def _is_own(path: Path) -> bool:
    """Whether it was made by this user, and is no link."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return found.st_uid == os.geteuid() and (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode))


def _is_own_folder(folder: Path) -> bool:
    """Whether `folder` was made by this user and holds folders and files alone."""
    if not _is_own(folder) or not folder.is_dir():
        return False
    for place, folders, files in os.walk(folder):
        if any(os.path.islink(os.path.join(place, name)) for name in (*folders, *files)):  # noqa: PTH114, PTH118
            return False
    return True


def _remove_own(path: Path) -> None:
    if _is_own(path):
        remove(path)


def _made_folder(path: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=_PARTIAL, dir=path.parent))


def _place(new: Path, path: Path) -> None:
    """Renames the folder `new` to `path`, as readable as the umask says, and removes what was there.

    A folder cannot be renamed over a non-empty one. Linux exchanges the two in one step. Elsewhere the old one is moved
    aside first; a kill right then leaves it there, and the next writer puts it back.
    """
    new.chmod(0o777 & ~_umask())
    if not os.path.lexists(path):
        new.replace(path)
        return
    # Under this name, what a kill leaves of the old one is never gone on with.
    aside = new.with_suffix(_OLD)
    new.replace(aside)
    try:
        exchanged = _exchange(aside, path)
    except OSError:
        aside.replace(new)
        raise
    if not exchanged:
        aside.replace(new)
        path.replace(aside)
        try:
            new.replace(path)
        except OSError:
            aside.replace(path)
            raise
    remove(aside)


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges the names of two files or folders in one step; False where the system cannot.

    Raises:
        OSError: the place cannot be written.
    """
    import ctypes

    # In glibc since 2.28, and in musl since 1.2.6; not on macOS.
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    here, exchanging = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if rename(here, os.fsencode(one), here, os.fsencode(other), ctypes.c_uint(exchanging)) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):  # an old kernel; a file system without exchange
        return False
    raise OSError(code, os.strerror(code), str(other))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
