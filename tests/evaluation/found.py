"""Measures to report, without pictures behind them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from yoso_cli.evaluation.calibration import BINS, SCORE_UNIT
from yoso_cli.evaluation.causes import ERRORS, MISSED, SPURIOUS, Errors
from yoso_cli.evaluation.measures import DETAILS, Counts, Measures, added, measures
from yoso_cli.evaluation.per_image import ImageCounts
from yoso_cli.evaluation.quality import StuffOverlap, Tally
from yoso_cli.evaluation.report import PaperRow
from yoso_cli.panoptic.types import Category

CATEGORIES = (
    Category(1, "cat", True),
    Category(2, "dog", True),
    Category(3, "construction--barrier--concrete-block", False),
    Category(4, "sea", False),
)
PAPER = PaperRow("Table 1, R50 at 800,1333", 48.4, 53.1, None)


def tally(matches: dict[int, Sequence[float]], false: Sequence[int], missed: Sequence[int]) -> Tally:
    """The IoUs of each class' matches, and the errors of every class."""
    category = [place for place, ious in matches.items() for _ in ious]
    iou = [one for ious in matches.values() for one in ious]
    return Tally(np.array(category, np.int64), np.array(iou), np.array(false), np.array(missed))


def part(counted: Tally) -> ImageCounts:
    """One picture's part in the score."""
    counts = np.stack(counted.columns, axis=-1).astype(np.float64)
    return ImageCounts(1, np.zeros(len(counts), np.int64), np.arange(len(counts)), counts)


# Two pictures.
COUNTED = (
    tally({0: [0.9, 0.8]}, [1, 1, 0, 0], [0, 0, 1, 0]),
    tally({0: [0.62], 2: [0.7]}, [0, 1, 0, 0], [1, 0, 0, 0]),
)


def found(tallies: Sequence[Tally] = COUNTED, categories: Sequence[Category] = CATEGORIES) -> Measures:
    """What pictures with these tallies amount to, as if all segments were small and no true one of stuff were there.

    Whatever is not found is missed, and whatever is false is spurious; half of the scores of 0.75 are right.
    """
    counted = added(tallies)
    larger = np.zeros(2 * len(categories), np.int64)
    by_size = replace(
        counted,
        false_positives=np.append(counted.false_positives, larger),
        false_negatives=np.append(counted.false_negatives, larger),
    )
    errors = np.zeros((2, len(categories), len(ERRORS)), np.int64)
    errors[0, :, MISSED], errors[1, :, SPURIOUS] = counted.false_negatives, counted.false_positives
    met = [(k, -1) for k, n in enumerate(counted.false_negatives.tolist()) for _ in range(n)]
    met += [(k, k) for k in counted.match_category.tolist()]
    reliability = np.zeros((BINS, 3), np.int64)
    reliability[7] = (8, 6 * SCORE_UNIT, 4)
    parts = {
        "quality": counted,
        "sizes": by_size,
        "dagger": StuffOverlap(np.zeros(0, np.int64), np.zeros(0)),
        "void": np.array([1000, 0, 100, 0]),
        "per_image": ImageCounts.total([part(one) for one in tallies]),
        "losses": Errors(errors[0], errors[1], np.array(met, np.int64).reshape(-1, 2)),
        "calibration": reliability,
    }
    images = [(index, f"{index}.jpg") for index in range(len(tallies))]
    return measures([Counts(len(tallies), parts)], categories, ("pq", DETAILS), images)
