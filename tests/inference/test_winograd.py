"""Convolutions with fewer multiplications answer as the plain ones do, and are where they should be."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model.test_reparam import small
from torch import nn

from yoso_cli.inference import onednn, winograd
from yoso_cli.inference.fused import FusedConv, fused
from yoso_cli.inference.winograd import LEAST_CHANNELS, WinogradConv, use_winograd
from yoso_cli.model.reparam import reparameterise
from yoso_cli.model.yoso import YOSO

pytestmark = pytest.mark.skipif(bool(onednn.missing()), reason="this build of torch has no oneDNN")


@given(
    batch=st.integers(1, 3),
    channels=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.tuples(st.integers(1, 18), st.integers(1, 18)),
    relu=st.booleans(),
    biased=st.booleans(),
    last=st.booleans(),
    at_a_time=st.sampled_from([1, 5000, 1 << 22]),
    least_tiles=st.sampled_from([0, 16]),
    threads=st.integers(1, 2),
)
@settings(max_examples=150)
def test_the_sum_is_that_of_the_plain_convolution(
    batch: int,
    channels: tuple[int, int],
    size: tuple[int, int],
    relu: bool,
    biased: bool,
    last: bool,
    at_a_time: int,
    least_tiles: int,
    threads: int,
) -> None:
    """Of maps smaller than a tile, and of such as are not a multiple of it; in strips; one size after another."""
    torch.manual_seed(0)
    conv = nn.Conv2d(*channels, 3, padding=1, bias=biased)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(winograd, "AT_A_TIME", at_a_time)
            patch.setattr(winograd, "LEAST_TILES", least_tiles)
            ours = WinogradConv(FusedConv(conv, relu=relu))
            for height, width in (size, (5, 3), size):
                x = torch.randn(batch, channels[0], height, width)
                wanted = conv.double()(x.double())
                conv.float()
                found = ours(x.contiguous(memory_format=torch.channels_last) if last else x)
                torch.testing.assert_close(found.double(), wanted.relu() if relu else wanted, rtol=0, atol=2e-5)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("channels", "height", "width"), [(128, 64, 88), (256, 32, 44), (512, 16, 22)])
def test_rounding_is_at_most_thrice_that_of_the_plain_convolution(channels: int, height: int, width: int) -> None:
    """With the usual places it would be four to five times."""
    torch.manual_seed(0)
    conv = nn.Conv2d(channels, channels, 3, padding=1)
    nn.init.normal_(conv.weight, std=1 / math.sqrt(9 * channels))
    x = torch.randn(1, channels, height, width).relu_().contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        plain, ours = FusedConv(conv)(x), WinogradConv(FusedConv(conv))(x)
        exact = conv.double()(x.double())
    error, rounding = (((one.double() - exact) ** 2).mean().sqrt() for one in (ours, plain))
    assert error <= 3 * rounding


def test_weights_that_change_are_seen() -> None:
    conv = nn.Conv2d(8, 8, 3, padding=1)
    ours, x = WinogradConv(FusedConv(conv)), torch.randn(1, 8, 32, 32)
    with torch.inference_mode():
        ours(x)
    with torch.no_grad():
        conv.weight.mul_(2)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), conv(x), rtol=1e-4, atol=1e-4)


def test_wide_convolutions_without_a_sum_use_winograd() -> None:
    """Of the 13 blocks of ResNet-50 that keep the size ten are wide enough; and one convolution follows CFA."""
    network = fused(reparameterise(YOSO(5).eval()))
    use_winograd(network)
    changed = [module.direct.conv for module in network.modules() if isinstance(module, WinogradConv)]
    assert len(changed) == 3 + 5 + 2 + 1
    assert min(conv.in_channels for conv in changed) == LEAST_CHANNELS
    assert isinstance(network.aggregator.output, WinogradConv)


def test_3x3_convolutions_fused_with_a_sum_stay_direct() -> None:
    """ResNet-18 adds its shortcut in the pass of the last convolution, which is one of 3x3."""
    model = reparameterise(small(backbone="resnet18", base_channels=LEAST_CHANNELS)).eval()
    network = fused(model)
    use_winograd(network)
    assert any(isinstance(module, WinogradConv) for module in network.modules())
    images = torch.rand(1, 3, 128, 160) * 255
    with torch.inference_mode():
        wanted, found = model(images)[-1], network(images)[-1]
    torch.testing.assert_close(found.mask_logits, wanted.mask_logits, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.class_logits, wanted.class_logits, rtol=1e-3, atol=1e-3)
