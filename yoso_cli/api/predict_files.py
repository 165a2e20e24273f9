"""Predicting many pictures: what cannot be read is passed over, and what is done stays done."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from yoso_cli.api.result import Result
from yoso_cli.errors import DataError, RunError, UsageError
from yoso_cli.media.frames import ALL_FRAMES, FrameChoice
from yoso_cli.media.inputs import Input, Inputs, read_input
from yoso_cli.media.sources import is_live
from yoso_cli.panoptic.types import VOID, Panoptic, Rgb
from yoso_cli.runtime.progress import SILENT, Progress
from yoso_cli.runtime.stages import Stopwatch, stage
from yoso_cli.runtime.stopping import Outcome as Ending
from yoso_cli.runtime.stopping import Stopping

if TYPE_CHECKING:
    from yoso_cli.api.predict import Model
    from yoso_cli.api.video import VideoResult
    from yoso_cli.conversion.prediction_folder import Line, Part, PredictionFolder

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Failure:
    """An input that could not be read.

    Attributes:
        source: as named.
        message: what is wrong, one sentence.
    """

    source: str
    message: str

    def to_json(self) -> dict[str, str]:
        """As `--json` has it."""
        return {"input": self.source, "message": self.message}


@dataclass
class Outcome:
    """What became of the inputs of one call.

    Attributes:
        predicted: how many pictures.
        frames: how many frames of videos.
        skipped: how many were done before.
        done: how many inputs are done now, those included.
        failures: inputs that were passed over.
        waiting: seconds that the network waited for pictures to be read and decoded.
        complete: whether the parts of all processes are done.
        ended: whether a signal has stopped it.
        began: by `time.perf_counter`.
    """

    predicted: int = 0
    frames: int = 0
    skipped: int = 0
    done: int = 0
    failures: list[Failure] = field(default_factory=list)
    waiting: Stopwatch = field(default_factory=Stopwatch)
    complete: bool = False
    ended: Ending = Ending.FINISHED
    began: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.perf_counter() - self.began

    @property
    def waited(self) -> str:
        """The share of time that the network waited for pictures: `3%`."""
        return f"{self.waiting.seconds / max(self.seconds, 1e-9):.0%}"


def predicted(
    model: "Model", inputs: Iterable[Input], outcome: Outcome, *, batch: int = 1, fail_fast: bool = False
) -> Iterator[tuple[Input, Result]]:
    """Each picture with its segments, in order; one that cannot be read is noted in `outcome` and passed over.

    Args:
        model: the model.
        inputs: pictures; drawn a few ahead.
        outcome: takes failures and waiting times.
        batch: batch size; pictures of one padded size are batched.
        fail_fast: whether the first that cannot be read ends it.

    Raises:
        DataError, RunError: with `fail_fast`, what is wrong with the first.
    """
    from yoso_cli.inference.predict import predict_stream

    def read(one: Input) -> Rgb | None:
        try:
            return read_input(one)
        except (DataError, RunError) as error:
            if fail_fast:
                raise
            outcome.failures.append(Failure(one.source, str(error)))
            return None

    stream = predict_stream(model.predictor, inputs, read, batch=batch, keep_pictures=True, waiting=outcome.waiting)
    for one, pixels, panoptic in stream:
        assert pixels is not None, "pictures are kept"
        yield one, Result(pixels, panoptic, model.categories, one.source)
    # Threads note them in any order.
    outcome.failures.sort(key=lambda failure: failure.source)


def predict_files(
    model: "Model",
    inputs: Inputs,
    folder: str | Path,
    *,
    formats: Sequence[str] = ("panoptic",),
    min_score: float = 0.0,
    frames: FrameChoice = ALL_FRAMES,
    batch: int = 1,
    part: "Part | None" = None,
    fail_fast: bool = False,
    each: Callable[[Input, "Line"], None] | None = None,
    progress: Progress = SILENT,
) -> Outcome:
    """Writes predictions as files for other tools, each as soon as it is there.

    What an earlier call has finished with the same model and settings is skipped. The process that finishes the last
    part joins the listings.

    Args:
        model: the model.
        inputs: as `find_inputs` gives them.
        folder: of the predictions, `conversion.prediction_folder` has its layout.
        formats: names of `conversion.prediction_formats.FORMATS`.
        min_score: segments that are less certain are left void; 0..1.
        frames: of videos.
        batch: batch size.
        part: the share of this process; by default all.
        fail_fast: whether the first picture that cannot be read ends it.
        each: called with every picture that is done.
        progress: shows progress.

    Raises:
        UsageError: an unknown format, or the folder has other files or predictions of another model.
        RunError: the disk is full, or another process writes the same part.
    """
    from yoso_cli.conversion.prediction_folder import WHOLE, PredictionFolder

    part = part or WHOLE
    made_with = _made_with(model, min_score, frames)
    with PredictionFolder(Path(folder), made_with, formats, model.categories, inputs.root, part) as out:
        share, done = part.share(inputs.items), out.finished()
        todo = [one for one in share if done.get(one.name) != _stamp(one)]
        outcome = Outcome(skipped=len(share) - len(todo), done=len(share) - len(todo))
        writer = _Writer(out, _image_ids(inputs.items), min_score)
        pictures = _pictures(model, [one for one in todo if not one.is_video], writer, outcome, batch, fail_fast)
        videos = (_video(model, one, writer, outcome, frames, fail_fast) for one in todo if one.is_video)
        lines = chain(pictures, chain.from_iterable(videos))
        with progress.bar(len(share), "predicting", initial=outcome.skipped) as bar:
            for one, line in until_stopped(lines, outcome):
                out.append(line)
                outcome.predicted += not one.is_video
                outcome.done += line.stamp != ""
                bar.update(int(line.stamp != ""), decoding=outcome.waited)
                if each is not None:
                    each(one, line)
        # What has no end of its own is complete when it is stopped.
        if outcome.ended is Ending.FINISHED or all(is_live(one.source) for one in todo):
            outcome.complete = out.finish()
    return outcome


def _made_with(model: "Model", min_score: float, frames: FrameChoice) -> dict[str, Any]:
    """All that the predictions depend on besides the pictures."""
    if not 0 <= min_score <= 1:
        raise UsageError(f"--min-score {min_score:g}: is not within 0 and 1.")
    named = {"model": str(model.path), "recipe": model.recipe.name}
    return {**named, **model.settings, "min_score": min_score, "frames": vars(frames)}


@dataclass(frozen=True)
class _Writer:
    """Writes pictures and frames into the folder, without what is too uncertain."""

    out: "PredictionFolder"
    ids: dict[str, int | str]
    min_score: float

    def picture(self, found: tuple[Input, Result]) -> "tuple[Input, Line]":
        """The files of a picture."""
        from yoso_cli.conversion.convert import SourcePicture

        one, result = found
        picture = SourcePicture(self.ids[one.name], one.file, one.name)
        return one, self.out.write(picture, without_uncertain(result.panoptic, self.min_score), _stamp(one))

    def frame(self, one: Input, result: "VideoResult") -> "Line":
        """The files of a frame, which is called VIDEO/000012."""
        from yoso_cli.conversion.convert import SourcePicture

        name = f"{one.name}/{result.index:06d}"
        frame = {"video_id": one.name, "frame_index": result.index, "time": round(float(result.time), 6)}
        picture = SourcePicture(name, f"{name}.png", name)
        return self.out.write(picture, without_uncertain(result.panoptic, self.min_score), "", frame)


def _pictures(
    model: "Model", inputs: Sequence[Input], writer: _Writer, outcome: Outcome, batch: int, fail_fast: bool
) -> "Iterator[tuple[Input, Line]]":
    results = predicted(model, inputs, outcome, batch=batch, fail_fast=fail_fast)
    return stage(writer.picture, results, threads=threads_beside(model), ahead=2)


def _video(
    model: "Model", one: Input, writer: _Writer, outcome: Outcome, frames: FrameChoice, fail_fast: bool
) -> "Iterator[tuple[Input, Line]]":
    """A line for each frame, and one for the video at its end, unless something was wrong with it."""
    from yoso_cli.api.video import predict_video
    from yoso_cli.conversion.prediction_folder import Line
    from yoso_cli.media.video_reader import VideoReader

    try:
        with VideoReader(one.path or one.source, **vars(frames)) as reader:
            results = predict_video(model, reader)
            for line in stage(partial(writer.frame, one), results, threads=threads_beside(model), ahead=2):
                outcome.frames += 1
                yield one, line
            if reader.problem:
                raise DataError(reader.problem)
    except DataError as error:  # a full disk is no problem of one video
        if fail_fast:
            raise
        outcome.failures.append(Failure(one.source, str(error)))
        return
    yield one, Line(one.name, _stamp(one))


def until_stopped(results: Iterable[_Result], outcome: Outcome) -> Iterator[_Result]:
    """`results`, until Ctrl-C or SIGTERM: the picture under way is finished, and `outcome` says what came."""
    with Stopping() as stopping:
        for one in results:
            yield one
            if stopping.outcome:
                outcome.ended = stopping.outcome
                return


def without_uncertain(panoptic: Panoptic, min_score: float) -> Panoptic:
    """Without the segments whose score is below `min_score`: their pixels are void."""
    kept = tuple(one for one in panoptic.segments if one.score is None or one.score >= min_score)
    if len(kept) == len(panoptic.segments):
        return panoptic
    dropped = [one.id for one in panoptic.segments if one not in kept]
    return Panoptic(np.where(np.isin(panoptic.id_map, dropped), VOID, panoptic.id_map), kept)


def _image_ids(items: Sequence[Input]) -> dict[str, int | str]:
    """The id of each picture by its name.

    In a prepared split it is the picture's own. Of `000000000139.jpg` it is the number, as COCO has it, unless two
    have the same; else it is the name.
    """
    numbers = [int(last) for one in items if (last := one.name.rpartition("/")[2]).isdecimal()]
    numbered = len(set(numbers)) == len(numbers)
    ids: dict[str, int | str] = {}
    for one in items:
        last = one.name.rpartition("/")[2]
        by_name = int(last) if numbered and last.isdecimal() else one.name
        ids[one.name] = by_name if one.image_id is None else one.image_id
    return ids


def _stamp(one: Input) -> str:
    """Of an input's content, from what is quick to ask: size and time of a file; "-" for what is not on disk."""
    if one.path is None:
        return "-"
    try:
        found = one.path.stat()
    except OSError:
        return "-"  # reading it says why
    return f"{found.st_size}-{found.st_mtime_ns}"


def threads_beside(model: "Model") -> int:
    """As `inference.predict.threads_beside_network`, on the model's device."""
    from yoso_cli.inference.predict import threads_beside_network

    return threads_beside_network(model.device)
