"""A panoptic set in a zip: what evaluation servers take, or a folder of predictions that somebody packed.

    results.json, results/*.png             COCO's result format
    sent/panoptic.json, sent/panoptic/*.png, sent/manifest.json
    results.json, *.png                     all in one folder

A zip is untrusted: its files are unpacked into a temporary folder, only those that are needed, and one that would leave
that folder, is a link or unpacks to more than any set has is refused.
"""

import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from yoso_cli.errors import DataError, ProblemsError, RunError
from yoso_cli.panoptic.annotations import stays_inside
from yoso_cli.panoptic.files import LISTING, MANIFEST
from yoso_cli.runtime.words import shortened

# What a submission of all test pictures of the largest set comes to; more is an attack on the disk.
_MOST_BYTES = 64 << 30
# Ten times the pictures of COCO's training set.
_MOST_MEMBERS = 1_200_000
_START = b"PK\x03\x04"
BROKEN_ZIP = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError),
    *(ValueError, IndexError, OverflowError),  # damaged offsets and names, before Python 3.12
)
"""What zipfile raises for a damaged archive, besides OSError."""


def is_zip(path: Path) -> bool:
    """Whether `path` is a zip, by its name or its first bytes."""
    if path.suffix.lower() == ".zip":
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(_START)) == _START
    except OSError:
        return False


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """`path`, or what a zip at `path` holds while the block runs: a JSON, or the folder of a prepared set.

    Raises:
        DataError: the zip is missing, damaged or refused, or holds no JSON with PNGs; also what the block raises, with
            the zip in the names of files.
        RunError: the disk has no room for it.
    """
    if not is_zip(path) or path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="yoso-") as name:
        folder = Path(name)
        try:
            listing = _unpack(path, folder)
        except FileNotFoundError:
            raise DataError(f"{path}: no such file.") from None
        except BROKEN_ZIP as error:
            raise DataError(f"{path}: is not a complete zip: {error}.", hint="Fetch or write it again.") from None
        try:
            yield listing.parent if (listing.parent / MANIFEST).is_file() else listing
        except DataError as error:
            error.message, error.hint = (one.replace(str(folder), str(path)) for one in (error.message, error.hint))
            if isinstance(error, ProblemsError):
                error.where = error.where.replace(str(folder), str(path))
                error.problems = [one.replace(str(folder), str(path)) for one in error.problems]
            raise


def _unpack(path: Path, folder: Path) -> Path:
    """Unpacks what belongs to the set into `folder`, and gives the JSON there."""
    with _opened(path) as archive:
        members = _members(path, archive)
        listing = _listing(path, members)
        needed = {name: info for name, info in members.items() if _belongs(name, listing)}
        # In some layouts they lie beside the folder of the JSON.
        if not any(_is_png(name) for name in needed):
            needed |= {name: info for name, info in members.items() if _is_png(name)}
        total = sum(info.file_size for info in needed.values())
        if total > shutil.disk_usage(folder).free:
            raise RunError(
                f"{path}: unpacks to {total / 2**30:.1f} GiB, and {folder.parent} has no room for it.",
                hint="Set TMPDIR to a folder on a larger disk, or unpack it yourself.",
            )
        for name, info in needed.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file)
    return folder / listing


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise
    except OSError as error:  # of an offset outside the file as well
        raise zipfile.BadZipFile(error.strerror or str(error)) from error


def named_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The members. Raises BadZipFile where one has no name: `is_dir()` fails there, before Python 3.12."""
    if not all(archive.namelist()):
        raise zipfile.BadZipFile("a member has no name")
    return archive.infolist()


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The files by name with forward slashes, those of file managers aside; an archive that may do harm is refused."""
    found: dict[str, zipfile.ZipInfo] = {}
    infos = named_members(archive)
    if len(infos) > _MOST_MEMBERS:
        raise DataError(f"{path}: has {len(infos)} files, more than any set.")
    for info in infos:
        # Some tools on Windows write backslashes.
        name = info.filename.replace("\\", "/")
        if not stays_inside(name) or stat.S_ISLNK(info.external_attr >> 16):
            raise DataError(f"{path}: its member {info.filename!r} does not stay inside the archive.")
        parts = PurePosixPath(name).parts
        if not name.endswith("/") and not any(one.startswith((".", "__MACOSX")) for one in parts):
            found["/".join(parts)] = info
    total = sum(info.file_size for info in infos)
    if total > _MOST_BYTES:
        raise DataError(f"{path}: would unpack to {total >> 30} GiB, more than any submission has.")
    return found


def _listing(path: Path, members: Mapping[str, zipfile.ZipInfo]) -> str:
    """The JSON that has PNGs beside it, in a folder of its name if there are several."""
    listings = [name for name in members if name.lower().endswith(".json")]
    pngs = {str(PurePosixPath(name).parent) for name in members if _is_png(name)}
    for places in (_own_folder, _set_folder, _same_folder):
        fitting = [name for name in listings if places(PurePosixPath(name)) in pngs]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            break
    else:
        fitting = listings if len(listings) == 1 else []
        if fitting:
            return fitting[0]
    several = f"holds {len(listings)} JSON files" + (f": {shortened(listings)}" if listings else "")
    raise DataError(
        f"{path}: {several}; one with its PNGs in a folder of the same name is expected.",
        hint="Unpack it, and name the JSON.",
    )


def _own_folder(listing: PurePosixPath) -> str:
    return str(listing.with_suffix(""))


def _set_folder(listing: PurePosixPath) -> str:
    return str(listing.parent / "panoptic") if listing.name == LISTING else ""


def _same_folder(listing: PurePosixPath) -> str:
    return str(listing.parent)


def _belongs(name: str, listing: str) -> bool:
    """The JSON, its manifest, and PNGs below its folder."""
    above = PurePosixPath(listing).parent
    inside = above == PurePosixPath() or PurePosixPath(name).is_relative_to(above)
    return name in (listing, str(above / MANIFEST)) or (inside and _is_png(name))


def _is_png(name: str) -> bool:
    return name.lower().endswith(".png")
