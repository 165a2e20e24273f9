"""Which pictures belong together, such as the frames of a scene: by video, folder, a part of the name, or a table."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic.types import ImageRecord
from yoso_cli.runtime.words import counted, shortened

_FOLDER = re.compile(r"folder(?::([1-9][0-9]?))?")
_TABLES = {".csv": ",", ".tsv": "\t"}


def groups_of(records: Sequence[ImageRecord], how: str = "") -> list[str]:
    """The group of each picture.

    Args:
        records: the pictures.
        how: `folder` (the folder of the picture's file), `folder:N` (the first N folders of its path), `video`, a
            table FILE.csv or FILE.tsv (the picture's file and its group in two columns), or a regular expression, whose
            first parentheses, or else all of it, are the group's name in the picture's file. Empty: by video where the
            set says so, else each picture by itself.

    Raises:
        UsageError: `how` is none of these.
        DataError: a picture has no group.
    """
    if not how:
        of_videos = bool(records) and all(record.video_id is not None for record in records)
        return [f"{one.video_id!r}" if of_videos else one.image_file for one in records]
    if match := _FOLDER.fullmatch(how):
        return _checked([_folder(one, int(match[1] or 0)) for one in records], records, how)
    if how == "video":
        videos = [None if one.video_id is None else f"{one.video_id!r}" for one in records]
        return _checked(videos, records, how)
    if Path(how).suffix.lower() in _TABLES:
        table = _table(Path(how))
        return _checked([table.get(one.image_file) for one in records], records, how)
    try:
        pattern = re.compile(how)
    except re.error as error:
        raise UsageError(f"--group {how}: is no regular expression: {error}.", hint=_HINT) from None
    matches = [pattern.search(one.image_file) for one in records]
    found = [match and match.group(min(1, pattern.groups)) for match in matches]
    return _checked(found, records, how)


_HINT = "It may also be folder, folder:1, video, or a table such as scenes.csv."


def _folder(record: ImageRecord, levels: int) -> str | None:
    folders = PurePosixPath(record.image_file).parts[:-1]
    if not folders or len(folders) < levels:
        return None
    return "/".join(folders[: levels or None])


def _table(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file, delimiter=_TABLES[path.suffix.lower()]) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    short = next((place for place, row in enumerate(rows, start=1) if len(row) < 2), None)
    if short:
        raise DataError(f"{path}:{short}: has one column; a picture's file and its group are expected.")
    return {row[0]: row[1] for row in rows}


def _checked(found: Sequence[str | None], records: Sequence[ImageRecord], how: str) -> list[str]:
    missing = [one.image_file for one, group in zip(records, found, strict=True) if group is None]
    if missing:
        count = f"{len(missing)} of {counted(len(records), 'picture')}"
        raise DataError(f"--group {how}: {count} would have no group: {shortened(missing, 3)}.", hint=_HINT)
    return [group for group in found if group is not None]
