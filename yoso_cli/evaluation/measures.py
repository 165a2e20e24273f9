"""All that an evaluation can measure, counted from one look at each pair of maps.

A look keeps the few hundred numbers that the maps of a picture share, and lets go of the maps. Counting takes many
looks at once: its time is that of a few dozen calls of numpy, for however many pictures.
"""

# K categories, N pictures

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from yoso_cli.errors import DataError
from yoso_cli.evaluation import boundary, calibration, causes, dagger, instances, quality, semantic, sizes
from yoso_cli.evaluation.causes import Errors
from yoso_cli.evaluation.dagger import DaggerQuality, StuffOverlap
from yoso_cli.evaluation.instances import Detections, InstanceQuality
from yoso_cli.evaluation.matching import Matching, Pairing, match, pair
from yoso_cli.evaluation.overlap import Ints, PanopticRuns, Shared, Workspace, shared
from yoso_cli.evaluation.quality import PanopticQuality, Tally
from yoso_cli.evaluation.semantic import SemanticQuality
from yoso_cli.evaluation.sizes import SizeQuality
from yoso_cli.evaluation.tallies import Parts
from yoso_cli.panoptic.types import Category, Panoptic

Part = TypeVar("Part")

METRICS = ("pq", "miou", "ap", "boundary")
"""What can be asked for. PQ, by size and PQ† come together and always: they cost nothing beside the matching."""

ALL = "all"
"""Asks for every metric that the predictions allow."""

FAILURES = "failures"
"""May stand among the metrics: why the score is not 100. It costs about a tenth of a millisecond for each picture."""

AT_A_TIME = 32
"""Looks that are counted at once, and counts that are added at once: few enough to stay small, enough to be cheap."""


@dataclass(frozen=True)
class Measures:
    """What was found; None where it was not asked for.

    Attributes:
        quality: PQ.
        sizes: PQ of small, medium and large segments.
        dagger: PQ†.
        semantic: mIoU.
        instances: mask AP.
        boundary: boundary PQ.
    """

    quality: PanopticQuality
    sizes: SizeQuality
    dagger: DaggerQuality
    semantic: SemanticQuality | None = None
    instances: InstanceQuality | None = None
    boundary: PanopticQuality | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON by the names of the attributes; null for what was not asked for."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: None if value is None else value.to_dict() for name, value in values.items()}


@dataclass(frozen=True, eq=False)
class Counts:
    """What one picture, or many, add to the measures.

    Whatever is summed in floats stays apart and in the order of the pictures until the end, so that the figures do not
    depend on how the pictures were divided among processes.

    Attributes:
        parts: the part of each of N pictures in PQ.
        pq: matches and errors by size and category.
        stuff: IoUs of stuff.
        confusion: (K, K + 1) pixels, or None.
        detections: or None.
        boundary: matches and errors of boundary PQ by category, or None.
        failures: the causes of errors and the reliability of scores, or None.
    """

    parts: Parts
    pq: Tally
    stuff: StuffOverlap
    confusion: Ints | None = None
    detections: Detections | None = None
    boundary: Tally | None = None
    failures: "Failures | None" = None


@dataclass(frozen=True, eq=False)
class Failures:
    """What tells why the score is not 100: see `causes` and `calibration`."""

    errors: Errors
    reliability: Ints


def chosen(names: Sequence[str], *, scored: bool = True) -> tuple[str, ...]:
    """The metrics that `names`, some of `METRICS` and `ALL`, ask for: PQ always, AP by `ALL` only of scored ones."""
    everything = [one for one in METRICS if scored or one != "ap"] if ALL in names else []
    return tuple(one for one in METRICS if one == "pq" or one in names or one in everything)


@dataclass(frozen=True, eq=False)
class Look:
    """What was seen of one picture.

    Attributes:
        name: of the picture, for errors.
        shared: what its two maps share.
        boundary: its matches and errors of boundary PQ, which must be counted while the maps are there; or None.
    """

    name: str
    shared: Shared
    boundary: Tally | None


def look(
    name: str,
    truth: Panoptic | PanopticRuns,
    prediction: Panoptic,
    categories: Sequence[Category],
    metrics: Sequence[str] = ("pq",),
    space: Workspace | None = None,
) -> Look:
    """Looks at one picture for `metrics`; `space` is to be given again with the next one.

    Raises:
        DataError: the pair contradicts itself; says which, by `name`.
    """
    space = space or Workspace()
    with _named(name):
        found = shared(truth, prediction, space)
        if "boundary" not in metrics:
            return Look(name, found, None)
        matching = match(pair([found], categories), len(categories))
        maps = Panoptic(truth.id_map, truth.segments)
        narrowed = boundary.narrowed(matching, maps, prediction, space)
        return Look(name, found, quality.tally_of(narrowed, len(categories)))


def counts(looks: Iterable[Look], categories: Sequence[Category], metrics: Sequence[str] = ("pq",)) -> Iterator[Counts]:
    """What `looks`, a few dozen at a time, add to each of `metrics`. Raises as `count` does."""
    stream = iter(looks)
    while some := list(islice(stream, AT_A_TIME)):
        yield count(some, categories, metrics)


def count(looks: Sequence[Look], categories: Sequence[Category], metrics: Sequence[str] = ("pq",)) -> Counts:
    """What some pictures add to each of `metrics`.

    Raises:
        DataError: a picture contradicts itself, or AP is asked for and a segment has no score; names the picture.
    """
    try:
        return _count(looks, categories, metrics)
    except DataError:
        # Together they do not say who it is.
        for one in looks:
            with _named(one.name):
                _count([one], categories, metrics)
        raise


@contextmanager
def _named(picture: str) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(f"{picture}: {error.message}", hint=error.hint) from None


def _count(looks: Sequence[Look], categories: Sequence[Category], metrics: Sequence[str]) -> Counts:
    k, pictures = len(categories), [one.shared for one in looks]
    found = pair(pictures, categories)
    matching = match(found, k)
    is_stuff = np.array([not category.isthing for category in categories], np.bool_)
    boundaries = [one.boundary for one in looks if one.boundary is not None]
    return Counts(
        Parts.of(matching, k),
        sizes.tally_by_size(matching, k),
        dagger.stuff_overlap(found, is_stuff),
        semantic.confusion(found, k) if "miou" in metrics else None,
        _detections(pictures, categories) if "ap" in metrics else None,
        quality.total(boundaries, k) if boundaries else None,
        _failures(found, matching, pictures, k) if FAILURES in metrics else None,
    )


def _detections(pictures: Sequence[Shared], categories: Sequence[Category]) -> Detections:
    return instances.total(
        [instances.detections(pair([one], categories), one.predicted, categories) for one in pictures]
    )


def _failures(found: Pairing, matching: Matching, pictures: Sequence[Shared], num_categories: int) -> Failures:
    predicted = [segment for one in pictures for segment in one.predicted]
    return Failures(causes.errors(found, matching, num_categories), calibration.reliability(matching, predicted))


def total(parts: Iterable[Counts], num_categories: int, metrics: Sequence[str] = ("pq",)) -> Counts:
    """The sum of `parts` in their order, which may come from pictures or be sums themselves; reads a stream once."""
    stream = iter(parts)
    summed = _nothing(num_categories, metrics)
    while some := list(islice(stream, AT_A_TIME)):
        summed = _sum([summed, *some], num_categories)
    return summed


def measures(counted: Counts, categories: Sequence[Category]) -> Measures:
    """The figures that `counted`, made with the same `categories`, amounts to."""
    whole = PanopticQuality.from_tally(sizes.all_sizes(counted.pq, len(categories)), categories)
    return Measures(
        whole,
        SizeQuality.from_tally(counted.pq, categories),
        DaggerQuality.from_overlap(counted.stuff, whole),
        _if_there(counted.confusion, lambda one: SemanticQuality.from_confusion(one, categories)),
        _if_there(counted.detections, lambda one: InstanceQuality.from_detections(one, categories)),
        _if_there(counted.boundary, lambda one: PanopticQuality.from_tally(one, categories)),
    )


Result = TypeVar("Result")


def _if_there(part: Part | None, figures: Callable[[Part], Result]) -> Result | None:
    return None if part is None else figures(part)


def _nothing(num_categories: int, metrics: Sequence[str]) -> Counts:
    return Counts(
        Parts(0, np.zeros(0, np.int64), np.zeros((0, 4))),
        Tally.empty(len(sizes.SIZES) * num_categories),
        dagger.total([]),
        semantic.total([], num_categories) if "miou" in metrics else None,
        instances.no_detections(num_categories) if "ap" in metrics else None,
        Tally.empty(num_categories) if "boundary" in metrics else None,
        _sum_of_failures([], num_categories) if FAILURES in metrics else None,
    )


def _sum(parts: Sequence[Counts], num_categories: int) -> Counts:
    confusions = [one.confusion for one in parts if one.confusion is not None]
    detections = [one.detections for one in parts if one.detections is not None]
    boundaries = [one.boundary for one in parts if one.boundary is not None]
    failures = [one.failures for one in parts if one.failures is not None]
    return Counts(
        Parts.total([one.parts for one in parts], num_categories),
        quality.total((one.pq for one in parts), len(sizes.SIZES) * num_categories),
        dagger.total(one.stuff for one in parts),
        semantic.total(confusions, num_categories) if confusions else None,
        instances.total(detections) if detections else None,
        quality.total(boundaries, num_categories) if boundaries else None,
        _sum_of_failures(failures, num_categories) if failures else None,
    )


def _sum_of_failures(parts: Sequence[Failures], num_categories: int) -> Failures:
    reliability = sum((one.reliability for one in parts), np.zeros((calibration.BINS, 3), np.int64))
    return Failures(Errors.total((one.errors for one in parts), num_categories), reliability)
