"""Mask AP of things by Cityscapes' rules (`evalInstanceLevelSemanticLabeling` of cityscapesScripts).

What differs from COCO's AP (`evaluation.instances`):

- a match is an IoU above a threshold, not equal to it; the thresholds are 0.50, 0.55, ..., 0.95;
- true instances below 100 pixels do not count, and the crowds of a class in a picture are one group, which does not
  count either; a detection that matches one of these counts neither way;
- an unmatched detection is ignored if its share in void, in groups and in small instances of its class is above the
  threshold (a small group counts twice);
- the precision-recall curve is integrated whole, at each distinct score, with the steps of the official evaluator.

Segments of a panoptic map do not overlap. So above an IoU of 0.5 a detection matches at most one true segment, and a
true segment at most one detection: no ranking is needed to match them. Areas are measured on the maps.

Where all detections of a class are ignored and none of its instances is found, the official evaluator stops with an
IndexError; here the AP of the class is 0.
"""

# K categories, D detections, T IoU thresholds, S true segments, P pairs of segments, R distinct scores

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from yoso_cli.evaluation.instances import scores_of
from yoso_cli.evaluation.matching import Floats, Matching, by_image, pixel_sums
from yoso_cli.evaluation.quality import Figures
from yoso_cli.panoptic.regions import Bools, Ints
from yoso_cli.panoptic.types import Category

NAME = "cityscapes_ap"

# As the official evaluator writes them: some differ from those of `linspace` in the last bit.
IOUS = np.arange(0.5, 1.0, 0.05)
SMALLEST = 100
"""Pixels of a true instance that counts."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """What one picture, or many, add to AP.

    Attributes:
        category: (D,) the index of each detection's category.
        score: (D,) 0..1.
        iou: (D,) with the true segment that it matches at an IoU above 0.5, a group included; 0 if there is none.
        counts: (D,) whether that segment counts.
        ignored: (D,) the share of its pixels in void, groups and small instances.
        instances: (K,) true instances that count.
    """

    JOINED: ClassVar = {"category": 0, "score": 0, "iou": 0, "counts": 0, "ignored": 0}

    category: Ints
    score: Floats
    iou: Floats
    counts: Bools
    ignored: Floats
    instances: Ints


@dataclass(frozen=True)
class CityscapesClassAP(Figures):
    """One class of things: AP over IoU 0.50 to 0.95 and at 0.50, 0..1, None without a true instance that counts."""

    category: Category
    ap: float | None
    ap50: float | None
    instances: int


@dataclass(frozen=True)
class CityscapesAP(Figures):
    """AP by Cityscapes' rules, 0..1, None without a true instance that counts: over IoU 0.50 to 0.95, and at 0.50."""

    ap: float | None
    ap50: float | None
    classes: tuple[CityscapesClassAP, ...]

    @classmethod
    def from_candidates(cls, found: Candidates, categories: Sequence[Category]) -> "CityscapesAP":
        """The AP that `found` amounts to; only categories of things count."""
        things = [place for place, category in enumerate(categories) if category.isthing]
        table = np.full((len(things), len(IOUS)), np.nan)
        for row, place in enumerate(things):
            mine = np.flatnonzero(found.category == place)
            if found.instances[place]:
                table[row] = [_average_precision(found, mine, iou, int(found.instances[place])) for iou in IOUS]
        seen = ~np.isnan(table[:, 0])
        classes = tuple(
            CityscapesClassAP(
                categories[place],
                float(np.average(table[row])) if seen[row] else None,
                float(table[row, 0]) if seen[row] else None,
                int(found.instances[place]),
            )
            for row, place in enumerate(things)
        )
        if not seen.any():
            return cls(None, None, classes)
        return cls(float(np.nanmean(table)), float(np.nanmean(table[:, 0])), classes)


def candidates(matching: Matching) -> Candidates:
    """What the pictures add. Raises DataError when a predicted segment of a thing has no score."""
    categories, true, predicted = matching.categories, matching.true, matching.predicted
    scores = scores_of(matching.predicted_segments, categories)
    isthing = np.array([category.isthing for category in categories], np.bool_)
    pairs = matching.pairs
    group = _groups(matching)
    t = np.where(pairs.t >= 0, group[pairs.t], -1) if len(group) else pairs.t
    area = pixel_sums(t, pairs.pixels, len(group))
    small = area < SMALLEST
    valid = ~true.iscrowd & ~small & isthing[true.category]
    # One row for each detection and true segment or group of its class that share pixels.
    both = np.flatnonzero((t >= 0) & (pairs.p >= 0))
    both = both[true.category[t[both]] == predicted.category[pairs.p[both]]]
    cells, row = np.unique(pairs.p[both] * max(1, len(group)) + t[both], return_inverse=True)
    p, t = np.divmod(cells, max(1, len(group)))
    shared = np.bincount(row, pairs.pixels[both], minlength=len(cells))
    overlap = shared / (area[t] + predicted.area[p] - shared)
    iou, counts = np.zeros(len(predicted.id)), np.zeros(len(predicted.id), np.bool_)
    hit = overlap > IOUS[0]
    iou[p[hit]], counts[p[hit]] = overlap[hit], valid[t[hit]]
    void = pixel_sums(np.where(pairs.void, pairs.p, -1), pairs.pixels, len(predicted.id))
    times = true.iscrowd[t].astype(np.int64) + small[t]
    ignored = void + np.bincount(p, shared * times, minlength=len(predicted.id))
    kept = np.flatnonzero(isthing[predicted.category])
    instances = np.bincount(true.category[valid], minlength=len(categories))
    share = ignored[kept] / predicted.area[kept]
    return Candidates(predicted.category[kept], scores[kept], iou[kept], counts[kept], share, instances)


def _groups(matching: Matching) -> Ints:
    """(S,) the row of each true segment; of a crowd, the row of the first one of its class in its picture."""
    true, k = matching.true, len(matching.categories)
    rows, crowds = np.arange(len(true.id)), np.flatnonzero(true.iscrowd)
    first = np.zeros(len(matching.pictures) * k, np.int64)
    cell = by_image(true, k)[crowds]
    first[cell[::-1]] = crowds[::-1]
    rows[crowds] = first[cell]
    return rows


def _average_precision(found: Candidates, mine: Ints, iou: float, instances: int) -> float:
    """The area under the precision-recall curve of the detections `mine` of a class, as the official evaluator sums it.

    Its sums are repeated in its order, so that both agree to the last digit.
    """
    matched = found.iou[mine] > iou
    true = matched & found.counts[mine]
    false = ~matched & (found.ignored[mine] <= iou)
    kept = true | false
    if not kept.any():
        return 0.0
    scores, hits = found.score[mine][kept], true[kept]
    order = np.argsort(scores, kind="stable")
    _, first = np.unique(scores[order], return_index=True)
    hits_below = np.concatenate([[0], np.cumsum(hits[order])])
    tp = hits_below[-1] - hits_below[first]
    # Above each distinct score, and the artificial last point of the curve.
    precision = np.append(tp / (len(order) - first), 1.0)
    recall = np.append(tp / instances, 0.0)
    widths = np.convolve(np.concatenate([recall[:1], recall, [0.0]]), [-0.5, 0, 0.5], "valid")
    return float(np.dot(precision, widths))
