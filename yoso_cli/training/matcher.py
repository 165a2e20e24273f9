"""Which proposal answers for which target: one-to-one matching of least cost, on sampled points.

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
from yoso_cli.training.points import Rand, sample_logits, sample_masks

Costs = npt.NDArray[np.float32]


class Match(NamedTuple):
    """Pairs of one image: int64 (pairs,) each; `queries` rises. Not `sound`: the costs were not finite."""

    queries: Tensor
    targets: Tensor
    sound: bool = True


@torch.no_grad()
def match(
    output: Output,
    targets: Sequence[Target],
    *,
    class_weight: float,
    mask_weight: float,
    dice_weight: float,
    num_points: int,
    rand: Rand,
) -> list[Match]:
    """Matches each image's targets with its proposals.

    Afterwards min(N, M) pairs stand for each image, no proposal and no target in two of them, and no other such set of
    pairs costs less, where a pair costs -class_weight * probability + mask_weight * BCE + dice_weight * dice.

    Args:
        output: of one stage; without class logits (stage 0) masks alone decide.
        targets: one per image.
        class_weight: of the probability of the target's class.
        mask_weight: of the binary cross-entropy over the points.
        dice_weight: of the dice distance over the points.
        num_points: points per image, shared by all its proposals and targets; none lies in padding.
        rand: called once per image, empty ones too.

    Where a cost is not finite, because the network's outputs are not, any pairs stand for that image.
    """
    costs = []
    for image, target in enumerate(targets):
        points = rand(1, num_points, 2) * output.mask_logits.new_tensor(target.extent, dtype=torch.float32)
        cost = _mask_cost(output.mask_logits[image], target.masks, points, mask_weight, dice_weight)
        if output.class_logits is not None:
            probability = output.class_logits[image].softmax(-1)  # (N, K+1)
            cost = cost - class_weight * probability[:, target.labels]
        costs.append(cost)
    device = output.mask_logits.device
    return [_assign(cost, device) for cost in _on_host(costs)]


def _mask_cost(logits: Tensor, masks: Tensor, points: Tensor, mask_weight: float, dice_weight: float) -> Tensor:
    """(N, M): what each pair differs by on the points."""
    predicted = sample_logits(logits.float(), points)  # (N, P)
    wanted = sample_masks(masks, points)  # (M, P)
    # BCE with logits is softplus(x) - x * t: its first part knows no target, its second is one matrix product.
    bce = (F.softplus(predicted).sum(1)[:, None] - predicted @ wanted.T) / predicted.shape[1]
    probability = predicted.sigmoid()
    total = probability.sum(1)[:, None] + wanted.sum(1)[None]
    dice = 1 - (2 * (probability @ wanted.T) + 1) / (total + 1)
    return mask_weight * bce + dice_weight * dice


def _on_host(costs: Sequence[Tensor]) -> list[Costs]:
    """All images travel in one transfer: each would be a wait for the GPU of its own."""
    flat = torch.cat([cost.flatten() for cost in costs]).cpu()
    pieces = torch.split(flat, [cost.numel() for cost in costs])
    return [piece.view(cost.shape).numpy() for piece, cost in zip(pieces, costs, strict=True)]


def _assign(cost: Costs, device: torch.device) -> Match:
    sound = bool(np.isfinite(cost).all())
    queries, targets = linear_sum_assignment(cost if sound else np.zeros_like(cost))
    return Match(torch.as_tensor(queries, device=device), torch.as_tensor(targets, device=device), sound)
