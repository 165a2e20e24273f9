"""Mask logits at the picture's size, band by band: two resizes of everything at once are the measure."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from yoso_cli.inference import postprocess
from yoso_cli.inference.postprocess import Axis, Sizes, assign_at_full_size, bands


def at_once(mask_logits: Tensor, rows: Axis, columns: Axis) -> Tensor:
    """(Q, H, W) as the released implementation comes to it."""
    x = F.interpolate(mask_logits[None], size=(rows.padded, columns.padded), mode="bilinear", align_corners=False)
    x = x[:, :, : rows.resized, : columns.resized]
    return F.interpolate(x, size=(rows.original, columns.original), mode="bilinear", align_corners=False)[0]


@st.composite
def axes(draw: st.DrawFn) -> tuple[int, Axis]:
    """Pixels of the masks and of the picture along one edge; the first resize may shrink, though no network's does."""
    masks, padded = draw(st.integers(1, 20)), draw(st.integers(1, 90))
    resized = draw(st.integers(1, padded))
    return masks, Axis(padded, resized, draw(st.just(resized) | st.integers(1, 90)))


@settings(max_examples=300)
@given(axes(), axes(), st.integers(1, 4), st.sampled_from([1, 200, 1000, 1 << 19]))
def test_bands_are_the_rows_of_two_resizes(rows: Any, columns: Any, queries: int, values: int) -> None:
    """From top to bottom, none left out, and none of more values than it may have but where one row has them."""
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(queries, rows[0], columns[0], generator=random).double()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postprocess, "BAND_ON_CPU", values)
        found = list(bands(logits, rows[1], columns[1]))
    assert [part.start for part, _ in found] == [0, *(part.stop for part, _ in found[:-1])]
    assert all(part.stop - part.start == band.shape[1] for part, band in found)
    assert all(band.numel() <= max(values, queries * columns[1].original) for _, band in found)
    together = torch.cat([band for _, band in found], 1)
    torch.testing.assert_close(together, at_once(logits, rows[1], columns[1]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("original", [(800, 1067), (480, 640), (1201, 1603)])
def test_single_precision_takes_torchs_own_weights(original: tuple[int, int]) -> None:
    """Weights that were computed more exactly than torch's would be 5e-5 off at such sizes."""
    random = torch.Generator().manual_seed(1)
    rows, columns = Sizes((800, 1088), (800, 1067), original).axes()
    logits = torch.randn(2, 200, 272, generator=random)
    together = torch.cat([band for _, band in bands(logits, rows, columns)], 1)
    torch.testing.assert_close(together, at_once(logits, rows, columns), rtol=0, atol=2e-6)


@pytest.mark.parametrize("values", [1, 1 << 12, 1 << 24])
def test_nothing_is_read_from_the_device_while_bands_are_decided(values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes through on a device whose tensors hold no values to be read."""
    monkeypatch.setattr(postprocess, "BAND_ON_GPU", values)
    sizes = Sizes((64, 96), (60, 90), (77, 101))
    codes, mask_areas = assign_at_full_size(torch.empty(3, 16, 24, device="meta"), torch.empty(3, device="meta"), sizes)
    assert (codes.device.type, codes.shape, codes.dtype) == ("meta", (77, 101), torch.int16)
    assert (mask_areas.device.type, mask_areas.shape, mask_areas.dtype) == ("meta", (3,), torch.int64)
