"""Re-parameterisation changes no answer."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from yoso_cli.errors import RunError
from yoso_cli.model.aggregator import ConvolutionFirst, InterpolationFirst
from yoso_cli.model.attention import ATTENTIONS
from yoso_cli.model.reparam import reparameterise, verify
from yoso_cli.model.yoso import YOSO

SMALL = {
    "stem_channels": 8,
    "base_channels": 8,
    "aggregation_dim": 16,
    "hidden_dim": 16,
    "num_proposals": 6,
    "num_heads": 2,
    "feedforward_dim": 32,
}


def small(seed: int = 0, **values: object) -> YOSO:
    """A small model whose norms have seen something: statistics and scales far from 0 and 1."""
    torch.manual_seed(seed)
    model = YOSO(5, **{"backbone": "resnet18", "backbone_norm": "batch", "aggregator": "ifa", **SMALL, **values})
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | FrozenBatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.3, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.3)
    return model.eval()


@given(
    channels=st.tuples(*[st.integers(1, 9)] * 4),
    out=st.integers(1, 9),
    sizes=st.tuples(*[st.tuples(st.integers(1, 13), st.integers(1, 13))] * 4),
    batch=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
@settings(deadline=None, max_examples=150)
def test_ifa_and_cfa_agree_on_any_weights_and_sizes(
    channels: tuple[int, ...], out: int, sizes: tuple[tuple[int, int], ...], batch: int, seed: int
) -> None:
    """Sizes need not be halves of each other, nor even: bilinear interpolation is linear all the same."""
    torch.manual_seed(seed)
    ifa, cfa = InterpolationFirst(channels, out), ConvolutionFirst(channels, out)
    nn.init.normal_(ifa.bias)
    for conv, weight in zip(cfa.convs, ifa.conv.weight.split(channels, dim=1), strict=True):
        conv.weight.data.copy_(weight)
    cfa.bias.data.copy_(ifa.bias)
    pyramid = [torch.randn(batch, count, *size) for count, size in zip(channels, sizes, strict=True)]
    torch.testing.assert_close(ifa(pyramid), cfa(pyramid), rtol=1e-5, atol=1e-5)


@given(
    attention=st.sampled_from(sorted(ATTENTIONS)),
    backbone=st.sampled_from(["resnet18", "resnet50"]),
    norm=st.sampled_from(["batch", "frozen"]),
    size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=15)
def test_a_whole_model_answers_the_same(
    attention: str, backbone: str, norm: str, size: tuple[int, int], seed: int
) -> None:
    model = small(seed, attention=attention, backbone=backbone, backbone_norm=norm)
    images = torch.rand(2, 3, 32 * size[0], 32 * size[1]) * 255
    difference = verify(model, reparameterise(model), [images], tolerance=1e-4)
    assert difference.largest < 1e-4


def test_the_changed_model_has_no_batch_norm_and_no_ifa() -> None:
    changed = reparameterise(small())
    assert not any(isinstance(module, nn.BatchNorm2d | InterpolationFirst) for module in changed.modules())


def test_the_original_is_left_alone() -> None:
    model = small()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    reparameterise(model)
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())


def test_a_wrong_model_is_refused() -> None:
    model = small()
    changed = reparameterise(model)
    changed.aggregator.aggregate.convs[3].weight.data *= 1.01
    with pytest.raises(RunError, match="differs by"):
        verify(model, changed, [torch.rand(1, 3, 64, 64) * 255], tolerance=1e-4)


def test_an_answer_that_is_not_a_number_is_refused() -> None:
    model = small()
    changed = reparameterise(model)
    changed.aggregator.aggregate.bias.data[0, 0] = float("nan")
    with pytest.raises(RunError, match="differs by"):
        verify(model, changed, [torch.rand(1, 3, 64, 64) * 255], tolerance=1e-4)
