"""Frames of a video file, a stream or a camera, one at a time; FFmpeg decodes them, through PyAV."""

# H, W height and width of a frame in pixels

import math
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from yoso_cli.errors import DataError, RunError, UsageError
from yoso_cli.media.sources import beginning, is_live, opened, pictures, reason, seek
from yoso_cli.panoptic.types import Rgb

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_MOST_BROKEN = 300
"""Packets in a row without a frame: ten seconds of nothing are the end."""

# ITU-T H.273: the matrices that FFmpeg converts from. Where another one is stated, or none, players take BT.709 from so
# many lines on, and BT.601 below.
_MATRICES = frozenset({1, 4, 5, 6, 7, 9})
_HD_LINES = 720


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a video.

    Attributes:
        image: uint8 (H, W, 3), RGB, turned the way it is shown.
        index: its place among the frames from the start that was asked for, 0 for the first; `every` and `fps` leave
            gaps.
        time: seconds since the beginning of the video.
    """

    image: Rgb
    index: int
    time: Fraction


class VideoReader:
    """Iterates over the frames of a video, in the order in which they are shown. A context manager.

    Frames of another size than the first (some recorders change it) are scaled to the first one's. A frame that does
    not decode is passed over and counted. Where the file ends before the end that it states, what is there is given,
    and `problem` says so. Pixels that are not square stay as stored.

    Args:
        source: a file (mp4, mov, avi, mkv, webm, gif), an address (`rtsp://`, `https://`), or `camera:0`.
        every: of how many frames one is given.
        start: seconds from the beginning at which to begin.
        stop: seconds from the beginning at which to end.
        fps: the most frames per second that are given; others between them are left out.

    Attributes:
        skipped: frames so far that did not decode.
        cut_short: whether the file ended before its end.

    Raises:
        UsageError: an option is out of range, or PyAV is not installed.
        DataError: no such file or camera, no video, damaged at its beginning, or larger than `LARGEST`.
        RunError: a stream does not answer.
    """

    def __init__(
        self,
        source: Path | str,
        *,
        every: int = 1,
        start: float | None = None,
        stop: float | None = None,
        fps: float | None = None,
    ) -> None:
        _check_options(every, start, stop, fps)
        self.source = str(source)
        self.skipped = 0
        self.cut_short = False
        self._every, self._fps = every, fps
        self._start = _exact(start or 0)
        self._stop = _exact(stop) if stop is not None else None
        self._closed, self._decoding = False, threading.Lock()
        self._container = opened(self.source)
        try:
            self._stream = pictures(self._container, self.source)
            self._begin = beginning(self._container, self._stream)
            self._upright = _Upright()
            self._first = self._first_frame()
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file, the connection or the camera; whoever iterates in another thread gets no more frames."""
        self._closed = True
        with self._decoding:
            self._container.close()

    @property
    def live(self) -> bool:
        """Whether frames come at their own pace: a camera or a stream, whose frames are lost when nobody takes them."""
        return is_live(self.source)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of each frame in pixels, as it is shown."""
        height, width = self._first.image.shape[:2]
        return height, width

    @property
    def rate(self) -> Fraction:
        """Frames per second that are given, on average; 25 where nothing is known."""
        rate = _rate(self._stream) / self._every
        return min(rate, Fraction(self._fps).limit_denominator(1001)) if self._fps else rate

    @property
    def duration(self) -> float | None:
        """Seconds of the pictures, as stated by the file; None where it states none."""
        return _stated_duration(self._container, self._stream)

    @property
    def count(self) -> int | None:
        """About how many frames will be given; None where the file does not say how long it is."""
        whole = self.duration
        if whole is None or self.live:
            return None
        end = min(whole, float(self._stop)) if self._stop is not None else whole
        return max(1, math.ceil(round(max(0.0, end - float(self._start)) * float(self.rate), 3)))

    @property
    def has_audio(self) -> bool:
        """Whether there is sound."""
        return bool(self._container.streams.audio)

    @property
    def problem(self) -> str:
        """After the last frame: what was wrong with the video, in a sentence; empty where nothing was."""
        told = []
        if self.cut_short:
            told.append("ends before its stated end: it is cut short or damaged")
        if self.skipped:
            frames = "1 frame does" if self.skipped == 1 else f"{self.skipped} frames do"
            told.append(f"{frames} not decode and {'is' if self.skipped == 1 else 'are'} left out")
        return f"{self.source}: {', and '.join(told)}." if told else ""

    def __iter__(self) -> Iterator[Frame]:
        """The frames, once. Raises DataError where a stream ends without any, RunError where it stops answering."""
        due = Fraction(0)
        for frame in self._from_first():
            if self._stop is not None and frame.time >= self._stop:
                return
            if frame.index % self._every or (self._fps and frame.time < due):
                continue
            if self._fps:
                # Half a tick of tolerance, or a rate of 30 would leave out every second frame of 29.97.
                due = max(due, frame.time - Fraction(1, 1000)) + 1 / Fraction(self._fps)
            yield frame

    def _first_frame(self) -> Frame:
        self._frames = self._numbered()
        first = next(self._frames, None)
        if first is None:
            after = self.duration is not None and self._start >= self.duration > 0
            if after:
                raise UsageError(f"{self.source}: is over after {self.duration:g} s; there is nothing from --start on.")
            hint = "It is empty or damaged: record or export it again."
            raise DataError(f"{self.source}: has no frame that decodes.", hint=hint)
        return first

    def _from_first(self) -> Iterator[Frame]:
        yield self._first
        yield from self._frames

    def _numbered(self) -> Iterator[Frame]:
        """Frames from the start on, upright, of one size, numbered."""
        if self._start and not self.live:
            seek(self._container, self._start)
        step = 1 / _rate(self._stream)
        index, time = 0, -step
        for frame in self._decoded():
            base = frame.time_base or self._stream.time_base
            time = frame.pts * base - self._begin if frame.pts is not None and base else time + step
            if time < self._start:
                continue
            image = self._converted(frame)
            if image is not None:
                yield Frame(image, index, max(time, Fraction(0)))
            index += 1
        stated = self.duration
        if stated is not None and not self.live and self._start < stated:
            missing = stated - float(time + step)
            self.cut_short |= missing > max(0.5, 3 * float(step))

    def _converted(self, frame: "VideoFrame") -> Rgb | None:
        """None where it is of a kind that FFmpeg cannot convert."""
        import av

        try:
            return self._upright(frame)
        except (av.FFmpegError, ValueError, MemoryError):
            self.skipped += 1
            return None

    def _decoded(self) -> Iterator["VideoFrame"]:
        packets = self._container.demux(self._stream)
        broken = 0
        while broken < _MOST_BROKEN:
            # FFmpeg must not be closed while it decodes in another thread.
            with self._decoding:
                frames = None if self._closed else self._next(packets)
            if frames is None:
                return
            whole = [frame for frame in frames if not frame.is_corrupt]
            self.skipped += len(frames) - len(whole)
            yield from whole
            broken = 0 if whole else broken + 1

    def _next(self, packets: Iterator["Packet[VideoStream]"]) -> list["VideoFrame"] | None:
        """The frames that the next packet completes, often one; None at the end."""
        import av

        try:
            packet = next(packets)
        except StopIteration:
            return None
        except av.FFmpegError as error:
            if self.live:
                raise RunError(f"{self.source}: stopped answering: {reason(error)}.", hint="Check it.") from error
            self.cut_short = True
            return None
        try:
            return self._stream.codec_context.decode(packet)
        except av.FFmpegError:
            self.skipped += 1
            return []


class _Upright:
    """Decoded frames to RGB in full range, of one size, the way they are shown."""

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        # It keeps FFmpeg's tables, which take longer to make than a small frame to convert.
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None

    def __call__(self, frame: "VideoFrame") -> Rgb:
        from av.video.reformatter import ColorRange, Colorspace

        turns = round(frame.rotation / 90) % 4
        if self._size is None:
            self._size = (frame.width, frame.height)
        width, height = self._size
        matrix = frame.colorspace
        if matrix not in _MATRICES:
            matrix = Colorspace.ITU709 if frame.height >= _HD_LINES else Colorspace.ITU601
        rgb = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="rgb24",
            src_colorspace=matrix,
            dst_color_range=ColorRange.JPEG,
        )
        image: Rgb = rgb.to_ndarray()  # type: ignore[assignment] # rgb24 is bytes
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _check_options(every: int, start: float | None, stop: float | None, fps: float | None) -> None:
    wrong = ""
    if every < 1:
        wrong = f"--every {every}: must be at least 1."
    elif start is not None and not 0 <= start < math.inf:
        wrong = f"--start {start:g}: must be at least 0 seconds."
    elif stop is not None and not (start or 0) < stop:
        wrong = f"--stop {stop:g}: must be after the start, at {start or 0:g} seconds."
    elif fps is not None and not 0 < fps < math.inf:
        wrong = f"--fps {fps:g}: must be above 0."
    if wrong:
        raise UsageError(wrong)


def _exact(seconds: float) -> Fraction:
    """0.4 s is two fifths, and not the binary number above it, which would leave a frame of that time out."""
    return Fraction(seconds).limit_denominator(1_000_000)


def _rate(stream: "VideoStream") -> Fraction:
    """Frames per second; 25 where the file knows none, or one that cannot be."""
    rate = stream.average_rate or stream.guessed_rate
    return Fraction(rate) if rate is not None and 0 < rate <= 1000 else Fraction(25)


def _stated_duration(container: "InputContainer", stream: "VideoStream") -> float | None:
    import av

    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # Matroska states each track's in a tag of its own, as 00:00:01.200000000.
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)\D*", stream.metadata.get("DURATION", ""))
    if tag:
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
    # That of the whole file may be that of its sound.
    if container.duration is not None and not container.streams.audio:
        return container.duration / av.time_base
    return None
