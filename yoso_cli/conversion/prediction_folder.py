"""A folder of predictions: files for other tools that appear as pictures are done, and a record that survives a kill.

    <folder>/predictions.json           what all was made with: weights, settings, formats; and counts
    <folder>/parts/1-of-1.jsonl         a line for each finished picture, of each process
    <folder>/panoptic.json, panoptic/   the format `panoptic`: a prepared split, with manifest.json written last
    <folder>/labelme/, masks/, ...      every other format in a folder of its name

A picture's files are written elsewhere and renamed to their places before its line is appended: whatever a line names
is whole. A place that is a link is replaced, and a folder that is a link is refused, so nothing outside is written.
"""

import fcntl
import json
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any

from yoso_cli.atomic import make_inside, remove, reporting, require_no_link, traces, write_json
from yoso_cli.conversion.category_file import CategoryTable
from yoso_cli.conversion.convert import InformationLoss, LabelWriter, SourcePicture
from yoso_cli.conversion.prediction_formats import FORMATS, PANOPTIC, Place, require_formats
from yoso_cli.errors import DataError, RunError, UsageError
from yoso_cli.locks import holder
from yoso_cli.panoptic.annotations import (
    categories_from_json,
    category_to_json,
    stays_inside,
)
from yoso_cli.panoptic.files import MANIFEST
from yoso_cli.panoptic.types import Category, Panoptic
from yoso_cli.runtime.checksum import KEY, checked_line, is_damaged, with_checksum
from yoso_cli.runtime.json_text import parse_json, read_json

PREDICTIONS_JSON = "predictions.json"
_PARTS = "parts"
_WORDS_FOR = {"image_dir": "folders of pictures", "categories": "classes", "edges": "sizes"}
_COMPLETE = {"complete": True}
_OF_THE_FOLDER = {"formats", "image_dir", "categories", "complete", "pictures_done", "losses", "listings"}


@dataclass(frozen=True)
class Part:
    """The share of one process: the `number`th (from 1) of `count`."""

    number: int
    count: int

    def share(self, items: Sequence[Any]) -> Sequence[Any]:
        """Every `count`th item: folders in which large pictures lie together are divided evenly."""
        return items[self.number - 1 :: self.count]

    @property
    def file(self) -> str:
        """Of its lines."""
        return f"{self.number}-of-{self.count}.jsonl"

    def __str__(self) -> str:
        return f"{self.number} of {self.count}"


WHOLE = Part(1, 1)
"""One process does it all."""


@dataclass(frozen=True)
class Line:
    """What is kept of a finished picture, or of a finished video.

    Attributes:
        name: of the picture.
        stamp: of its input, so that a changed one is predicted again; "" for a frame, which is no input by itself.
        files: relative to the folder.
        entries: of the listings, by format.
        losses: how often a format could not express something, by what that is.
    """

    name: str
    stamp: str
    files: tuple[str, ...] = ()
    entries: Mapping[str, Any] = field(default_factory=dict)
    losses: Mapping[str, int] = field(default_factory=dict)


class PredictionFolder:
    """The folder as one process writes it; use it as a context manager.

    Args:
        folder: made if it is not there.
        made_with: all that the predictions depend on beside the pictures; JSON values.
        formats: names of FORMATS.
        categories: the classes.
        image_dir: the folder of the pictures.
        part: the share of this process.

    Raises:
        UsageError: the folder has other files, or predictions that were made with something else.
        RunError: it cannot be written, or another process writes the same part.
    """

    def __init__(
        self,
        folder: Path,
        made_with: Mapping[str, Any],
        formats: Sequence[str],
        categories: Sequence[Category],
        image_dir: Path,
        part: Part = WHOLE,
    ) -> None:
        require_formats(formats)
        self.folder = folder
        self.part = part
        self._about = _about(made_with, formats, categories, image_dir)
        self._writers = _writers(folder, formats, categories, image_dir)
        self._count = count()
        _require_own(folder, self._about)

    def __enter__(self) -> "PredictionFolder":
        parts = self.folder / _PARTS
        with reporting(self.folder), ExitStack() as opened:
            parts.mkdir(parents=True, exist_ok=True)
            require_no_link(parts)
            require_no_link(parts / self.part.file)
            self._file = opened.enter_context((parts / self.part.file).open("a+b", buffering=0))
            self._lock()
            self._end_line()
            staging = tempfile.TemporaryDirectory(prefix=f".{self.part.number}.", suffix=".partial", dir=parts)
            self._staging = Path(opened.enter_context(staging))
            if not (self.folder / PREDICTIONS_JSON).exists():
                _write_about(self.folder, {**self._about, "complete": False})
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = f"another yoso is writing part {self.part} here{holder(self._file.fileno())}"
            raise RunError(f"{self.folder}: {who}.", hint="Wait for it, or stop it.") from None
        # Whoever has the lock is the only one: folders of this part are what a kill has left.
        for leftover in (self.folder / _PARTS).glob(f".{self.part.number}.*.partial"):
            remove(leftover)

    def _end_line(self) -> None:
        """After a kill in the middle of a line the next one begins anew."""
        if self._file.seek(0, os.SEEK_END) and os.pread(self._file.fileno(), 1, self._file.tell() - 1) != b"\n":
            self._file.write(b"\n")

    def finished(self) -> dict[str, str]:
        """The stamps of all inputs that are done, by name, whichever process did them, if their files are there."""
        lines = chain.from_iterable(_read_parts(self.folder).values())
        return {line.name: line.stamp for line in lines if line.stamp and self._has(line)}

    def write(
        self, picture: SourcePicture, panoptic: Panoptic, stamp: str, frame: Mapping[str, Any] | None = None
    ) -> Line:
        """Writes the files of one picture in every format. Threads may do this at once.

        Args:
            picture: its id, and its file relative to the folder of the pictures.
            panoptic: its segments.
            stamp: of its input; "" for a frame.
            frame: what the entry of a frame says besides: its video and its time. Its segments are tracks then.

        Raises:
            DataError: a format cannot hold it.
            RunError: the disk is full.
        """
        staging = self._staging / str(next(self._count))
        entries: dict[str, Any] = {}
        losses: Counter[InformationLoss] = Counter()
        with reporting(self.folder):
            for name, writer in self._writers.items():
                place = _folder_of(staging, name)
                place.mkdir(parents=True, exist_ok=True)
                entries[name], lost = writer.write(place, picture, panoptic)
                losses += lost
            if frame and PANOPTIC in entries:
                _add_frame(entries[PANOPTIC], frame)
            files = self._move_in(staging)
        told = {loss.value: count for loss, count in losses.items() if count}
        return Line(picture.stem, stamp, files, entries, told)

    def append(self, line: Line) -> None:
        """Appends the line of a finished input or frame. Raises RunError when the disk is full."""
        with reporting(self.folder):
            self._file.write(checked_line(line.__dict__))

    def finish(self) -> bool:
        """Marks this part as complete; the process that completes the last part joins the listings of all.

        Returns:
            Whether all is complete.
        """
        names = {line.name for line in _lines_of(self.folder / _PARTS / self.part.file)}
        with reporting(self.folder):
            self._file.write(checked_line({**_COMPLETE, "names": len(names)}))
        # Read once, and not before the mark: of two parts that end together, one sees the other's last lines.
        parts = _read_parts(self.folder)
        missing = incomplete_parts(self.folder, parts)
        if not missing:
            self.join(parts, complete=True)
        return not missing

    def join(self, parts: "_Parts", *, complete: bool) -> int:
        """Writes the listings of what is there; returns how many pictures they have.

        Args:
            parts: their lines.
            complete: whether that is all.

        Raises:
            RunError: the disk is full.
        """
        all_lines = chain.from_iterable(parts.values())
        by_name = {line.name: line for line in all_lines if self._is_whole(line)}
        lines = [by_name[name] for name in sorted(by_name)]
        staging = self._staging / "listings"
        with reporting(self.folder):
            # Without its manifest the set is not whole while the others are replaced.
            (self.folder / MANIFEST).unlink(missing_ok=True)
            for name, writer in self._writers.items():
                place = _folder_of(staging, name)
                place.mkdir(parents=True, exist_ok=True)
                with _of_damaged_lines(self.folder / _PARTS):
                    writer.finish(place, [line.entries[name] for line in lines])
            listings = self._move_in(staging)
        losses: Counter[str] = Counter()
        for line in lines:
            losses.update(line.losses)
        counts = {"complete": complete, "pictures_done": len(lines), "losses": dict(losses), "listings": listings}
        _write_about(self.folder, {**self._about, **counts})
        return len(lines)

    def _is_whole(self, line: Line) -> bool:
        """Whether it is that of a picture or frame with all of its files, in every format."""
        return self._writers.keys() <= line.entries.keys() and self._has(line)

    def _has(self, line: Line) -> bool:
        return all(stays_inside(file) and (self.folder / file).is_file() for file in line.files)

    def _move_in(self, staging: Path) -> tuple[str, ...]:
        """Renames all files below `staging` to their places; the manifest of a set comes last."""
        files = sorted((path for path in staging.rglob("*") if path.is_file()), key=lambda path: path.name == MANIFEST)
        names = [path.relative_to(staging) for path in files]
        for path, name in zip(files, names, strict=True):
            make_inside(self.folder, (self.folder / name).parent)
            path.replace(self.folder / name)
        shutil.rmtree(staging)
        return tuple(name.as_posix() for name in names)


@contextmanager
def _of_damaged_lines(parts: Path) -> Iterator[None]:
    """Raises DataError where an entry, which each format has in its own form, is of none."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError):
        hint = "Remove the folder and predict again."
        raise DataError(f"{parts}: has a line that is not as it was written.", hint=hint) from None


def _add_frame(entry: dict[str, Any], frame: Mapping[str, Any]) -> None:
    """Adds to a picture's entry the video that it is a frame of; the ids of its segments persist in the video."""
    entry["image"].update(frame)
    for info in entry["annotation"]["segments_info"]:
        info["track_id"] = info["id"]


def gather(folder: Path) -> tuple[int, list[str]]:
    """Joins the listings of all parts that are there.

    Returns:
        How many pictures they have, and the names of the parts that are not complete.

    Raises:
        DataError: there are no predictions.
    """
    about = _read_about(folder)
    formats, categories = about.get("formats"), about.get("categories")
    if not isinstance(formats, list) or not isinstance(categories, list) or not set(formats) <= set(FORMATS):
        raise DataError(f"{folder / PREDICTIONS_JSON}: does not say what the predictions were made with.")
    made_with = {name: value for name, value in about.items() if name not in _OF_THE_FOLDER}
    known = categories_from_json(categories)
    part = PredictionFolder(folder, made_with, formats, known, Path(str(about.get("image_dir"))), Part(0, 0))
    parts = _read_parts(folder)
    missing = incomplete_parts(folder, parts)
    with part:
        return part.join(parts, complete=not missing), missing


def remove_predictions(folder: Path) -> None:
    """Removes the predictions in a folder, and nothing else that may be in it.

    Raises:
        RunError: they cannot be removed.
    """
    if not (folder / PREDICTIONS_JSON).exists():
        return
    listings = _read_about(folder).get("listings", [])
    files = {file for lines in _read_parts(folder).values() for line in lines for file in line.files}
    files |= {file for file in listings if isinstance(file, str)} if isinstance(listings, list) else set()
    with reporting(folder):
        for path in sorted(folder / file for file in files if stays_inside(file)):
            if not any(above.is_symlink() for above in _between(folder, path)):
                path.unlink(missing_ok=True)
                _remove_empty(folder, path.parent)
        if not (folder / _PARTS).is_symlink():
            shutil.rmtree(folder / _PARTS, ignore_errors=True)
        # The folder stays one of predictions: a kill may have left files that no line names yet.
        _write_about(folder, {})


def _remove_empty(folder: Path, parent: Path) -> None:
    """Removes `parent` and the folders above it, below `folder`, that have nothing in them."""
    with suppress(OSError):
        while parent != folder:
            parent.rmdir()
            parent = parent.parent


def incomplete_parts(folder: Path, parts: "_Parts | None" = None) -> list[str]:
    """The names of the parts that are not complete: `2 of 4`; `parts` are their lines, if they are read already."""
    lines = _read_parts(folder) if parts is None else parts
    counts = {int(match[1]) for name in lines if (match := re.fullmatch(r"[1-9]\d*-of-([1-9]\d*)\.jsonl", name))}
    listed = [Part(number, count) for count in counts for number in range(1, count + 1)]
    return [str(one) for one in listed if not _is_complete(folder / _PARTS / one.file, lines.get(one.file, []))]


def _is_complete(path: Path, lines: Sequence[Line]) -> bool:
    """Whether the last line says so, and no line of those that were there then is damaged."""
    try:
        last = parse_json(path.read_bytes().splitlines()[-1], str(path))
    except (OSError, IndexError, DataError):
        return False
    if last == _COMPLETE:  # of an earlier version
        return True
    if is_damaged(last) or KEY not in last or last.get("complete") is not True:
        return False
    names = last.get("names")
    return isinstance(names, int) and len({line.name for line in lines}) >= names


def _folder_of(folder: Path, form: str) -> Path:
    """The place of a format: a prepared split is the folder itself."""
    return folder if form == PANOPTIC else folder / form


def _writers(
    folder: Path, formats: Sequence[str], categories: Sequence[Category], image_dir: Path
) -> dict[str, LabelWriter[Any]]:
    table, whole = CategoryTable.of(categories), folder.absolute()
    return {name: FORMATS[name](Place(table, image_dir, _folder_of(whole, name))) for name in formats}


def _about(
    made_with: Mapping[str, Any], formats: Sequence[str], categories: Sequence[Category], image_dir: Path
) -> dict[str, Any]:
    """What PREDICTIONS_JSON says, as it is read back."""
    listed = [category_to_json(category) for category in categories]
    told = {**made_with, "formats": sorted(formats), "image_dir": str(image_dir), "categories": listed}
    about: dict[str, Any] = json.loads(json.dumps(told))
    return about


def _write_about(folder: Path, about: Mapping[str, Any]) -> None:
    write_json(folder / PREDICTIONS_JSON, with_checksum(about), indent=2)


def _read_about(folder: Path) -> dict[str, Any]:
    about = read_json(folder / PREDICTIONS_JSON)
    if is_damaged(about):
        hint = "Remove the folder and predict again."
        raise DataError(f"{folder / PREDICTIONS_JSON}: is damaged: its checksum differs.", hint=hint)
    return {name: value for name, value in about.items() if name != KEY}


def _require_own(folder: Path, about: Mapping[str, Any]) -> None:
    """Raises UsageError unless `folder` is new, empty, or has predictions made with the very same."""
    path = folder / PREDICTIONS_JSON
    if not path.exists():
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder}: is a file; a folder is expected.")
        own = {_PARTS, *(one.name for one in traces(path))}
        if folder.is_dir() and any(one.name not in own for one in folder.iterdir()):
            raise UsageError(f"{folder}: has other files.", hint="Name a new folder with --output.")
        return
    before = _read_about(folder)
    if not before:  # they were removed
        return
    # The same weights may lie elsewhere now.
    differing = [name for name in about if name != "model" and before.get(name) != about[name]]
    if differing:
        told = ", ".join(_WORDS_FOR.get(name, name) for name in differing)
        raise UsageError(
            f"{folder}: has predictions that were made with other {told}.",
            hint="Name another folder, or add --force to replace them.",
        )


_Parts = Mapping[str, Sequence[Line]]
"""The lines of each part, by the name of its file."""


def _read_parts(folder: Path) -> _Parts:
    return {path.name: list(_lines_of(path)) for path in sorted((folder / _PARTS).glob("*.jsonl"))}


def _lines_of(path: Path) -> Iterator[Line]:
    """The lines of a part; one that is cut short or damaged is left out, so that its picture is predicted again."""
    try:
        texts = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from None
    for text in texts:
        with suppress(DataError, KeyError, TypeError, ValueError, AttributeError):
            content = parse_json(text, str(path))
            if not is_damaged(content):
                yield Line(
                    str(content["name"]),
                    str(content["stamp"]),
                    tuple(map(str, content["files"])),
                    dict(content["entries"]),
                    {str(loss): int(count) for loss, count in content["losses"].items()},
                )


def _between(folder: Path, path: Path) -> list[Path]:
    """The folders from `folder` (left out) down to `path` (left out)."""
    return [above for above in path.parents if above != folder and above.is_relative_to(folder)]
