"""The truth cache: run lengths of a set's true maps in one file, so that its PNGs are decoded only once.

    magic | a block for each picture | index, JSON | where the index starts, 8 bytes | CRC-32 of both, 4 bytes

A block takes about as much room as the PNG and is read fifty times faster: the ids that occur (int32), the length of
each run (uint16; longer ones are several runs), and which of the ids each run has (uint8, or as wide as it takes).
A picture's block counts only while its PNG has the same size and time of change. The index has the CRC-32 of each
block. Version 1 had none of them; such a file is made again.
"""

# R runs, U different ids of a map

import json
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from yoso_cli.atomic import replacing
from yoso_cli.errors import DataError
from yoso_cli.panoptic.regions import Runs
from yoso_cli.runtime.json_text import parse_json

_MAGIC = b"yoso-runs 2\n"
_MAGIC_1 = b"yoso-runs 1\n"
_TRAILER = struct.Struct("<QI")
_LONGEST_RUN = 0xFFFF


class Stamp(NamedTuple):
    """The stamp of a file, to detect changes: bytes and nanoseconds since 1970."""

    size: int
    changed: int

    @classmethod
    def of(cls, path: Path) -> "Stamp":
        """The stamp of the file at `path`. Raises DataError when there is none."""
        try:
            found = path.stat()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from None
        return cls(found.st_size, found.st_mtime_ns)


class _Place(NamedTuple):
    """A line of the index: the stamp of a PNG, the size of its map, R, U, and its block's start and CRC-32."""

    size: int
    changed: int
    height: int
    width: int
    runs: int
    ids: int
    start: int
    crc: int

    def length(self) -> int:
        return 4 * self.ids + (2 + _code_type(self.ids).itemsize) * self.runs


@dataclass(frozen=True)
class Block:
    """One picture's runs as they are stored: their line of the index, and the bytes."""

    place: _Place
    content: bytes

    @classmethod
    def of(cls, runs: Runs, stamp: Stamp) -> "Block":
        """The block of the `runs` of a PNG with this stamp."""
        ids, codes = np.unique(runs.values, return_inverse=True)
        lengths = runs.lengths
        pieces = -(-lengths // _LONGEST_RUN)
        codes, ends = np.repeat(codes.astype(_code_type(len(ids))), pieces), np.cumsum(pieces)
        stored = np.full(len(codes), _LONGEST_RUN, np.uint16)
        stored[ends - 1] = lengths - (pieces - 1) * _LONGEST_RUN
        content = ids.astype("<i4").tobytes() + stored.astype("<u2").tobytes() + codes.tobytes()
        return cls(_Place(*stamp, *runs.shape, len(codes), len(ids), 0, zlib.crc32(content)), content)

    def to_runs(self) -> Runs | None:
        """The runs, or None where the bytes are damaged or cannot be those of a map of this size."""
        _, _, height, width, count, number_of_ids, _, crc = self.place
        if len(self.content) != self.place.length() or zlib.crc32(self.content) != crc:
            return None
        ids = np.frombuffer(self.content, "<i4", number_of_ids)
        lengths = np.frombuffer(self.content, "<u2", count, 4 * number_of_ids)
        codes = np.frombuffer(self.content, _code_type(number_of_ids), count, 4 * number_of_ids + 2 * count)
        stops = np.cumsum(lengths, dtype=np.int64)
        if not (count and stops[-1] == height * width and lengths.all() and codes.max() < number_of_ids):
            return None
        return Runs(ids.astype(np.int32)[codes], stops - lengths, (height, width))


class RunCache:
    """A file of blocks to read from. It can be sent to other processes.

    Args:
        path: of the file; where there is none, the cache is empty.

    Raises:
        DataError: there is a file, and it is no such cache or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places = _read_index(path) if path.exists() else {}

    def __len__(self) -> int:
        return len(self._places)

    def knows(self, name: str, stamp: Stamp) -> bool:
        """Whether there is a block of the PNG `name`, and the PNG is unchanged."""
        place = self._places.get(name)
        return place is not None and place[:2] == stamp

    def block(self, name: str, stamp: Stamp) -> Block | None:
        """The block of the PNG called `name`, None where it is not known. Raises DataError when it cannot be read."""
        if not self.knows(name, stamp):
            return None
        place = self._places[name]
        try:
            with self.path.open("rb") as file:
                file.seek(place.start)
                content = file.read(place.length())
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read: {error.strerror or error}.") from None
        return Block(place, content)

    def runs(self, name: str, stamp: Stamp) -> Runs | None:
        """The runs of the PNG called `name`; None and raises as `block` does."""
        block = self.block(name, stamp)
        if block is None:
            return None
        runs = block.to_runs()
        if runs is None:
            raise _damaged(self.path)
        return runs


@contextmanager
def writing(path: Path) -> Iterator[Callable[[str, Block], None]]:
    """What takes the name and the block of each PNG of a new cache, which appears when all ends well.

    Raises:
        RunError: the disk is full or the place cannot be written.
    """
    places: dict[str, _Place] = {}
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(_MAGIC)

        def add(name: str, block: Block) -> None:
            places[name] = block.place._replace(start=file.tell())
            file.write(block.content)

        yield add
        start = file.tell()
        index = json.dumps(places).encode()
        file.write(index)
        file.write(_TRAILER.pack(start, _crc(index, start)))


def _read_index(path: Path) -> dict[str, _Place]:
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
            if magic == _MAGIC_1:
                return {}
            if magic != _MAGIC:
                raise DataError(f"{path}: is not a truth cache.", hint="Name another file, or a new one.")
            size = file.seek(0, 2)
            file.seek(max(size - _TRAILER.size, 0))
            start, crc = _TRAILER.unpack(file.read(_TRAILER.size))
            file.seek(min(start, size))
            index = file.read()[: -_TRAILER.size]
        if crc != _crc(index, start):
            raise _damaged(path)
        places = {name: _Place(*place) for name, place in parse_json(index, str(path)).items()}
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from None
    except (ValueError, TypeError, AttributeError, struct.error, RecursionError):
        raise _damaged(path) from None
    if not all(type(value) is int and value >= 0 for place in places.values() for value in place):
        raise _damaged(path)
    return places


def _crc(index: bytes, start: int) -> int:
    return zlib.crc32(start.to_bytes(8, "little"), zlib.crc32(index))


def _damaged(path: Path) -> DataError:
    return DataError(f"{path}: is damaged.", hint="Remove it; it will be made again from the truth.")


def _code_type(ids: int) -> "np.dtype[np.unsignedinteger[npt.NBitBase]]":
    return np.dtype("<u1" if ids <= 1 << 8 else "<u2" if ids <= 1 << 16 else "<u4")
