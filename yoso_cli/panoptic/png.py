"""Fast PNG decoding and encoding for label maps: values exactly as stored, in the mode of the header.

Ids do not survive what image libraries do for photos: a palette expanded to colours, 16 bits cut down to 8. Here a map
is read as the one kind its caller expects, or refused with words. kornia-rs decodes several times faster than Pillow,
and zlib-ng compresses faster than zlib; without them everything works with Pillow and zlib, with the same values.

A damaged file is refused by its checksums: see `png_chunks`.
"""

# H, W height and width of the picture in pixels

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from yoso_cli.errors import DataError
from yoso_cli.panoptic.png_chunks import SIGNATURE, DamagedError, Inflater, inflated_size, pixel_chunks
from yoso_cli.panoptic.types import MOST_PIXELS

Pixels = npt.NDArray[Any]
"""uint8 (H, W): grey or palette indices; uint16 (H, W): 16-bit grey; uint8 (H, W, 3): RGB."""

# The signature, and the first chunk with its CRC.
_HEADER = 33
_INTERLACE = 28
_COLORS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Colour types by the number of channels.
_TYPES = {3: 2, 4: 6}
# The limit of Deflate: a header that states a larger size is wrong, and would only fill the memory.
_BEST_COMPRESSION = 1032
_UP = 2


class Kind(Enum):
    """What a PNG holds, as (bits per sample or None for any, colour type)."""

    GREY8 = (8, 0)
    GREY16 = (16, 0)
    PALETTE = (None, 3)
    RGB = (8, 2)

    def __str__(self) -> str:
        depth, color = self.value
        return _COLORS[color] if depth is None else f"{depth}-bit {_COLORS[color]}"


_HINTS = {
    Kind.RGB: "In a panoptic PNG a segment's id is R + 256 G + 65536 B.",
    Kind.GREY16: "Ids above 255 need 16 bits, which some tools do not keep. Download or write it again.",
    Kind.GREY8: "Pixel values must be class ids. Download or write it again.",
    Kind.PALETTE: "Palette indices must be class ids, which some tools do not keep. Download it again.",
}


@dataclass(frozen=True)
class Header:
    """The first chunk of a PNG: size in pixels, bits per sample, colour type as the PNG standard numbers it."""

    height: int
    width: int
    depth: int
    color: int

    @property
    def kind(self) -> Kind | None:
        """None for what no label map is stored as, like alpha or 1-bit grey."""
        return next((kind for kind in Kind if kind.value in ((self.depth, self.color), (None, self.color))), None)

    @property
    def stored_bytes(self) -> int:
        """What the pixels take before they are compressed: in front of each row stands the number of its filter."""
        return self.height * (1 + -(-self.width * self.depth * _CHANNELS[self.color] // 8))

    def __str__(self) -> str:
        depth = f"{'an' if self.depth == 8 else 'a'} {self.depth}-bit"
        return f"{depth} {_COLORS.get(self.color, 'unknown')} PNG"


def unreadable() -> tuple[type[Exception], ...]:
    """Everything Pillow raises on a file that is cut short or damaged."""
    from PIL import Image

    return (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


def read(path: Path, *expected: Kind) -> Pixels:
    """The pixels of the PNG `path`, of one of the kinds `expected` (none: of any kind).

    Raises:
        DataError: missing, cut short, no PNG, or of another kind.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unopened(path, error) from None
    return decode(content, str(path), *expected)


def read_header(path: Path, *expected: Kind) -> Header:
    """The header of the PNG `path`, which is a thousand times faster than reading it. Raises as `read` does."""
    try:
        with path.open("rb") as file:
            content = file.read(_HEADER)
    except OSError as error:
        raise _unopened(path, error) from None
    return header(content, str(path), *expected)


def decode(content: bytes, where: str, *expected: Kind) -> Pixels:
    """The pixels of a PNG in memory; `where` names it in what is raised.

    Raises:
        DataError: damaged, no PNG, or of another kind than `expected` (none: any kind).
    """
    found = header(content, where, *(expected or Kind))
    if found.height * found.width > MOST_PIXELS or found.stored_bytes > _BEST_COMPRESSION * len(content):
        raise _damaged(where, f"says it is {found.width}x{found.height} in {len(content)} bytes")
    try:
        chunks = pixel_chunks(content)
        pixels = _decode_kornia(content, found)
        if pixels is None or len(chunks) > 1:
            _require_all(chunks, content, found)
        if pixels is None:
            pixels = _decode_pillow(content)
    except unreadable() as error:
        raise _damaged(where, str(error)) from None
    if pixels.shape[:2] != (found.height, found.width):
        raise _damaged(where, "its size is unclear")
    return pixels


def require_intact(content: bytes, where: str) -> None:
    """Compares all checksums, also the one of the pixels that `decode` leaves out where a CRC covers it.

    Raises:
        DataError: one differs, or the PNG is cut short.
    """
    found = header(content, where, *Kind)
    try:
        _require_all(pixel_chunks(content), content, found)
    except DamagedError as error:
        raise _damaged(where, str(error)) from None


def header(content: bytes, where: str, *expected: Kind) -> Header:
    """The header at the start of `content`. Raises as `decode` does, as far as the header shows it."""
    if len(content) < _HEADER or not content.startswith(SIGNATURE):
        raise DataError(f"{where}: is not a PNG.", hint="Label maps must be PNGs, which are lossless.")
    size, name, width, height, depth, color, crc = struct.unpack(">I4sIIBB3xI", content[8:_HEADER])
    if (size, name) != (13, b"IHDR") or crc != zlib.crc32(content[12 : _HEADER - 4]):
        raise _damaged(where, "the checksum of its header differs")
    found = Header(height, width, depth, color)
    if expected and found.kind not in expected:
        wanted = " or ".join(map(str, expected))
        raise DataError(f"{where}: is {found} where {wanted} is expected.", hint=_HINTS[expected[0]])
    return found


def encode(
    pixels: Pixels, palette: Sequence[tuple[int, int, int]] = (), *, text: Mapping[str, str] | None = None
) -> bytes:
    """A PNG of `pixels`, of the kind that their shape and type say.

    Args:
        pixels: uint8 or uint16 (H, W), or uint8 (H, W, 3) or (H, W, 4), of which the last is the opacity.
        palette: the colours of the values 0, 1, ... of uint8 (H, W), which are then stored as indices.
        text: notes by keyword, both in ASCII.
    """
    height, width = pixels.shape[:2]
    depth = 8 * pixels.itemsize
    # PNG stores the high byte first; a row is then plain bytes to the filter.
    stored = np.ascontiguousarray(pixels, dtype=">u2" if depth == 16 else np.uint8)
    rows = stored.reshape(height, -1).view(np.uint8)
    filtered = _filtered(height, rows.shape[1])
    _fill(filtered[:, 1:], rows)
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    kind = _TYPES[channels] if channels > 1 else Kind.PALETTE.value[1] if palette else Kind.GREY8.value[1]
    return _file(Header(height, width, depth, kind), filtered, palette, text or {})


def encode_rgb(planes: Sequence[Callable[[], Pixels] | None], height: int, width: int) -> bytes:
    """An RGB PNG of its red, green and blue.

    Args:
        planes: each gives uint8 (H, W) when called, one after the other so that only one takes memory; None is all 0.
        height: pixels.
        width: pixels.
    """
    filtered = _filtered(height, 3 * width)
    for channel, plane in enumerate(planes):
        if plane is not None:
            _fill(filtered[:, 1 + channel :: 3], plane())
    return _file(Header(height, width, 8, Kind.RGB.value[1]), filtered, (), {})


def _filtered(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Room for rows of `width` bytes, with the number of their filter in front.

    All are stored as the difference to the row above (Up). In a label map that is nearly always zero, and as small as
    what trying all filters finds in thirty times the time.
    """
    filtered = np.zeros((height, 1 + width), np.uint8)
    filtered[:, 0] = _UP
    return filtered


def _fill(filtered: Pixels, rows: Pixels) -> None:
    filtered[:1] = rows[:1]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:])


def _file(
    found: Header,
    filtered: npt.NDArray[np.uint8],
    palette: Sequence[tuple[int, int, int]],
    text: Mapping[str, str],
) -> bytes:
    colors = [_chunk(b"PLTE", np.array(palette, np.uint8).tobytes())] if palette else []
    notes = [_chunk(b"tEXt", f"{keyword}\0{note}".encode("ascii")) for keyword, note in text.items()]
    head = struct.pack(">IIBBBBB", found.width, found.height, found.depth, found.color, 0, 0, 0)
    chunks = [_chunk(b"IHDR", head), *colors, *notes, _chunk(b"IDAT", _deflate(filtered.data)), _chunk(b"IEND", b"")]
    return b"".join([SIGNATURE, *chunks])


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(name)))


def _decode_kornia(content: bytes, found: Header) -> Pixels | None:
    """None when kornia-rs is not installed or does not read this PNG: then Pillow decides."""
    io, kind = _kornia_io(), found.kind
    if io is None or (kind is Kind.PALETTE and found.depth != 8):
        return None
    size = (found.height, found.width)
    try:
        if kind is Kind.GREY16:
            return np.asarray(io.decode_image_png_u16(content, size, "mono"))[..., 0]
        pixels = np.asarray(io.decode_image_png_u8(content, size, "rgb" if kind is Kind.RGB else "mono"))
    except Exception:  # kornia-rs raises plain Exceptions
        return None
    return pixels if kind is Kind.RGB else pixels[..., 0]


def _decode_pillow(content: bytes) -> Pixels:
    # Where kornia-rs decodes, a start without Pillow takes a tenth less.
    from PIL import Image

    with Image.open(BytesIO(content), formats=["PNG"]) as image:
        return np.array(image)


def _require_all(chunks: Sequence[memoryview], content: bytes, found: Header) -> None:
    """Raises DamagedError unless the pixels match their Adler-32 and are as many as the header says.

    A stream that ends early but in order is filled up with zeros by Pillow: with void, without a word.
    """
    # Interlaced rows are stored in parts, at most three for each row, each with its filter.
    interlaced = 3 * found.height if content[_INTERLACE] else 0
    inflater: Inflater = (_zlib_ng() or zlib).decompressobj()
    held = inflated_size(chunks, inflater, found.stored_bytes + interlaced)
    if held < found.stored_bytes and not interlaced:
        raise DamagedError("rows are missing")


class _Zlib(Protocol):
    def compress(self, data: memoryview, /, level: int) -> bytes: ...

    def decompressobj(self) -> Inflater: ...


def _deflate(filtered: memoryview) -> bytes:
    fast = _zlib_ng()
    # Level 2 makes files as small as Pillow's own; zlib's level 1 is a third larger and four times slower.
    return zlib.compress(filtered, level=1) if fast is None else fast.compress(filtered, level=2)


@cache
def _kornia_io() -> Any:
    try:
        from kornia_rs import io
    except ImportError:
        return None
    return io


@cache
def _zlib_ng() -> _Zlib | None:
    try:
        from zlib_ng import zlib_ng
    except ImportError:
        return None
    return zlib_ng


def _unopened(path: Path, error: OSError) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: no such file.", hint="Each image needs its label map.")
    return DataError(f"{path}: cannot be read: {error.strerror or error}.")


def _damaged(where: str, why: str) -> DataError:
    return DataError(f"{where}: is truncated or damaged ({why}).", hint="Download or write it again.")
