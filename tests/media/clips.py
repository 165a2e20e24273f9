"""Short clips of moving shapes, made by the package's own writer or by FFmpeg itself, with what is wrong in them."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from yoso_cli.media.video_writer import VideoWriter
from yoso_cli.panoptic.types import Rgb

COLORS = ((230, 40, 40), (40, 200, 60), (50, 70, 230))


def scene(place: int, size: tuple[int, int] = (64, 96)) -> Rgb:
    """Discs that move with `place` over a grey gradient; three squares in a corner tell which frame it is."""
    height, width = size
    image = np.repeat(np.linspace(60, 160, width).astype(np.uint8)[None, :, None], height, 0).repeat(3, 2)
    y, x = np.mgrid[:height, :width]
    for number, color in enumerate(COLORS):
        center = (height * (number + 1) / 4, (width * number / 4 + 2 * place) % width)
        image[(y - center[0]) ** 2 + (x - center[1]) ** 2 < (height / 8) ** 2] = color
    for bit in range(6):
        image[:8, 8 * bit : 8 * bit + 8] = 255 if place >> bit & 1 else 0
    return image


def number(image: Rgb) -> int:
    """The frame that `scene` drew."""
    return sum(1 << bit for bit in range(6) if image[4, 8 * bit + 4, 0] > 127)


def clip(
    path: Path, count: int = 20, *, size: tuple[int, int] = (64, 96), times: Sequence[float] = (), **options: Any
) -> Path:
    """Frames 0, 1, 2 ... of `scene`, 25 of them a second, or at `times`."""
    with VideoWriter(path, size=size, rate=25, **options) as writer:
        for place in range(count):
            writer.write(scene(place, size), times[place] if times else Fraction(place, 25))
    return path


def encoded(
    path: Path,
    images: Iterable[Rgb],
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    rotation: int = 0,
    audio: str = "",
    audio_seconds: float = 0,
    container: str | None = None,
    **options: str,
) -> Path:
    """By FFmpeg alone, 25 frames a second, with a tone beside them."""
    images = list(images)
    with av.open(str(path), "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=25, options={"bf": "0", **options} if "264" in codec else options)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixels
        if rotation:
            stream.set_display_rotation(rotation)
        sound: Any = file.add_stream(audio, rate=48000) if audio else None
        for image in images:
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                file.mux(packet)
        for packet in stream.encode(None):
            file.mux(packet)
        if sound is not None:
            _tone(file, sound, audio_seconds or len(images) / 25)
    return path


def _tone(file: Any, sound: Any, seconds: float) -> None:
    samples = np.sin(np.arange(round(48000 * seconds)) * 2 * np.pi * 440 / 48000).astype(np.float32) * 0.3
    for first in range(0, len(samples), 960):
        part = samples[first : first + 960]
        frame: Any = av.AudioFrame.from_ndarray(part[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts = 48000, first
        for packet in sound.encode(frame):
            file.mux(packet)
    for packet in sound.encode(None):
        file.mux(packet)


def sound_of(path: Path) -> tuple[str, float, float]:
    """The codec of the sound, and the seconds at which it begins and ends."""
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        packets = [one for one in file.demux(stream) if one.pts is not None]
        base = float(packets[0].time_base)
        last = packets[-1]
        return stream.codec_context.name, packets[0].pts * base, ((last.pts or 0) + (last.duration or 0)) * base
