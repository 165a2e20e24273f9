"""Opening video files, streams and cameras with FFmpeg, through PyAV, which is imported when one is opened.

A video is untrusted. FFmpeg may open that one file, or that one connection, and nothing else; it guesses among the
formats below only, and uses the decoders below only. So a playlist in a file called .mp4 reads neither other files nor
the network.
"""

import re
import sys
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

from yoso_cli.errors import DataError, RunError, UsageError
from yoso_cli.runtime.machine import usable_cores

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.codeccontext import VideoCodecContext
    from av.video.stream import VideoStream

_PROTOCOLS = {
    "rtsp": "rtsp,rtp,tcp,udp",
    "rtsps": "rtsp,rtsps,rtp,tcp,udp,tls,crypto",
    "rtmp": "rtmp,tcp",
    "srt": "srt,udp",
    "udp": "udp",
    "http": "http,https,tcp,tls,crypto",
    "https": "http,https,tcp,tls,crypto",
}
SCHEMES = tuple(_PROTOCOLS)
"""Of the addresses that can be read."""

LARGEST = 1 << 26
"""Pixels of a frame, twice those of 8K: what claims more is refused before memory is asked for."""

_CAMERA = re.compile(r"camera:(\d+)")
_DEMUXERS = "mov,mp4,avi,matroska,webm,gif"
_STREAM_DEMUXERS = f"{_DEMUXERS},rtsp,sdp,rtp,mpegts,mpjpeg,flv"
# Of cameras, phones, editors and browsers of the last twenty years. Sound is never decoded, but FFmpeg looks into it.
_DECODERS = (
    "h264,hevc,av1,libdav1d,vp8,vp9,libvpx,libvpx-vp9,mpeg4,msmpeg4,msmpeg4v2,mpeg2video,mpeg1video,h263,mjpeg,gif,"
    "prores,dnxhd,dvvideo,ffv1,huffyuv,png,rawvideo,wmv2,"
    "aac,mp3,mp3float,mp2,mp2float,ac3,eac3,opus,libopus,vorbis,libvorbis,flac,alac,pcm_s16le,pcm_s16be,pcm_s24le,"
    "pcm_mulaw,pcm_alaw,pcm_u8,amrnb"
)
# Bytes and microseconds that FFmpeg may look at to find out what a file holds.
_PROBE = {"probesize": str(20_000_000), "analyzeduration": str(10_000_000)}
_TIMEOUT = 10.0


def require_pyav() -> None:
    """Raises UsageError where the package PyAV is not installed."""
    from importlib.util import find_spec

    if find_spec("av") is None:
        raise UsageError(
            "Videos need the package PyAV, which is not installed.", hint="Type `pip install 'yoso-cli[video]'`."
        )


def is_live(source: str) -> bool:
    """Whether frames come at their own pace, and are lost when nobody takes them."""
    scheme, _, place = source.partition("://")
    return bool(_CAMERA.fullmatch(source)) or (bool(place) and not scheme.startswith("http"))


def opened(source: str) -> "InputContainer":
    """A file, an address or a camera, opened. Raises DataError, RunError or UsageError, as `VideoReader` does."""
    camera = _CAMERA.fullmatch(source)
    if camera:
        return _camera(source, int(camera[1]))
    if "://" in source:
        return _address(source)
    return _file(source)


def _file(source: str) -> "InputContainer":
    path = Path(source)
    if not path.exists():
        raise DataError(f"{source}: no such file.")
    if not path.is_file():
        raise DataError(f"{source}: is not a video file.")
    require_pyav()
    import av

    options = {
        "protocol_whitelist": "file",
        "format_whitelist": _DEMUXERS,
        "codec_whitelist": _DECODERS,
        "max_pixels": str(LARGEST),
        **_PROBE,
    }
    try:
        # With its protocol in front, no name can be an address or a list of files to FFmpeg.
        return av.open(f"file:{path.absolute()}", "r", options=options)
    except (av.FFmpegError, ValueError, OSError) as error:
        if isinstance(error, PermissionError):
            raise DataError(f"{source}: cannot be read: permission denied.") from error
        kinds = "mp4, mov, avi, mkv, webm or gif"
        raise DataError(
            f"{source}: is no video that can be read, or its beginning or its index is damaged ({reason(error)}).",
            hint=f"It must be a whole file of the kind {kinds}.",
        ) from error


def _address(source: str) -> "InputContainer":
    scheme = source.partition("://")[0]
    if scheme not in SCHEMES:
        raise UsageError(
            f"{source}: cannot be read as a stream.", hint=f"Addresses start with {', '.join(SCHEMES)}, then ://."
        )
    require_pyav()
    import av

    options = {
        "protocol_whitelist": _PROTOCOLS[scheme],
        "format_whitelist": _STREAM_DEMUXERS,
        "codec_whitelist": _DECODERS,
        "max_pixels": str(LARGEST),
        **_PROBE,
        # Over UDP, frames get lost without a word.
        **({"rtsp_transport": "tcp"} if scheme.startswith("rtsp") else {}),
    }
    try:
        return av.open(source, "r", options=options, timeout=(_TIMEOUT, _TIMEOUT))
    except (av.FFmpegError, ValueError, OSError) as error:
        raise RunError(
            f"{source}: cannot be read: {reason(error)}.", hint="Check the address, the network and the password."
        ) from error


def _camera(source: str, number: int) -> "InputContainer":
    require_pyav()
    import av

    on_mac = sys.platform == "darwin"
    name, kind = (str(number), "avfoundation") if on_mac else (f"/dev/video{number}", "v4l2")
    if not on_mac and not Path(name).exists():
        there = sorted(path.name.removeprefix("video") for path in Path("/dev").glob("video*"))
        known = f"There are camera:{', camera:'.join(there)}." if there else "This machine has none."
        raise DataError(f"{source}: there is no such camera, {name}.", hint=known)
    options = {"framerate": "30"} if on_mac else {}
    try:
        return av.open(name, "r", format=kind, options=options, timeout=(_TIMEOUT, _TIMEOUT))
    except (av.FFmpegError, ValueError, OSError) as error:
        raise DataError(
            f"{source}: the camera cannot be opened: {reason(error)}.",
            hint="It may be in use by another program, or this one may lack the right to use it.",
        ) from error


def pictures(container: "InputContainer", source: str) -> "VideoStream":
    """The stream of pictures; covers of songs are none."""
    from av.stream import Disposition

    found = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
    if not found:
        raise DataError(f"{source}: has no pictures, only sound or nothing.")
    stream = found[0]
    # None where FFmpeg has no decoder, which PyAV's types forget.
    context = cast("VideoCodecContext | None", stream.codec_context)
    if context is None:
        raise DataError(f"{source}: is damaged, or of a kind that is not read.", hint="Convert it to H.264 in an mp4.")
    if context.name not in _DECODERS.split(","):
        raise DataError(f"{source}: is encoded as {context.name}, which is not read.", hint="Convert it to H.264.")
    if context.width * context.height > LARGEST:
        large = f"has frames of {context.width}x{context.height} pixels, more than {LARGEST // 2**20} million"
        raise DataError(f"{source}: {large}.", hint="Scale it down first.")
    context.options = {"max_pixels": str(LARGEST)}
    # Threads for each frame would hold back and keep one per thread; one core decodes 100 frames of 1080p a second.
    context.thread_type = "SLICE"
    context.thread_count = min(4, usable_cores())
    return stream


def beginning(container: "InputContainer", stream: "Stream") -> Fraction:
    """The time on a stream's clock that counts as 0: where sound or pictures begin, whichever is earlier."""
    whole = _start(container)
    if whole is not None:
        return whole
    return stream.start_time * stream.time_base if stream.start_time is not None and stream.time_base else Fraction(0)


def seek(container: "InputContainer", time: Fraction) -> None:
    """Goes to the last key frame before so many seconds from the beginning, or to the beginning without an index."""
    import av

    try:
        container.seek(round((time + (_start(container) or 0)) * av.time_base))
    except av.FFmpegError:
        container.seek(0)


def _start(container: "InputContainer") -> Fraction | None:
    import av

    # None where it is unknown, which PyAV's types forget.
    start = cast("int | None", container.start_time)
    return None if start is None else Fraction(start, av.time_base)


def reason(error: BaseException) -> str:
    """The cause in FFmpeg's or the system's words, without its place in them."""
    if isinstance(error, OSError) and error.errno and error.errno < 1 << 16:
        return (error.strerror or str(error)).rstrip(".").lower()
    text = getattr(error, "strerror", None) or str(error)
    return re.sub(r"^\[Errno \d+\] ", "", str(text)).split(": 'file:")[0].rstrip(".").lower()
