"""The decoder's two products of maps, beside the paper's formulas."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yoso_cli.inference.fused import FusedProducts
from yoso_cli.model.decoder import DynamicConvolution, InnerProducts, PreAttention


@pytest.mark.parametrize("kind", [InnerProducts, FusedProducts])
@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 20),
    queries=st.integers(1, 20),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    last=st.booleans(),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60)
def test_masks_and_pooling_are_their_formulas(
    kind: type[InnerProducts], batch: int, channels: int, queries: int, size: tuple[int, int], last: bool, seed: int
) -> None:
    """The dynamic convolution and Eq. 3, in single precision beside einsum in double, plain and fused."""
    torch.manual_seed(seed)
    pool, masks = PreAttention(), DynamicConvolution()
    pool.products, masks.products = kind(), kind()
    features, kernels = torch.randn(batch, channels, *size), torch.randn(batch, queries, channels)
    if last:
        features = features.contiguous(memory_format=torch.channels_last)
    logits = torch.einsum("bnc,bchw->bnhw", kernels.double(), features.double())
    torch.testing.assert_close(masks(kernels, features).double(), logits, rtol=1e-4, atol=1e-4)
    drawn = torch.randn(batch, queries, *size)
    wanted = torch.einsum("bnhw,bchw->bnc", (drawn.sigmoid() > 0.5).double(), features.double())
    torch.testing.assert_close(pool(features, drawn).double(), wanted, rtol=1e-4, atol=1e-4)
