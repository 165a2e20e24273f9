"""A video file, written frame by frame, that plays whatever ends it; FFmpeg encodes it, through PyAV."""

# H, W height and width of a frame in pixels

import contextlib
import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, cast

import numpy as np

from yoso_cli.atomic import replacing
from yoso_cli.errors import DataError, RunError, UsageError, YosoError
from yoso_cli.media.sources import beginning, opened, reason, require_pyav, seek
from yoso_cli.media.video_reader import VideoReader
from yoso_cli.panoptic.types import Rgb
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


@dataclass(frozen=True)
class _Kind:
    """How files of one suffix are written.

    Attributes:
        format: FFmpeg's name of the container.
        encoders: the first that the installed FFmpeg has is used.
        options: of the container.
        pixels: the pixel format.
        ticks: per second; MPEG's clock states all usual rates without rounding.
        even: whether sides must be even, and colours are those of television (BT.709).
    """

    format: str
    encoders: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    pixels: str = "yuv420p"
    ticks: int = 90_000
    even: bool = True


_H264 = ("libx264", "libopenh264", "h264_videotoolbox", "mpeg4")
# Written in fragments, so that whatever is on the disk plays; made one whole, as players like it, when it is closed.
_WHOLE_AT_THE_END = {"movflags": "hybrid_fragmented"}
_KINDS = {
    ".mp4": _Kind("mp4", _H264, _WHOLE_AT_THE_END),
    ".mov": _Kind("mov", _H264, _WHOLE_AT_THE_END),
    ".mkv": _Kind("matroska", _H264),
    ".webm": _Kind("webm", ("libvpx-vp9", "libvpx")),
    ".gif": _Kind("gif", ("gif",), pixels="rgb8", ticks=100, even=False),
}
WRITTEN = frozenset(_KINDS)
"""The suffixes that can be written."""

# Nothing is lost to the eye at these, and neither holds a small network up. Without B-frames a file begins at 0, and a
# frame is encoded as soon as it comes.
_OPTIONS = {
    "libx264": {"preset": "veryfast", "crf": "20", "bf": "0"},
    "libopenh264": {"b": "8000000"},
    "h264_videotoolbox": {"b": "8000000"},
    "mpeg4": {"q": "3"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "crf": "30", "b": "0"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "crf": "10", "b": "8000000"},
}
_KEY_SECONDS = 2
_BT709, _LIMITED = 1, 1
_NO_SPACE = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}


class VideoWriter:
    """Writes frames with their times, and copies the sound of another video beside them. A context manager.

    The file has a temporary name until it is closed, and then its own: also where an exception ends the block, such as
    KeyboardInterrupt, or the disk is full. Whatever was written until then plays. Without a single frame there is no
    file, and one that was there before stays.

    Args:
        path: ends in .mp4, .mov, .mkv (H.264), .webm (VP9) or .gif (256 colours, and no sound).
        size: height and width of the frames. The codecs need even ones: an odd side gets its last pixels twice.
        rate: frames per second, for players; each frame has its own time beside it.
        audio_from: a video whose first sound is copied as it is, as far as the frames reach; see `silent`.
        start: seconds, the time of a frame that is 0 in the file.

    Attributes:
        frames: written so far.
        silent: why the sound of `audio_from` is not copied, in a few words; empty where it is, or there is none.
        kept: after closing, whether there is a file that plays.

    Raises:
        UsageError: another suffix, or PyAV is not installed.
        RunError: the place cannot be written, or FFmpeg cannot encode such frames.
    """

    def __init__(
        self,
        path: Path,
        *,
        size: tuple[int, int],
        rate: Fraction | float,
        audio_from: Path | None = None,
        start: float = 0.0,
    ) -> None:
        self.path = path
        self.frames = 0
        self.silent = ""
        self.kept = False
        self._kind = kind_of(path)
        require_pyav()
        from av.video.reformatter import VideoReformatter

        self._encoder = _encoder(self._kind)
        self._size, self._start = size, Fraction(start)
        self._rate = Fraction(rate).limit_denominator(1001)
        self._last = -1
        self._reformatter = VideoReformatter()
        self._closed = False
        self._sound: _Sound | None = None
        self._place = replacing(path)
        self._temporary = self._place.__enter__()
        try:
            with self._reporting():
                self._open(audio_from)
        except BaseException:
            self._end(keep=False)
            raise

    def _open(self, audio_from: Path | None) -> None:
        import av

        place = f"file:{self._temporary.absolute()}"
        self._container = av.open(place, "w", format=self._kind.format, options=dict(self._kind.options))
        self._stream = self._video_stream()
        if audio_from is not None:
            found = _Sound.of(audio_from, self._container, self._start)
            if isinstance(found, str):
                self.silent = found
            else:
                self._sound = found

    def _video_stream(self) -> "VideoStream":
        stream = cast(
            "VideoStream",
            self._container.add_stream(self._encoder, rate=self._rate, options=_OPTIONS.get(self._encoder)),
        )
        context = stream.codec_context
        context.height, context.width = _even(self._size) if self._kind.even else self._size
        context.pix_fmt = self._kind.pixels
        context.time_base = Fraction(1, self._kind.ticks)
        context.gop_size = max(1, round(_KEY_SECONDS * self._rate))
        if self._kind.even:
            context.colorspace = context.color_primaries = context.color_trc = _BT709
            context.color_range = _LIMITED
        return stream

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except RunError:
            # What ended the block says more.
            if error is None:
                raise

    def write(self, image: Rgb, time: Fraction | float) -> None:
        """Adds a frame.

        Args:
            image: uint8 (H, W, 3), RGB, of the size that was given.
            time: seconds, on the clock on which `start` is the beginning; later than that of the frame before.

        Raises:
            DataError: it has another size.
            RunError: the disk is full, or the place cannot be written.
        """
        if image.shape != (*self._size, 3):
            raise DataError(f"{self.path}: a frame of {image.shape[1]}x{image.shape[0]} pixels has another size.")
        tick = Fraction(1, self._kind.ticks)
        # Two frames of one tick would be refused: the later one comes a tick later.
        self._last = max(self._last + 1, round((Fraction(time) - self._start) / tick))
        frame = self._encodable(image)
        frame.pts, frame.time_base = self._last, tick
        with self._reporting():
            self._container.mux(self._stream.encode(frame))
            if self._sound is not None:
                self._sound.copy(until=self._last * tick)
        self.frames += 1

    def close(self) -> None:
        """Finishes the file and gives it its name; the second time, nothing.

        Raises:
            RunError: the disk is full. What was written until then has its name, and `kept` says that it plays.
        """
        if self._closed:
            return
        self._closed = True
        full: RunError | None = None
        try:
            with self._reporting():
                self._finish()
        except RunError as error:
            full = error
        if self._sound is not None:
            self._sound.close()
        self._end(keep=self.frames > 0 and (full is None or _plays(self._temporary)))
        if full is not None:
            raise full

    def _finish(self) -> None:
        try:
            if self.frames:
                self._container.mux(self._stream.encode(None))
                if self._sound is not None:
                    self._sound.copy(until=Fraction(self._last, self._kind.ticks) + 1 / self._rate)
        finally:
            self._container.close()

    def _encodable(self, image: Rgb) -> "VideoFrame":
        import av
        from av.video.reformatter import ColorRange, Colorspace

        if self._kind.even and (image.shape[0] % 2 or image.shape[1] % 2):
            image = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        return self._reformatter.reformat(
            frame,
            format=self._kind.pixels,
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG if self._kind.even else ColorRange.JPEG,
        )

    def _end(self, *, keep: bool) -> None:
        """Gives the file its name, or removes it."""
        self.kept = keep
        if keep:
            self._place.__exit__(None, None, None)
        else:
            unkept = _UnkeptError()
            self._place.__exit__(_UnkeptError, unkept, None)

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        import av

        try:
            yield
        except (av.FFmpegError, OSError, ValueError) as error:
            number = error.errno if isinstance(error, OSError) else None
            if number in _NO_SPACE:
                raise RunError(
                    f"{self.path}: the disk is full after {counted(self.frames, 'frame')}.",
                    hint="Free some space or choose another path.",
                ) from error
            raise RunError(f"{self.path}: cannot be written: {reason(error)}.", hint="Choose another path.") from error


class _UnkeptError(Exception):
    """Ends the temporary file's life."""


class _Sound:
    """The sound of a video on its way into another one, not encoded again."""

    def __init__(self, source: "InputContainer", stream: "AudioStream", target: "AudioStream", start: Fraction) -> None:
        self._source, self._target = source, target
        self._output = cast("OutputContainer", target.container)
        self._shift = beginning(source, stream) + start
        if start:
            seek(source, start)
        self._packets = source.demux(stream)
        self._next = self._following()

    @classmethod
    def of(cls, path: Path, target: "OutputContainer", start: Fraction) -> "_Sound | str":
        """The first sound of a file, or why there is none."""
        source = opened(str(path))
        stream = next(iter(source.streams.audio), None)
        unfit = ""
        if stream is None or stream.codec_context is None:
            unfit = "" if stream is None else "its kind of sound is unknown"
        elif stream.codec_context.name not in target.supported_codecs:
            unfit = f"{target.format.name} cannot hold sound of the kind {stream.codec_context.name}"
        else:
            return cls(source, stream, target.add_stream_from_template(stream), start)
        source.close()
        return unfit

    def copy(self, *, until: Fraction) -> None:
        """Copies what sounds before the time `until` of the new file."""
        while self._next is not None and self._time(self._next) < until:
            packet, self._next = self._next, self._following()
            shift = round(self._shift / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.dts = None if packet.dts is None else packet.dts - shift
            packet.stream = self._target
            self._output.mux(packet)

    def close(self) -> None:
        self._source.close()

    def _following(self) -> "Packet[AudioStream] | None":
        """The next packet that is heard; None at the end, and where the sound is damaged."""
        import av

        with contextlib.suppress(av.FFmpegError):
            for packet in self._packets:
                # Before 0 is what warms a decoder up; most players would show the pictures later for its sake.
                if packet.dts is not None and self._time(packet) >= 0:
                    return packet
        return None

    def _time(self, packet: "Packet[AudioStream]") -> Fraction:
        """Seconds in the new file."""
        pts = packet.pts if packet.pts is not None else packet.dts
        return (pts or 0) * packet.time_base - self._shift


def kind_of(path: Path) -> _Kind:
    """How a file of this name is written. Raises UsageError where its suffix is not known."""
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        what = "a video of this kind cannot be written" if path.suffix else "has no suffix that says what to write"
        raise UsageError(f"{path}: {what}.", hint=f"The name must end in {', '.join(sorted(_KINDS))}.")
    return kind


def _encoder(kind: _Kind) -> str:
    from av.codec import Codec

    for name in kind.encoders:
        with contextlib.suppress(ValueError):
            if Codec(name, "w").is_encoder:
                return name
    raise RunError(f"PyAV on this machine has none of the encoders {', '.join(kind.encoders)}.", hint="Update it.")


def _even(size: tuple[int, int]) -> tuple[int, int]:
    return size[0] + size[0] % 2, size[1] + size[1] % 2


def _plays(path: Path) -> bool:
    """Whether there is a frame in it."""
    try:
        with VideoReader(f"{path}"):
            return True
    except YosoError:
        return False
