"""Products by oneDNN are torch's, and stand aside where they cannot serve."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from yoso_cli.inference import cost
from yoso_cli.model import onednn
from yoso_cli.model.decoder import masks, pool
from yoso_cli.model.onednn import product, usable

pytestmark = pytest.mark.skipif(not onednn.available(), reason="this build of torch has no oneDNN")


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 70), st.booleans(), st.integers(0, 2**31))
@settings(deadline=None, max_examples=100)
def test_a_product_is_that_of_torch(rows: int, summed: int, columns: int, turned: bool, seed: int) -> None:
    """Also of a weight whose rows do not lie one after the other."""
    torch.manual_seed(seed)
    x = torch.randn(rows, summed)
    weight = torch.randn(summed, columns).t() if turned else torch.randn(columns, summed)
    assert usable(x, weight)
    torch.testing.assert_close(product(x, weight), F.linear(x, weight), rtol=1e-4, atol=1e-4)


def test_whoever_wants_a_gradient_gets_it() -> None:
    x, weight = torch.randn(3, 4, requires_grad=True), torch.randn(5, 4)
    assert not usable(x, weight)
    product(x, weight).sum().backward()
    torch.testing.assert_close(x.grad, weight.sum(0).expand(3, 4))
    with torch.no_grad():
        assert usable(x, weight)


def test_other_types_and_autocast_are_left_to_torch() -> None:
    x = torch.randn(3, 4)
    assert not usable(x.double())
    assert not usable(x.bfloat16())
    assert not usable(x.to("meta"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not usable(x)
        assert product(x, x).dtype is torch.bfloat16


def test_switched_off_it_stays_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onednn, "available", lambda: False)
    x = torch.randn(3, 4)
    assert not usable(x)
    assert product(x, x).equal(F.linear(x, x))


@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 20),
    queries=st.integers(1, 20),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    last=st.booleans(),
    seed=st.integers(0, 2**31),
)
@settings(deadline=None, max_examples=60)
def test_masks_and_pooling_are_their_formulas(
    batch: int, channels: int, queries: int, size: tuple[int, int], last: bool, seed: int
) -> None:
    """The dynamic convolution and Eq. 3, in single precision as the decoder runs them, beside einsum in double."""
    torch.manual_seed(seed)
    features, kernels = torch.randn(batch, channels, *size), torch.randn(batch, queries, channels)
    if last:
        features = features.contiguous(memory_format=torch.channels_last)
    logits = torch.einsum("bnc,bchw->bnhw", kernels.double(), features.double())
    torch.testing.assert_close(masks(kernels, features).double(), logits, rtol=1e-4, atol=1e-4)
    drawn = torch.randn(batch, queries, *size)
    wanted = torch.einsum("bnhw,bchw->bnc", (drawn.sigmoid() > 0.5).double(), features.double())
    torch.testing.assert_close(pool(features, drawn).double(), wanted, rtol=1e-4, atol=1e-4)


def test_its_operations_are_counted() -> None:
    """As torch's own products are, so that what a network costs does not depend on who reckons."""
    layer = torch.nn.Module()
    layer.forward = lambda x, weight: product(x, weight)  # type: ignore[method-assign]
    inputs = (torch.randn(3, 4), torch.randn(5, 4))
    assert cost.flops(layer, inputs, cost.UNCOUNTED_BY_TORCH) == 2 * 3 * 4 * 5
