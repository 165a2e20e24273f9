"""Sets that are made of others: photos stay where they are, label maps are linked, or written anew where ids change.

A linked map is the same file under a second name (a hard link): it takes no room, and stays when the other set goes.
"""

import errno
import os
import shutil
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from yoso_cli.datasets.class_mapping import ClassChange
from yoso_cli.errors import DataError
from yoso_cli.panoptic.files import SetWriter, encode_id_map, read_panoptic
from yoso_cli.panoptic.packed_segments import PackedSegments
from yoso_cli.panoptic.types import Category, ImageRecord, PanopticSet
from yoso_cli.runtime.progress import SILENT, Progress, tracked
from yoso_cli.runtime.words import shortened
from yoso_cli.runtime.workers import mapped

_PANOPTIC = "panoptic"
# Where no second name can be given: another disk, a file system without links, a file of somebody else's.
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS)


@dataclass(frozen=True)
class Origin:
    """A set that pictures are taken from.

    Attributes:
        panoptic_set: its folders are what counts.
        change: of its classes; None to take segments as they are.
    """

    panoptic_set: PanopticSet
    change: ClassChange | None = None


class Member(NamedTuple):
    """A picture of the new set: the place of its origin, what that lists, and what the new one does, segments aside."""

    origin: int
    record: ImageRecord
    listed: ImageRecord


@dataclass(frozen=True)
class SetPlan:
    """A set to make.

    Attributes:
        name: of the dataset.
        split: of the dataset.
        categories: of the new set.
        image_dir: the folder of the photos.
        origins: where pictures come from.
        members: the pictures.
        notes: for the manifest.
    """

    name: str
    split: str
    categories: tuple[Category, ...]
    image_dir: Path
    origins: tuple[Origin, ...]
    members: Sequence[Member]
    notes: Mapping[str, Any]


def write_set(plan: SetPlan, folder: Path, *, root: Path, workers: int = 1, progress: Progress = SILENT) -> PanopticSet:
    """Writes a set into `folder`, an empty one.

    Args:
        plan: what to write.
        folder: to write into.
        root: the folder of all datasets; photos below it are named relative to `folder`, others absolutely.
        workers: processes.
        progress: shows progress.

    Raises:
        DataError: a label map is missing, or contradicts the JSON where it has to be changed.
        RunError: a worker was killed.
        OSError: the disk is full.
    """
    origins = tuple(replace(one, panoptic_set=replace(one.panoptic_set, records=())) for one in plan.origins)
    image_dir = plan.image_dir.resolve()
    top = root.resolve()
    inside = image_dir.is_relative_to(top) and top != top.parent
    stored = os.path.relpath(image_dir, folder.resolve()) if inside else str(image_dir)
    writer = SetWriter(folder, plan.name, plan.split, plan.categories, image_dir=stored, notes=plan.notes)
    with closing(mapped(_Placing(origins, folder), plan.members, workers=workers, at_once=32)) as placed:
        for record in tracked(placed, len(plan.members), f"writing {plan.split}", progress):
            writer.add(record)
    return writer.finish()


@dataclass(frozen=True)
class _Placing:
    """Puts the label map of a picture in its place; can be sent to another process."""

    origins: tuple[Origin, ...]
    folder: Path

    def __call__(self, member: Member) -> ImageRecord:
        """The picture as the new set lists it."""
        origin = self.origins[member.origin]
        source, change = origin.panoptic_set, origin.change
        target = self.folder / _PANOPTIC / member.listed.panoptic_file
        target.parent.mkdir(parents=True, exist_ok=True)
        if change is None or not change.new_ids(member.record.segments):
            _link(source.panoptic_path(member.record), target)
            segments = member.record.segments if change is None else change.segments(member.record.segments)
            return replace(member.listed, segments=PackedSegments.of(segments))
        panoptic = change.applied(read_panoptic(source, member.record))
        target.write_bytes(encode_id_map(panoptic.id_map))
        return replace(member.listed, segments=PackedSegments.of(panoptic.segments))


def _link(source: Path, target: Path) -> None:
    try:
        # A link to a link would lead elsewhere from its new place.
        if not stat.S_ISLNK(source.lstat().st_mode):
            os.link(source, target)
            return
    except FileNotFoundError:
        raise DataError(f"{source}: no such file.", hint="`yoso check` reports all that is missing.") from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    try:
        shutil.copyfile(source, target)
    except (FileNotFoundError, IsADirectoryError, shutil.SpecialFileError):
        raise DataError(f"{source}: is no file.", hint="`yoso check` reports all that is missing.") from None


def require_distinct(records: Sequence[ImageRecord], where: str) -> None:
    """Raises DataError where a photo or a label map is listed twice, so that it is unclear which labels it has."""
    for kind, files in (
        ("photos", [record.image_file for record in records]),
        ("label maps", [record.panoptic_file for record in records]),
    ):
        twice = [file for file, count in Counter(files).items() if count > 1]
        if twice:
            raise DataError(
                f"{where}: {len(twice)} {kind} are there more than once: {shortened(twice, 3)}.",
                hint="Take each picture from one set only.",
            )
