"""Where the rest of the hundred went: PQ lost to each cause (see `causes`), and which classes are taken for which."""

# K categories, C causes

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yoso_cli.evaluation.causes import CAUSES, Errors
from yoso_cli.evaluation.matching import Floats
from yoso_cli.evaluation.overlap import Ints
from yoso_cli.evaluation.quality import PanopticQuality
from yoso_cli.panoptic.types import Category

NAMES = {
    "missed": "missed",
    "spurious": "spurious",
    "poor_mask": "poor masks",
    "wrong_class": "wrong class",
    "merged": "merged",
    "split": "split",
    "void_crowd": "void and crowds",
    "imprecise": "imprecise masks",
}
"""Each cause as people read it."""

MEANINGS = {
    "missed": "true segments that nothing was predicted for",
    "spurious": "predicted segments where nothing of their class is",
    "poor_mask": "right class and place, but an IoU of 0.5 or less",
    "wrong_class": "right mask (IoU above 0.5), wrong class",
    "merged": "several true segments predicted as one",
    "split": "one true segment predicted as several",
    "void_crowd": "errors on unlabelled pixels and crowds",
    "imprecise": "found, but the masks of the matches do not fit fully",
}
"""Each cause in a few words."""


@dataclass(frozen=True)
class Loss:
    """What one cause costs.

    Attributes:
        cause: one of `causes.CAUSES`.
        pq: lost by it, a fraction.
        true: unmatched true segments with this cause; matches, where the cause is imprecise.
        predicted: the same of predicted segments.
    """

    cause: str
    pq: float
    true: int
    predicted: int

    def to_dict(self) -> dict[str, Any]:
        """In percent."""
        return {"cause": self.cause, "pq": 100 * self.pq, "true": self.true, "predicted": self.predicted}


@dataclass(frozen=True)
class Losses:
    """What each cause costs, in the order of `causes.CAUSES`: together 1 - PQ. Empty where no class was seen."""

    all: tuple[Loss, ...]
    things: tuple[Loss, ...]
    stuff: tuple[Loss, ...]
    classes: tuple[tuple[Loss, ...], ...]

    @classmethod
    def of(cls, errors: Errors, quality: PanopticQuality) -> "Losses":
        """The errors of all pictures, weighed as PQ weighs them."""
        seen = np.array([one.pq is not None for one in quality.classes], np.bool_)
        things = np.array([one.category.isthing for one in quality.classes], np.bool_)
        matches = np.array([one.tp for one in quality.classes], np.int64)
        weights = _weights(quality, errors)  # (K, C)
        true, predicted = (np.column_stack([side, matches]) for side in (errors.true, errors.predicted))

        def group(chosen: Ints) -> tuple[Loss, ...]:
            if not len(chosen):
                return ()
            columns = weights[chosen].mean(0).tolist(), true[chosen].sum(0).tolist(), predicted[chosen].sum(0).tolist()
            return tuple(Loss(*one) for one in zip(CAUSES, *columns, strict=True))

        each = (np.array([k] if one else [], np.int64) for k, one in enumerate(seen.tolist()))
        all_, *kinds = (np.flatnonzero(chosen) for chosen in (seen, seen & things, seen & ~things))
        return cls(group(all_), group(kinds[0]), group(kinds[1]), tuple(map(group, each)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, in percent; classes in the order of the categories."""
        groups = {name: [one.to_dict() for one in getattr(self, name)] for name in ("all", "things", "stuff")}
        return {**groups, "classes": [[one.to_dict() for one in losses] for losses in self.classes]}


def _weights(quality: PanopticQuality, errors: Errors) -> Floats:
    """(K, C) what each cause costs each class, a fraction; 0 where the class was not seen."""
    counts = np.array([(one.tp, one.fp, one.fn) for one in quality.classes], np.float64).reshape(-1, 3)
    found = np.maximum(counts @ [1, 0.5, 0.5], 0.5)
    iou = np.array([(one.sq or 0.0) * one.tp for one in quality.classes])
    return np.column_stack([0.5 * (errors.true + errors.predicted), counts[:, 0] - iou]) / found[:, None]


@dataclass(frozen=True)
class Meeting:
    """How often true segments of one class and predicted ones of another have an IoU above 0.5; None is nothing."""

    truth: Category | None
    prediction: Category | None
    count: int

    def to_dict(self) -> dict[str, Any]:
        """By the published ids; null is nothing."""
        sides = {"truth": self.truth, "prediction": self.prediction}
        return {**{name: side.id if side else None for name, side in sides.items()}, "count": self.count}


def confusion(errors: Errors, categories: Sequence[Category]) -> tuple[Meeting, ...]:
    """Every pair of classes that met, the most frequent first; the diagonal holds what was found."""
    pairs, counts = np.unique(errors.met, axis=0, return_counts=True)
    named: list[Category | None] = [*categories, None]
    met = [Meeting(named[t], named[p], n) for (t, p), n in zip(pairs.tolist(), counts.tolist(), strict=True)]
    return tuple(sorted(met, key=lambda one: -one.count))
