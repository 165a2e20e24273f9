"""The metrics: what each one counts per picture, and how figures are computed from the counts.

Each pair of maps becomes an `Overlap`, a few hundred numbers, and the maps are freed. A few dozen overlaps are
matched together and counted for each metric. The counts are added up in the order of the pictures, and the figures are
computed from the sum.
"""

# K categories, N pictures

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Any, Generic, TypeVar, cast

import numpy as np

from yoso_cli.errors import DataError, UsageError
from yoso_cli.evaluation import (
    boundary,
    calibration,
    causes,
    cityscapes_ap,
    instances,
    per_image,
    quality,
    semantic,
    void,
)
from yoso_cli.evaluation.calibration import Calibration
from yoso_cli.evaluation.causes import ConfusionEntry, Losses
from yoso_cli.evaluation.cityscapes_ap import CityscapesAP
from yoso_cli.evaluation.instances import InstanceQuality
from yoso_cli.evaluation.matching import AnyPanoptic, Matching, Overlap, Workspace, match, overlap
from yoso_cli.evaluation.per_image import Confidence, ImageCounts, ImageTallies
from yoso_cli.evaluation.quality import DaggerQuality, PanopticQuality, SizeQuality
from yoso_cli.evaluation.semantic import SemanticQuality
from yoso_cli.evaluation.void import VoidShare
from yoso_cli.panoptic.types import Category, Panoptic, PanopticSet

Kind = TypeVar("Kind")

ALL = "all"
"""Asks for every metric that the predictions allow."""

DETAILS = "details"
"""May be among the metrics: counts per picture, intervals, and PQ loss by error type. A report needs it."""

AT_A_TIME = 32
"""Pictures counted at once, and counts added at once: few enough to stay small, enough to be cheap."""


class Named(Generic[Kind]):
    """An attribute of `Measures`: the figures of a name, with their type."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, measures: "Measures", _owner: type) -> Kind:
        return cast(Kind, measures.figures.get(self._name))


@dataclass(frozen=True)
class Measures:
    """What was measured.

    Attributes:
        categories: the K classes.
        images: id and file of each of N pictures.
        figures: by the names of `REPORTED`; only those requested; those used elsewhere are also properties.
    """

    categories: tuple[Category, ...]
    images: tuple[tuple[int | str, str], ...]
    figures: Mapping[str, Any]

    quality = Named[PanopticQuality]("quality")
    sizes = Named[SizeQuality]("sizes")
    dagger = Named[DaggerQuality]("dagger")
    void = Named[VoidShare]("void")
    semantic = Named[SemanticQuality | None]("semantic")
    instances = Named[InstanceQuality | None]("instances")
    cityscapes_ap = Named[CityscapesAP | None](cityscapes_ap.NAME)
    boundary = Named[PanopticQuality | None]("boundary")
    tallies = Named[ImageTallies]("per_image")
    confidence = Named[Confidence]("confidence")
    losses = Named[Losses]("losses")
    confusion = Named[tuple[ConfusionEntry, ...]]("confusion")
    calibration = Named[Calibration | None]("calibration")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON by the names of `REPORTED`; null for what was not asked for, or where there is none."""
        found = {name: self.figures.get(name) for name in REPORTED}
        return {
            name: None if one is None else REPORTED[name].plain(one, self.categories) for name, one in found.items()
        }


def added(parts: Sequence[Any]) -> Any:
    """The sum of arrays, or of records of arrays, whose `JOINED` names those that are joined along an axis instead."""
    first = parts[0]
    if isinstance(first, np.ndarray):
        return sum(parts)
    columns = {each.name: [getattr(one, each.name) for one in parts] for each in fields(first)}
    return type(first)(
        **{
            name: np.concatenate(column, first.JOINED[name]) if name in first.JOINED else np.sum(column, axis=0)
            for name, column in columns.items()
        }
    )


def _to_dict(figures: Any, _categories: Sequence[Category]) -> Any:
    return figures.to_dict()


@dataclass(frozen=True)
class Metric:
    """One entry of a report.

    Attributes:
        asked: the metric that includes it; `pq` always is.
        figures: of the counts by name, and of the figures before it in the table.
        count: what some pictures add, which other processes can send; None where the counts are another metric's.
        total: the sum of one or more such counts in their order. Floats stay apart until `figures` adds them, so
            that these do not depend on how the pictures were divided among processes.
        plain: the figures as JSON has them.
        overlaps: what must be kept of a picture while its maps are there, beside their overlap.
        scored: whether each predicted segment of a thing needs a score.
    """

    asked: str
    figures: Callable[[Mapping[str, Any], Measures], Any]
    count: Callable[[Matching], Any] | None = None
    total: Callable[[Sequence[Any]], Any] = added
    plain: Callable[[Any, Sequence[Category]], Any] = _to_dict
    overlaps: Callable[[Panoptic, Panoptic, Workspace], tuple[Overlap, ...]] | None = None
    scored: bool = False


def _of(name: str, figures: Callable[[Any, Sequence[Category]], Any]) -> Callable[[Mapping[str, Any], Measures], Any]:
    """`figures` of what was counted under a name, and of the categories."""
    return lambda parts, known: figures(parts[name], known.categories)


def _confidence(_parts: Mapping[str, Any], known: Measures) -> Confidence:
    return per_image.confidence(known.tallies, known.categories)


def _to_list(several: Sequence[Any], _categories: Sequence[Category]) -> list[Any]:
    return [one.to_dict() for one in several]


REPORTED: dict[str, Metric] = {
    "quality": Metric("pq", _of("quality", PanopticQuality.from_tally), quality.tally_of),
    "sizes": Metric("pq", _of("sizes", SizeQuality.from_tally), quality.tally_by_size),
    "dagger": Metric(
        "pq",
        lambda parts, known: DaggerQuality.from_overlap(parts["dagger"], known.quality),
        quality.stuff_overlap,
    ),
    "void": Metric("pq", lambda parts, _: VoidShare.of(parts["void"]), void.void_of),
    "semantic": Metric("miou", _of("semantic", SemanticQuality.from_confusion), semantic.confusion),
    "instances": Metric("ap", _of("instances", InstanceQuality.from_detections), instances.detections, scored=True),
    cityscapes_ap.NAME: Metric(
        "ap-cityscapes",
        _of(cityscapes_ap.NAME, CityscapesAP.from_candidates),
        cityscapes_ap.candidates,
        scored=True,
    ),
    boundary.NAME: Metric(
        "boundary", _of(boundary.NAME, PanopticQuality.from_tally), boundary.tally, overlaps=boundary.overlaps
    ),
    "per_image": Metric(
        DETAILS,
        lambda parts, known: ImageTallies.of(known.images, parts["per_image"], len(known.categories)),
        ImageCounts.of,
        ImageCounts.total,
        ImageTallies.to_list,
    ),
    "confidence": Metric(DETAILS, _confidence),
    "losses": Metric(DETAILS, lambda parts, known: Losses.of(parts["losses"], known.quality), causes.errors),
    "confusion": Metric(DETAILS, _of("losses", causes.confusion), plain=_to_list),
    "calibration": Metric(DETAILS, lambda parts, _: Calibration.of(parts["calibration"]), calibration.reliability),
}
"""What a report can hold, by its keys: a metric more is a line more here."""

METRICS = tuple(dict.fromkeys(one.asked for one in REPORTED.values() if one.asked != DETAILS))
"""What can be asked for. PQ, by size and PQ† come together and always: they cost nothing beside the matching."""


SCORED = frozenset(one.asked for one in REPORTED.values() if one.scored)
"""Those of `METRICS` that rank predicted things by their scores."""


@dataclass(frozen=True, eq=False)
class Counts:
    """What one picture, or many, add to the metrics.

    Attributes:
        images: how many.
        parts: by the names of `REPORTED`.
    """

    images: int
    parts: Mapping[str, Any]


def chosen(names: Sequence[str], *, scored: bool = True) -> tuple[str, ...]:
    """The metrics that `names`, some of `METRICS` and `ALL`, ask for: PQ always, `SCORED` by `ALL` only if `scored`.

    Raises:
        UsageError: a name is unknown.
    """
    for name in names:
        if name not in (*METRICS, ALL):
            hint = f"There are {', '.join(METRICS)} and {ALL}."
            raise UsageError(f"--metric {name}: there is no such metric.", hint=hint)
    everything = [one for one in METRICS if scored or one not in SCORED] if ALL in names else []
    return tuple(one for one in METRICS if one == "pq" or one in names or one in everything)


def _wanted(metrics: Sequence[str]) -> dict[str, Metric]:
    return {name: one for name, one in REPORTED.items() if one.asked == "pq" or one.asked in metrics}


def overlap_for(
    name: str,
    truth: AnyPanoptic,
    prediction: Panoptic,
    metrics: Sequence[str] = ("pq",),
    space: Workspace | None = None,
) -> Overlap:
    """The overlap of a picture's two maps, with everything that `metrics` need, so that the maps can be freed.

    Args:
        name: of the picture, for errors.
        truth: its map may hold ids that are not listed.
        prediction: each id of its map must be listed.
        metrics: some of `METRICS` and `DETAILS`.
        space: to be given again with the next picture.

    Raises:
        DataError: the pair contradicts itself; says which, by `name`.
    """
    space = space or Workspace()
    with _named(name):
        found = overlap(truth, prediction, space)
        asking = {key: one.overlaps for key, one in _wanted(metrics).items() if one.overlaps}
        if not asking:
            return replace(found, name=name)
        maps = [Panoptic(one.id_map, one.segments) for one in (truth, prediction)]
        within = {key: restricted(maps[0], maps[1], space) for key, restricted in asking.items()}
        return replace(found, name=name, within=within)


def counts(
    pictures: Iterable[Overlap], categories: Sequence[Category], metrics: Sequence[str] = ("pq",)
) -> Iterator[Counts]:
    """What `pictures`, a few dozen at a time, add to each of `metrics`. Raises as `count` does."""
    stream = iter(pictures)
    while some := list(islice(stream, AT_A_TIME)):
        yield count(some, categories, metrics)


def count(pictures: Sequence[Overlap], categories: Sequence[Category], metrics: Sequence[str] = ("pq",)) -> Counts:
    """What some pictures add to each of `metrics`.

    Raises:
        DataError: a picture contradicts itself, or lacks what a metric needs; says which.
    """
    try:
        matching = match(pictures, categories)
        return Counts(len(pictures), {name: one.count(matching) for name, one in _wanted(metrics).items() if one.count})
    except DataError as error:
        if len(pictures) == 1:
            raise DataError(f"{pictures[0].name}: {error.message}", hint=error.hint) from None
        # Matched together, the error does not name the picture.
        for one in pictures:
            count([one], categories, metrics)
        raise


@contextmanager
def _named(picture: str) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(f"{picture}: {error.message}", hint=error.hint) from None


def total(counted: Iterable[Counts], categories: Sequence[Category], metrics: Sequence[str] = ("pq",)) -> Counts:
    """The sum of what was counted for `metrics`, in its order: of pictures or of sums. Reads a stream once."""
    stream, summed = iter(counted), count([], categories, metrics)
    while some := list(islice(stream, AT_A_TIME)):
        some.insert(0, summed)
        parts = {name: REPORTED[name].total([one.parts[name] for one in some]) for name in summed.parts}
        summed = Counts(sum(one.images for one in some), parts)
    return summed


def measures(
    counted: Iterable[Counts],
    categories: Sequence[Category],
    metrics: Sequence[str] = ("pq",),
    images: Iterable[tuple[int | str, str]] = (),
) -> Measures:
    """The figures that the sum of what was `counted` amounts to.

    Args:
        counted: what pictures add, in their order; read as a stream.
        categories: with which they were counted.
        metrics: for which they were counted.
        images: the id and the file of each picture; numbers where none are given.
    """
    whole = total(counted, categories, metrics)
    named = tuple(images) or tuple((number, str(number)) for number in range(whole.images))
    found = Measures(tuple(categories), named, {})
    for name, metric in _wanted(metrics).items():
        found = replace(found, figures={**found.figures, name: metric.figures(whole.parts, found)})
    return found


def score_counts(counted: Iterable[Counts], truth: PanopticSet, metrics: Sequence[str] = ("pq",)) -> Measures:
    """The measures that counts of all pictures of `truth`, in their order, amount to.

    Args:
        counted: of pictures or of sums; read as a stream.
        truth: their set.
        metrics: for which they were counted.
    """
    images = ((record.image_id, record.image_file) for record in truth.records)
    return measures(counted, truth.categories, metrics, images)
