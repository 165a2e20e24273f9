"""Findings to report, without pictures behind them."""

from collections.abc import Sequence

import numpy as np

from yoso_cli.evaluation.confidence import confidence
from yoso_cli.evaluation.findings import Findings
from yoso_cli.evaluation.quality import PanopticQuality, Tally, total
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
    quality = PanopticQuality.from_tally(total(tallies, len(categories)), categories)
    return Findings(quality, by_image, confidence(by_image, categories))
