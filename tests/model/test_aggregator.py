"""Both forms of the deformable convolution are torchvision's operator."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import deform_conv2d

from yoso_cli.model.aggregator import ModulatedDeformConv, gathered_deform_conv, operator_deform_conv


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)),
    out=st.integers(1, 5),
    reach=st.sampled_from([0.0, 0.5, 3.0, 20.0]),
    biased=st.booleans(),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=100)
def test_values_and_gradients_equal_torchvisions(
    shape: tuple[int, int, int, int], out: int, reach: float, biased: bool, seed: int
) -> None:
    """Offsets reach beyond the border; in double precision nothing but the formula can differ."""
    torch.manual_seed(seed)
    batch, channels, height, width = shape
    inputs = [
        torch.randn(shape, dtype=torch.double),
        torch.randn(batch, 18, height, width, dtype=torch.double) * reach,
        torch.rand(batch, 9, height, width, dtype=torch.double),
        torch.randn(out, channels, 3, 3, dtype=torch.double),
    ]
    bias = torch.randn(out, dtype=torch.double) if biased else None
    ours, theirs = ([tensor.clone().requires_grad_() for tensor in inputs] for _ in range(2))
    y = gathered_deform_conv(*ours, bias)
    wanted = deform_conv2d(theirs[0], theirs[1], theirs[3], bias, padding=1, mask=theirs[2])
    torch.testing.assert_close(y, wanted)
    y.square().sum().backward()
    wanted.square().sum().backward()
    for mine, reference in zip(ours, theirs, strict=True):
        if mine is ours[1] and reach == 0.0:
            continue  # On a pixel exactly, a bilinear sample has a kink and no one derivative.
        torch.testing.assert_close(mine.grad, reference.grad)


def test_gradients_are_the_derivatives() -> None:
    """By finite differences, for every input, with taps beyond the border."""
    torch.manual_seed(0)
    inputs = [
        torch.randn(2, 2, 3, 4, dtype=torch.double, requires_grad=True),
        (torch.randn(2, 18, 3, 4, dtype=torch.double) * 2).requires_grad_(),
        torch.rand(2, 9, 3, 4, dtype=torch.double, requires_grad=True),
        torch.randn(3, 2, 3, 3, dtype=torch.double, requires_grad=True),
        torch.randn(3, dtype=torch.double, requires_grad=True),
    ]
    assert torch.autograd.gradcheck(gathered_deform_conv, inputs)


@pytest.mark.parametrize("size", [(64, 64), (57, 200)])
def test_large_maps_agree(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x, shifts, strengths = torch.randn(1, 16, *size), torch.randn(1, 18, *size) * 30, torch.rand(1, 9, *size)
    weight = torch.randn(8, 16, 3, 3)
    ours = gathered_deform_conv(x, shifts, strengths, weight, None)
    torch.testing.assert_close(ours, deform_conv2d(x, shifts, weight, padding=1, mask=strengths), rtol=1e-4, atol=1e-4)


# torchvision has no float16 on a CPU; on a GPU it computes it itself.
@pytest.mark.parametrize(
    ("form", "dtype"),
    [
        (gathered_deform_conv, torch.bfloat16),
        (gathered_deform_conv, torch.float16),
        (operator_deform_conv, torch.bfloat16),
    ],
)
def test_half_precision_places_its_taps_as_single_does(form, dtype: torch.dtype) -> None:
    """On a map of 200 columns bfloat16 cannot even name a column; the answer is near the single one all the same."""
    torch.manual_seed(0)
    inputs = [torch.randn(1, 8, 4, 200), torch.randn(1, 18, 4, 200), torch.rand(1, 9, 4, 200), torch.randn(4, 8, 3, 3)]
    halved = [tensor.to(dtype) for tensor in inputs]
    ours = form(*halved, None)
    assert ours.dtype is dtype
    wanted = gathered_deform_conv(*[tensor.float() for tensor in halved], None)
    torch.testing.assert_close(ours.float(), wanted, rtol=2e-2, atol=0.1)


def test_under_autocast_the_places_stay_single() -> None:
    torch.manual_seed(0)
    module = ModulatedDeformConv(8, 4)
    x, shifts, strengths = torch.randn(1, 8, 4, 200), torch.randn(1, 18, 4, 200), torch.rand(1, 9, 4, 200)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        ours = module(x, shifts.bfloat16(), strengths.bfloat16())
    with torch.no_grad():
        wanted = module(x, shifts.bfloat16().float(), strengths.bfloat16().float())
    torch.testing.assert_close(ours.float(), wanted, rtol=2e-2, atol=0.02)
