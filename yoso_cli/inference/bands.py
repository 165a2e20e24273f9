"""Mask logits at a picture's own size, a band of its rows at a time: memory has a bound whatever the picture.

The released implementation resizes every mask twice, to the padded input and, cropped, to the picture. Either resize is
linear and treats rows and columns apart, so here all columns come first: there are few rows yet, those of the masks.
A band of the picture is then a product of a few of these with torch's own weights. Rounding aside the logits are the
same.
"""

# Q queries, h w mask size, H W picture size, R rows of a band

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

    Read off torch: where the masks are the unit matrix, the picture's rows are the weights, rounding included.
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
