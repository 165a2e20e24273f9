"""How a dataset's label maps say which segment a pixel belongs to: a table of what each of 65,536 values means."""

# H, W height and width of the map in pixels

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from yoso_cli.errors import DataError
from yoso_cli.panoptic import png
from yoso_cli.panoptic.regions import Runs, painted, regions_of
from yoso_cli.panoptic.types import VOID, Segment

VALUES = 1 << 16
NO_TRAIN_ID = 255
"""Void in a semantic map."""
_NAMED = 5

LabelMap = npt.NDArray[Any]


@dataclass(frozen=True)
class Coding:
    """What the values of a label map mean; each array is indexed by value.

    Attributes:
        name: of the dataset, for what is raised.
        segment_ids: int32 (65536): the segment's id; 0 void; values with the same id are one segment.
        category_ids: int32 (65536): the published category; any number where void.
        train_ids: uint8 (65536): for a semantic map; 255 void.
        crowds: bool (65536): whether it is a group of things not told apart.
        known: bool (65536): False for a value that the dataset does not use.
    """

    name: str
    segment_ids: npt.NDArray[np.int32]
    category_ids: npt.NDArray[np.int32]
    train_ids: npt.NDArray[np.uint8]
    crowds: npt.NDArray[np.bool_]
    known: npt.NDArray[np.bool_]

    @classmethod
    def blank(cls, name: str) -> "Coding":
        """A table that knows no value yet."""
        return cls(
            name,
            np.zeros(VALUES, np.int32),
            np.zeros(VALUES, np.int32),
            np.full(VALUES, NO_TRAIN_ID, np.uint8),
            np.zeros(VALUES, bool),
            np.zeros(VALUES, bool),
        )


@dataclass(frozen=True)
class Coded:
    """A picture's labels, read.

    Attributes:
        height: pixels.
        width: pixels.
        runs: their values are segment ids, 0 void.
        segments: of the picture.
        train_ids: uint8, of each run; None where no semantic map is asked for.
    """

    height: int
    width: int
    runs: Runs
    segments: tuple[Segment, ...]
    train_ids: npt.NDArray[np.uint8] | None = None

    def panoptic_png(self) -> bytes:
        """The PNG that spells the ids as colours, made without the map of them."""
        ids = self.runs.values
        largest = int(ids.max(initial=0))
        planes = [partial(self._painted, ids >> shift) if largest >> shift else None for shift in (0, 8, 16)]
        return png.encode_rgb(planes, self.height, self.width)

    def semantic_png(self) -> bytes | None:
        """The PNG of train ids, where it is asked for."""
        return None if self.train_ids is None else png.encode(self._painted(self.train_ids))

    def _painted(self, values: LabelMap) -> LabelMap:
        return painted(self.runs, values.astype(np.uint8))


def read_coded(runs: Runs, coding: Coding, size: tuple[int, int], where: str, *, semantic: bool = False) -> Coded:
    """What the runs of a map say, with segments ascending by id.

    Args:
        runs: of the values as published.
        coding: what they mean.
        size: height and width of the map.
        where: names the file in what is raised.
        semantic: give the train ids as well.

    Raises:
        DataError: values that the dataset does not use; the first five are named.
    """
    known = coding.known[np.minimum(runs.values, VALUES - 1)] & (runs.values < VALUES)
    if not known.all():
        raise _foreign(np.unique(runs.values[~known]).tolist(), coding.name, where)
    by_id = runs._replace(values=coding.segment_ids[runs.values])
    regions = regions_of(by_id)
    first = runs.values[regions.first]
    columns = (regions.values, coding.category_ids[first], regions.areas, regions.boxes, coding.crowds[first])
    segments = tuple(
        Segment(segment_id, category_id, area, (box[0], box[1], box[2], box[3]), iscrowd)
        for segment_id, category_id, area, box, iscrowd in zip(*(one.tolist() for one in columns), strict=True)
        if segment_id != VOID
    )
    return Coded(*size, by_id, segments, coding.train_ids[runs.values] if semantic else None)


def _foreign(values: list[int], name: str, where: str) -> DataError:
    some = ", ".join(map(str, values[:_NAMED])) + (", ..." if len(values) > _NAMED else "")
    return DataError(
        f"{where}: holds values that {name} does not use: {some}.",
        hint="The map belongs to another dataset or version, or was saved anew by a tool that changed it.",
    )
