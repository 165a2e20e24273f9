"""Point sampling for mask losses: random points, most of them where the mask is uncertain (PointRend).

A whole mask at full size would cost memory in proportion to the picture; a few thousand points give the same gradient
on average. Points are (x, y) in 0..1 over the padded picture, so one set serves logits at stride 4 and targets at
stride 1. Source: https://github.com/facebookresearch/detectron2/tree/main/projects/PointRend
"""

# M masks, P points, H W mask size

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# Called with a shape, returns uniform random numbers in 0..1. All randomness of the loss comes through one of these, so
# that tests can replay recorded numbers and a resumed run draws the same ones.
Rand = Callable[..., Tensor]


def seeded_rand(seed: int, iteration: int, device: torch.device) -> Rand:
    """The random numbers of one iteration, a pure function of (seed, iteration), so that no state is saved."""
    mixed = np.random.SeedSequence((seed, iteration)).generate_state(1, np.uint64)[0]
    generator = torch.Generator(device).manual_seed(int(mixed))

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    return rand


def sample_logits(logits: Tensor, points: Tensor) -> Tensor:
    """Bilinear samples of mask logits, with gradients; outside the picture is 0.

    Args:
        logits: float (M, H, W).
        points: float (M, P, 2), each mask at points of its own, or (1, P, 2), all masks at the same points.

    Returns:
        float (M, P).
    """
    shared = len(points) == 1
    # Shared points make the masks channels of one picture: the grid is then worked out once, not M times.
    pictures = logits[None] if shared else logits[:, None]
    grid = 2 * points[:, :, None] - 1  # (M or 1, P, 1, 2)
    sampled = F.grid_sample(pictures, grid, mode="bilinear", align_corners=False)
    return sampled[0, :, :, 0] if shared else sampled[:, 0, :, 0]


def sample_masks(masks: Tensor, points: Tensor) -> Tensor:
    """Bilinear samples of target masks, equal to `sample_logits(masks.float(), points)` to rounding.

    Reads the four neighbours of each point, so the masks stay booleans: as floats they would take four times the room.

    Args:
        masks: bool (M, H, W).
        points: float (M, P, 2) or (1, P, 2).

    Returns:
        float (M, P) in 0..1.
    """
    height, width = masks.shape[-2:]
    place = points * points.new_tensor((width, height)) - 0.5
    corner = place.floor()
    right, down = (place - corner).unbind(-1)  # (M or 1, P)
    x, y = corner.long().unbind(-1)
    return (
        _read(masks, x, y) * ((1 - right) * (1 - down))
        + _read(masks, x + 1, y) * (right * (1 - down))
        + _read(masks, x, y + 1) * ((1 - right) * down)
        + _read(masks, x + 1, y + 1) * (right * down)
    )


def _read(masks: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Mask values (M, P) at whole pixels; False outside."""
    height, width = masks.shape[-2:]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)  # (M or 1, P)
    return masks.flatten(1).gather(1, index.expand(len(masks), -1)) & inside


def uncertain_points(logits: Tensor, candidates: Tensor, others: Tensor, *, num_points: int) -> Tensor:
    """Points for the mask losses: those of the candidates where the logit is nearest to zero, and all of the others.

    Args:
        logits: float (M, H, W).
        candidates: float (M, C, 2), drawn at random.
        others: float (M, R, 2), drawn at random.
        num_points: points per mask, P; at least R, at most C + R.

    Returns:
        float (M, P, 2), without gradient.
    """
    with torch.no_grad():
        distance = sample_logits(logits, candidates).abs()  # (M, C)
    chosen = distance.topk(num_points - others.shape[1], dim=1, largest=False).indices
    kept = candidates.gather(1, chosen[:, :, None].expand(-1, -1, 2))
    return torch.cat([kept, others], dim=1)  # (M, P, 2)
