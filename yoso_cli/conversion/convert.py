"""From a source to a target: every picture read, held against its labels and written, or nothing written at all."""

from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yoso_cli.conversion.form import Loss, Picture, Source, Target
from yoso_cli.conversion.picture_files import require_size
from yoso_cli.errors import DataError, ProblemsError, YosoError
from yoso_cli.runtime import workers
from yoso_cli.runtime.progress import SILENT, Progress, tracked

_NAMED = 5
_HINT = "Mend them and convert again; nothing was written."


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
    keep_going: bool = False,
    progress: Progress = SILENT,
) -> Converted:
    """Writes every picture of `source` by `target`.

    Args:
        source: what is converted.
        target: into what.
        placing: gives the folder to write into, and puts it in its place if all went well.
        processes: that work at a time.
        keep_going: look at every picture before telling what is wrong with some; else the first problem ends it.
        progress: shows how far it is.

    Raises:
        ProblemsError: files are missing or damaged; nothing is in place then.
        RunError: the disk is full or the place cannot be written.
    """
    _require_distinct(source)
    title = str(source.image_dir)
    if source.problems and not keep_going:
        raise ProblemsError(title, _sentences(source), hint=_HINT)
    with placing as folder:
        done, damaged = _write(_Job(source, target, folder), processes, keep_going, progress)
        problems = [*_sentences(source), *damaged]
        if problems:
            raise ProblemsError(title, problems, hint=_HINT)
        if not done:
            raise DataError(f"{source.image_dir}: there is no picture with labels to convert.")
        target.finish(folder, [one.piece for one in done])
    losses: Counter[Loss] = Counter()
    lossy: Counter[Loss] = Counter()
    for one in done:
        losses += one.losses
        lossy.update(loss for loss, count in one.losses.items() if count)
    return Converted(len(done), sum(one.segments for one in done), sum(one.crowds for one in done), losses, lossy)


def _write(job: _Job, processes: int, keep_going: bool, progress: Progress) -> tuple[list[_Done], list[str]]:
    """What was written, and what is wrong with the rest: only the first of it unless `keep_going`."""
    done: list[_Done] = []
    problems: list[str] = []
    results = workers.mapped(job, job.source.pictures, workers=processes)
    for result in tracked(results, len(job.source.pictures), "converting", progress):
        if isinstance(result, _Done):
            done.append(result)
        elif isinstance(result, DataError):
            if not keep_going:
                raise result
            problems.append(result.message)
        else:  # a full disk is no problem of one picture
            raise result
    return done, problems


def _sentences(source: Source) -> list[str]:
    return [f"{problem}." for problem in source.problems]


def _require_distinct(source: Source) -> None:
    """Two pictures that differ in their suffix alone would share one label file."""
    twice = [stem for stem, count in Counter(picture.stem for picture in source.pictures).items() if count > 1]
    if twice:
        raise DataError(
            f"{source.image_dir}: {len(twice)} names belong to two pictures each: {', '.join(twice[:_NAMED])}.",
            hint="Labels are found by the name without its suffix: rename one of each.",
        )
