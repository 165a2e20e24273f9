"""Photos: the one place that opens them, and the formats it opens.

A photo is an untrusted file. Pillow starts Ghostscript on PostScript, whatever the file is called: so the formats are
an allow-list, and none of them starts a program.

Of these formats only PNG has checksums, which are compared; a damaged JPEG may decode to other colours without a word.
"""

# H, W height and width of the picture in pixels

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from yoso_cli.errors import DataError
from yoso_cli.panoptic.png import unreadable
from yoso_cli.panoptic.png_chunks import pixel_chunks
from yoso_cli.panoptic.types import Rgb

if TYPE_CHECKING:
    from PIL import Image

PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".mpo", ".jp2", ".avif"}
)
"""Of the files in a folder that are taken for photos, in lower case."""

_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")

_BAND = 1 << 21
"""Pixels that are copied from Pillow at once."""

_JPEG = b"\xff\xd8"
# Start of frame, of all kinds, without the three tables between them: ITU-T T.81, B.1.1.3.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEGMENT = struct.Struct(">xBH")
_FRAME = struct.Struct(">xHH")


@contextmanager
def opened_photo(file: Path | IO[bytes], where: str) -> "Iterator[Image.Image]":
    """Opens a picture with Pillow; its pixels are not decoded yet.

    Args:
        file: its path or its content.
        where: names it in what is raised.

    Raises:
        DataError: missing, a folder, in none of the formats, too large, or damaged; also if the block finds it so.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file, formats=_formats()) as image:
            yield image
    except FileNotFoundError:
        raise DataError(f"{where}: no such file.") from None
    except IsADirectoryError:
        raise DataError(f"{where}: is a folder, not a picture.") from None
    except UnidentifiedImageError:
        raise DataError(
            f"{where}: is not a picture in a supported format.", hint=f"Formats: {', '.join(_formats())}."
        ) from None
    except Image.DecompressionBombError:
        raise DataError(f"{where}: has more pixels than the 178 million that are opened.") from None
    except unreadable() as error:
        raise DataError(f"{where}: is truncated or damaged ({error}).", hint="Download or write it again.") from None


def require_checksums(image: "Image.Image") -> None:
    """Compares the CRC of every chunk of an open PNG, of which Pillow leaves some out; other formats have none.

    Raises:
        DamagedError: one differs, or the file is cut short; `opened_photo` makes a DataError of it.
    """
    if image.format == "PNG":
        file: IO[bytes] = image.fp  # type: ignore[attr-defined]
        place = file.tell()
        file.seek(0)
        content = file.read()
        file.seek(place)
        pixel_chunks(content, trailing=True)


def read_image(path: Path) -> Rgb:
    """A picture as uint8 (H, W, 3), the way a photo viewer turns it (EXIF orientation applied).

    Raises:
        DataError: missing, damaged, or no picture.
    """
    return _pixels(path, str(path))


def decode_image(content: IO[bytes], where: str) -> Rgb:
    """The same from a file's content; `where` names it in what is raised."""
    return _pixels(content, where)


def read_reduced(path: Path, edge: int) -> Rgb:
    """The same as `read_image` with a long edge of at most `edge` pixels; large JPEGs are decoded at a smaller size.

    Raises:
        DataError: as `read_image`.
    """
    return _pixels(path, str(path), edge)


def _pixels(file: Path | IO[bytes], where: str, edge: int | None = None) -> Rgb:
    from PIL import Image, ImageOps

    with opened_photo(file, where) as image:
        require_checksums(image)
        if edge is not None:
            # Only JPEGs do, by a power of two, and stay at least as large as is asked for.
            image.draft("RGB", (edge, edge))
        ImageOps.exif_transpose(image, in_place=True)
        upright: Image.Image = image
        if upright.mode.startswith("I"):
            # Pillow cuts 16-bit grey off at 255 instead of scaling it.
            upright = Image.fromarray((np.asarray(upright).clip(0, 65535) // 257).astype(np.uint8))
        if "transparency" in upright.info:
            upright = upright.convert("RGBA")
        rgb = upright if upright.mode == "RGB" else upright.convert("RGB")
        if edge is not None:
            rgb.thumbnail((edge, edge))
        return _array(rgb)


def _array(image: "Image.Image") -> Rgb:
    """The pixels, by bands of rows: of a whole picture Pillow makes two copies on the way."""
    pixels: Rgb = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, _BAND // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return pixels


def photo_size(file: IO[bytes], where: str) -> tuple[int, int]:
    """Height and width in pixels as stored, before any turn that EXIF asks for; closes `file`.

    A JPEG's are found by going from marker to marker, ten times faster than Pillow opens it.

    Raises:
        DataError: no picture in a supported format.
    """
    with file:
        return _jpeg_size(file) or _any_size(file, where)


@cache
def _formats() -> tuple[str, ...]:
    """Those that this Pillow was built with: asked for another one it loads all of its readers, and fails."""
    from PIL import Image

    Image.preinit()
    # More than half of what is opened at most: Pillow's words for that are not ours.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    for reader in ("Jpeg2KImagePlugin", "TiffImagePlugin", "WebPImagePlugin", "AvifImagePlugin"):
        with suppress(ImportError):  # AVIF is read from Pillow 11.3 on
            import_module(f"PIL.{reader}")
    return tuple(one for one in _FORMATS if one in Image.OPEN)


def _jpeg_size(file: IO[bytes]) -> tuple[int, int] | None:
    """None where it is no JPEG, or an odd one."""
    place = len(_JPEG)
    if file.read(place) != _JPEG:
        return None
    while len(head := file.read(_SEGMENT.size)) == _SEGMENT.size:
        marker, length = _SEGMENT.unpack(head)
        if head[0] != 0xFF:
            return None
        if marker in _FRAMES:
            frame = file.read(_FRAME.size)
            return _FRAME.unpack(frame) if len(frame) == _FRAME.size else None
        place += 2 + length
        file.seek(place)
    return None


def _any_size(file: IO[bytes], where: str) -> tuple[int, int]:
    file.seek(0)
    with opened_photo(file, where) as photo:
        return photo.height, photo.width
