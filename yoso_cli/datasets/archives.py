"""The files of a download, unpacked or still in their archives.

Archives are untrusted: only single members are read, and an archive with a member that points outside its folder is
refused as a whole.
"""

import os
import tarfile
import tempfile
import zipfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Protocol

from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic.annotations import stays_inside
from yoso_cli.panoptic.set_archive import BROKEN_ZIP, named_members

_ARCHIVES = (".zip", ".tar")
_DEPTH_OF_ANCHORS = 2
_INNER = "!/"
# Three times the largest published file, the JSON of COCO's training set; this detects zip bombs.
_LARGEST_MEMBER = 1 << 30
# Ten times the files of COCO's training set; the list of more would fill the memory.
_MOST_MEMBERS = 1_200_000
# Of a name or an attribute that a tar keeps in a block of its own; tarfile reads it into memory at once.
_LONGEST_EXTENSION = 1 << 20
_EXTENSIONS = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)
# tarfile raises ValueError for numbers and texts that are none, and IndexError for an attribute that is cut short.
_BROKEN = (*BROKEN_ZIP, OSError, tarfile.TarError)


@dataclass(frozen=True)
class StoredFile:
    """One file of a download.

    Attributes:
        path: the file, or the archive that it is in.
        member: its name in the archive; empty for a plain file; `a.zip!/b` is the member b of a zip in the archive.
        size: bytes.
    """

    path: Path
    member: str
    size: int

    def __str__(self) -> str:
        return f"{self.path}:{self.member}" if self.member else str(self.path)

    def read(self) -> bytes:
        """The content. Raises DataError when it is missing or cannot be read."""
        try:
            if not self.member:
                return self.path.read_bytes()
            archive, _, inner = self.member.partition(_INNER)
            return _opened_inner(self.path, archive).read(inner) if inner else _opened(self.path).read(archive)
        except FileNotFoundError:
            raise DataError(f"{self}: no such file.") from None
        except _BROKEN as error:
            raise DataError(f"{self}: cannot be read: {error}.", hint="Download it again.") from None


def stored_files(root: Path, anchors: Collection[str]) -> dict[str, StoredFile]:
    """Every file below the folders called `anchors`, unpacked or in a zip or tar, by its path from the anchor on.

    Args:
        root: the folder of the download; an anchor may be this folder or up to two levels deeper, an archive up to one.
        anchors: names of folders, like `gtFine`; a zip in an archive is looked into when it is called so.

    Raises:
        UsageError: no such folder.
        DataError: an archive that cannot be read or is refused.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder.", hint="--root must be the folder of the download.")
    found: dict[str, StoredFile] = {}
    for archive in sorted(
        path for suffix in _ARCHIVES for path in [*root.glob(f"*{suffix}"), *root.glob(f"*/*{suffix}")]
    ):
        for member, size in _opened(archive).sizes.items():
            name = _from_anchor(member, anchors)
            if name:
                found.setdefault(name, StoredFile(archive, member, size))
            above, stem, suffix = PurePosixPath(name).parent, PurePosixPath(name).stem, PurePosixPath(name).suffix
            if stem in anchors and suffix == ".zip":
                for inner, inner_size in _opened_inner(archive, member).sizes.items():
                    found.setdefault(str(above / inner), StoredFile(archive, f"{member}{_INNER}{inner}", inner_size))
    # What is unpacked goes before what is not.
    for anchor in _anchor_folders(root.resolve(), anchors, _DEPTH_OF_ANCHORS):
        for path in _files(anchor):
            found[path.relative_to(anchor.parent).as_posix()] = StoredFile(path, "", path.stat().st_size)
    return dict(sorted(found.items()))


def _from_anchor(member: str, anchors: Collection[str]) -> str:
    """The path from the first anchor on; empty where there is none."""
    parts = PurePosixPath(member).parts
    return "/".join(next((parts[place:] for place, part in enumerate(parts[:-1]) if part in anchors), ()))


def by_stem(found: Mapping[str, StoredFile], pattern: str) -> dict[str, StoredFile]:
    """Those of `found` in one folder, by name without suffix; `pattern` is like `training/images/*.jpg`."""
    folder, _, suffix = pattern.partition("*")
    return {
        name[len(folder) : -len(suffix)]: file
        for name, file in found.items()
        if name.startswith(folder) and name.endswith(suffix) and "/" not in name[len(folder) :]
    }


def _anchor_folders(folder: Path, anchors: Collection[str], depth: int) -> Iterator[Path]:
    if folder.name in anchors:
        yield folder
    elif depth:
        for inner in sorted(folder.iterdir()):
            if inner.is_dir() and not inner.name.startswith("."):
                yield from _anchor_folders(inner, anchors, depth - 1)


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names if not name.startswith("."))


class _Archive(Protocol):
    """An archive that is open for reading."""

    sizes: dict[str, int]

    def read(self, member: str) -> bytes: ...


class _Zip:
    def __init__(self, path: Path) -> None:
        self._file = zipfile.ZipFile(path)
        if len(self._file.infolist()) > _MOST_MEMBERS:
            raise zipfile.BadZipFile(f"it has more than {_MOST_MEMBERS} members")
        self.sizes = {one.filename: one.file_size for one in named_members(self._file) if not one.is_dir()}

    def read(self, member: str) -> bytes:
        return self._file.read(member)


class _TarMember(tarfile.TarInfo):
    """A member of a tar that is read forwards only, and whose damage is never taken for its end.

    Before Python 3.11.14 a negative size, plain or as an attribute, makes tarfile go back and read the same header for
    ever (CVE-2025-8194); and every version ends its list at a damaged header that is not the first one.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_TarMember":
        """The member of one header."""
        found = super().frombuf(buf, encoding, errors)
        if found.type in _EXTENSIONS and found.size > _LONGEST_EXTENSION:
            raise tarfile.ReadError("a name or attribute is too long")
        return found

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> "_TarMember":
        """The next member."""
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # typeshed lacks it
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None

    def _block(self, count: int) -> int:
        """The place of the next header; tarfile calls it with each size that it goes by."""
        if count < 0:
            raise tarfile.ReadError("a size is negative")
        return super()._block(count)  # type: ignore[misc,no-any-return]


class _Tar:
    def __init__(self, path: Path) -> None:
        self._path = path
        size = path.stat().st_size
        self._members: dict[str, tarfile.TarInfo] = {}
        with tarfile.open(path, "r:", tarinfo=_TarMember) as file:
            for count, member in enumerate(file):
                if count == _MOST_MEMBERS:
                    raise tarfile.ReadError(f"it has more than {_MOST_MEMBERS} members")
                if member.isreg() and not member.issparse():
                    if member.offset_data + member.size > size:
                        raise tarfile.ReadError(f"{member.name!r} is cut short")
                    self._members[member.name] = member
        self.sizes = {name: one.size for name, one in self._members.items()}

    def read(self, member: str) -> bytes:
        with self._path.open("rb") as file:
            file.seek(self._members[member].offset_data)
            content = file.read(self._members[member].size)
        if len(content) < self._members[member].size:
            raise tarfile.ReadError("unexpected end of data")
        return content


def _opened(path: Path) -> _Archive:
    return _open(path, path.stat().st_mtime_ns)


# Opening reads the list of tens of thousands of members, so each process does it once.
@lru_cache(maxsize=4)
def _open(path: Path, changed: int) -> _Archive:
    del changed
    try:
        archive: _Archive = _Zip(path) if path.suffix == ".zip" else _Tar(path)
    except _BROKEN as error:
        raise DataError(f"{path}: is not a complete archive: {error}.", hint="Download it again.") from None
    _refuse_climbing(archive, str(path))
    return archive


def _opened_inner(path: Path, member: str) -> _Archive:
    return _open_inner(path, member, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _open_inner(path: Path, member: str, changed: int) -> _Archive:
    """A zip in an archive, as COCO ships its PNGs: extracted to a temporary file of the process."""
    del changed
    # Extracted beside the archive: the temporary folder may be in memory.
    place = path.parent if os.access(path.parent, os.W_OK) else None
    try:
        with tempfile.NamedTemporaryFile(dir=place) as copy:
            copy.write(_opened(path).read(member))
            copy.flush()
            archive = _Zip(Path(copy.name))
    except _BROKEN as error:
        raise DataError(f"{path}:{member}: is not a complete archive: {error}.", hint="Download it again.") from None
    _refuse_climbing(archive, f"{path}:{member}")
    return archive


def _refuse_climbing(archive: _Archive, where: str) -> None:
    for name, size in archive.sizes.items():
        if not stays_inside(name):
            raise DataError(
                f"{where}: has the member {name!r}, which is outside the folder; the archive is refused.",
                hint="Download it again from its source; the published one has no such member.",
            )
        if size > _LARGEST_MEMBER:
            raise DataError(f"{where}: has the member {name!r} of {size} bytes, which no published file has.")
