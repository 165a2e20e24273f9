"""Test-time augmentation: one prediction from several views of a picture, flipped or scaled.

There is no published rule for networks whose queries are segments. Here the plain view defines the segments. The class
probabilities and mask logits of each query with a class are averaged with those of at most one query of every other
view: one of the same class with a mask IoU above 0.5, assigned so that the sum of IoUs is largest. A segment without a
match is unchanged, so the plain view alone gives exactly the prediction without augmentation.
"""

# N queries, Q kept queries, K classes, h w mask size of the plain view

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from yoso_cli.inference.postprocess import Sizes
from yoso_cli.model.yoso import Output

SAME = 0.5
"""The mask IoU above which queries of two views show one segment."""


@dataclass(frozen=True)
class View:
    """A view of a picture: flipped horizontally or not, and scaled by `scale` relative to the plain view."""

    flip: bool = False
    scale: float = 1.0

    def __str__(self) -> str:
        words = [f"{self.scale:g}x"] * (self.scale != 1) + ["mirrored"] * self.flip
        return " ".join(words) or "plain"


PLAIN = View()


def views(flip: bool, scales: Iterable[float]) -> tuple[View, ...]:
    """The plain view, the same at other scales, and with `flip` each of them mirrored as well."""
    sizes = dict.fromkeys((1.0, *scales))
    return tuple(View(mirrored, scale) for mirrored in ((False, True) if flip else (False,)) for scale in sizes)


def combined(outputs: Sequence[Output], sizes: Sequence[Sizes], views: Sequence[View]) -> Output:
    """One answer of the network from those to several views of one picture, in the frame of the first, the plain one.

    Args:
        outputs: one picture's (B = 1), for each view.
        sizes: of the picture in each view.
        views: the views.
    """
    plain = outputs[0]
    if len(outputs) == 1:
        return plain
    masks, probabilities = plain.mask_logits[0].clone(), _probabilities(plain)
    own, labels = masks.clone(), probabilities.argmax(-1)
    seen = torch.ones(len(masks), device=masks.device)
    for output, size, view in zip(outputs[1:], sizes[1:], views[1:], strict=True):
        others = _probabilities(output)
        there = aligned(output.mask_logits[0], size, sizes[0], view, own.shape[-2:])
        mine, theirs = _pairs(own, labels, there, others.argmax(-1), probabilities.shape[-1] - 1)
        masks[mine] += there[theirs]
        probabilities[mine] += others[theirs]
        seen[mine] += 1
    confirmed = seen > 1
    masks = torch.where(confirmed[:, None, None], masks / seen[:, None, None], plain.mask_logits[0])
    # A probability may underflow to 0, and its logarithm must be finite.
    logits = (probabilities / seen[:, None]).clamp(min=torch.finfo(probabilities.dtype).tiny).log()
    assert plain.class_logits is not None, "the last stage classifies"
    return Output(masks[None], torch.where(confirmed[:, None], logits, plain.class_logits[0])[None])


def aligned(mask_logits: Tensor, sizes: Sizes, plain: Sizes, view: View, target: Sequence[int]) -> Tensor:
    """(N, h', w') masks of a view, resampled to the grid of the plain view's masks, `target` (h, w)."""
    rows, columns = (
        (torch.arange(cells, device=mask_logits.device) + 0.5) * whole / cells / used
        for cells, whole, used in zip(target, plain.padded, plain.resized, strict=True)
    )
    columns = 1 - columns if view.flip else columns
    # From shares of the picture to grid_sample's frame, where -1 and 1 are the edges of the padded picture.
    y, x = (
        2 * share * used / whole - 1
        for share, used, whole in zip((rows, columns), sizes.resized, sizes.padded, strict=True)
    )
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1).to(mask_logits.dtype)  # (h, w, 2)
    return F.grid_sample(mask_logits[None], grid[None], padding_mode="border", align_corners=False)[0]


def _probabilities(output: Output) -> Tensor:
    """(N, K + 1)."""
    assert output.class_logits is not None, "the last stage classifies"
    return output.class_logits[0].softmax(-1)


def _pairs(masks: Tensor, labels: Tensor, others: Tensor, their_labels: Tensor, nothing: int) -> tuple[Tensor, Tensor]:
    """Places of queries that show the same segment; masks (N, h, w) of both in one frame, `nothing` the empty class."""
    mine, theirs = (labels != nothing).nonzero()[:, 0], (their_labels != nothing).nonzero()[:, 0]
    a, b = (logits.flatten(1).gt(0).float() for logits in (masks[mine], others[theirs]))  # (Q, h w)
    shared = a @ b.T
    iou = shared / (a.sum(1)[:, None] + b.sum(1) - shared).clamp(min=1)
    iou = torch.where(labels[mine][:, None] == their_labels[theirs], iou, 0.0)
    rows, columns = linear_sum_assignment(iou.cpu().numpy(), maximize=True)
    same = np.flatnonzero(iou.cpu().numpy()[rows, columns] > SAME)
    chosen = (torch.from_numpy(places[same]).to(masks.device) for places in (rows, columns))
    row, column = chosen
    return mine[row], theirs[column]
