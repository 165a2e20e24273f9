"""From a source to a target: every picture read, held against its labels and written, or nothing written at all."""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yoso_cli import workers
from yoso_cli.conversion.form import Loss, Picture, Source, Target
from yoso_cli.conversion.picture_files import require_size
from yoso_cli.datasets.spec import Progress, silent
from yoso_cli.errors import DataError, YosoError

_NAMED = 5

Tell = Callable[[YosoError], None]


def stop(problem: YosoError) -> None:
    """Takes the first problem for the end: raises it."""
    raise problem


@dataclass(frozen=True)
class Converted:
    """What a conversion did.

    Attributes:
        images: pictures.
        segments: of all of them.
        crowds: how many of the segments are crowds.
        losses: what the target cannot say or the source could not mean, and how often.
        lossy: how many pictures each loss befell.
    """

    images: int
    segments: int
    crowds: int
    losses: Counter[Loss]
    lossy: Counter[Loss]


@dataclass(frozen=True)
class _Done:
    piece: Any
    segments: int
    crowds: int
    losses: Counter[Loss]


@dataclass(frozen=True)
class _Job:
    """One picture's way, which a worker process can do."""

    source: Source
    target: Target[Any]
    folder: Path

    def __call__(self, picture: Picture) -> _Done | YosoError:
        """What is left to list, or what is wrong with this picture."""
        try:
            reading = self.source.read(picture)
            require_size(self.source.image_dir / picture.image_file, *reading.panoptic.id_map.shape)
            piece, losses = self.target.write(self.folder, picture, reading.panoptic)
        except YosoError as error:
            return error
        segments = reading.panoptic.segments
        return _Done(piece, len(segments), sum(one.iscrowd for one in segments), reading.losses + losses)


def convert(
    source: Source,
    target: Target[Any],
    placing: AbstractContextManager[Path],
    *,
    processes: int = 1,
    tell: Tell = stop,
    progress: Progress = silent,
) -> Converted:
    """Writes every picture of `source` by `target`.

    Args:
        source: what is converted.
        target: into what.
        placing: gives the folder to write into, and puts it in its place if all went well.
        processes: that work at a time.
        tell: takes each problem, after which the rest is looked at; by default the first problem is the end.
        progress: shows how far it is.

    Raises:
        DataError: a problem of the source, or how many there were; nothing is in place then.
        RunError: the disk is full or the place cannot be written.
    """
    _require_distinct(source)
    for problem in source.problems:
        tell(DataError(f"{problem}."))
    with placing as folder:
        done, damaged = _write(_Job(source, target, folder), processes, tell, progress)
        if source.problems or damaged:
            raise DataError(
                f"{len(source.problems) + damaged} problems, named above; nothing was written.",
                hint="Mend them and convert again.",
            )
        if not done:
            raise DataError(f"{source.image_dir}: there is no picture with labels to convert.")
        target.finish(folder, [one.piece for one in done])
    losses: Counter[Loss] = Counter()
    lossy: Counter[Loss] = Counter()
    for one in done:
        losses += one.losses
        lossy.update(loss for loss, count in one.losses.items() if count)
    return Converted(len(done), sum(one.segments for one in done), sum(one.crowds for one in done), losses, lossy)


def _write(job: _Job, processes: int, tell: Tell, progress: Progress) -> tuple[list[_Done], int]:
    """What was written, and how many pictures were not because something is wrong with them."""
    done: list[_Done] = []
    damaged = 0
    results = workers.mapped(job, job.source.pictures, workers=processes)
    for result in progress(results, len(job.source.pictures), "converting"):
        if isinstance(result, _Done):
            done.append(result)
        elif isinstance(result, DataError):
            tell(result)
            damaged += 1
        else:  # a full disk is no problem of one picture
            raise result
    return done, damaged


def _require_distinct(source: Source) -> None:
    """Two pictures that differ in their suffix alone would share one label file."""
    twice = [stem for stem, count in Counter(picture.stem for picture in source.pictures).items() if count > 1]
    if twice:
        raise DataError(
            f"{source.image_dir}: {len(twice)} names belong to two pictures each: {', '.join(twice[:_NAMED])}.",
            hint="Labels are found by the name without its suffix: rename one of each.",
        )
