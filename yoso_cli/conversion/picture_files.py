"""Pictures and label maps in folders: which belongs to which, and what is left over."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags

from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic.photos import opened_photo
from yoso_cli.runtime.words import shortened

# With these the picture is shown with width and height exchanged.
_TURNED = (5, 6, 7, 8)


@dataclass(frozen=True)
class Found:
    """The files of a folder with the wanted suffixes, by their path without suffix, and those with other ones."""

    by_stem: dict[str, str]
    others: tuple[str, ...]


def find_files(folder: Path, suffixes: Iterable[str], *, what: str, ending: str = "") -> Found:
    """Every file below `folder`, hidden ones and those of file managers aside, relative to it with forward slashes.

    Args:
        folder: to look into.
        suffixes: of the wanted files, in lower case; a file's own may be in any.
        what: names the files in what is raised.
        ending: of the wanted files' names, as in NAME_mask.png; it is no part of the name.

    Raises:
        UsageError: there is no such folder.
        DataError: two files differ in their suffix alone, so that it is unclear which one is meant.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; {what} are expected there.", hint=_WHERE.get(what, ""))
    wanted = set(suffixes)
    by_stem: dict[str, str] = {}
    others = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or any(part.startswith(".") or part in LEFT_BY_SYSTEMS for part in name.split("/")):
            continue
        stem = name.rpartition(".")[0]
        if path.suffix.lower() not in wanted or not stem.endswith(ending):
            others.append(name)
            continue
        stem = stem.removesuffix(ending)
        if stem in by_stem:
            raise DataError(f"{path}: {by_stem[stem]} beside it has the same name.", hint="Keep one of them.")
        by_stem[stem] = name
    return Found(by_stem, tuple(others))


LEFT_BY_SYSTEMS = frozenset({"Thumbs.db", "ehthumbs.db", "desktop.ini", "__MACOSX"})
"""Files and folders that file managers leave, beside hidden ones."""

_WHERE = {
    "pictures": "Name the folder with --images.",
    "semantic maps": "Name the folder with --semantic.",
    "instance maps": "Name the folder with --instances; a dataset without things needs none.",
}


def lacking(has: Iterable[str], needs: Iterable[str], sentence: str) -> tuple[str, ...]:
    """`sentence`, with what of `needs` is not in `has` in place of `{}`; nothing where all is there."""
    missing = sorted(set(needs) - set(has))
    return (sentence.format(listed(missing)),) if missing else ()


def listed(names: Sequence[str]) -> str:
    """`3 (a, b, c)`; of many names the first five."""
    return f"{len(names)} ({shortened(names)})"


def read_names(path: Path) -> tuple[str, ...]:
    """The names in a list of pictures, one a line, as in VOC's ImageSets; what follows a name on its line is left out.

    Raises:
        DataError: it is no text, or names nothing.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise DataError(f"{path}: cannot be read: {reason}.", hint="It must name a picture on each line.") from None
    names = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not names:
        raise DataError(f"{path}: names no picture.")
    return names


def chosen(names: Iterable[str], stems: Iterable[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Which of `stems` a list of names means, by the name, and the names that mean none.

    A name may have a suffix, be followed by other words, or leave the folders out.
    """
    whole = set(stems)
    last: dict[str, str] = {}
    for stem in whole:
        last.setdefault(stem.rpartition("/")[2], stem)
    found, missing = {}, []
    for name in names:
        first = name.split()[0]
        tried = (name, name.rpartition(".")[0], first, first.rpartition(".")[0])
        meant = [one for one in tried if one in whole] or [last[one] for one in tried if one in last]
        if meant:
            found[name] = meant[0]
        else:
            missing.append(name)
    return found, tuple(missing)


def require_size(path: Path, height: int, width: int) -> None:
    """Compares the size of the picture `path` with that of its labels; reads its header only.

    Raises:
        DataError: missing, no picture, or of another size as a photo viewer shows it; says so if its labels were
            drawn without regard to its EXIF orientation.
    """
    with opened_photo(path, str(path)) as image:
        wide, high = image.size
        turned = image.getexif().get(ExifTags.Base.Orientation) in _TURNED
    shown = (wide, high) if turned else (high, wide)
    if shown == (height, width):
        return
    if turned and (high, wide) == (height, width):
        raise DataError(
            f"{path}: its EXIF orientation makes it {high}x{wide}, but its labels are {width}x{height}.",
            hint="The labels match the picture as stored: save it without the EXIF orientation.",
        )
    raise DataError(f"{path}: is {shown[1]}x{shown[0]} where its labels are {width}x{height}.")
