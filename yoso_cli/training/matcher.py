"""Bipartite matching of proposals to targets by cost on sampled points (Hungarian algorithm).

Follows Mask2Former's matcher (https://github.com/facebookresearch/Mask2Former), which the authors use unchanged.
"""

# B images, N proposals, K classes, M targets of an image, P points

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from yoso_cli.loading.dataset import Target
from yoso_cli.model.yoso import Output
from yoso_cli.training.points import sample_logits, sample_masks

Costs = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


class Match(NamedTuple):
    """Matched pairs of one image: int64 (pairs,) each, sorted by `queries`; not `sound` if costs were not finite."""

    queries: Tensor
    targets: Tensor
    sound: bool = True


@torch.no_grad()
def match(
    outputs: Sequence[Output],
    targets: Sequence[Target],
    points: Sequence[Tensor],
    *,
    class_weight: float,
    mask_weight: float,
    dice_weight: float,
) -> list[list[Match]]:
    """Matches each image's targets with its proposals, for each stage separately.

    The cost of a pair is -class_weight * probability + mask_weight * BCE + dice_weight * dice.

    Args:
        outputs: one per stage; without class logits (stage 0) only masks count.
        targets: one per image.
        points: of each stage (B, P, 2), in 0..1: shared by all proposals and targets of an image.
        class_weight: of the probability of the target's class.
        mask_weight: of the binary cross-entropy over the points.
        dice_weight: of the dice distance over the points.

    Returns:
        as `pairs_of_least_cost`.
    """

    def cost(output: Output, image: int, places: Tensor) -> Tensor:
        target = targets[image]
        masks = _mask_cost(output.mask_logits[image], target.masks, places, mask_weight, dice_weight)
        return masks - class_weight * probabilities(output, image, target.labels)

    costs = [
        [cost(output, image, places[image : image + 1]) for image in range(len(targets))]
        for output, places in zip(outputs, points, strict=True)
    ]
    return pairs_of_least_cost(costs)


def probabilities(output: Output, image: int, labels: Tensor) -> Tensor | float:
    """(N, M): the probability of each target's class for each proposal; 0 at a stage without classes."""
    return 0.0 if output.class_logits is None else output.class_logits[image].softmax(-1)[:, labels]


def pairs_of_least_cost(costs: Sequence[Sequence[Tensor]]) -> list[list[Match]]:
    """One-to-one pairs, min(N, M) in each image, of least total cost.

    The costs of all stages and images are transferred to the host at once, and so are the pairs back: each transfer
    synchronises with the GPU.

    Args:
        costs: (N, M) of each image, for each stage.

    Returns:
        for each stage the pairs of each image; arbitrary pairs for an image whose costs are not finite.
    """
    flat = [cost for stage in costs for cost in stage]
    matches = _on_device([_assigned(one) for one in _on_host(flat)], flat[0].device)
    images = len(costs[0])
    return [matches[first : first + images] for first in range(0, len(matches), images)]


def _mask_cost(logits: Tensor, masks: Tensor, points: Tensor, mask_weight: float, dice_weight: float) -> Tensor:
    """(N, M): the mask cost of each pair on the points."""
    predicted = sample_logits(logits.float(), points)  # (N, P)
    wanted = sample_masks(masks, points)  # (M, P)
    # BCE with logits is softplus(x) - x * t: its first part knows no target, its second is one matrix product.
    bce = (F.softplus(predicted).sum(1)[:, None] - predicted @ wanted.T) / predicted.shape[1]
    probability = predicted.sigmoid()
    total = probability.sum(1)[:, None] + wanted.sum(1)[None]
    dice = 1 - (2 * (probability @ wanted.T) + 1) / (total + 1)
    return mask_weight * bce + dice_weight * dice


def _on_host(costs: Sequence[Tensor]) -> list[Costs]:
    flat = torch.cat([cost.flatten() for cost in costs]).cpu()
    pieces = torch.split(flat, [cost.numel() for cost in costs])
    return [piece.view(cost.shape).numpy() for piece, cost in zip(pieces, costs, strict=True)]


def _assigned(cost: Costs) -> tuple[Indices, bool]:
    """(2, pairs): queries and their targets; and whether the costs were finite."""
    sound = bool(np.isfinite(cost).all())
    return np.stack(linear_sum_assignment(cost if sound else np.zeros_like(cost))), sound


def _on_device(assigned: Sequence[tuple[Indices, bool]], device: torch.device) -> list[Match]:
    together = torch.from_numpy(np.concatenate([pairs for pairs, _ in assigned], axis=1)).to(device)
    pieces = torch.split(together, [pairs.shape[1] for pairs, _ in assigned], dim=1)
    return [Match(piece[0], piece[1], sound) for piece, (_, sound) in zip(pieces, assigned, strict=True)]
