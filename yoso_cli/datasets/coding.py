"""How a dataset's label maps say which segment a pixel belongs to: a table of what each of 65,536 values means."""

# H, W height and width of the map in pixels

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from yoso_cli.errors import DataError
from yoso_cli.panoptic.regions import painted, regions_of, runs_of
from yoso_cli.panoptic.types import VOID, Panoptic, Segment

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
    """A label map read with its coding: the panoptic picture, and the semantic one, uint8 (H, W), where asked for."""

    panoptic: Panoptic
    semantic: npt.NDArray[np.uint8] | None


def read_coded(label_map: LabelMap, coding: Coding, where: str, *, semantic: bool = False) -> Coded:
    """The segments of `label_map`, uint16 (H, W), ascending by id.

    Args:
        label_map: the values as published.
        coding: what they mean.
        where: names the file in what is raised.
        semantic: make the semantic map as well.

    Raises:
        DataError: values that the dataset does not use; the first five are named.
    """
    height, width = label_map.shape
    runs = runs_of(label_map)
    known = coding.known[runs.values]
    if not known.all():
        raise _foreign(np.unique(runs.values[~known]).tolist(), coding.name, where)
    ids = coding.segment_ids[runs.values]
    regions = regions_of(runs._replace(values=ids))
    segments = []
    values = runs.values[regions.first]
    categories, crowds = coding.category_ids[values].tolist(), coding.crowds[values].tolist()
    for place, (segment_id, area, box) in enumerate(
        zip(regions.values.tolist(), regions.areas.tolist(), regions.boxes.tolist(), strict=True)
    ):
        if segment_id != VOID:
            segments.append(Segment(segment_id, categories[place], area, tuple(box), crowds[place]))
    panoptic = Panoptic(painted(runs, ids, height, width), tuple(segments))
    return Coded(panoptic, painted(runs, coding.train_ids[runs.values], height, width) if semantic else None)


def _foreign(values: list[int], name: str, where: str) -> DataError:
    some = ", ".join(map(str, values[:_NAMED])) + (", ..." if len(values) > _NAMED else "")
    return DataError(
        f"{where}: holds values that {name} does not use: {some}.",
        hint="The map belongs to another dataset or version, or was saved anew by a tool that changed it.",
    )
