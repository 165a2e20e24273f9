"""Sets from other sets: divide, select, merge, and change their classes. Photos stay where they are."""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from yoso_cli.api.truth_pictures import read_split_of
from yoso_cli.atomic import replacing_folder
from yoso_cli.conversion.mapping_file import read_mapping
from yoso_cli.datasets.class_mapping import ClassMapping, changed_classes, merged_classes
from yoso_cli.datasets.derived_set import Member, Origin, SetPlan, require_distinct, write_set
from yoso_cli.datasets.division import REST, Part, divided, sizes_of
from yoso_cli.datasets.grouping import groups_of
from yoso_cli.datasets.selection import Selection
from yoso_cli.datasets.spec import is_prepared
from yoso_cli.drawing.style import chosen
from yoso_cli.errors import DataError, UsageError
from yoso_cli.inspection.split import Split, find_splits
from yoso_cli.panoptic.files import read_set
from yoso_cli.panoptic.packed_segments import SegmentTable
from yoso_cli.panoptic.types import ImageRecord, PanopticSet
from yoso_cli.runtime.machine import usable_cores
from yoso_cli.runtime.progress import SILENT, Progress


@dataclass(frozen=True)
class MadeSet:
    """A set that was made.

    Attributes:
        folder: of the split.
        panoptic_set: what it holds.
        segments: in all of it, crowds aside.
        crowds: segments that are crowds.
        shown: the ids of the classes that have a segment.
    """

    folder: Path
    panoptic_set: PanopticSet
    segments: int
    crowds: int
    shown: frozenset[int]

    @classmethod
    def at(cls, folder: Path) -> "MadeSet":
        """The set that was written there."""
        found = read_set(folder)
        table = SegmentTable.of(found.records)
        shown = frozenset(np.unique(table.category_id).tolist())
        crowds = int(table.iscrowd.sum())
        return cls(folder, found, len(table.image) - crowds, crowds, shown)


def split_dataset(
    dataset: str | Path,
    destination: str | Path | None = None,
    *,
    into: Mapping[str, float | int | str],
    group: str = "",
    stratify: bool = False,
    seed: int = 0,
    root: str | Path = "datasets",
    force: bool = False,
    progress: Progress = SILENT,
) -> list[MadeSet]:
    """Divides a set into parts, such as train and val. Each picture is in one of them.

    Args:
        dataset: a prepared split, a dataset below `root` that has one split, or a COCO panoptic JSON.
        destination: the folder of the new dataset; a part is written to `destination`/NAME. By default that of
            `dataset` with `-split` at its end.
        into: name -> a share (a float, 0..1), a number of pictures (an int), or "rest".
        group: how pictures belong together, which then stay in one part (see `grouping.groups_of`).
        stratify: spread the classes evenly.
        seed: of the draw.
        root: the folder of all datasets.
        force: replace prepared splits at these places.
        progress: shows progress.

    Raises:
        UsageError: there is no such set, a place is taken, or the parts make no sense.
        DataError: the set cannot be read, or a picture has no group.
        RunError: the disk is full or the place cannot be written.
    """
    source = _read(dataset, Path(root))
    folder = Path(destination) if destination else _beside(source, "split")
    parts = [_part(name, wanted) for name, wanted in into.items()]
    wanted = sizes_of(parts, len(source.found.records))
    groups = groups_of(source.found.records, group)
    places = divided(groups, wanted, seed=seed, classes=_classes(source.found) if stratify else None)
    notes = {"made_by": "split", "group": group, "stratify": stratify, "seed": seed}
    plans = {}
    for number, part in enumerate(parts):
        records = [record for record, place in zip(source.found.records, places, strict=True) if place == number]
        plans[folder / part.name] = _plan(source, folder / part.name, records, notes)
    return _written(plans, [source], root, force, 1, progress)


def subset_dataset(
    dataset: str | Path,
    destination: str | Path,
    *,
    classes: Sequence[str] = (),
    min_size: int = 0,
    max_size: int | None = None,
    names: Sequence[str] | None = None,
    count: int | None = None,
    share: float | None = None,
    seed: int = 0,
    root: str | Path = "datasets",
    force: bool = False,
    progress: Progress = SILENT,
) -> MadeSet:
    """Takes some pictures of a set, with all of their labels.

    Args:
        dataset: as for `split_dataset`.
        destination: the folder of the new split.
        classes: only pictures that show one of these.
        min_size: of the short edge, pixels.
        max_size: of the long edge, pixels.
        names: only these files; folder and suffix may be left out.
        count: of pictures, drawn at random from those that fit.
        share: the same as a share of them, 0..1.
        seed: of the draw.
        root: the folder of all datasets.
        force: replace a prepared split at `destination`.
        progress: shows progress.

    Raises:
        UsageError: there is no such set or class, or the place is taken.
        DataError: the set cannot be read, or no picture fits.
        RunError: the disk is full or the place cannot be written.
    """
    source = _read(dataset, Path(root))
    ids = chosen(classes, source.found.categories) if classes else frozenset[int]()
    selection = Selection(ids, min_size, max_size, None if names is None else tuple(names), count, share, seed)
    records = selection.of(source.found.records)
    folder = Path(destination)
    notes = {"made_by": "subset", "seed": seed}
    (made,) = _written({folder: _plan(source, folder, records, notes)}, [source], root, force, 1, progress)
    return made


def remap_dataset(
    dataset: str | Path,
    destination: str | Path,
    mapping: str | Path | ClassMapping,
    *,
    root: str | Path = "datasets",
    force: bool = False,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> MadeSet:
    """Changes the classes of a set: renames and joins them, drops them to void, makes stuff of things.

    Args:
        dataset: as for `split_dataset`.
        destination: the folder of the new split.
        mapping: what becomes of each class, or a YAML file that says so (`conversion.mapping_file`).
        root: the folder of all datasets.
        force: replace a prepared split at `destination`.
        workers: processes; one for each core by default.
        progress: shows progress.

    Raises:
        UsageError: there is no such set or class, the mapping contradicts itself, or the place is taken.
        DataError: the set cannot be read, or its JSON and a label map contradict each other.
        RunError: the disk is full or the place cannot be written.
    """
    source = _read(dataset, Path(root))
    known, where = _mapping(mapping)
    change = changed_classes(source.found.categories, known, where)
    folder = Path(destination)
    plan = _plan(source, folder, source.found.records, {"made_by": "remap"})
    plan = replace(plan, categories=change.categories, origins=(Origin(source.found, change),))
    (made,) = _written({folder: plan}, [source], root, force, workers, progress)
    return made


def merge_datasets(
    datasets: Sequence[str | Path],
    destination: str | Path,
    *,
    mapping: str | Path | ClassMapping | None = None,
    root: str | Path = "datasets",
    force: bool = False,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> MadeSet:
    """Merges sets into one. Classes of one name are one class; `progress` tells what had to be renumbered.

    Args:
        datasets: each as for `split_dataset`.
        destination: the folder of the new split.
        mapping: of classes, applied before they are merged.
        root: the folder of all datasets.
        force: replace a prepared split at `destination`.
        workers: processes; one for each core by default.
        progress: shows progress and remarks.

    Raises:
        UsageError: there is no such set, a class is a thing in one and stuff in another, or the place is taken.
        DataError: a set cannot be read, or a photo is in two of them.
        RunError: the disk is full or the place cannot be written.
    """
    sources = [_read(one, Path(root)) for one in datasets]
    if len(sources) < 2:
        raise UsageError("Only one set is named: two or more are merged.")
    known, where = _mapping(mapping) if mapping else (None, "")
    titles = _titles(sources)
    tables = [(title, one.found.categories) for title, one in zip(titles, sources, strict=True)]
    merged = merged_classes(tables, known, where)
    members, image_dir, remarks = _merged_members(sources, titles)
    require_distinct([one.listed for one in members], " + ".join(titles))
    for remark in (*merged.remarks, *remarks):
        progress.message(f"{remark}.")
    folder = Path(destination)
    origins = tuple(Origin(one.found, change) for one, change in zip(sources, merged.changes, strict=True))
    name, split = _names(folder)
    notes = {"made_by": "merge", "made_from": list(titles)}
    plan = SetPlan(name, split, merged.categories, image_dir, origins, members, notes)
    (made,) = _written({folder: plan}, sources, root, force, workers, progress)
    return made


def parsed_parts(text: str) -> dict[str, float | int | str]:
    """The parts of `train=0.8,val=0.2`, of `train=rest,val=500`, and of `train=80%,val=20%`.

    Raises:
        UsageError: it is nothing of this kind.
    """
    found: dict[str, float | int | str] = {}
    for one in text.split(","):
        name, _, value = (part.strip() for part in one.partition("="))
        size = _size(value)
        if not name or size is None or name in found:
            wrong = "is there twice" if name in found else f"'{one.strip()}' is no NAME=SHARE"
            raise UsageError(f"--into {text}: {wrong}.", hint=f"Write train=0.8,val=0.2 or train={REST},val=500.")
        found[name] = size
    return found


def _size(text: str) -> float | int | str | None:
    if text == REST:
        return REST
    try:
        if text.isdecimal() and text.isascii():
            return int(text)
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None
    return share if 0 < share <= 1 else None


def _part(name: str, wanted: float | int | str) -> Part:
    _require_name(name)
    if wanted == REST:
        return Part(name)
    return Part(name, count=wanted) if isinstance(wanted, int) else Part(name, share=float(wanted))


def _require_name(name: str) -> None:
    if not name or name.startswith(".") or any(one in name for one in "/\\\0"):
        raise UsageError(f"--into: '{name}' cannot be the name of a split.", hint="Use letters and digits.")


@dataclass(frozen=True)
class _Source:
    """A set that is read, and where it is."""

    split: Split
    found: PanopticSet

    @property
    def title(self) -> str:
        return f"{self.split.dataset}/{self.split.name}"


def _read(named: str | Path, root: Path) -> _Source:
    splits = find_splits(str(named), root)
    if len(splits) > 1:
        paths = [str(one.folder or one.listing) for one in splits]
        raise UsageError(f"{named}: has {len(splits)} splits.", hint=f"Name one of them: {', '.join(paths)}.")
    split = splits[0]
    found = read_split_of(split)
    if not found.records:
        raise DataError(f"{named}: has no pictures.")
    require_distinct(found.records, str(named))
    return _Source(split, found)


def _mapping(mapping: str | Path | ClassMapping) -> tuple[ClassMapping, str]:
    if isinstance(mapping, ClassMapping):
        return mapping, "mapping"
    return read_mapping(Path(mapping)), str(mapping)


def _beside(source: _Source, word: str) -> Path:
    """The folder of a new dataset beside that of `source`, in the current folder for a set without one."""
    if source.split.folder is None:
        return Path("datasets") / f"{source.split.dataset}-{word}"
    parent = source.split.folder.absolute().parent
    return Path(os.path.relpath(parent.with_name(f"{source.split.dataset}-{word}")))


def _plan(source: _Source, folder: Path, records: Sequence[ImageRecord], notes: Mapping[str, Any]) -> SetPlan:
    """A part of one set."""
    name, split = _names(folder)
    members = [Member(0, record, record) for record in records]
    whole = {**notes, "made_from": [source.title]}
    return SetPlan(
        name, split, source.found.categories, source.found.image_dir, (Origin(source.found),), members, whole
    )


def _names(folder: Path) -> tuple[str, str]:
    whole = folder.absolute()
    return whole.parent.name, whole.name


def _classes(found: PanopticSet) -> npt.NDArray[np.bool_]:
    """(pictures, K) which classes each picture shows, crowds not counted."""
    table = SegmentTable.of(found.records)
    ids = np.array([one.id for one in found.categories])
    order = np.argsort(ids)
    shown = np.zeros((len(found.records), len(ids)), np.bool_)
    whole = ~table.iscrowd
    shown[table.image[whole], order[np.searchsorted(ids[order], table.category_id[whole])]] = True
    return shown


def _titles(sources: Iterable[_Source]) -> list[str]:
    """A different name for each set."""
    found: list[str] = []
    for one in sources:
        same = sum(title == one.title or title.startswith(f"{one.title}#") for title in found)
        found.append(f"{one.title}#{same + 1}" if same else one.title)
    return found


def _merged_members(sources: Sequence[_Source], titles: Sequence[str]) -> tuple[list[Member], Path, list[str]]:
    """The pictures of all sets under names that differ, the folder of their photos, and what a person should know."""
    folders = [one.found.image_dir.resolve() for one in sources]
    image_dir = Path(os.path.commonpath(folders))
    members: list[Member] = []
    for number, (source, folder, title) in enumerate(zip(sources, folders, titles, strict=True)):
        prefix = "" if folder == image_dir else f"{folder.relative_to(image_dir).as_posix()}/"
        for record in source.found.records:
            png = f"{title.replace('/', '-')}/{record.panoptic_file}"
            listed = replace(record, image_file=f"{prefix}{record.image_file}", panoptic_file=png)
            members.append(Member(number, record, listed))
    ids = [one.listed.image_id for one in members]
    remarks = []
    if len(set(ids)) < len(ids):
        remarks.append("Ids of pictures that are there in several sets: all pictures are numbered anew")
        members = [
            one._replace(listed=replace(one.listed, image_id=number)) for number, one in enumerate(members, start=1)
        ]
    videos = {(one.origin, one.record.video_id) for one in members if one.record.video_id is not None}
    if len(videos) > len({video for _, video in videos}):
        remarks.append("Videos of one id in several sets: the name of the set is put before it")
        members = [_with_video(one, titles[one.origin]) for one in members]
    return members, image_dir, remarks


def _with_video(member: Member, title: str) -> Member:
    video = member.record.video_id
    return member if video is None else member._replace(listed=replace(member.listed, video_id=f"{title}/{video}"))


def _written(
    plans: Mapping[Path, SetPlan],
    sources: Sequence[_Source],
    root: str | Path,
    force: bool,
    workers: int | None,
    progress: Progress,
) -> list[MadeSet]:
    """Writes the sets; all of them, or none where one fails."""
    for folder in plans:
        _require_free(folder, sources, force)
    with ExitStack() as placing:
        for folder, plan in plans.items():
            temporary = placing.enter_context(replacing_folder(folder))
            top = folder.absolute().parent.parent
            write_set(plan, temporary, root=top, workers=workers or usable_cores(), progress=progress)
    return [MadeSet.at(folder) for folder in plans]


def _require_free(folder: Path, sources: Sequence[_Source], force: bool) -> None:
    """Raises UsageError where something is that may not be replaced, a set that is read among it."""
    whole = folder.resolve()
    for one in sources:
        used = (one.split.folder, one.split.listing, one.found.image_dir, one.found.panoptic_dir)
        if any(path and path.resolve().is_relative_to(whole) for path in used):
            raise UsageError(f"{folder}: holds {one.title}, which is read.", hint="Name another folder.")
    try:
        there = is_prepared(folder, {}, force=force)
    except UsageError as error:
        raise UsageError(error.message, hint="Name another folder.") from None
    if there:
        raise UsageError(f"{folder}: is prepared already.", hint="Replace it with --force, or name another folder.")
