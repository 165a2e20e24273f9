"""Panoptic quality of predictions in memory: for a training loop, or a few arrays."""

# H, W height and width of the picture in pixels

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from yoso_cli.api.predictions import evaluate_predictions
from yoso_cli.api.result import Result
from yoso_cli.errors import DataError, UsageError
from yoso_cli.evaluation.measures import Counts, count, measures, overlap_for
from yoso_cli.evaluation.quality import PanopticQuality
from yoso_cli.panoptic.types import Category, Panoptic, Segment, measured

Segments = Iterable[Segment | Mapping[str, Any]]
Labelled = Panoptic | Result | tuple[Any, Segments]
"""Segments of a picture: `Panoptic`, `Result`, or an id map (H, W) of integers (numpy or torch; 0 = void) and a list.

A segment is a `Segment` or a mapping with `id` and `category_id`, as COCO's `segments_info` has it; `iscrowd`, `area`
and `score` are optional. A true segment's area is used as given, else measured.
"""


class PanopticMetric:
    """PQ, SQ and RQ, updated picture by picture; identical to panopticapi to the last bit.

    Args:
        categories: the classes: `Category`, or mappings with `id`, `name` and `isthing`.
    """

    def __init__(self, categories: Iterable[Category | Mapping[str, Any]]) -> None:
        self.categories = tuple(_category(one) for one in categories)
        self._counts: list[Counts] = []

    def update(self, truth: Labelled, prediction: Labelled) -> None:
        """Adds a picture.

        Raises:
            DataError: truth and prediction are inconsistent, for example in size, or an id is not listed.
        """
        overlap = overlap_for("The picture", _panoptic(truth), _panoptic(prediction))
        self._counts.append(count([overlap], self.categories))

    def compute(self) -> PanopticQuality:
        """The figures over all pictures so far, fractions 0..1; None where there are no segments."""
        return measures(self._counts, self.categories).quality

    def reset(self) -> None:
        """Removes all pictures."""
        self._counts.clear()


def panoptic_quality(
    truth: str | Path | Labelled | Sequence[Labelled],
    prediction: str | Path | Labelled | Sequence[Labelled],
    categories: Iterable[Category | Mapping[str, Any]] | None = None,
) -> PanopticQuality:
    """PQ, SQ and RQ of predictions, fractions 0..1; identical to panopticapi to the last bit.

    Args:
        truth: one picture, several in a list, or a panoptic set on disk as `evaluate_predictions` takes it.
        prediction: the same.
        categories: the classes; not needed for sets on disk.

    Raises:
        DataError: something is missing or inconsistent.
        UsageError: categories are missing, or only one side is on disk.
    """
    if isinstance(truth, (str, Path)) and isinstance(prediction, (str, Path)):
        return evaluate_predictions(prediction, truth).quality
    if isinstance(truth, (str, Path)) or isinstance(prediction, (str, Path)):
        raise UsageError("Truth and prediction must both be paths, or both be pictures.")
    if categories is None:
        raise UsageError("The categories are missing.", hint="For pictures in memory, give `categories` as well.")
    true, predicted = _several(truth), _several(prediction)
    if len(true) != len(predicted):
        raise DataError(f"There are {len(true)} true pictures and {len(predicted)} predicted ones.")
    metric = PanopticMetric(categories)
    for pair in zip(true, predicted, strict=True):
        metric.update(*pair)
    return metric.compute()


def _several(pictures: Labelled | Sequence[Labelled]) -> Sequence[Labelled]:
    """A picture alone is a `Panoptic` or a tuple whose first part is an array."""
    alone = isinstance(pictures, (Panoptic, Result)) or (isinstance(pictures, tuple) and hasattr(pictures[0], "shape"))
    return [pictures] if alone else pictures  # type: ignore[list-item,return-value]


def _panoptic(given: Labelled) -> Panoptic:
    if isinstance(given, Result):
        given = given.panoptic
    if isinstance(given, Panoptic):
        return given
    if not isinstance(given, tuple) or len(given) != 2:
        raise DataError(f"A picture is a pair (id map, segments), and this is of type {type(given).__name__}.")
    pixels, listed = given
    # A torch tensor may lie on a GPU.
    id_map = np.asarray(pixels.cpu() if hasattr(pixels, "cpu") else pixels)
    if id_map.ndim != 2 or id_map.dtype.kind not in "iu":
        raise DataError(f"An id map must be (H, W) of integers; this is {id_map.shape} of {id_map.dtype}.")
    id_map = id_map.astype(np.int32)
    segments = [_segment(one) for one in listed]
    sizes = {one.id: one for one in measured(id_map, segments)}
    return Panoptic(id_map, tuple(sizes.get(one.id, replace(one, area=0)) if one.area < 0 else one for one in segments))


def _segment(given: Segment | Mapping[str, Any]) -> Segment:
    if isinstance(given, Segment):
        return given
    try:
        score = given.get("score")
        return Segment(
            int(given["id"]),
            int(given["category_id"]),
            int(given.get("area", -1)),
            iscrowd=bool(given.get("iscrowd", False)),
            score=None if score is None else float(score),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"A segment needs an id and a category_id, and this is {given!r} ({error}).") from None


def _category(given: Category | Mapping[str, Any]) -> Category:
    if isinstance(given, Category):
        return given
    try:
        return Category(int(given["id"]), str(given["name"]), bool(given["isthing"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"A category needs id, name and isthing, and this is {given!r} ({error}).") from None
