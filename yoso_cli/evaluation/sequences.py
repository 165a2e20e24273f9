"""Which pictures of a set are the frames of one video, and in which order."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from yoso_cli.errors import DataError
from yoso_cli.panoptic.types import ImageRecord

# Of Cityscapes-VPS: 0005_0025_frankfurt_000000_001736_newImg8bit.png is a frame of video 0005.
_NUMBERED = re.compile(r"(\d+)_\d+")


@dataclass(frozen=True)
class Video:
    """The frames of one video, in their order; `name` is its id, or what the names of its files begin with."""

    name: str
    records: tuple[ImageRecord, ...]


def videos_of(records: Sequence[ImageRecord], where: str) -> tuple[Video, ...]:
    """The videos that pictures belong to, in the order of their first pictures.

    A picture's video is the `video_id` that the JSON gives it; where there are none, the folder of its file (as in
    VIPSeg), or the first number of a name that begins with two (as in Cityscapes-VPS). Frames are in the order of their
    files' names, in which numbers count as numbers.

    Args:
        records: the pictures.
        where: the set, for errors.

    Raises:
        DataError: a picture belongs to no video.
    """
    found: dict[str, list[ImageRecord]] = {}
    stated = any(record.video_id is not None for record in records)
    for record in records:
        name = str(record.video_id) if record.video_id is not None else "" if stated else _from_file(record.image_file)
        if not name:
            raise DataError(
                f"{where}: nothing says which video the picture {record.image_file} is a frame of.",
                hint="Add a video_id to each entry of 'images', or name its file VIDEO/FRAME.png.",
            )
        found.setdefault(name, []).append(record)
    return tuple(Video(name, tuple(sorted(frames, key=_natural))) for name, frames in found.items())


def _from_file(name: str) -> str:
    path = PurePosixPath(name)
    numbered = _NUMBERED.match(path.name)
    folder = str(path.parent)
    return folder if folder != "." else numbered[1] if numbered else ""


def _natural(record: ImageRecord) -> list[tuple[int, str]]:
    """`frame10` after `frame9`."""
    parts = re.split(r"(\d+)", record.image_file)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
