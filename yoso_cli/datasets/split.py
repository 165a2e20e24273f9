"""Preparing a split: in several processes, resumable, atomic."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from yoso_cli.atomic import make_inside, remove, reporting, resumable_folder
from yoso_cli.datasets.archives import StoredFile
from yoso_cli.datasets.spec import DatasetSpec, Prepared, Skipped, is_prepared
from yoso_cli.datasets.statistics import write_statistics
from yoso_cli.errors import DataError, ProblemsError
from yoso_cli.panoptic.files import SetWriter, read_set
from yoso_cli.panoptic.types import Category, ImageRecord, PanopticSet, Segment
from yoso_cli.runtime.checksum import KEY, checked_line, is_damaged
from yoso_cli.runtime.json_text import parse_json
from yoso_cli.runtime.progress import SILENT, Progress, tracked
from yoso_cli.runtime.workers import mapped

# Increased when the same download gives another result, so that outdated results are recognised.
CONVERSION = 1

_JOURNAL = "journal.jsonl"


@dataclass(frozen=True)
class LabelledPhoto:
    """One photo of a download with its label maps.

    Attributes:
        image_id: as the prepared set lists it.
        image: the photo.
        image_file: its path in the set's `image_dir`.
        panoptic_file: the path of its panoptic PNG in the set's `panoptic_dir`.
        maps: where its segments come from.
        semantic_file: the path of the semantic map to make, in `semantic/`; empty for none.
        listed: its entry in a published listing; None if there are only label maps.
    """

    image_id: int | str
    image: StoredFile
    image_file: str
    panoptic_file: str
    maps: tuple[StoredFile, ...]
    semantic_file: str = ""
    listed: ImageRecord | None = None


MakePicture = Callable[[LabelledPhoto], tuple[ImageRecord, Mapping[str, bytes]]]
"""Gives the photo's record and the files to write for it: content by path from the split's folder.

It can be pickled, and raises DataError when a file of the download is missing or wrong.
"""


@dataclass(frozen=True)
class SplitPlan:
    """A split to make.

    Attributes:
        name: of the dataset.
        split: of the dataset.
        categories: in the order that defines `train_id`.
        photos: in the order of the listing.
        make_picture: makes the files of one of them.
        image_dir: the folder of the photos, absolute or relative to the split's folder.
        panoptic_dir: the same of the PNGs.
        parameters: of the conversion, recorded in the manifest; with other parameters it is another set.
        missing: a sentence for each file that ought to be there.
        finish: writes the dataset's files besides COCO's listing, after all pictures.
    """

    name: str
    split: str
    categories: tuple[Category, ...]
    photos: Sequence[LabelledPhoto]
    make_picture: MakePicture
    image_dir: str
    panoptic_dir: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    finish: Callable[[Path, PanopticSet], None] | None = None

    @property
    def title(self) -> str:
        """The display name."""
        return f"{self.name}/{self.split}"


def plan_splits(
    spec: DatasetSpec, root: Path, asked: Sequence[str], usual: Iterable[str], plan: Callable[[str], SplitPlan | str]
) -> tuple[list[SplitPlan], list[Skipped]]:
    """Plans the splits `asked` for, or of the `usual` ones what is there.

    Args:
        spec: the dataset.
        root: where the download is.
        asked: splits, all of which must be there; none for the usual ones.
        usual: splits, some of which may lack files.
        plan: the plan of a split, or the files that it lacks.

    Raises:
        DataError: a split asked for is not there, or none is; says which file comes from where.
    """
    ready, skipped = [], []
    for split in asked or usual:
        planned = plan(split)
        if isinstance(planned, str):
            skipped.append(Skipped(split, planned))
        else:
            ready.append(planned)
    if skipped and (asked or not ready):
        reasons = "; ".join(f"{one.split} lacks {one.reason}" for one in skipped)
        raise DataError(f"{root}: is not a complete download of {spec.title}: {reasons}.", hint=spec.where_from())
    return ready, skipped


def make(
    plan: SplitPlan,
    output_root: Path,
    *,
    workers: int = 1,
    force: bool = False,
    keep_going: bool = False,
    progress: Progress = SILENT,
) -> Prepared:
    """Makes `<output_root>/<name>/<split>`, or resumes it; nothing is done if it is complete.

    Args:
        plan: what to make.
        output_root: the folder of all datasets.
        workers: processes.
        force: redo what is done.
        keep_going: look at every picture before reporting what is wrong with some; else the first problem ends it.
        progress: shows how far the conversion is.

    Raises:
        ProblemsError: files are missing or damaged. What could be converted is kept for the next time.
        UsageError: something else is at the place already.
        RunError: the disk is full, the place cannot be written, or a worker was killed.
    """
    folder = output_root / plan.name / plan.split
    parameters = {"conversion": CONVERSION, **plan.parameters}
    if is_prepared(folder, parameters, force=force):
        return Prepared(folder, read_set(folder), False)
    if plan.missing and not keep_going:
        raise ProblemsError(plan.title, list(plan.missing), hint="Unpack or download the files again.")
    make_inside(output_root, folder.parent)
    with resumable_folder(folder) as temporary:
        if force or not Journal(temporary, parameters, plan.categories).records:
            _empty(temporary)
        with Journal(temporary, parameters, plan.categories) as journal:
            problems = [*plan.missing, *_make_pictures(plan, temporary, journal, workers, keep_going, progress)]
        if problems:
            hint = "Fetch these files again and repeat the command: what was converted is kept."
            raise ProblemsError(plan.title, problems, hint=hint)
        made = _finish(plan, temporary, journal, parameters)
    placed = replace(made, image_dir=folder / plan.image_dir, panoptic_dir=folder / plan.panoptic_dir)
    return Prepared(folder, placed, True)


def _empty(folder: Path) -> None:
    """Existing work was made from other files, or `force` is given."""
    for path in folder.iterdir():
        remove(path)


def _make_pictures(
    plan: SplitPlan, folder: Path, journal: "Journal", workers: int, keep_going: bool, progress: Progress
) -> list[str]:
    """Converts the pictures that are not in the journal; returns the problems, only the first unless `keep_going`."""
    waiting = [photo for photo in plan.photos if photo.image_id not in journal.records]
    before = len(plan.photos) - len(waiting)
    label = f"converting {plan.title}" + (f" ({before} done before)" if before else "")
    write = partial(_write_picture, make_picture=plan.make_picture, folder=folder)
    problems: list[str] = []
    # Closed before another process may resume the folder.
    with closing(mapped(write, waiting, workers=workers)) as results:
        for written in tracked(results, len(waiting), label, progress):
            if not isinstance(written, str):
                journal.add(*written)
                continue
            problems.append(written)
            if not keep_going:
                break
    return problems


def _write_picture(
    photo: LabelledPhoto, *, make_picture: MakePicture, folder: Path
) -> tuple[ImageRecord, dict[str, int]] | str:
    """Writes a picture's files; gives its record and their sizes, or what is wrong with the download.

    Raises:
        RunError: a file cannot be written.
    """
    try:
        record, files = make_picture(photo)
    except DataError as error:
        return error.message
    for name, content in files.items():
        with reporting(folder / name):
            _write(folder / name, content)
    return record, {name: len(content) for name, content in files.items()}


def _write(path: Path, content: bytes) -> None:
    """Without a rename: a file is valid once it is in the journal, which is written afterwards."""
    try:
        path.write_bytes(content)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _finish(plan: SplitPlan, folder: Path, journal: "Journal", parameters: Mapping[str, Any]) -> PanopticSet:
    places = {"image_dir": plan.image_dir, "panoptic_dir": plan.panoptic_dir}
    writer = SetWriter(folder, plan.name, plan.split, plan.categories, **places, notes=parameters)
    for photo in plan.photos:
        writer.add(journal.records[photo.image_id])
    write_statistics(folder, writer.panoptic_set)
    if plan.finish:
        plan.finish(folder, writer.panoptic_set)
    journal.remove()
    return writer.finish()


def _record_of(line: Mapping[str, Any]) -> ImageRecord:
    """What a line says of a picture. Raises what a line of another form raises; its values are untrusted."""
    image_id, image_file, panoptic_file, *size = line["place"]
    if not isinstance(image_id, (int, str)) or not all(isinstance(one, str) for one in (image_file, panoptic_file)):
        raise TypeError("a name is no text")
    segments = tuple(map(_segment_of, line["segments"]))
    height, width = _integers(size)
    return ImageRecord(image_id, image_file, panoptic_file, height, width, segments)


def _segment_of(values: Sequence[Any]) -> Segment:
    *numbers, box, crowd = values
    id_, category_id, area = _integers(numbers)
    x, y, width, height = _integers(box)
    return Segment(id_, category_id, area, (x, y, width, height), bool(crowd))


def _integers(values: Sequence[Any]) -> Sequence[int]:
    if not all(type(one) is int and 0 <= one < 1 << 31 for one in values):
        raise TypeError("a number is no size")
    return values


class Journal:
    """The finished pictures of the split in `folder`, converted with these `parameters` to these `categories`.

    A line is written after the picture's files, and holds their sizes. A context manager: `add` works inside its block.

    Attributes:
        records: of the finished pictures, by image id.
    """

    def __init__(self, folder: Path, parameters: Mapping[str, Any], categories: Iterable[Category]) -> None:
        self._folder = folder
        self._categories = {category.id for category in categories}
        self._path = folder / _JOURNAL
        self._first = json.dumps(parameters, sort_keys=True)
        self.records: dict[int | str, ImageRecord] = {}
        self._lines: list[str] = []
        self._read()

    def __enter__(self) -> "Journal":
        # Rewritten, because a kill may have cut the last line.
        self._file = self._path.open("w", buffering=1, encoding="utf-8")
        self._file.writelines(f"{line}\n" for line in (self._first, *self._lines))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, record: ImageRecord, sizes: Mapping[str, int]) -> None:
        """Records a picture as finished, with the `sizes` of its files in bytes by path from the split's folder."""
        self.records[record.image_id] = record
        segments = [[one.id, one.category_id, one.area, one.bbox, one.iscrowd] for one in record.segments]
        place = [record.image_id, record.image_file, record.panoptic_file, record.height, record.width]
        self._file.write(checked_line({"place": place, "segments": segments, "sizes": sizes}).decode())

    def remove(self) -> None:
        """Removes the journal: the split is complete and needs none."""
        self._path.unlink()

    def _read(self) -> None:
        try:
            first, *lines = self._path.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            return
        for line in lines if first == self._first else []:
            try:
                told = parse_json(line.encode(), str(self._path))
                if is_damaged(told) or KEY not in told:
                    return
                record, sizes = _record_of(told), told["sizes"]
                there = self._are_there(sizes)
            except (DataError, ValueError, TypeError, AttributeError, KeyError):
                return
            if there and all(one.category_id in self._categories for one in record.segments):
                self.records[record.image_id] = record
                self._lines.append(line)

    def _are_there(self, sizes: Mapping[str, int]) -> bool:
        """Whether the files have these sizes: after a power cut, files in the journal may have lost their content."""
        try:
            return all((self._folder / name).stat().st_size == size for name, size in sizes.items())
        except OSError:
            return False
