"""Videos: a model over the frames of a file, a stream or a camera, and a video of what it found.

Reading, the network, merging, drawing and writing go on at the same time, with a few frames between two of them, so
that memory does not depend on the length of the video.
"""

# H, W height and width of a frame in pixels

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from yoso_cli.api.result import Result
from yoso_cli.drawing.overlay import overlay
from yoso_cli.drawing.style import Style
from yoso_cli.errors import RunError
from yoso_cli.media.video_reader import Frame, VideoReader
from yoso_cli.media.video_writer import VideoWriter, kind_of
from yoso_cli.media.window import Window
from yoso_cli.panoptic.tracking import Tracker
from yoso_cli.panoptic.types import Category, Panoptic, Rgb
from yoso_cli.runtime.progress import SILENT, Progress
from yoso_cli.runtime.stages import fetched, newest, stage
from yoso_cli.runtime.stopping import Outcome, Stopping
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from fractions import Fraction

    from yoso_cli.api.predict import Model

# Frames that wait between two stages: one under way and one ready.
_AHEAD = 2


class VideoResult(Result):
    """The segments of a frame; a segment's id is that of its track, which persists from frame to frame.

    Args:
        frame: of the video.
        panoptic: its segments, with track ids.
        categories: the model's classes.
        source: the path or address of the video.
        numbers: of each track in the frame, 1, 2, 3 ... within its class.

    Attributes:
        index: the frame's place among those from the start that was asked for.
        time: seconds since the beginning of the video.
        numbers: as given.
    """

    def __init__(
        self,
        frame: Frame,
        panoptic: Panoptic,
        categories: tuple[Category, ...],
        source: str,
        numbers: Mapping[int, int],
    ) -> None:
        super().__init__(frame.image, panoptic, categories, source)
        self.index: int = frame.index
        self.time: Fraction = frame.time
        self.numbers = numbers

    def drawn(self, style: Style) -> Rgb:
        """As that of a picture; things keep their numbers and colours from frame to frame."""
        return overlay(self.image, self.panoptic, self.categories, style, numbers=self.numbers)


@dataclass(frozen=True)
class DrawnVideo:
    """What became of a video.

    Attributes:
        path: of the new video; None where nothing was written.
        frames: that were predicted.
        outcome: how it ended: finished, or stopped by Ctrl-C or SIGTERM.
        reached: seconds from the beginning of the source up to which it got: the `start` of whoever goes on.
        problem: what was wrong with the source, in a sentence; empty where nothing was.
        silent: why the sound is not in the new video; empty where it is, or there was none.
    """

    path: Path | None
    frames: int
    outcome: Outcome
    reached: float
    problem: str
    silent: str


def predict_video(model: "Model", reader: VideoReader, *, tracker: Tracker | None = None) -> Iterator[VideoResult]:
    """The segments of each frame that `reader` gives, in order, with ids that persist.

    Of a camera or a stream, the newest frame is taken whenever the network is free; the others are let go of.

    Args:
        model: predicts the frames.
        reader: an open video; `reader.problem` says after the last frame whether something was wrong.
        tracker: follows the segments; one for each video.

    Raises:
        RunError: a stream stopped answering.
    """
    from yoso_cli.inference.predict import predict_stream, threads_beside_network

    followed = tracker or Tracker(model.categories)
    threads = threads_beside_network(model.device)
    frames: Iterable[Frame] = newest(reader) if reader.live else fetched(reader, ahead=_AHEAD) if threads else reader

    def tracked(found: tuple[Frame, Rgb | None, Panoptic]) -> VideoResult:
        frame, _, panoptic = found
        known = followed.update(panoptic)
        return VideoResult(frame, known.panoptic, model.categories, reader.source, known.numbers)

    predicted = predict_stream(model.predictor, frames, attrgetter("image"), readers=1)
    # One thread: frames are followed in their order.
    yield from stage(tracked, predicted, threads=threads, ahead=_AHEAD)


def draw_video(
    model: "Model",
    source: Path | str,
    target: Path | None,
    *,
    draw: Callable[[VideoResult], Rgb],
    every: int = 1,
    start: float | None = None,
    stop: float | None = None,
    fps: float | None = None,
    tracker: Tracker | None = None,
    show: bool = False,
    progress: Progress = SILENT,
) -> DrawnVideo:
    """Draws what a model finds in each frame, as a video with the times and the sound of the source.

    Ctrl-C and SIGTERM end it after the frame under way; what was written until then plays. So it does where the disk
    is full, and where the source is damaged.

    Args:
        model: predicts the frames.
        source: as `VideoReader` takes it, and so are the next four.
        target: the new video, as `VideoWriter` takes it; None writes nothing.
        draw: a frame and its segments to a picture, RGB and all of one size, such as `VideoResult.drawn` without a
            legend, which grows with the classes; called in a thread, in order.
        every: of how many frames one is taken.
        start: seconds.
        stop: seconds.
        fps: the most frames per second.
        tracker: follows the segments.
        show: whether to show the pictures in a window; closing it ends the video.
        progress: shows how far it is.

    Raises:
        UsageError: an option is out of range, PyAV is missing, `target` is of an unknown kind, or there is no display.
        DataError: the source is no video, or damaged at its beginning.
        RunError: the disk is full, or a stream stopped answering; says how to go on.
    """
    if target is not None:
        kind_of(target)
    with ExitStack() as opened:
        window = opened.enter_context(Window(str(source))) if show else None
        reader = opened.enter_context(VideoReader(source, every=every, start=start, stop=stop, fps=fps))
        bar = opened.enter_context(progress.bar(reader.count, "video", unit="frame"))
        stopping = opened.enter_context(Stopping())
        output = opened.enter_context(_Output(target, reader, start or 0.0))
        written = opened.enter_context(closing(_written(model, reader, tracker, draw, output)))
        for image in written:
            bar.update(1)
            if stopping.outcome or (window is not None and not window.show(image)):
                break
    outcome = stopping.outcome or Outcome.FINISHED
    return DrawnVideo(output.kept, output.frames, outcome, output.reached, reader.problem, output.silent)


def _written(
    model: "Model",
    reader: VideoReader,
    tracker: Tracker | None,
    draw: Callable[[VideoResult], Rgb],
    output: "_Output",
) -> Generator[Rgb, None, None]:
    """Each picture once it is written. Nothing but this holds the stages, so that they end with it."""
    from yoso_cli.inference.predict import threads_beside_network

    threads = threads_beside_network(model.device)
    results = predict_video(model, reader, tracker=tracker)
    drawn = stage(lambda result: (result, draw(result)), results, threads=threads, ahead=_AHEAD)
    yield from stage(output.write, drawn, threads=threads, ahead=_AHEAD)


class _Output:
    """The new video, which begins with its first picture, as its size is known only then. A context manager."""

    def __init__(self, target: Path | None, reader: VideoReader, start: float) -> None:
        self._target, self._reader, self._start = target, reader, start
        self._writer: VideoWriter | None = None
        self.frames = 0
        self.reached = start

    def __enter__(self) -> "_Output":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is None:
            return
        full: BaseException | None = None
        try:
            self._writer.__exit__(kind, error, trace)
        except RunError as found:
            full = found
        cause = full or error
        if isinstance(cause, RunError) and self._writer.kept:
            kept = (
                f"{self._target} keeps {counted(self.frames, 'frame')} and plays; go on with --start {self.reached:g}."
            )
            raise RunError(cause.message, hint=f"{cause.hint} {kept}") from cause
        if full is not None:
            raise full

    def write(self, drawn: tuple[VideoResult, Rgb]) -> Rgb:
        """Adds a frame, and gives its picture."""
        result, image = drawn
        if self._target is not None:
            self._writer = self._writer or self._begun(self._target, image)
            self._writer.write(image, result.time)
        self.frames += 1
        # The next frame is later than this one, by however little.
        self.reached = round(float(result.time) + 0.001, 3)
        return image

    @property
    def kept(self) -> Path | None:
        """The new video, once it is closed; None where there is none."""
        return self._target if self._writer is not None and self._writer.kept else None

    @property
    def silent(self) -> str:
        """Why it has no sound."""
        return self._writer.silent if self._writer is not None else ""

    def _begun(self, target: Path, image: Rgb) -> VideoWriter:
        size = image.shape[0], image.shape[1]
        source = self._reader.source
        sound = Path(source) if self._reader.has_audio and Path(source).is_file() else None
        return VideoWriter(target, size=size, rate=self._reader.rate, audio_from=sound, start=self._start)
