"""The segments of a picture in 33 bytes each, where objects take 400: COCO's training set lists 1.3 million of them.

They become objects when they are asked for, and columns where many are counted.
"""

# S segments, of one picture or of many

import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import repeat
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt

from yoso_cli.panoptic.types import ImageRecord, Segment

# The numbers of a segment: its id, category, area, the four of its box, and whether it is a crowd.
_LAYOUT = "IiqiiiiB"
_ONE = struct.Struct(f"<{_LAYOUT}")
_DTYPE = np.dtype([("id", "<u4"), ("category_id", "<i4"), ("area", "<i8"), ("bbox", "<i4", 4), ("iscrowd", "?")])
NUMBERS = len(_LAYOUT)
"""Of each segment, as `pack` takes them."""

_SCORE = struct.Struct("<d")


@lru_cache(maxsize=256)
def _many(count: int) -> struct.Struct:
    return struct.Struct("<" + _LAYOUT * count)


def pack(numbers: Sequence[int]) -> "PackedSegments":
    """Segments without scores from the NUMBERS of each: id, category, area, the four of its box, 1 for a crowd or 0.

    Raises:
        struct.error: one is no whole number, or too large.
    """
    return PackedSegments(_many(len(numbers) // NUMBERS).pack(*numbers))


class PackedSegments(Sequence[Segment]):
    """Segments that look like a tuple of `Segment`, each made anew at each access.

    Args:
        content: what `pack` makes.
        scores: 8 bytes for each, NaN for none; empty where no segment has one.
    """

    __slots__ = ("_content", "_scores")

    def __init__(self, content: bytes, scores: bytes = b"") -> None:
        self._content, self._scores = content, scores

    @classmethod
    def of(cls, segments: Iterable[Segment]) -> "PackedSegments":
        """The same segments, within the limits of COCO's JSON (`annotations`)."""
        found = tuple(segments)
        scores = b""
        if any(one.score is not None for one in found):
            scores = b"".join(_SCORE.pack(math.nan if one.score is None else one.score) for one in found)
        numbers = ((one.id, one.category_id, one.area, *one.bbox, one.iscrowd) for one in found)
        return cls(b"".join(_ONE.pack(*one) for one in numbers), scores)

    def __len__(self) -> int:
        return len(self._content) // _ONE.size

    def __iter__(self) -> Iterator[Segment]:
        scores = (score for (score,) in _SCORE.iter_unpack(self._scores)) if self._scores else repeat(math.nan)
        for (number, category_id, area, *box, crowd), score in zip(_ONE.iter_unpack(self._content), scores):  # noqa: B905
            x, y, width, height = box
            known = None if math.isnan(score) else score
            yield Segment(number, category_id, area, (x, y, width, height), bool(crowd), known)

    @overload
    def __getitem__(self, place: int) -> Segment: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Segment, ...]: ...

    def __getitem__(self, place: int | slice) -> Segment | tuple[Segment, ...]:
        return tuple(self)[place]

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, Sequence) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))

    def __reduce__(self) -> tuple[type["PackedSegments"], tuple[bytes, bytes]]:
        return PackedSegments, (self._content, self._scores)

    def category_ids(self) -> list[int]:
        """Of each segment."""
        found: list[int] = np.frombuffer(self._content, _DTYPE)["category_id"].tolist()
        return found


class SegmentTable(NamedTuple):
    """The segments of many pictures, in their order.

    Attributes:
        image: (S,) the place of each one's picture.
        category_id: (S,) the published ids.
        area: (S,) pixels.
        iscrowd: (S,) whether it is a crowd.
    """

    image: npt.NDArray[np.int64]
    category_id: npt.NDArray[np.int64]
    area: npt.NDArray[np.int64]
    iscrowd: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, records: Iterable[ImageRecord]) -> "SegmentTable":
        """Of these pictures."""
        packed = [_packed(record.segments) for record in records]
        joined = np.frombuffer(b"".join(one._content for one in packed), _DTYPE)
        return cls(
            np.repeat(np.arange(len(packed)), [len(one) for one in packed]),
            joined["category_id"].astype(np.int64),
            joined["area"].copy(),
            joined["iscrowd"].copy(),
        )


def _packed(segments: Sequence[Segment]) -> PackedSegments:
    return segments if isinstance(segments, PackedSegments) else PackedSegments.of(segments)
