"""Mask AP of things, exactly as COCO's evaluator counts it (https://cocodataset.org/#detection-eval, pycocotools).

Predicted segments of things are the detections, each with its `score`; true segments of things are the objects, crowds
among them. The rules are those of `pycocotools.cocoeval.COCOeval` for masks: at each IoU from 0.50 to 0.95 detections
are matched greedily by score, at most 100 of a class in a picture; a crowd may be matched several times and is ignored;
precision is sampled at 101 recalls. A mask's IoU is computed from its pixels, its size range from the area in the JSON.

Segments of a panoptic map do not overlap, so this is not the AP of COCO's instance annotations: detections that the
panoptic map has dropped are missing, and truth is the panoptic one.
"""

# K categories, D detections, A area ranges, T IoU thresholds, R recalls

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from yoso_cli.errors import DataError
from yoso_cli.evaluation.matching import Columns, Floats, Matching, by_image, pixel_sums
from yoso_cli.evaluation.quality import LIMITS, Figures
from yoso_cli.panoptic.regions import Bools, Ints
from yoso_cli.panoptic.types import Category, ImageRecord, Segment

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MOST_DETECTIONS = 100
"""Of one class in one picture."""

# All, small, medium, large; COCO's ranges include both ends.
_RANGES = ((0, 10**10), (0, LIMITS[0]), LIMITS, (LIMITS[1], 10**10))
# As in COCO's evaluator, for an IoU of 1 with a rounding error.
_HIGHEST_IOU = 1 - 1e-10


@dataclass(frozen=True, eq=False)
class Detections:
    """What one picture, or many, add to AP.

    Attributes:
        category: (D,) the index of each detection's category.
        score: (D,) 0..1; within a picture from high to low.
        taken: (A, T, D) whether it has an object.
        ignored: (A, T, D) whether it counts neither way: its object is a crowd or out of the range, or it has none and
            is itself out of the range.
        objects: (A, K) true segments that count.
    """

    JOINED: ClassVar = {"category": 0, "score": 0, "taken": 2, "ignored": 2}

    category: Ints
    score: Floats
    taken: Bools
    ignored: Bools
    objects: Ints


@dataclass(frozen=True)
class ClassAP(Figures):
    """One class of things: AP 0..1, None without a true segment, and the number of those."""

    category: Category
    ap: float | None
    objects: int


@dataclass(frozen=True)
class InstanceQuality(Figures):
    """COCO's mask AP, 0..1, None where there is no true segment: over IoU 0.50 to 0.95, at two IoUs, at three sizes."""

    ap: float | None
    ap50: float | None
    ap75: float | None
    small: float | None
    medium: float | None
    large: float | None
    classes: tuple[ClassAP, ...]

    @classmethod
    def from_detections(cls, found: Detections, categories: Sequence[Category]) -> "InstanceQuality":
        """The AP that `found` amounts to; only categories of things count."""
        # By id, as pycocotools sorts them: the order shows in the last digit of a mean.
        things = sorted(_things(categories), key=lambda place: categories[place].id)
        precision = np.full((len(_RANGES), len(IOUS), len(RECALLS), len(things)), -1.0)
        for column, place in enumerate(things):
            mine = np.flatnonzero(found.category == place)
            # Stable, so that of equal scores the earlier picture's comes first.
            mine = mine[np.argsort(-found.score[mine], kind="stable")]
            for index, objects in enumerate(found.objects[:, place].tolist()):
                if objects:
                    taken, ignored = found.taken[index][:, mine], found.ignored[index][:, mine]
                    precision[index, :, :, column] = _precision(taken, ignored, objects)
        whole = precision[0]
        of_class = {place: _mean(whole[:, :, column]) for column, place in enumerate(things)}
        classes = tuple(
            ClassAP(categories[place], of_class[place], int(found.objects[0, place])) for place in _things(categories)
        )
        small, medium, large = (_mean(precision[index]) for index in (1, 2, 3))
        return cls(_mean(whole), _mean(whole[0]), _mean(whole[5]), small, medium, large, classes)


def require_scores(record: ImageRecord, categories: Sequence[Category]) -> None:
    """Raises DataError when a predicted segment of a thing has no score."""
    try:
        scores_of(record.segments, categories)
    except DataError as error:
        raise DataError(f"Image {record.image_id}: {error.message}", hint=error.hint) from None


def scores_of(segments: Sequence[Segment], categories: Sequence[Category]) -> Floats:
    """The score of each segment, 0 for stuff without one. Raises DataError when a thing has none."""
    things = {category.id for category in categories if category.isthing}
    for segment in segments:
        if segment.score is None and segment.category_id in things:
            raise DataError(
                f"Predicted segment {segment.id} has no score, which AP needs for ranking.",
                hint='Write a "score" (0..1) into each entry of segments_info, or leave AP out of --metric.',
            )
    return np.array([segment.score or 0.0 for segment in segments])


def detections(matching: Matching) -> Detections:
    """What the pictures add. Raises DataError when a predicted segment of a thing has no score."""
    categories, true, predicted = matching.categories, matching.true, matching.predicted
    scores = scores_of(matching.predicted_segments, categories)
    isthing = np.array([category.isthing for category in categories], np.bool_)
    kept = _ranked(predicted, scores, isthing)
    objects = np.flatnonzero(isthing[true.category])
    near = _near(matching, kept)
    area = predicted.area[kept]
    shape = (len(_RANGES), len(IOUS), len(kept))
    taken, ignored = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    counted = np.zeros((len(_RANGES), len(categories)), np.int64)
    for index, (low, high) in enumerate(_RANGES):
        outside = true.iscrowd | (true.area < low) | (true.area > high)
        counted[index] = np.bincount(true.category[objects[~outside[objects]]], minlength=len(categories))
        taken[index], ignored[index] = _taken(near, true.iscrowd, outside)
        ignored[index] |= ~taken[index] & ((area < low) | (area > high))
    return Detections(predicted.category[kept], scores[kept], taken, ignored, counted)


def _things(categories: Sequence[Category]) -> list[int]:
    return [place for place, category in enumerate(categories) if category.isthing]


def _ranked(predicted: Columns, scores: Floats, isthing: Bools) -> Ints:
    """Rows of the predicted things, picture after picture, by falling score: the best 100 of each class."""
    order = np.lexsort((-scores, predicted.image))
    order = order[isthing[predicted.category[order]]]
    seen: Counter[int] = Counter()
    kept = []
    for row, cell in zip(order.tolist(), by_image(predicted, len(isthing))[order].tolist(), strict=True):
        seen[cell] += 1
        if seen[cell] <= MOST_DETECTIONS:
            kept.append(row)
    return np.array(kept, np.int64)


def _near(matching: Matching, kept: Ints) -> list[list[tuple[int, float]]]:
    """For each kept detection the true segments of its class with an IoU of at least 0.5, as (row, IoU), rows rising.

    The IoU with a crowd is the share of the detection inside it.
    """
    true, predicted, (t, p, _, pixels) = matching.true, matching.predicted, matching.pairs
    true_area = pixel_sums(t, pixels, len(true.id))
    place = np.full(len(predicted.id) + 1, -1)
    place[kept] = np.arange(len(kept))
    both = np.flatnonzero((t >= 0) & (place[p] >= 0))
    both = both[true.category[t[both]] == predicted.category[p[both]]]
    t, p, shared = t[both], p[both], pixels[both]
    iou = shared / np.where(true.iscrowd[t], predicted.area[p], predicted.area[p] + true_area[t] - shared)
    near: list[list[tuple[int, float]]] = [[] for _ in kept]
    for row in np.lexsort((t, place[p])):
        if iou[row] >= IOUS[0]:
            near[place[p[row]]].append((int(t[row]), float(iou[row])))
    return near


def _taken(near: list[list[tuple[int, float]]], iscrowd: Bools, outside: Bools) -> tuple[Bools, Bools]:
    """(T, D) whether each detection matches an object, and whether that object is ignored."""
    taken, ignored = np.zeros((len(IOUS), len(near)), np.bool_), np.zeros((len(IOUS), len(near)), np.bool_)
    # Those that are not ignored come first; sorted is stable.
    choices = [sorted(some, key=lambda one: bool(outside[one[0]])) for some in near]
    for index, lowest in enumerate(IOUS.tolist()):
        gone: set[int] = set()
        for place, some in enumerate(choices):
            row = _choice([one for one in some if one[0] not in gone or iscrowd[one[0]]], lowest, outside)
            if row is not None:
                taken[index, place], ignored[index, place] = True, outside[row]
                gone.add(row)
    return taken, ignored


def _choice(some: Sequence[tuple[int, float]], lowest: float, outside: Bools) -> int | None:
    """The true segment with the highest IoU; ignored ones only if there is no other."""
    best, best_iou = None, min(lowest, _HIGHEST_IOU)
    for row, iou in some:
        if best is not None and outside[row] and not outside[best]:
            break
        if iou >= best_iou:
            best, best_iou = row, iou
    return best


def _precision(taken: Bools, ignored: Bools, objects: int) -> Floats:
    """(T, R) the highest precision at each recall or a higher one; detections (T, D) are sorted by score."""
    hits = np.cumsum(taken & ~ignored, axis=1).astype(np.float64)
    false = np.cumsum(~taken & ~ignored, axis=1).astype(np.float64)
    recall = hits / objects
    precision = hits / (false + hits + np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    found = np.zeros((len(IOUS), len(RECALLS)))
    for index in range(len(IOUS)):
        reached = np.searchsorted(recall[index], RECALLS, side="left")
        reached = reached[reached < recall.shape[1]]
        found[index, : len(reached)] = envelope[index, reached]
    return found


def _mean(precision: Floats) -> float | None:
    """Over what is there: classes without a true segment are -1."""
    there = precision[precision > -1]
    return float(np.mean(there)) if there.size else None
