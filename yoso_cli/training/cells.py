"""The set-prediction loss at every cell of the mask logits, instead of at sampled points.

A target is the share of each cell that it covers. Where things are small, uniform points miss them: of 512 points in a
picture of 224x224 pixels three lie on a cell nucleus of 17 pixels' width. All cells of such a picture are 3,136, cost
no sampling, and give the same loss each time. In large pictures with many targets, points are cheaper.

Of things of a few cells most lies between the centers of cells, where inference interpolates. So masks may be compared
at a grid of closer points in the box around each target, and at cells outside of it.
"""

# B images, N proposals, M targets of an image or matched pairs of the batch, h w size at stride 4, P = h w cells
# G points in a target's box

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from yoso_cli.loading.dataset import Target
from yoso_cli.model.yoso import Output
from yoso_cli.training.losses import class_loss
from yoso_cli.training.matcher import Match, pairs_of_least_cost, probabilities
from yoso_cli.training.points import Rand, sample_logits, sample_masks
from yoso_cli.training.share import Share

# Cells and share of a target's own extent by which its box is larger, on each side.
_MARGIN, _GROWTH = 1.0, 0.5


class _Wanted(NamedTuple):
    """What one image's masks should be.

    Attributes:
        masks: (M, P + G), the share of each cell that a target covers, then the target at the points in its box.
        visible: (P,), 1 for cells that show the picture, 0 for padding.
        weights: (M, P + G), of each place in a target's cross-entropy; their sum is 1.
        areas: (M, P + G), cells that each place stands for in the dice loss.
        points: (M, G, 2), in 0..1.
    """

    masks: Tensor
    visible: Tensor
    weights: Tensor
    areas: Tensor
    points: Tensor


@dataclass(frozen=True)
class CellLoss:
    """The set-prediction loss at all cells: the terms and weights of `SetLoss`, and its deep supervision.

    Attributes:
        class_weight: of the class loss, in the matching and in the sum.
        mask_weight: of the binary cross-entropy, in both.
        dice_weight: of the dice loss, in both.
        no_object_weight: of the no-object class within the class loss.
        box_share: share of a target's cross-entropy that comes from the box around it, 0..1; of the rest all cells of
            the picture have the same part. For a small target nearly all of these are far away.
        box_points: points along each edge of that box, at which the masks in it are compared; 0: at its cells. The
            matching is always at cells.
    """

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object_weight: float = 0.1
    box_share: float = 0.5
    box_points: int = 0

    def __call__(
        self, outputs: Sequence[Output], targets: Sequence[Target], rand: Rand, share: Share | None = None
    ) -> dict[str, Tensor]:
        """As `SetLoss`; nothing in it is random, and `rand` is not called."""
        share = share or Share.whole(targets)
        wanted = [self._wanted(target, output_size(outputs)) for target in targets]
        matches = self._matched(outputs, targets, wanted)
        terms = {}
        for stage, (output, pairs) in enumerate(zip(outputs, matches, strict=True)):
            if output.class_logits is not None:
                found = class_loss(output.class_logits, targets, pairs, share, no_object_weight=self.no_object_weight)
                terms[f"s{stage}.class"] = self.class_weight * found
            mask, dice = _mask_losses(output.mask_logits, wanted, pairs)
            if not all(one.sound for one in pairs):
                mask = mask * torch.nan
            terms[f"s{stage}.mask"] = self.mask_weight * mask / share.num_masks
            terms[f"s{stage}.dice"] = self.dice_weight * dice / share.num_masks
        return terms

    def _wanted(self, target: Target, size: tuple[int, int]) -> _Wanted:
        masks = covered_cells(target.masks, *size)
        visible = visible_cells(target, *size)
        near = boxes(masks.view(-1, *size)).flatten(1) * visible
        everywhere = ((1 - self.box_share) * visible / visible.sum().clamp(min=1)).expand_as(near)
        size_of_box = near.sum(1, keepdim=True)
        if not self.box_points:
            weights = everywhere + self.box_share * near / size_of_box.clamp(min=1)
            return _Wanted(masks, visible, weights, visible.expand_as(near), masks.new_zeros(len(masks), 0, 2))
        points = _points_in(near.view(-1, *size), self.box_points)
        each = (size_of_box / points.shape[1]).expand(points.shape[:2])
        weights = torch.cat([everywhere, self.box_share * each / size_of_box.clamp(min=1)], 1)
        both = torch.cat([masks, sample_masks(target.masks, points)], 1)
        return _Wanted(both, visible, weights, torch.cat([visible - near, each], 1), points)

    @torch.no_grad()
    def _matched(
        self, outputs: Sequence[Output], targets: Sequence[Target], wanted: Sequence[_Wanted]
    ) -> list[list[Match]]:
        """The pairs of each image at each stage. All cells count alike in the matching."""

        def cost(output: Output, image: int) -> Tensor:
            visible = wanted[image].visible
            masks = wanted[image].masks[:, : len(visible)] * visible
            logits = output.mask_logits[image].float().flatten(1)  # (N, P)
            probability = logits.sigmoid() * visible
            # softplus(x), in half of the time of torch's on a CPU.
            softplus = logits.relu() - logits.abs().sigmoid().log()
            bce = ((softplus @ visible)[:, None] - logits @ masks.T) / visible.sum().clamp(min=1)
            total = probability.sum(1)[:, None] + masks.sum(1)[None]
            dice = 1 - (2 * (probability @ masks.T) + 1) / (total + 1)
            classes = probabilities(output, image, targets[image].labels)
            return self.mask_weight * bce + self.dice_weight * dice - self.class_weight * classes

        return pairs_of_least_cost([[cost(output, image) for image in range(len(targets))] for output in outputs])


def _mask_losses(logits: Tensor, wanted: Sequence[_Wanted], matches: Sequence[Match]) -> tuple[Tensor, Tensor]:
    """Sums over the matched pairs of binary cross-entropy and dice."""
    drawn = torch.cat([row[pairs.queries] for row, pairs in zip(logits, matches, strict=True)]).float()
    both = list(zip(wanted, matches, strict=True))
    masks, weights, areas, points = (
        torch.cat([kept[pairs.targets] for kept, (_, pairs) in zip(of_images, both, strict=True)])
        for of_images in zip(*((one.masks, one.weights, one.areas, one.points) for one in wanted), strict=True)
    )
    predicted = drawn.flatten(1)
    if points.shape[1]:
        # Inference repeats the outermost cells.
        half = points.new_tensor([0.5 / drawn.shape[-1], 0.5 / drawn.shape[-2]])
        predicted = torch.cat([predicted, sample_logits(drawn, points.clamp(half, 1 - half))], 1)
    bce = F.binary_cross_entropy_with_logits(predicted, masks, weights, reduction="sum")
    probability = predicted.sigmoid() * areas
    overlap = 2 * (probability * masks).sum(1) + 1
    return bce, (1 - overlap / (probability.sum(1) + (masks * areas).sum(1) + 1)).sum()


def _points_in(near: Tensor, count: int) -> Tensor:
    """(M, h, w), 1 in a box, to (M, count^2, 2): points (x, y) in 0..1, spread evenly over the box."""
    steps = (torch.arange(count, device=near.device) + 0.5) / count
    xs, ys = ((line.argmax(1)[:, None] + line.sum(1)[:, None] * steps) / line.shape[1] for line in _edges(near))
    grid = torch.stack([xs[:, None].expand(-1, count, -1), ys[:, :, None].expand(-1, -1, count)], -1)
    return grid.flatten(1, 2)


def _edges(near: Tensor) -> tuple[Tensor, Tensor]:
    """Of (M, h, w) the columns, then the rows, in which anything is: (M, w) and (M, h)."""
    return near.amax(1), near.amax(2)


def output_size(outputs: Sequence[Output]) -> tuple[int, int]:
    """(h, w) of the mask logits."""
    height, width = outputs[0].mask_logits.shape[-2:]
    return height, width


def boxes(masks: Tensor) -> Tensor:
    """(M, h, w): 1 in the box around what each mask covers, which is larger by half of it and a cell on each side."""
    return _spans(masks.amax(2) > 0)[:, :, None] * _spans(masks.amax(1) > 0)[:, None]


def _spans(covered: Tensor) -> Tensor:
    """(M, n) bool to float: 1 from the first to the last that is covered, and in the margins of that."""
    places = torch.arange(covered.shape[1], device=covered.device)
    first = torch.where(covered, places, covered.shape[1]).amin(1, keepdim=True)
    last = torch.where(covered, places, -1).amax(1, keepdim=True)
    margin = _GROWTH * (last - first + 1) + _MARGIN
    return ((places >= first - margin) & (places <= last + margin)).float()


def covered_cells(masks: Tensor, height: int, width: int) -> Tensor:
    """(M, H, W) bool to (M, height * width) float: the share of each cell that each mask covers."""
    return F.adaptive_avg_pool2d(masks[None].float(), (height, width))[0].flatten(1)


def visible_cells(target: Target, height: int, width: int) -> Tensor:
    """(height * width,): 1 for each cell whose center shows the picture, 0 for padding."""
    cells = centers_of_cells(height, width, target.masks.device)
    return (cells < cells.new_tensor(target.extent)).all(1).float()


def centers_of_cells(height: int, width: int, device: torch.device) -> Tensor:
    """(height * width, 2): the center (x, y) of each cell in 0..1, row by row."""
    ys = (torch.arange(height, device=device) + 0.5) / height
    xs = (torch.arange(width, device=device) + 0.5) / width
    return torch.stack(torch.meshgrid(xs, ys, indexing="xy"), -1).flatten(0, 1)
