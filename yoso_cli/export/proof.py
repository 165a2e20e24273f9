"""Proof that an exported file answers like the network it was made from, judged by double precision.

Two engines in float32 differ from each other as much as each differs from double precision: a pixel whose logit is near
zero falls on either side, and the next stage pools one pixel more. So the measure of an engine is its distance from
double precision, and what it may be is what torch's own float32 has.
"""

# N queries, K classes, h w mask size

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from yoso_cli.errors import RunError
from yoso_cli.inference.predict import Answer, Predictor, Resized
from yoso_cli.model.reparam import relative_difference
from yoso_cli.model.yoso import YOSO, Output
from yoso_cli.panoptic.types import IdMap, Panoptic

TIMES = 10.0
"""How many times torch's own distance a file may have: flips of single pixels are a matter of luck."""

MASKS, CLASSES, SIGNS, LABELS, MAP = "mask logits", "class logits", "mask signs", "classes", "map"


@dataclass(frozen=True)
class Figure:
    """The largest distance from double precision over all pictures and sizes.

    Attributes:
        name: `mask logits` and `class logits`, relative to the largest; `mask signs`, `classes` (the largest logit of
            each query) and `map`, the share that differs.
        file: of the exported file.
        torch: of the network in float32.
    """

    name: str
    file: float
    torch: float

    def allowed(self, tolerance: float) -> float:
        """The largest that passes."""
        return max(tolerance, TIMES * self.torch)


@dataclass(frozen=True)
class Proof:
    """What was compared.

    Attributes:
        figures: of each quantity.
        pictures: how many real pictures.
        sizes: (height, width) of the inputs that they made.
    """

    figures: tuple[Figure, ...]
    pictures: int
    sizes: tuple[tuple[int, int], ...]

    def require(self, tolerance: float, name: str) -> None:
        """Raises RunError where a distance is larger than allowed, or not finite."""
        for one in self.figures:
            if not (math.isfinite(one.file) and one.file <= one.allowed(tolerance)):
                raise RunError(
                    f"{name}: the file's {one.name} differ from double precision by {one.file:.1e}; torch's float32 "
                    f"differs by {one.torch:.1e}, and {one.allowed(tolerance):.1e} is allowed. Nothing was written.",
                    hint="Another version of the exporter may do better; --tolerance allows more.",
                )


def prove(model: YOSO, ours: Predictor, file: Predictor, shown: Sequence[Resized], pictures: int) -> Proof:
    """Runs `model` in double precision, in torch, and as the file, on `shown`.

    Args:
        model: the folded network.
        ours: the same in float32.
        file: the exported file; with the merge inside, its maps are compared.
        shown: pictures at the sizes to compare at.
        pictures: how many different ones they are.
    """
    exact = copy.deepcopy(model).double()
    worst: dict[str, list[float]] = {}
    with torch.inference_mode():
        for one in shown:
            images = ours.images([one])
            found = exact(images.double())[-1]
            wanted: Answer = found
            answers = [file.answer([[one]]), ours.answer([[one]])]
            if not isinstance(answers[0], Output):
                wanted = ours.merge(found, (one.sizes,))
                answers[1] = ours.merge(answers[1], (one.sizes,))
            for place, answer in enumerate(answers):
                for name, distance in _distances(answer, wanted).items():
                    kept = worst.setdefault(name, [0.0, 0.0])
                    kept[place] = max(kept[place], distance)
    sizes = tuple(dict.fromkeys(one.sizes.padded for one in shown))
    return Proof(tuple(Figure(name, *both) for name, both in worst.items()), pictures, sizes)


def _distances(answer: Answer, wanted: Answer) -> dict[str, float]:
    if isinstance(answer, Output) and isinstance(wanted, Output):
        assert answer.class_logits is not None, "the last stage classifies"
        assert wanted.class_logits is not None, "the last stage classifies"
        masks, classes = answer.mask_logits.double(), answer.class_logits.double()
        return {
            MASKS: relative_difference(masks, wanted.mask_logits),
            CLASSES: relative_difference(classes, wanted.class_logits),
            SIGNS: _share((masks > 0) != (wanted.mask_logits > 0)),
            LABELS: _share(classes.argmax(-1) != wanted.class_logits.argmax(-1)),
        }
    assert not isinstance(answer, Output), "both are maps"
    assert not isinstance(wanted, Output), "both are maps"
    pairs = [_segments(one) != _segments(other) for one, other in zip(answer, wanted, strict=True)]
    return {MAP: float(np.mean([pair.mean() for pair in pairs]))}


def _segments(panoptic: Panoptic) -> IdMap:
    """The map with each segment numbered within its category: one segment more does not change the others' numbers."""
    numbers = np.zeros(max((one.id for one in panoptic.segments), default=0) + 1, np.int32)
    seen: dict[int, int] = {}
    for one in panoptic.segments:
        seen[one.category_id] = seen.get(one.category_id, 0) + 1
        numbers[one.id] = one.category_id * 1000 + seen[one.category_id]
    found: IdMap = numbers[panoptic.id_map]
    return found


def _share(differing: Tensor) -> float:
    return float(differing.double().mean())
