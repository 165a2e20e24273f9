"""The chunks of a PNG and their checksums (PNG standard, 5.3 and 10.1), which decoders leave out in part.

Pillow skips the CRC of the pixel chunks and what comes after them, kornia-rs the Adler-32 of the pixels: a damaged file
decodes to other values without a word. The CRCs take microseconds. The Adler-32 takes an inflation, a fifth of the time
of decoding, and adds nothing where the pixels are one chunk, whose CRC covers them; with several, one may be missing.
"""

import struct
import zlib
from collections.abc import Iterable
from typing import Protocol

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_HEAD = struct.Struct(">I4s")
_CRC = struct.Struct(">I")
_PIECE = 1 << 17


class Inflater(Protocol):
    """What `decompressobj` of zlib and of zlib-ng gives."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended, and its Adler-32 was right."""
        ...

    @property
    def unconsumed_tail(self) -> bytes:
        """What was not looked at yet."""
        ...

    def decompress(self, data: bytes | memoryview, max_length: int, /) -> bytes:
        """At most `max_length` further bytes."""
        ...


class DamagedError(ValueError):
    """Why a PNG is damaged; the caller says which."""


def pixel_chunks(content: bytes, *, trailing: bool = False) -> list[memoryview]:
    """The compressed pixels of a PNG, chunk by chunk, after the CRC of every chunk of the file was compared.

    Args:
        content: of the whole file, which starts with the signature.
        trailing: whether anything may follow the end chunk, as some cameras and editors append.

    Raises:
        DamagedError: a CRC differs, the end chunk or the pixels are missing, or chunks are out of order.
    """
    view, place = memoryview(content), len(SIGNATURE)
    name, apart = b"", False
    pixels: list[memoryview] = []
    while name != b"IEND":
        last = name
        if place + _HEAD.size + _CRC.size > len(view):
            raise DamagedError("it is cut short: the end chunk is missing")
        size, name = _HEAD.unpack_from(view, place)
        stop = place + _HEAD.size + size
        if stop + _CRC.size > len(view):
            raise DamagedError("it is cut short in a chunk")
        if zlib.crc32(view[place + 4 : stop]) != _CRC.unpack_from(view, stop)[0]:
            raise DamagedError(f"the checksum of a chunk differs, at byte {place}")
        if (name == b"IHDR") != (not last):
            raise DamagedError("its header is not its first chunk")
        if name == b"IDAT":
            apart |= bool(pixels) and last != name
            pixels.append(view[place + _HEAD.size : stop])
        place = stop + _CRC.size
    if not pixels or apart:
        raise DamagedError("pixels are missing")
    if place != len(view) and not trailing:
        raise DamagedError(f"{len(view) - place} bytes follow its end")
    return pixels


def inflated_size(pixels: Iterable[memoryview], inflater: Inflater, most: int) -> int:
    """The bytes that the compressed `pixels` unpack to, after their Adler-32 was compared; takes little memory.

    Args:
        pixels: chunk by chunk.
        inflater: a new one, of zlib or of zlib-ng.
        most: bytes; more is refused before it is unpacked.

    Raises:
        DamagedError: the Adler-32 differs, the stream is damaged or ends early.
    """
    total = 0
    for chunk in pixels:
        waiting: bytes | memoryview = chunk
        while not inflater.eof:
            try:
                piece = inflater.decompress(waiting, _PIECE)
            except Exception as error:  # zlib's error and zlib-ng's have no other class in common
                raise DamagedError(str(error)) from None
            total += len(piece)
            if total > most:
                raise DamagedError("it holds more pixels than its header says")
            waiting = inflater.unconsumed_tail
            if not waiting and len(piece) < _PIECE:
                break
    if not inflater.eof:
        raise DamagedError("pixels are missing")
    return total
