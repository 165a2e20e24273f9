"""Metrics by their definitions, mask by mask: slow, short, and without the package's shortcuts; and pairs to try on."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from evaluation.test_quality import random_pair
from scipy import ndimage

from yoso_cli.panoptic.types import Category, Panoptic, Segment

Mask = npt.NDArray[np.bool_]
Pairs = list[tuple[Panoptic, Panoptic]]

CATEGORIES = (Category(7, "cat", True), Category(2, "dog", True), Category(90, "sky", False), Category(4, "sea", False))


@dataclass(frozen=True)
class Outcome:
    """What PQ makes of one picture: matches as (true, predicted, IoU), missed and spurious segments."""

    matches: list[tuple[Segment, Segment, float]]
    missed: list[Segment]
    spurious: list[Segment]


def random_pairs(seed: int, categories: Sequence[Category] = CATEGORIES) -> Pairs:
    """Some pictures with scores on their predictions, of which some are large enough for segments of each size."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(int(rng.integers(1, 5))):
        truth, prediction = random_pair(rng, categories)
        # Few scores, so that some are equal.
        scored = tuple(replace(one, score=float(rng.integers(1, 8) / 8)) for one in prediction.segments)
        scale = int(rng.choice([1, 2, 17, 30]))
        found.append((enlarged(truth, scale), enlarged(Panoptic(prediction.id_map, scored), scale)))
    return found


def enlarged(panoptic: Panoptic, scale: int) -> Panoptic:
    segments = tuple(replace(one, area=one.area * scale**2) for one in panoptic.segments)
    return Panoptic(panoptic.id_map.repeat(scale, 0).repeat(scale, 1), segments)


def outcome(truth: Panoptic, prediction: Panoptic, limit: Callable[[Mask, Mask, Mask], float] | None = None) -> Outcome:
    """PQ's matching; `limit` of (true mask, predicted mask, void) bounds the IoU from above."""
    void = truth.id_map == 0
    matches = []
    for true in truth.segments:
        mask = truth.id_map == true.id
        for guess in prediction.segments:
            other = prediction.id_map == guess.id
            shared = (mask & other).sum()
            if true.iscrowd or true.category_id != guess.category_id or not shared:
                continue
            iou = shared / (true.area + other.sum() - shared - (other & void).sum())
            iou = iou if limit is None else min(iou, limit(mask, other, void))
            if iou > 0.5:
                matches.append((true, guess, iou))
    taken = {true.id for true, _, _ in matches}, {guess.id for _, guess, _ in matches}
    missed = [one for one in truth.segments if one.id not in taken[0] and not one.iscrowd]
    spurious = [one for one in prediction.segments if one.id not in taken[1] and not _excused(one, truth, prediction)]
    return Outcome(matches, missed, spurious)


def _excused(guess: Segment, truth: Panoptic, prediction: Panoptic) -> bool:
    mask = prediction.id_map == guess.id
    crowds = [one.id for one in truth.segments if one.iscrowd and one.category_id == guess.category_id]
    free = (truth.id_map == 0) | (truth.id_map == crowds[-1] if crowds else False)
    return bool((mask & free).sum() / mask.sum() > 0.5)


def boundary(mask: Mask, width: int) -> Mask:
    """The pixels of a mask that erosion by a 3x3 square, `width` times and from the picture's edge too, takes away."""
    return mask & ~ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=width, border_value=0)


def boundary_limit(width: int) -> Callable[[Mask, Mask, Mask], float]:
    """Boundary IoU, for `outcome`."""

    def limit(mask: Mask, other: Mask, void: Mask) -> float:
        of_true, of_guess = boundary(mask, width), boundary(other, width)
        shared = (of_true & of_guess).sum()
        return float(shared / (of_true.sum() + of_guess.sum() - shared - (of_guess & void).sum()))

    return limit


def classes(panoptic: Panoptic) -> Iterator[tuple[int, Mask]]:
    """Each segment's category id and mask."""
    for one in panoptic.segments:
        yield one.category_id, panoptic.id_map == one.id
