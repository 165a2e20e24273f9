"""Masks and classes to panoptic maps (paper Sec. 3.1). Here `train_id` becomes `category_id`.

The rules are the released implementation's: mask logits are resized twice (to the padded input, then, cropped, to the
picture), each pixel goes to the query with the highest class score x mask probability, a query that keeps too small a
share of its own mask is dropped, and stuff of one class becomes one segment.

Only queries that pass the score threshold are resized, for one band of the picture's rows at a time, so that temporary
memory is bounded for any picture size and number of queries. Each batch takes two transfers from the device: the
scores, to select the queries, and the result.
"""

# B pictures, N queries, Q kept queries, K classes, h w mask size, H W picture size, R rows of a band

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from yoso_cli.errors import RunError
from yoso_cli.panoptic.regions import Runs, painted, runs_of
from yoso_cli.panoptic.types import Category, Panoptic, Segment, measured

Size = tuple[int, int]

# Values of one band, of which there are up to five copies at a time. On a CPU they should stay in the cache: 30 queries
# at 800x1067 take 33 ms, in bands of 1 << 21 values 44 ms and all at once 185 ms. A GPU wants much work at a time (not
# measured). Never above 1 << 24: up to there pixels of a band are counted exactly in single precision.
BAND_ON_CPU = 1 << 19
BAND_ON_GPU = 1 << 24
# Columns are resized for several bands at once, as many as make this many times a band's values: strips overlap by two
# mask rows, which should be few among theirs.
STRIP = 4


class Axis(NamedTuple):
    """A picture's pixels along one edge, as it was padded for the network, resized, and given."""

    padded: int
    resized: int
    original: int


@dataclass(frozen=True)
class Sizes:
    """(height, width) of a picture as it was padded for the network, resized, and given."""

    padded: Size
    resized: Size
    original: Size

    def axes(self) -> tuple[Axis, Axis]:
        """Of the rows, and of the columns."""
        rows, columns = (Axis(*edge) for edge in zip(self.padded, self.resized, self.original, strict=True))
        return rows, columns


class Assignment(NamedTuple):
    """The query of each pixel, on the device.

    Attributes:
        codes: int16 (H, W), twice the winner's place among the kept queries, plus 1 where its mask leaves it out.
        mask_areas: int64 (Q,), pixels that each query's mask covers.
    """

    codes: Tensor
    mask_areas: Tensor


class _Kept(NamedTuple):
    """The queries of one picture above the score threshold: their indices, scores and labels."""

    places: list[int]
    scores: list[float]
    labels: list[int]


Merge = Callable[[Tensor, Tensor, Sizes], Assignment]


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
    assignments = [
        _assignment(MERGES[merge], logits, found, each)
        for logits, found, each in zip(mask_logits, kept, sizes, strict=True)
        if found.places
    ]
    results = iter(_fetched(assignments))
    del assignments  # On a CPU 2 bytes of each pixel, before maps of 4 are painted from the copy.
    return [
        _panoptic(*next(results), found, categories, overlap_threshold)
        if found.places
        else Panoptic(np.zeros(each.original, np.int32), ())
        for found, each in zip(kept, sizes, strict=True)
    ]


def at_thresholds(
    mask_logits: Tensor,
    class_logits: Tensor,
    sizes: Sizes,
    categories: tuple[Category, ...],
    thresholds: Sequence[tuple[float, float]],
    *,
    merge: str = "exact",
) -> Iterator[tuple[Panoptic, tuple[int, ...]]]:
    """One picture's segments at many thresholds, each different answer once.

    Pixels are given to queries once for each set of queries that pass a score, and painted once for each set of masks
    that then pass an overlap: exactly what `to_panoptic` does at each pair alone.

    Args:
        mask_logits: (N, h, w).
        class_logits: (N, K + 1), divided by the temperature; the last class is no object.
        sizes: of the picture.
        categories: K of them, in the order of the logits.
        thresholds: pairs of score and overlap threshold; 0..1.
        merge: one of MERGES.

    Yields:
        Segments, and the places of the thresholds that lead to them; one answer is in memory at a time.

    Raises:
        RunError: a logit is not a finite number.
    """
    found: dict[tuple[int, ...], tuple[_Kept, list[int]]] = {}
    for score in dict.fromkeys(score for score, _ in thresholds):
        (kept,) = _kept_queries(mask_logits[None], class_logits[None], score)
        places = [place for place, (each, _) in enumerate(thresholds) if each == score]
        found.setdefault(tuple(kept.places), (kept, []))[1].extend(places)
    for kept, places in found.values():
        if not kept.places:
            yield Panoptic(np.zeros(sizes.original, np.int32), ()), tuple(places)
            continue
        (fetched,) = _fetched([_assignment(MERGES[merge], mask_logits, kept, sizes)])
        runs, shares = _shares(*fetched)
        answers: dict[bytes, list[int]] = {}
        for place in places:
            answers.setdefault((shares >= thresholds[place][1]).tobytes(), []).append(place)
        for together in answers.values():
            accepted = shares >= thresholds[together[0]][1]
            yield _painted(runs, accepted, kept, categories), tuple(together)


def assign_at_full_size(mask_logits: Tensor, scores: Tensor, sizes: Sizes) -> Assignment:
    """The released implementation's merge: (Q, h, w) logits and (Q,) scores, at the picture's size."""
    codes = torch.empty(sizes.original, dtype=torch.int16, device=mask_logits.device)
    mask_areas = torch.zeros(len(scores), dtype=torch.double, device=mask_logits.device)
    for rows, logits in bands(mask_logits, *sizes.axes()):
        probabilities = logits.sigmoid_()
        covered = _covered(probabilities)
        # Counts within a band are exact in float32, their sum in float64.
        mask_areas += covered.sum((1, 2))
        codes[rows] = _codes(probabilities, covered, scores)
    return Assignment(codes, mask_areas.long())


def assign_at_mask_size(mask_logits: Tensor, scores: Tensor, sizes: Sizes) -> Assignment:
    """The fast merge: computed at stride 4, then copied to the picture's pixels; approximate.

    Borders become steps of four input pixels; areas are counted at the small size, whose shares are nearly the same.
    """
    rows, columns = (
        ((torch.arange(full, device=mask_logits.device) + 0.5) * (used * small / (full * padded))).long()
        for full, used, small, padded in zip(
            sizes.original, sizes.resized, mask_logits.shape[-2:], sizes.padded, strict=True
        )
    )
    probabilities = mask_logits.sigmoid()
    covered = _covered(probabilities)
    # How many of the picture's rows and columns each mask row and column covers; sums of products are exact in float64.
    heights = torch.zeros(mask_logits.shape[-2], dtype=torch.double, device=rows.device)
    widths = torch.zeros(mask_logits.shape[-1], dtype=torch.double, device=rows.device)
    heights.index_add_(0, rows, heights.new_ones(len(rows)))
    widths.index_add_(0, columns, widths.new_ones(len(columns)))
    mask_areas = (covered.double() @ widths) @ heights
    codes = _codes(probabilities, covered, scores)
    return Assignment(codes[rows][:, columns], mask_areas.long())


def bands(mask_logits: Tensor, rows: Axis, columns: Axis) -> Iterator[tuple[slice, Tensor]]:
    """The picture's rows from top to bottom, a few at a time, and all queries' logits there.

    The released implementation resizes every mask twice, to the padded input and, cropped, to the picture. Either
    resize is linear and treats rows and columns apart, so here all columns come first: there are few rows yet, those of
    the masks. A band of the picture is then a product of a few of these with torch's own weights. The logits are the
    same but for rounding. Nothing is read from the device.

    Args:
        mask_logits: (Q, h, w).
        rows: of the picture, top to bottom.
        columns: of the picture, left to right.

    Yields:
        Which rows, and (Q, R, W), the caller's to overwrite.
    """
    device = mask_logits.device
    queries, height, _ = mask_logits.shape
    values = BAND_ON_CPU if device.type == "cpu" else BAND_ON_GPU
    band = max(1, values // (queries * columns.original))
    mask_rows = max(1, STRIP * values // (queries * max(columns.padded, columns.original)))
    strip = max(1, mask_rows * rows.original // height)
    mixture = _mixture(height, rows, mask_logits.dtype)
    weights = mixture.to(device)
    first, last = _used(mixture)
    for top in range(0, rows.original, strip):
        bottom = min(top + strip, rows.original)
        above = int(first[top])
        wide = _resized(mask_logits[:, above : int(last[bottom - 1]) + 1], columns)  # (Q, h of the strip, W)
        for start in range(top, bottom, band):
            stop = min(start + band, bottom)
            used = slice(int(first[start]), int(last[stop - 1]) + 1)
            mixed = torch.matmul(weights[start:stop, used], wide[:, used.start - above : used.stop - above])
            yield slice(start, stop), mixed


def _mixture(height: int, rows: Axis, dtype: torch.dtype) -> Tensor:
    """How much of each mask row is in a row of the picture, (H, h).

    Obtained from torch by resizing the unit matrix, so that rounding is included.
    """
    return _resized(torch.eye(height, dtype=dtype)[None], rows)[0].T.contiguous()


def _used(mixture: Tensor) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The first and the last mask row that is in each row of the picture; neither falls from top to bottom."""
    there = (mixture != 0).numpy()
    return there.argmax(1), there.shape[1] - 1 - there[:, ::-1].argmax(1)


def _resized(x: Tensor, columns: Axis) -> Tensor:
    """(Q, h, w) to (Q, h, W), through the padded input's width."""
    x = _stretched(x, columns.padded)[:, :, : columns.resized]
    if columns.resized != columns.original:
        x = _stretched(x, columns.original)
    return x.contiguous()  # where the product reads it several times


def _stretched(x: Tensor, width: int) -> Tensor:
    """(Q, h, w) to (Q, h, width), with the same digits either way.

    On a CPU torch's kernel for two axes takes 1.7 times as long; on a GPU that for one has only a thread per column.
    """
    if x.device.type == "cpu":
        return F.interpolate(x, size=width, mode="linear", align_corners=False)
    return F.interpolate(x[None], size=(x.shape[1], width), mode="bilinear", align_corners=False)[0]


# `exact` is what every figure is measured with unless it says otherwise.
MERGES: dict[str, Merge] = {"exact": assign_at_full_size, "fast": assign_at_mask_size}


def _kept_queries(mask_logits: Tensor, class_logits: Tensor, score_threshold: float) -> list[_Kept]:
    """The queries of each picture that pass the threshold; one read from the device for the batch."""
    scores, labels = _precise(class_logits).softmax(-1).max(-1)  # (B, N)
    keep = (labels != class_logits.shape[-1] - 1) & (scores > score_threshold)
    # The minimum and maximum are NaN if any value is, in a third of the time of checking each value.
    sound = torch.stack([end for each in (mask_logits, class_logits) for end in each.aminmax()]).isfinite().all()
    # float64 holds scores and labels exactly, so that one transfer is enough.
    read = torch.stack([keep.double(), scores.double(), labels.double(), sound.expand(keep.shape).double()]).cpu()
    if not bool(read[3].all()):
        raise RunError(
            "the network's output has values that are not finite.",
            hint="In float16 values can overflow: try float32. Otherwise the weights are damaged.",
        )
    found = []
    for kept, score, label in zip(*read[:3], strict=True):
        places = kept.nonzero()[:, 0]
        found.append(_Kept(places.tolist(), score[places].tolist(), label[places].long().tolist()))
    return found


def _assignment(merge: Merge, mask_logits: Tensor, kept: _Kept, sizes: Sizes) -> Assignment:
    logits = _precise(mask_logits[kept.places])
    return merge(logits, torch.tensor(kept.scores, dtype=logits.dtype, device=logits.device), sizes)


def _precise(logits: Tensor) -> Tensor:
    """Converts 16-bit logits to float32, so that rounding does not decide pixels."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _covered(probabilities: Tensor) -> Tensor:
    """1.0 where a probability is 0.5 or more, else 0.0; on a CPU four times faster than booleans."""
    return torch.ge(probabilities, 0.5, out=torch.empty_like(probabilities))


def _codes(probabilities: Tensor, covered: Tensor, scores: Tensor) -> Tensor:
    """The codes of an `Assignment`, int16 (H, W); `probabilities` and `covered`, (Q, H, W), are overwritten.

    The minimum over the queries' codes, where all but those with the largest product are raised out of range: of equal
    products, the first query wins. This is plain arithmetic, as on a CPU torch's argmax takes ten times as long.
    """
    count = len(scores)
    codes = torch.sub(torch.arange(1, 2 * count, 2, device=scores.device)[:, None, None], covered, out=covered)
    products = probabilities.mul_(scores[:, None, None])
    # The sign of the difference: exact, and in a quarter of the time of a comparison with all queries' maximum.
    beaten = torch.lt(products.sub_(products.amax(0)), 0, out=products)
    return codes.add_(beaten, alpha=2 * count).amin(0).to(torch.int16)


def _fetched(assignments: list[Assignment]) -> list[tuple[Tensor, Tensor]]:
    """Codes and mask areas of all pictures on the CPU, in one transfer."""
    if not assignments:
        return []
    # The wider type first: a view of bytes must begin at a multiple of its size.
    parts = [assignment.mask_areas for assignment in assignments] + [assignment.codes for assignment in assignments]
    flat = torch.cat([part.flatten().view(torch.uint8) for part in parts]).cpu()
    pieces = flat.split([part.numel() * part.element_size() for part in parts])
    read = [piece.view(part.dtype).view(part.shape) for piece, part in zip(pieces, parts, strict=True)]
    return list(zip(read[len(assignments) :], read[: len(assignments)], strict=True))


def _panoptic(
    codes: Tensor, mask_areas: Tensor, kept: _Kept, categories: tuple[Category, ...], overlap_threshold: float
) -> Panoptic:
    runs, shares = _shares(codes, mask_areas)
    return _painted(runs, shares >= overlap_threshold, kept, categories)


def _shares(codes: Tensor, mask_areas: Tensor) -> tuple[Runs, npt.NDArray[np.float64]]:
    """The runs of a map of codes, and the share of its mask that each query keeps; -1 for one without a pixel."""
    # Thousands of runs instead of millions of pixels; and a look-up of every pixel would need 8 bytes for each.
    runs = runs_of(codes.numpy())
    pixels = np.bincount(runs.values, runs.lengths, minlength=2 * len(mask_areas)).reshape(-1, 2)
    final, assigned = pixels[:, 0], pixels.sum(1)
    # float64: above 2^24 pixels or close to the threshold, float32 could violate the rule.
    share = assigned / mask_areas.clamp(min=1).numpy()
    return runs, np.where((final > 0) & (mask_areas.numpy() > 0), share, -1.0)


def _painted(runs: Runs, accepted: npt.NDArray[np.bool_], kept: _Kept, categories: tuple[Category, ...]) -> Panoptic:
    segment_ids, segments = _segments(accepted.tolist(), kept.labels, kept.scores, categories)
    ids_of_codes = np.zeros(2 * len(segment_ids), np.int32)
    ids_of_codes[::2] = segment_ids
    ids = painted(runs, ids_of_codes[runs.values])
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
