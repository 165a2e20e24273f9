"""The gathered deformable convolution is torchvision's operator."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import deform_conv2d

from yoso_cli.model.deform import gathered_deform_conv


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)),
    out=st.integers(1, 5),
    reach=st.sampled_from([0.0, 0.5, 3.0, 20.0]),
    biased=st.booleans(),
    seed=st.integers(0, 2**31),
)
@settings(deadline=None, max_examples=100)
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
