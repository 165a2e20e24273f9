"""Masks and classes to panoptic maps (paper Sec. 3.1). Here `train_id` becomes `category_id`.

The rules are the released implementation's: mask logits are resized twice (to the padded input, then, cropped, to the
picture), each pixel goes to the query with the highest class score x mask probability, a query that keeps too small a
share of its own mask is dropped, and stuff of one class becomes one segment.

Only queries that pass the score threshold are resized, a few at a time: what a picture takes is bounded by its size
and not by the number of queries. A batch is read from the device twice, whatever is in it: the scores, to know which
queries are left, and the answer.
"""

# B pictures, N queries, Q kept queries, K classes, h w mask size, H W picture size

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from yoso_cli.errors import RunError
from yoso_cli.panoptic.types import Category, IdMap, Panoptic, Segment, measured

Size = tuple[int, int]
# Values of one upsampled group of queries. On a CPU a group that stays in the cache takes half the time of all queries
# at once (41 queries at 800x1333: 78 ms against 148 ms for the first resize); a GPU wants much work at a time.
GROUP_ON_CPU = 1 << 19
GROUP_ON_GPU = 1 << 26


@dataclass(frozen=True)
class Sizes:
    """(height, width) of a picture as it was padded for the network, resized, and given."""

    padded: Size
    resized: Size
    original: Size


class Claim(NamedTuple):
    """Which query each pixel goes to, still on the device.

    Attributes:
        codes: int16 (H, W), twice the winner's place among the kept queries, plus 1 where its mask covers the pixel.
        own: int64 (Q,), pixels that each query's mask covers.
    """

    codes: Tensor
    own: Tensor


class _Kept(NamedTuple):
    """The queries of one picture that may win: their places among all, scores and labels."""

    places: list[int]
    scores: list[float]
    labels: list[int]


Merge = Callable[[Tensor, Tensor, Sizes], Claim]


def to_panoptic(
    mask_logits: Tensor,
    class_logits: Tensor,
    sizes: Sizes,
    categories: tuple[Category, ...],
    *,
    score_threshold: float,
    overlap_threshold: float,
) -> Panoptic:
    """One picture's segments: `to_panoptics` of (N, h, w) and (N, K + 1)."""
    return to_panoptics(
        mask_logits[None],
        class_logits[None],
        (sizes,),
        categories,
        score_threshold=score_threshold,
        overlap_threshold=overlap_threshold,
    )[0]


def to_panoptics(
    mask_logits: Tensor,
    class_logits: Tensor,
    sizes: Sequence[Sizes],
    categories: tuple[Category, ...],
    *,
    score_threshold: float,
    overlap_threshold: float,
    merge: str = "exact",
) -> list[Panoptic]:
    """The segments of each picture of a batch.

    Args:
        mask_logits: (B, N, h, w).
        class_logits: (B, N, K + 1), divided by the temperature; the last class is no object.
        sizes: of each picture.
        categories: K of them, in the order of the logits.
        score_threshold: a query must score above it; 0..1.
        overlap_threshold: the share of its mask a query must keep; 0..1.
        merge: one of MERGES.

    Returns:
        Id maps at the pictures' original sizes; segments numbered from 1 in the order of the queries.

    Raises:
        RunError: a logit is not a finite number.
    """
    kept = _kept_queries(mask_logits, class_logits, score_threshold)
    claims = [
        _claim(MERGES[merge], logits, found, each)
        for logits, found, each in zip(mask_logits, kept, sizes, strict=True)
        if found.places
    ]
    answers = iter(_fetched(claims))
    return [
        _panoptic(*next(answers), found, categories, overlap_threshold)
        if found.places
        else Panoptic(np.zeros(each.original, np.int32), ())
        for found, each in zip(kept, sizes, strict=True)
    ]


def claimed_at_full_size(mask_logits: Tensor, scores: Tensor, sizes: Sizes) -> Claim:
    """The released implementation's merge: (Q, h, w) logits and (Q,) scores, at the picture's size."""
    device = mask_logits.device
    best = torch.full(sizes.original, -1.0, dtype=mask_logits.dtype, device=device)  # (H, W)
    winners, won = torch.zeros_like(best), torch.empty_like(best)
    own = []
    largest = max(size[0] * size[1] for size in (sizes.padded, sizes.original))
    group = max(1, (GROUP_ON_CPU if device.type == "cpu" else GROUP_ON_GPU) // largest)
    for start in range(0, len(scores), group):
        probabilities = upsampled(mask_logits[start : start + group], sizes).sigmoid_()  # (q, H, W)
        own.append(_counted(probabilities))
        products = probabilities.mul_(scores[start : start + group, None, None])
        value, place = products.max(0) if len(products) > 1 else (products[0], 0)
        # Strictly above: a tie goes to the first query. The answer as floats and not as truth values, which on a CPU
        # take five times as long; and the latest winner has the largest number, so that a maximum sets it.
        torch.gt(value, best, out=won)
        torch.maximum(winners, won.mul_(place + start), out=winners)
        torch.maximum(best, value, out=best)
    return Claim(_codes(winners.to(torch.int16), best, scores), torch.cat(own))


def claimed_at_mask_size(mask_logits: Tensor, scores: Tensor, sizes: Sizes) -> Claim:
    """A merge that trades pixels for time: decided at stride 4, then copied to the picture's pixels.

    Borders become steps of four input pixels; areas are counted at the small size, whose shares are nearly the same.
    """
    rows, columns = (
        ((torch.arange(full, device=mask_logits.device) + 0.5) * (used * small / (full * padded))).long()
        for full, used, small, padded in zip(
            sizes.original, sizes.resized, mask_logits.shape[-2:], sizes.padded, strict=True
        )
    )
    probabilities = mask_logits.sigmoid()
    best, winners = (probabilities * scores[:, None, None]).max(0)
    codes = _codes(winners.to(torch.int16), best, scores)
    # How many of the picture's rows and columns each small one stands for; sums of such products are exact in double.
    heights = torch.zeros(mask_logits.shape[-2], dtype=torch.double, device=rows.device)
    widths = torch.zeros(mask_logits.shape[-1], dtype=torch.double, device=rows.device)
    heights.index_add_(0, rows, heights.new_ones(len(rows)))
    widths.index_add_(0, columns, widths.new_ones(len(columns)))
    own = ((probabilities >= 0.5).double() @ widths) @ heights
    return Claim(codes[rows][:, columns], own.long())


# `exact` is what every figure is measured with unless it says otherwise.
MERGES: dict[str, Merge] = {"exact": claimed_at_full_size, "fast": claimed_at_mask_size}


def upsampled(mask_logits: Tensor, sizes: Sizes) -> Tensor:
    """(Q, h, w) logits at stride 4 to (Q, H, W) at the picture's original size, through the padded input's size."""
    height, width = mask_logits.shape[-2:]
    if sizes.padded == (4 * height, 4 * width) and mask_logits.device.type == "cpu":
        x = _quadrupled(mask_logits)
    else:
        x = F.interpolate(mask_logits[None], size=sizes.padded, mode="bilinear", align_corners=False)[0]
    x = x[:, : sizes.resized[0], : sizes.resized[1]]
    if sizes.resized == sizes.original:
        return x
    return F.interpolate(x[None], size=sizes.original, mode="bilinear", align_corners=False)[0]


def _quadrupled(x: Tensor) -> Tensor:
    """(Q, h, w) to (Q, 4h, 4w), bilinear: torch's own kernel is scalar on a CPU and takes 1.7 times as long.

    Between two rows lie four, and each of these four is one weighted sum of whole rows.
    """
    wide = F.interpolate(x[None], size=(x.shape[1], 4 * x.shape[2]), mode="bilinear", align_corners=False)[0]
    above = torch.cat([wide[:, :1], wide[:, :-1]], dim=1)
    below = torch.cat([wide[:, 1:], wide[:, -1:]], dim=1)
    out = wide.new_empty(len(x), x.shape[1], 4, wide.shape[2])
    torch.add(wide * 0.625, above, alpha=0.375, out=out[:, :, 0])
    torch.add(wide * 0.875, above, alpha=0.125, out=out[:, :, 1])
    torch.add(below * 0.125, wide, alpha=0.875, out=out[:, :, 2])
    torch.add(below * 0.375, wide, alpha=0.625, out=out[:, :, 3])
    return out.flatten(1, 2)


def _kept_queries(mask_logits: Tensor, class_logits: Tensor, score_threshold: float) -> list[_Kept]:
    """The queries of each picture that pass the threshold; one read from the device for the batch."""
    scores, labels = _precise(class_logits).softmax(-1).max(-1)  # (B, N)
    keep = (labels != class_logits.shape[-1] - 1) & (scores > score_threshold)
    # Smallest and largest tell of a value that is not a number too, in a third of the time of looking at each.
    sound = torch.stack([end for each in (mask_logits, class_logits) for end in each.aminmax()]).isfinite().all()
    # Double holds a float and a label alike, so that one transfer will do.
    read = torch.stack([keep.double(), scores.double(), labels.double(), sound.expand(keep.shape).double()]).cpu()
    if not bool(read[3].all()):
        raise RunError(
            "the network's answer holds values that are not finite numbers.",
            hint="In half precision values can overflow: try single precision. Otherwise the weights are damaged.",
        )
    found = []
    for kept, score, label in zip(*read[:3], strict=True):
        places = kept.nonzero()[:, 0]
        found.append(_Kept(places.tolist(), score[places].tolist(), label[places].long().tolist()))
    return found


def _claim(merge: Merge, mask_logits: Tensor, kept: _Kept, sizes: Sizes) -> Claim:
    logits = _precise(mask_logits[kept.places])
    return merge(logits, torch.tensor(kept.scores, dtype=logits.dtype, device=logits.device), sizes)


def _precise(logits: Tensor) -> Tensor:
    """Half precision decides pixels by rounding; from here on it is single."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _counted(probabilities: Tensor) -> Tensor:
    """Pixels of (q, H, W) at 0.5 or more, int64 (q,). Ones as floats are exact in a row, and in double all together."""
    covered = torch.ge(probabilities, 0.5, out=torch.empty_like(probabilities))
    return covered.sum(2).sum(1, dtype=torch.double).long()


def _codes(winners: Tensor, best: Tensor, scores: Tensor) -> Tensor:
    """Winners and whether their masks cover the pixel, (H, W) each.

    Probability >= 0.5 exactly where score x probability >= score / 2: halving is exact, and below 0.5 the next
    probability makes a product that rounds below.
    """
    return winners * 2 + (best >= (scores / 2)[winners.int()])


def _fetched(claims: list[Claim]) -> list[tuple[Tensor, Tensor]]:
    """Codes and own areas of all pictures on the CPU, in one transfer."""
    if not claims:
        return []
    # The wider type first: a view of bytes must begin at a multiple of its size.
    parts = [claim.own for claim in claims] + [claim.codes for claim in claims]
    flat = torch.cat([part.flatten().view(torch.uint8) for part in parts]).cpu()
    pieces = flat.split([part.numel() * part.element_size() for part in parts])
    read = [piece.view(part.dtype).view(part.shape) for piece, part in zip(pieces, parts, strict=True)]
    return list(zip(read[len(claims) :], read[: len(claims)], strict=True))


def _panoptic(
    codes: Tensor, own: Tensor, kept: _Kept, categories: tuple[Category, ...], overlap_threshold: float
) -> Panoptic:
    unsure, final = torch.bincount(codes.flatten(), minlength=2 * len(own)).view(-1, 2).unbind(1)
    claimed = unsure + final
    # Double: above 2^24 pixels or just beside the threshold, single precision would decide otherwise than the rule.
    share = claimed / own.clamp(min=1).double()
    accepted = (claimed > 0) & (own > 0) & (final > 0) & (share >= overlap_threshold)
    segment_ids, segments = _segments(accepted.tolist(), kept.labels, kept.scores, categories)
    ids_of_codes = np.zeros(2 * len(segment_ids), np.int32)
    ids_of_codes[1::2] = segment_ids
    ids: IdMap = ids_of_codes.take(codes.numpy())
    return Panoptic(ids, measured(ids, segments))


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
