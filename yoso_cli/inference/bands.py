"""Mask logits at a picture's own size, a band of its rows at a time: memory has a bound whatever the picture.

The released implementation resizes every mask twice, to the padded input and, cropped, to the picture. Either resize is
linear and treats rows and columns apart, so here all columns come first: there are few rows yet, those of the masks.
A row of the picture is then a weighted sum of at most three of these (where the first resize enlarges), with torch's
own weights. Rounding aside the logits are the same.
"""

# Q queries, h w mask size, H W picture size, R rows of a band, K mask rows that a row of the picture is made of

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

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


class _Mixture(NamedTuple):
    """What rows of the picture are made of: (K, H) each.

    Attributes:
        places: of mask rows, consecutive along K and never falling along H.
        weights: of these, adding up to one.
    """

    places: npt.NDArray[np.int64]
    weights: Tensor


def bands(mask_logits: Tensor, rows: Axis, columns: Axis) -> Iterator[tuple[slice, Tensor]]:
    """The picture's rows from top to bottom, a few at a time, and all queries' logits there.

    Nothing is read from the device.

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
    places = torch.from_numpy(mixture.places).to(device)
    weights = mixture.weights.to(device)
    for top in range(0, rows.original, strip):
        bottom = min(top + strip, rows.original)
        first, last = int(mixture.places[0, top]), int(mixture.places[-1, bottom - 1])
        wide = _resized(mask_logits[:, first : last + 1], columns)  # (Q, h of the strip, W)
        for start in range(top, bottom, band):
            part = slice(start, min(start + band, bottom))
            yield part, _mixed(wide, places[:, part] - first, weights[:, part])


def _mixture(height: int, rows: Axis, dtype: torch.dtype) -> _Mixture:
    """Read off torch: where the masks are the unit matrix, the picture's rows are the weights, rounding included."""
    weights = _resized(torch.eye(height, dtype=dtype)[None], rows)[0]  # (h, H)
    counts = (weights != 0).numpy().T
    first, last = counts.argmax(1), height - 1 - counts[:, ::-1].argmax(1)
    most = int((last - first).max()) + 1
    # Never beyond the last mask row: all K are there, if with a weight of nought.
    places = np.minimum(first, height - most) + np.arange(most)[:, None]
    return _Mixture(places, weights.gather(0, torch.from_numpy(places)))


def _mixed(wide: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    """Rows (Q, h, W) to (Q, R, W), each the sum of K of them, by places and weights (K, R)."""
    queries, height, width = wide.shape
    # As rows of one long list: over the middle of three dimensions torch takes them in one thread, or with one start
    # of all its threads for each row.
    rows = wide.view(queries * height, width)
    firsts = torch.arange(0, queries * height, height, device=wide.device)
    chosen = (firsts[:, None] + places[:, None]).flatten(1)  # (K, Q R)
    parts = (rows.index_select(0, which).view(queries, -1, width) for which in chosen)
    total = next(parts).mul_(weights[0, :, None])
    for part, weight in zip(parts, weights[1:], strict=True):
        total.addcmul_(part, weight[:, None])
    return total


def _resized(x: Tensor, columns: Axis) -> Tensor:
    """(Q, h, w) to (Q, h, W), through the padded input's width."""
    x = _stretched(x, columns.padded)[:, :, : columns.resized]
    if columns.resized != columns.original:
        x = _stretched(x, columns.original)
    # Rows are taken from it by place: three times faster where they lie in one piece.
    return x.contiguous()


def _stretched(x: Tensor, width: int) -> Tensor:
    """(Q, h, w) to (Q, h, width), with the same digits either way.

    On a CPU torch's kernel for two axes takes 1.7 times as long; on a GPU that for one has only a thread per column.
    """
    if x.device.type == "cpu":
        return F.interpolate(x, size=width, mode="linear", align_corners=False)
    return F.interpolate(x[None], size=(x.shape[1], width), mode="bilinear", align_corners=False)[0]
