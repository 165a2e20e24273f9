"""Masks and classes to a panoptic map (paper Sec. 3.1). Here `train_id` becomes `category_id`.

The rules are the released implementation's: mask logits are resized twice (to the padded input, then, cropped, to the
picture), each pixel goes to the query with the highest class score x mask probability, a query that keeps too small a
share of its own mask is dropped, and stuff of one class becomes one segment.
"""

# Q kept queries, h w mask size, H W picture size

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from yoso_cli.panoptic.types import Category, Panoptic, Segment, measured

Size = tuple[int, int]


@dataclass(frozen=True)
class Sizes:
    """(height, width) of a picture as it was padded for the network, resized, and given."""

    padded: Size
    resized: Size
    original: Size


def to_panoptic(
    mask_logits: Tensor,
    class_logits: Tensor,
    sizes: Sizes,
    categories: tuple[Category, ...],
    *,
    score_threshold: float,
    overlap_threshold: float,
) -> Panoptic:
    """One picture's segments.

    Args:
        mask_logits: (N, h, w).
        class_logits: (N, K + 1), divided by the temperature; the last class is no object.
        sizes: of the picture.
        categories: K of them, in the order of the logits.
        score_threshold: a query must score above it; 0..1.
        overlap_threshold: the share of its mask a query must keep; 0..1.

    Returns:
        The id map at the picture's original size; segments numbered from 1 in the order of the queries.
    """
    scores, labels = class_logits.softmax(-1).max(-1)
    keep = (labels != len(categories)) & (scores > score_threshold)
    scores, labels = scores[keep], labels[keep]
    if not len(scores):
        return Panoptic(np.zeros(sizes.original, np.int32), ())
    # Queries that cannot win are dropped before the resize: it is the costliest step, and linear in their number.
    probabilities = upsampled(mask_logits[keep], sizes).sigmoid()  # (Q, H, W)
    winners = (scores[:, None, None] * probabilities).argmax(0)  # (H, W)
    inside = probabilities.gather(0, winners[None])[0] >= 0.5
    claimed = torch.bincount(winners.flatten(), minlength=len(scores))
    own = (probabilities >= 0.5).flatten(1).sum(1)
    final = torch.bincount(winners[inside], minlength=len(scores))
    # Double: above 2^24 pixels or just beside the threshold, single precision would decide otherwise than the rule.
    share = claimed / own.clamp(min=1).double()
    accepted = (claimed > 0) & (own > 0) & (final > 0) & (share >= overlap_threshold)
    segment_ids, segments = _segments(accepted.tolist(), labels.tolist(), scores.tolist(), categories)
    id_map = torch.tensor(segment_ids, dtype=torch.int32, device=winners.device)[winners] * inside
    ids = id_map.cpu().numpy()
    return Panoptic(ids, measured(ids, segments))


def upsampled(mask_logits: Tensor, sizes: Sizes) -> Tensor:
    """(Q, h, w) logits at stride 4 to (Q, H, W) at the picture's original size, through the padded input's size."""
    x = F.interpolate(mask_logits[None], size=sizes.padded, mode="bilinear", align_corners=False)
    x = x[..., : sizes.resized[0], : sizes.resized[1]]
    return F.interpolate(x, size=sizes.original, mode="bilinear", align_corners=False)[0]


def _segments(
    accepted: list[bool], labels: list[int], scores: list[float], categories: tuple[Category, ...]
) -> tuple[list[int], list[Segment]]:
    """The segment id of each query (0: rejected) and the segments; stuff of one class shares the first one's id."""
    ids: list[int] = []
    segments: list[Segment] = []
    stuff: dict[int, int] = {}
    for good, label, score in zip(accepted, labels, scores, strict=True):
        category = categories[label]
        if not good:
            ids.append(0)
        elif label in stuff:
            ids.append(stuff[label])
        else:
            segments.append(Segment(len(segments) + 1, category.id, area=0, score=score))
            ids.append(segments[-1].id)
            if not category.isthing:
                stuff[label] = ids[-1]
    return ids, segments
