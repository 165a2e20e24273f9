"""All that an evaluation can measure, counted picture by picture from one look at each pair of maps."""

# K categories, N pictures

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from yoso_cli.evaluation import boundary, calibration, causes, dagger, instances, quality, semantic, sizes
from yoso_cli.evaluation.causes import Errors
from yoso_cli.evaluation.dagger import DaggerQuality, StuffOverlap
from yoso_cli.evaluation.instances import Detections, InstanceQuality
from yoso_cli.evaluation.matching import Floats, Matching, Pairing, match, pair
from yoso_cli.evaluation.overlap import Ints, PanopticRuns, Workspace
from yoso_cli.evaluation.quality import PanopticQuality, Tally
from yoso_cli.evaluation.semantic import SemanticQuality
from yoso_cli.evaluation.sizes import SizeQuality
from yoso_cli.evaluation.tallies import part_of
from yoso_cli.panoptic.types import Category, Panoptic

Part = TypeVar("Part")

METRICS = ("pq", "miou", "ap", "boundary")
"""What can be asked for. PQ, by size and PQ† come together and always: they cost nothing beside the matching."""

ALL = "all"
"""Asks for every metric that the predictions allow."""

FAILURES = "failures"
"""May stand among the metrics: why the score is not 100. It costs about a tenth of a millisecond for each picture."""

# Pictures are added up by so many at a time: few enough to stay small, enough to make adding cheap.
_AT_A_TIME = 64


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
        parts: (N, K, 4) the part of each of N pictures in PQ, see `tallies.part_of`.
        pq: matches and errors by size and category.
        stuff: IoUs of stuff.
        confusion: (K, K + 1) pixels, or None.
        detections: or None.
        boundary: matches and errors of boundary PQ by category, or None.
        failures: the causes of errors and the reliability of scores, or None.
    """

    parts: Floats
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
    reliability: Floats


def chosen(names: Sequence[str], *, scored: bool = True) -> tuple[str, ...]:
    """The metrics that `names`, some of `METRICS` and `ALL`, ask for: PQ always, AP by `ALL` only of scored ones."""
    everything = [one for one in METRICS if scored or one != "ap"] if ALL in names else []
    return tuple(one for one in METRICS if one == "pq" or one in names or one in everything)


def count(
    truth: Panoptic | PanopticRuns,
    prediction: Panoptic,
    categories: Sequence[Category],
    metrics: Sequence[str] = ("pq",),
    space: Workspace | None = None,
) -> Counts:
    """What one picture adds to each of `metrics`; `space` is to be given again with the next picture.

    Raises:
        DataError: the pair contradicts itself, or AP is asked for and a segment has no score.
    """
    k = len(categories)
    found = pair(truth, prediction, categories, space)
    matching = match(found, k)
    is_stuff = np.array([not category.isthing for category in categories], np.bool_)
    narrowed = None
    if "boundary" in metrics:
        narrowed = boundary.narrowed(matching, Panoptic(truth.id_map, truth.segments), prediction)
    return Counts(
        part_of(quality.tally_of(matching, k))[None],
        sizes.tally_by_size(matching, k),
        dagger.stuff_overlap(found, is_stuff),
        semantic.confusion(found, k) if "miou" in metrics else None,
        instances.detections(found, prediction.segments, categories) if "ap" in metrics else None,
        quality.tally_of(narrowed, k) if narrowed else None,
        _failures(found, matching, prediction, k) if FAILURES in metrics else None,
    )


def _failures(found: Pairing, matching: Matching, prediction: Panoptic, num_categories: int) -> Failures:
    return Failures(
        causes.errors(found, matching, num_categories), calibration.reliability(matching, prediction.segments)
    )


def total(parts: Iterable[Counts], num_categories: int, metrics: Sequence[str] = ("pq",)) -> Counts:
    """The sum of `parts` in their order, which may come from pictures or be sums themselves; reads a stream once."""
    stream = iter(parts)
    summed = _nothing(num_categories, metrics)
    while some := list(islice(stream, _AT_A_TIME)):
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
        np.zeros((0, num_categories, 4)),
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
        np.concatenate([one.parts for one in parts]),
        quality.total((one.pq for one in parts), len(sizes.SIZES) * num_categories),
        dagger.total(one.stuff for one in parts),
        semantic.total(confusions, num_categories) if confusions else None,
        instances.total(detections) if detections else None,
        quality.total(boundaries, num_categories) if boundaries else None,
        _sum_of_failures(failures, num_categories) if failures else None,
    )


def _sum_of_failures(parts: Sequence[Failures], num_categories: int) -> Failures:
    reliability = sum((one.reliability for one in parts), np.zeros((calibration.BINS, 3)))
    return Failures(Errors.total((one.errors for one in parts), num_categories), reliability)
