"""Converting label formats: a reader yields panoptic pictures, a writer takes them.

Every picture is read, compared with its labels in size and written, or nothing is written at all. Readers and writers
travel to the worker processes, so they hold paths and tables, never open files or pictures.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, Protocol, TypeVar

from yoso_cli.conversion.category_file import CategoryTable
from yoso_cli.conversion.picture_files import chosen, listed, require_size
from yoso_cli.errors import DataError, ProblemsError, YosoError
from yoso_cli.panoptic.types import Panoptic
from yoso_cli.runtime.progress import SILENT, Progress, tracked
from yoso_cli.runtime.workers import mapped

_NAMED = 5
# Of a whole set; one mistake of a tool may be in every entry.
_SHOWN = 10
_HINT = "Nothing was written: repair the files and convert again, or add --repair to leave out what is wrong."


class InformationLoss(Enum):
    """Information that a format cannot express, which a conversion counts; the value is the message."""

    EMPTY = "segments without a pixel are left out"
    HIDDEN = "instances are fully hidden by smaller ones and left out"
    OVERLAP = "pixels belong to several instances; the smallest instance gets them"
    UNCLAIMED = "pixels of a thing class belong to no instance and are void"
    SCORE = "scores are lost"
    CROWDS = "crowds are merged with another crowd of their class"
    STUFF_CROWD = "crowds of a stuff class become plain segments"
    INSTANCES = "instances are merged into one"
    PARTS = "segments of several parts or with holes are joined by lines one pixel wide"
    CROWD_FLAG = "crowds become plain segments"
    BOXES = "boxes without a mask are left out"
    WITHOUT_AREA = "lines and points are left out"
    IDS = "segment ids are not kept: the format numbers segments anew"
    IMAGE_IDS = "image ids are not kept: pictures are known by their names"
    VIDEOS = "pictures are no longer known to be frames of a video"
    VOID_NUMBERS = "pixels have an instance number where the class is void, and stay void"
    STUFF_NUMBERS = "pixels have an instance number where the class is stuff, which has no instances"


@dataclass(frozen=True)
class SourcePicture:
    """One picture of a source.

    Attributes:
        image_id: as the source has it; where it has none, `stem`.
        image_file: relative to the source's `image_dir`, with forward slashes.
        label_stem: what its labels are called where two pictures differ in their suffix alone.
        video_id: the video that the picture is a frame of, where the source says so.
    """

    image_id: int | str
    image_file: str
    label_stem: str = ""
    video_id: int | str | None = None

    @property
    def stem(self) -> str:
        """What its labels are called: the file without its suffix."""
        return self.label_stem or self.image_file.rpartition(".")[0]


@dataclass(frozen=True)
class LabelReader(ABC):
    """Labels in some format.

    Attributes:
        table: the classes.
        image_dir: the folder of the pictures.
        pictures: those with labels, in the order that the result keeps.
        problems: problems of the whole set; if there are any, nothing is converted.
        remarks: remarks for the user, such as files that are not pictures.
        repairs: what was dropped or renumbered, if that was asked for.
    """

    table: CategoryTable
    image_dir: Path
    pictures: tuple[SourcePicture, ...]
    problems: tuple[str, ...]
    remarks: tuple[str, ...]
    repairs: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def has_void_values(self) -> bool:
        """Whether void comes from values of label maps, of which `table` says what they mean."""
        return False

    @abstractmethod
    def read(self, picture: SourcePicture) -> tuple[Panoptic, Counter[InformationLoss]]:
        """The labels of `picture`, and what was lost. Raises DataError naming the file that is missing or wrong."""

    def read_repaired(self, picture: SourcePicture) -> tuple[Panoptic, Counter[InformationLoss], tuple[str, ...]]:
        """As `read`, without the parts that are wrong, where a format has such; and what was dropped."""
        return *self.read(picture), ()


Entry = TypeVar("Entry")


class LabelWriter(Protocol[Entry]):
    """Writes labels in some format. `Entry` is a picture's entry of the listing."""

    def write(self, folder: Path, picture: SourcePicture, panoptic: Panoptic) -> tuple[Entry, Counter[InformationLoss]]:
        """Writes the files of one picture below `folder`; counts what the format cannot express.

        Raises:
            DataError: the form cannot hold this picture at all.
            OSError: the disk is full.
        """

    def finish(self, folder: Path, entries: Sequence[Entry]) -> None:
        """Writes the listing of the set, last. Raises OSError when the disk is full."""


@dataclass(frozen=True)
class Converted:
    """Counts of a conversion, of one picture or the sum over several.

    Attributes:
        images: pictures.
        segments: of all of them, crowds aside.
        crowds: segments that are crowds.
        losses: number of each kind of loss.
        lossy: number of pictures with each kind of loss.
        pixels: of all pictures.
        areas: pixels of each category; what is left of `pixels` is void.
        repairs: what was dropped or renumbered to convert at all.
    """

    images: int
    segments: int
    crowds: int
    losses: Counter[InformationLoss]
    lossy: Counter[InformationLoss]
    pixels: int = 0
    areas: Counter[int] = field(default_factory=Counter)
    repairs: tuple[str, ...] = ()

    @classmethod
    def of(cls, panoptic: Panoptic, losses: Counter[InformationLoss]) -> "Converted":
        """One picture's."""
        crowds = sum(segment.iscrowd for segment in panoptic.segments)
        areas: Counter[int] = Counter()
        for segment in panoptic.segments:
            areas[segment.category_id] += segment.area
        found = Counter({loss: count for loss, count in losses.items() if count})
        lossy = Counter(dict.fromkeys(found, 1))
        return cls(1, len(panoptic.segments) - crowds, crowds, found, lossy, panoptic.id_map.size, areas)

    def __add__(self, other: "Converted") -> "Converted":
        return Converted(
            self.images + other.images,
            self.segments + other.segments,
            self.crowds + other.crowds,
            self.losses + other.losses,
            self.lossy + other.lossy,
            self.pixels + other.pixels,
            self.areas + other.areas,
            self.repairs + other.repairs,
        )

    @property
    def void_share(self) -> float:
        """The part of all pixels that is void, 0..1."""
        return 1 - self.areas.total() / self.pixels if self.pixels else 0.0


@dataclass(frozen=True)
class _Conversion:
    """Converts one picture at a time; can be sent to a worker process."""

    reader: LabelReader
    writer: LabelWriter[Any]
    folder: Path
    unsaid: frozenset[InformationLoss]
    repair: bool

    def __call__(self, picture: SourcePicture) -> tuple[Any, Converted] | YosoError:
        """The picture's entry of the listing and its counts, or what is wrong with it."""
        try:
            panoptic, losses, repairs = self._read(picture)
            require_size(self.reader.image_dir / picture.image_file, *panoptic.id_map.shape)
            entry, more = self.writer.write(self.folder, picture, panoptic)
        except YosoError as error:
            return error
        counts = Converted.of(panoptic, losses + more + self._lost_names(picture, panoptic))
        return entry, replace(counts, repairs=repairs)

    def _read(self, picture: SourcePicture) -> tuple[Panoptic, Counter[InformationLoss], tuple[str, ...]]:
        if self.repair:
            return self.reader.read_repaired(picture)
        return *self.reader.read(picture), ()

    def _lost_names(self, picture: SourcePicture, panoptic: Panoptic) -> Counter[InformationLoss]:
        """What a form without ids loses: those of segments that are more than the numbers 1, 2, ..., and the others."""
        ids = {segment.id for segment in panoptic.segments}
        lost = {
            InformationLoss.IDS: 0 if ids == set(range(1, len(ids) + 1)) else len(ids),
            InformationLoss.IMAGE_IDS: int(picture.image_id not in (picture.stem, picture.stem.rpartition("/")[2])),
            InformationLoss.VIDEOS: int(picture.video_id is not None),
        }
        return Counter({loss: lost[loss] for loss in self.unsaid})


def convert_pictures(
    reader: LabelReader,
    writer: LabelWriter[Any],
    placing: AbstractContextManager[Path],
    *,
    unsaid: frozenset[InformationLoss] = frozenset(),
    processes: int = 1,
    keep_going: bool = False,
    repair: bool = False,
    progress: Progress = SILENT,
) -> Converted:
    """Writes every picture of `reader` by `writer`.

    Args:
        reader: the source.
        writer: the target.
        placing: yields the folder to write into, and moves it to its final path on success.
        unsaid: of IDS, IMAGE_IDS and VIDEOS, those that the target cannot express.
        processes: number of worker processes.
        keep_going: report all problems, not just the first.
        repair: leave out pictures that are missing or damaged, and shapes that are wrong, and list them.
        progress: shows progress.

    Raises:
        ProblemsError: files are missing or damaged; nothing is in place then.
        RunError: the disk is full, the place cannot be written, or a worker was killed.
    """
    _require_distinct(reader)
    title, whole_set = str(reader.image_dir), [f"{problem}." for problem in reader.problems]
    if whole_set and not keep_going:
        more = [f"And {len(whole_set) - _SHOWN:,} more; --keep-going lists all."] if len(whole_set) > _SHOWN else []
        raise ProblemsError(title, [*whole_set[:_SHOWN], *more], hint=_HINT)
    with placing as folder:
        conversion = _Conversion(reader, writer, folder, unsaid, repair)
        entries, converted, damaged = _write(conversion, processes, keep_going or repair, progress)
        if whole_set or (damaged and not repair):
            raise ProblemsError(title, whole_set + damaged, hint=_HINT)
        if not entries:
            raise DataError(f"{reader.image_dir}: there are no pictures with labels.", hint=" ".join(damaged[:1]))
        writer.finish(folder, entries)
    left_out = tuple(f"left out: {one.rstrip('.')}" for one in damaged)
    return replace(converted, repairs=reader.repairs + converted.repairs + left_out)


def _write(
    conversion: _Conversion, processes: int, keep_going: bool, progress: Progress
) -> tuple[list[Any], Converted, list[str]]:
    """The listing's entries, the counts, and the problems: only the first unless `keep_going`."""
    entries: list[Any] = []
    converted = Converted(0, 0, 0, Counter(), Counter())
    problems: list[str] = []
    pictures = conversion.reader.pictures
    # Closed before an error removes the folder that the processes write into.
    with closing(mapped(conversion, pictures, workers=processes)) as results:
        for result in tracked(results, len(pictures), "converting", progress):
            if isinstance(result, tuple):
                entries.append(result[0])
                converted += result[1]
            elif isinstance(result, DataError) and keep_going:
                problems.append(result.message)
            else:  # a full disk is no problem of one picture
                raise result
    return entries, converted, problems


def only(reader: LabelReader, names: Iterable[str]) -> LabelReader:
    """`reader` with those pictures that a list names; what is missing is a problem."""
    by_stem = {picture.image_file.rpartition(".")[0]: picture for picture in reader.pictures}
    meant, missing = chosen(names, by_stem)
    wanted = set(meant.values())
    pictures = tuple(picture for stem, picture in by_stem.items() if stem in wanted)
    lacks = (f"{reader.image_dir}: pictures of the list have no labels: {listed(missing)}",) if missing else ()
    return replace(reader, pictures=pictures, problems=(*reader.problems, *lacks))


def _require_distinct(reader: LabelReader) -> None:
    """Raises DataError for pictures that differ only in their suffix: they would share one label file."""
    twice = [stem for stem, count in Counter(picture.stem for picture in reader.pictures).items() if count > 1]
    if twice:
        raise DataError(
            f"{reader.image_dir}: {len(twice)} names belong to two pictures each: {', '.join(twice[:_NAMED])}.",
            hint="Labels are found by the name without its suffix: rename one of each pair.",
        )
