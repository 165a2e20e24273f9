"""A split that is being made: in several processes, gone on with after an interruption, whole or not there."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from yoso_cli.atomic import reporting, resumable_folder
from yoso_cli.datasets.journal import Done, Journal
from yoso_cli.datasets.spec import Prepared, is_prepared
from yoso_cli.datasets.statistics import write_statistics
from yoso_cli.errors import DataError, ProblemsError
from yoso_cli.panoptic.files import SetWriter, read_set
from yoso_cli.panoptic.types import Category, ImageRecord, PanopticSet
from yoso_cli.runtime.progress import SILENT, Progress, tracked
from yoso_cli.runtime.workers import mapped

# Raised whenever the same download would give another result, so that finished work is told from outdated work.
CONVERSION = 1


class Picture(Protocol):
    """What one picture is made from; can be pickled."""

    @property
    def image_id(self) -> int | str:
        """As the prepared set lists it."""


class Convert(Protocol):
    """Makes one picture's files; can be pickled."""

    def __call__(self, picture: Any, /) -> "Converted":
        """Raises DataError when what it is made from is missing or wrong."""


@dataclass(frozen=True)
class Converted:
    """A picture as the set lists it, and the files to write for it: content by path from the split's folder."""

    record: ImageRecord
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Plan:
    """A split to make.

    Attributes:
        name: of the dataset.
        split: of the dataset.
        categories: in the order that defines `train_id`.
        pictures: in the order of the listing.
        convert: makes one of them.
        image_dir: where the photos lie or are written, absolute or from the split's folder.
        panoptic_dir: the same of the PNGs.
        parameters: what the manifest says of the making; with others, it is another set.
        missing: a sentence for each file that ought to be there.
        finish: writes what the dataset has beside COCO's listing, once all pictures are there.
    """

    name: str
    split: str
    categories: tuple[Category, ...]
    pictures: Sequence[Picture]
    convert: Convert
    image_dir: str
    panoptic_dir: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    finish: Callable[[Path, PanopticSet], None] | None = None

    @property
    def title(self) -> str:
        """As a person calls it."""
        return f"{self.name}/{self.split}"


def make(
    plan: Plan,
    output_root: Path,
    *,
    workers: int = 1,
    force: bool = False,
    keep_going: bool = False,
    progress: Progress = SILENT,
) -> Prepared:
    """Makes `<output_root>/<name>/<split>`, or goes on with it, or finds it made.

    Args:
        plan: what to make.
        output_root: the folder of all datasets.
        workers: processes.
        force: redo what is done.
        keep_going: look at every picture before telling what is wrong with some; else the first one ends it.
        progress: shows how far the conversion is.

    Raises:
        ProblemsError: files are missing or damaged. What could be converted is kept for the next time.
        UsageError: something else is at the place already.
        RunError: the disk is full or the place cannot be written.
    """
    folder = output_root / plan.name / plan.split
    parameters = {"conversion": CONVERSION, **plan.parameters}
    if is_prepared(folder, parameters, force=force):
        return Prepared(folder, read_set(folder), False)
    if plan.missing and not keep_going:
        raise ProblemsError(plan.title, list(plan.missing), hint="Unpack or fetch the files again.")
    with resumable_folder(folder) as temporary:
        if force or not Journal(temporary, parameters).done:
            _empty(temporary)
        with Journal(temporary, parameters) as journal:
            problems = [*plan.missing, *_convert(plan, temporary, journal, workers, keep_going, progress)]
        if problems:
            hint = "Fetch these files again and repeat the command: what was converted is kept."
            raise ProblemsError(plan.title, problems, hint=hint)
        made = _finish(plan, temporary, journal, parameters)
    placed = replace(made, image_dir=folder / plan.image_dir, panoptic_dir=folder / plan.panoptic_dir)
    return Prepared(folder, placed, True)


def _empty(folder: Path) -> None:
    """What lies there was made from something else, or is to be made anew."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _convert(
    plan: Plan, folder: Path, journal: Journal, workers: int, keep_going: bool, progress: Progress
) -> list[str]:
    """Converts what the journal does not know yet; gives the problems, only the first one unless `keep_going`."""
    waiting = [picture for picture in plan.pictures if picture.image_id not in journal.done]
    before = len(plan.pictures) - len(waiting)
    label = f"converting {plan.title}" + (f" ({before} done before)" if before else "")
    convert = partial(_written, convert=plan.convert, folder=folder)
    problems: list[str] = []
    for done in tracked(mapped(convert, waiting, workers=workers), len(waiting), label, progress):
        if isinstance(done, Done):
            journal.add(done)
            continue
        problems.append(done)
        if not keep_going:
            break
    return problems


def _written(picture: Picture, *, convert: Convert, folder: Path) -> Done | str:
    """The picture with its files written, or what is wrong with it. Raises RunError when they cannot be written."""
    try:
        converted = convert(picture)
    except DataError as error:
        return error.message
    for name, content in converted.files.items():
        with reporting(folder / name):
            _write(folder / name, content)
    return Done(converted.record, {name: len(content) for name, content in converted.files.items()})


def _write(path: Path, content: bytes) -> None:
    """No rename: a file counts when the journal knows it, and that is told afterwards."""
    try:
        path.write_bytes(content)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _finish(plan: Plan, folder: Path, journal: Journal, parameters: Mapping[str, Any]) -> PanopticSet:
    writer = SetWriter(
        folder,
        plan.name,
        plan.split,
        plan.categories,
        image_dir=plan.image_dir,
        panoptic_dir=plan.panoptic_dir,
        notes=parameters,
    )
    records = tuple(journal.done[picture.image_id].record for picture in plan.pictures)
    for record in records:
        writer.add(record)
    image_dir, panoptic_dir = folder / plan.image_dir, folder / plan.panoptic_dir
    made = PanopticSet(plan.name, plan.split, plan.categories, records, image_dir, panoptic_dir)
    write_statistics(folder, made)
    if plan.finish:
        plan.finish(folder, made)
    journal.remove()
    return writer.finish()
