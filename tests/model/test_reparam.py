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
from yoso_cli.model.backbone import PIXEL_MEAN
from yoso_cli.model.reparam import STEPS, reparameterise, verify
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
@settings(max_examples=150)
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
@settings(max_examples=15)
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


@given(
    step=st.sampled_from(list(STEPS)),
    norm=st.sampled_from(["batch", "frozen"]),
    size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    batch=st.integers(1, 2),
    seed=st.integers(0, 1000),
)
@settings(max_examples=30)
def test_every_step_alone_is_exact_in_double_precision(
    step: str, norm: str, size: tuple[int, int], batch: int, seed: int
) -> None:
    """With biases that are not zero, and without any other step before it."""
    model = small(seed, backbone_norm=norm, temperature=0.05).double()
    for parameter in (
        model.decoder.proposals.bias,
        model.aggregator.location.bias,
        model.decoder.stages[0].mask_kernels.bias,
    ):
        nn.init.normal_(parameter)
    images = torch.rand(batch, 3, 32 * size[0], 32 * size[1], dtype=torch.double) * 255
    assert verify(model, reparameterise(model, (step,)), [images], tolerance=1e-9).largest < 1e-9


@given(steps=st.lists(st.sampled_from(list(STEPS)), unique=True), seed=st.integers(0, 100))
@settings(max_examples=15)
def test_steps_can_be_chosen_and_applied_again(steps: list[str], seed: int) -> None:
    """Any choice, in any order; a second time changes nothing."""
    model = small(seed).double()
    images = torch.rand(1, 3, 64, 32, dtype=torch.double) * 255
    changed = reparameterise(model, tuple(steps))
    assert verify(model, changed, [images], tolerance=1e-9).largest < 1e-9
    again = reparameterise(changed, tuple(steps))
    assert verify(model, again, [images], tolerance=1e-9).largest < 1e-9


def test_every_stage_keeps_its_masks_and_not_the_last_alone() -> None:
    model = small().double()
    images = torch.rand(1, 3, 64, 64, dtype=torch.double) * 255
    with torch.no_grad():
        for one, other in zip(model(images), reparameterise(model)(images), strict=True):
            torch.testing.assert_close(one.mask_logits, other.mask_logits)


def test_padding_with_the_mean_colour_stays_exact_when_the_picture_is_not_normalised() -> None:
    """What the stem pads with is the mean colour; a picture of that colour alone gives zeros before the first norm."""
    changed = reparameterise(small(), ("fold_pixel_std",))
    grey = torch.tensor(PIXEL_MEAN).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    seen = []
    changed.backbone.conv1.register_forward_hook(lambda _, __, out: seen.append(out))
    with torch.no_grad():
        changed(grey)
    assert (seen[0] == 0).all()


def test_the_wide_map_is_never_made() -> None:
    changed = reparameterise(small())
    shapes = []
    for module in changed.modules():
        module.register_forward_hook(
            lambda _, __, out: shapes.append(out.shape) if isinstance(out, torch.Tensor) else None
        )
    with torch.no_grad():
        changed(torch.rand(1, 3, 64, 96) * 255)
    # Hidden 16; aggregation 16, place 2, ones 1.
    assert changed.features(torch.rand(1, 3, 64, 96)).shape == (1, 19, 16, 24)
    assert changed.decoder.stages[0].mask_kernels.out_features == 19


def test_files_of_the_first_version_name_two_steps_and_still_load() -> None:
    old = reparameterise(small(), ("ifa_to_cfa", "fold_batch_norms"))
    fresh = reparameterise(small(1), ("ifa_to_cfa", "fold_batch_norms"))
    fresh.load_state_dict(old.state_dict())
    images = torch.rand(1, 3, 64, 64) * 255
    with torch.no_grad():
        assert fresh(images)[-1].mask_logits.equal(old(images)[-1].mask_logits)
