"""Mean IoU of the classes, from panoptic maps without their instances.

The rule is that of Cityscapes' pixel-level evaluation
(https://github.com/mcordts/cityscapesScripts, `evalPixelLevelSemanticLabeling`): IoU = TP / (TP + FP + FN) over all
pixels of all pictures at once; pixels whose truth is void, or that no true segment claims, do not count; a pixel
without a predicted class is missed by its true class; the mean is over the classes seen in truth or prediction. A
crowd's pixels belong to its class: only its members are not told apart.
"""

# K categories, P pairs of ids that share pixels

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from yoso_cli.evaluation.matching import Matching
from yoso_cli.evaluation.quality import Figures
from yoso_cli.panoptic.regions import Ints
from yoso_cli.panoptic.types import Category


@dataclass(frozen=True)
class ClassIoU(Figures):
    """One class: IoU and accuracy (the share of its true pixels that are found), 0..1, and its true pixels.

    `iou` is None where neither truth nor prediction has the class, `accuracy` where the truth has not.
    """

    category: Category
    iou: float | None
    accuracy: float | None
    pixels: int


@dataclass(frozen=True)
class SemanticQuality(Figures):
    """Figures over all pixels that count, 0..1, None where there is none.

    Attributes:
        miou: the mean of the classes' IoU.
        weighted_iou: the same, each class weighed by its true pixels (frequency-weighted IoU).
        pixel_accuracy: the share of pixels with the right class.
        mean_accuracy: the mean of the classes' accuracy.
        n: classes in `miou`.
        classes: in the order of the categories.
    """

    miou: float | None
    weighted_iou: float | None
    pixel_accuracy: float | None
    mean_accuracy: float | None
    n: int
    classes: tuple[ClassIoU, ...]

    @classmethod
    def from_confusion(cls, confusion: Ints, categories: Sequence[Category]) -> "SemanticQuality":
        """The quality that a confusion (K, K + 1) amounts to."""
        k = len(categories)
        hit, in_truth, predicted = np.diagonal(confusion), confusion.sum(1), confusion[:, :k].sum(0)
        union = in_truth + predicted - hit
        iou, accuracy = _ratios(hit, union), _ratios(hit, in_truth)
        pixels = in_truth.tolist()
        classes = tuple(map(ClassIoU, categories, iou, accuracy, pixels))
        seen, found = [one for one in iou if one is not None], [one for one in accuracy if one is not None]
        whole = sum(pixels)
        weighed = sum(one.iou * one.pixels for one in classes if one.iou is not None)
        return cls(
            miou=sum(seen) / len(seen) if seen else None,
            weighted_iou=weighed / whole if whole else None,
            pixel_accuracy=int(hit.sum()) / whole if whole else None,
            mean_accuracy=sum(found) / len(found) if found else None,
            n=len(seen),
            classes=classes,
        )


def confusion(matching: Matching) -> Ints:
    """(K, K + 1) pixels by true class and predicted class, the last column for none.

    It costs next to nothing after `match`: a few hundred pairs are counted instead of all pixels.
    """
    k, (t, p, _, pixels) = len(matching.categories), matching.pairs
    counted = np.flatnonzero(t >= 0)
    guess = np.append(matching.predicted.category, k)[p[counted]]  # row -1 is the last: no class
    cell = matching.true.category[t[counted]] * (k + 1) + guess
    cells = np.bincount(cell, pixels[counted], minlength=k * (k + 1))
    return cells.astype(np.int64).reshape(k, k + 1)


def _ratios(shares: Ints, wholes: Ints) -> list[float | None]:
    return [share / whole if whole else None for share, whole in zip(shares.tolist(), wholes.tolist(), strict=True)]
