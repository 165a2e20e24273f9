"""What of a split is done already, so that interrupted work goes on: a line for each picture, after its files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from yoso_cli.panoptic.types import ImageRecord, Segment

_NAME = "journal.jsonl"


@dataclass(frozen=True)
class Done:
    """A picture that is converted, and the bytes of each file written for it, by path from the split's folder."""

    record: ImageRecord
    files: Mapping[str, int]


class Journal:
    """The journal of the split that is being made in `folder`, of work with these `parameters` alone.

    A context manager: `add` works inside its block.
    """

    def __init__(self, folder: Path, parameters: Mapping[str, Any]) -> None:
        self._folder = folder
        self._path = folder / _NAME
        self._first = json.dumps(parameters, sort_keys=True)
        self.done = {one.record.image_id: one for one in self._read() if self._is_there(one)}

    def __enter__(self) -> "Journal":
        # Rewritten, because a kill may have cut the last line.
        self._file = self._path.open("w", buffering=1, encoding="utf-8")
        self._file.write(self._first + "\n")
        for one in self.done.values():
            self._file.write(_line(one))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, done: Done) -> None:
        """Notes that the files of a picture are written."""
        self.done[done.record.image_id] = done
        self._file.write(_line(done))

    def remove(self) -> None:
        """Takes the journal away: the split is whole and needs none."""
        self._path.unlink()

    def _read(self) -> list[Done]:
        try:
            first, *lines = self._path.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            return []
        found = []
        for line in lines if first == self._first else []:
            try:
                found.append(_parsed(line))
            except (ValueError, TypeError):
                break
        return found

    def _is_there(self, done: Done) -> bool:
        """A power cut may lose the content of files that the journal knows."""
        try:
            return all((self._folder / name).stat().st_size == size for name, size in done.files.items())
        except OSError:
            return False


def _line(done: Done) -> str:
    record = done.record
    segments = [[one.id, one.category_id, one.area, one.bbox, one.iscrowd] for one in record.segments]
    place = [record.image_id, record.image_file, record.panoptic_file, record.height, record.width]
    return json.dumps([place, segments, dict(done.files)]) + "\n"


def _parsed(line: str) -> Done:
    (image_id, image_file, panoptic_file, height, width), entries, files = json.loads(line)
    segments = tuple(
        Segment(segment_id, category_id, area, tuple(bbox), iscrowd)
        for segment_id, category_id, area, bbox, iscrowd in entries
    )
    return Done(ImageRecord(image_id, image_file, panoptic_file, height, width, segments), files)
