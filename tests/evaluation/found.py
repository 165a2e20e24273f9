"""Findings to report, without pictures behind them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from yoso_cli.evaluation.confidence import confidence
from yoso_cli.evaluation.dagger import StuffOverlap
from yoso_cli.evaluation.findings import Findings
from yoso_cli.evaluation.measures import Counts, Measures, measures
from yoso_cli.evaluation.quality import Tally, total
from yoso_cli.evaluation.report import PaperRow
from yoso_cli.evaluation.tallies import ImageTallies
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


# Two pictures.
COUNTED = (
    tally({0: [0.9, 0.8]}, [1, 1, 0, 0], [0, 0, 1, 0]),
    tally({0: [0.62], 2: [0.7]}, [0, 1, 0, 0], [1, 0, 0, 0]),
)


def found(tallies: Sequence[Tally] = COUNTED, categories: Sequence[Category] = CATEGORIES) -> Findings:
    """What pictures with these tallies amount to."""
    images = [(index, f"{index}.jpg") for index in range(len(tallies))]
    by_image = ImageTallies.of(images, tallies, len(categories))
    return Findings(figures(total(tallies, len(categories)), categories), by_image, confidence(by_image, categories))


def figures(counted: Tally, categories: Sequence[Category]) -> Measures:
    """As if all segments were small and no true one of stuff were there."""
    larger = np.zeros(2 * len(categories), np.int64)
    by_size = replace(
        counted,
        false_positives=np.append(counted.false_positives, larger),
        false_negatives=np.append(counted.false_negatives, larger),
    )
    return measures(
        Counts(np.zeros((0, len(categories), 4)), by_size, StuffOverlap(np.zeros(0, np.int64), np.zeros(0))), categories
    )
