"""A network of timm as the backbone: its features are timm's own, and whatever makes YOSO fast works on it."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import oracle
from model.test_reparam import SMALL
from safetensors.torch import save_file
from torch import nn
from torchvision.ops import FrozenBatchNorm2d
from training import tiny

from yoso_cli.cli import run
from yoso_cli.errors import DataError, RunError, UsageError
from yoso_cli.inference import onednn
from yoso_cli.inference.cost import count
from yoso_cli.inference.fused import FusedConv, fused
from yoso_cli.model import timm_backbone
from yoso_cli.model.authors import authors_state
from yoso_cli.model.pickled import read_state
from yoso_cli.model.reparam import reparameterise, verify
from yoso_cli.model.timm_backbone import TimmBackbone, layout_of, load_pretrained
from yoso_cli.model.weights import build, load_weights, save_weights
from yoso_cli.model.yoso import YOSO
from yoso_cli.training.distributed import SynchronisedBatchNorm, convert_batch_norms
from yoso_cli.training.freezing import set_training
from yoso_cli.training.memory import footprint

timm: Any = oracle("timm")

WIDTHS = {key: value for key, value in SMALL.items() if key not in ("stem_channels", "base_channels")}
# With the batch norms that folding leaves, and the fewest convolutions that then take their ReLU along.
FAMILIES = {
    "tf_efficientnet_lite0": 32,
    "mobilenetv4_conv_small": 28,
    "convnext_tiny": 0,
    "resnet18": 0,
    "resnet50": 0,
    "regnety_004": 33,
    "edgenext_xx_small": 0,  # looks at the weights of its convolutions
}
NORMS = (nn.BatchNorm2d, FrozenBatchNorm2d)


def has_statistics(module: nn.Module) -> bool:
    return hasattr(module, "running_var")


def network(name: str, norm: str = "batch", **values: object) -> YOSO:
    """One whose norms have seen something."""
    torch.manual_seed(0)
    model = YOSO(5, **{"backbone": f"timm:{name}", "backbone_norm": norm, **WIDTHS, **values})
    for module in model.modules():
        if has_statistics(module):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    return model.eval()


def pictures(height: int = 64, width: int = 96) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1)) * 255


@pytest.mark.parametrize(("name", "rectified"), FAMILIES.items())
def test_folded_and_fused_it_answers_the_same(name: str, rectified: int) -> None:
    model = network(name)
    images = pictures()
    changed = reparameterise(model)
    assert verify(model, changed, [images], tolerance=1e-4).largest < 1e-4
    assert not any(map(has_statistics, changed.backbone.modules()))
    assert changed.pixel_std.eq(1).all()
    quick = fused(changed)
    convs = [one for one in quick.backbone.modules() if isinstance(one, FusedConv)]
    assert sum(one.relu for one in convs) == rectified
    assert {id(one.conv) for one in convs} == {id(one) for one in quick.modules() if _is_conv(one)} - {
        id(one) for one in quick.aggregator.modules() if _is_conv(one)
    }
    with torch.inference_mode():
        wanted, found = changed.features(images), quick.features(images)
    assert (wanted - found).abs().max() <= 1e-4 * wanted.abs().max()


def _is_conv(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and type(module).__name__ in ("Conv2d", "Conv2dSame")


@pytest.mark.parametrize("size", [(64, 96), (96, 32)])
def test_its_maps_are_those_of_timm_at_the_four_strides(size: tuple[int, int]) -> None:
    backbone = TimmBackbone("mobilenetv4_conv_small", norm="batch").eval()
    plain = timm.create_model("mobilenetv4_conv_small", features_only=True).eval()
    plain.load_state_dict(backbone.body.state_dict())
    with torch.inference_mode():
        ours, theirs = backbone(pictures(*size)), plain(pictures(*size))
    assert [tuple(one.shape[1:]) for one in ours] == [
        (channels, size[0] // stride, size[1] // stride)
        for channels, stride in zip(backbone.channels, (4, 8, 16, 32), strict=True)
    ]
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs[1:], strict=True))


def test_a_transformer_of_one_size_takes_any() -> None:
    """Its maps have the channels last, and here they are where they belong."""
    assert layout_of("swin_tiny_patch4_window7_224").channels == (96, 192, 384, 768)
    model = network("swin_tiny_patch4_window7_224")
    assert model.features(pictures()).shape[-2:] == (16, 24)


def test_the_pyramid_widens_a_narrow_backbone_and_halves_a_wide_one() -> None:
    assert network("tf_efficientnet_lite0").backbone.channels == (24, 40, 112, 320)
    assert network("tf_efficientnet_lite0").aggregator.pyramid.channels == (64, 64, 64, 160)
    assert network("tf_efficientnet_lite0", pyramid_min=96).aggregator.pyramid.channels == (96, 96, 96, 160)
    assert network("resnet50").aggregator.pyramid.channels == (128, 256, 512, 1024)
    # The paper's halves, however narrow.
    assert YOSO(5, backbone="resnet18", **SMALL).aggregator.pyramid.channels == (4, 8, 16, 32)
    assert YOSO(5, backbone="resnet18", **SMALL, pyramid_min=12).aggregator.pyramid.channels == (12, 12, 16, 32)


def test_pixels_are_normalised_as_its_weights_were_trained() -> None:
    lite, resnet = network("tf_efficientnet_lite0"), network("resnet18")
    assert (lite.pixel_mean == 127.5).all()
    assert (lite.pixel_std == 127.5).all()
    assert torch.equal(resnet.pixel_mean, YOSO(5, backbone="resnet18", **SMALL).pixel_mean)


@pytest.mark.parametrize("norm", ["frozen", "batch"])
def test_its_norms_are_frozen_or_trained(norm: str) -> None:
    model = network("mobilenetv4_conv_small", norm)
    before = {key: one.clone() for key, one in model.backbone.state_dict().items() if "running" in key}
    set_training(model)
    model.features(pictures()).square().mean().backward()
    after = model.backbone.state_dict()
    assert all(torch.equal(one, after[key]) for key, one in before.items()) == (norm == "frozen")
    norms = [one for one in model.backbone.modules() if has_statistics(one)]
    assert len(norms) == 45
    assert all(one.weight.requires_grad == (norm == "batch") for one in norms)
    convnext = network("convnext_tiny", norm).backbone
    scales = [one.weight.requires_grad for one in convnext.modules() if isinstance(one, nn.LayerNorm)]
    assert set(scales) == {norm == "batch"}


def test_its_norms_keep_their_activations_when_they_are_synchronised() -> None:
    model = network("mobilenetv4_conv_small")
    wanted = model.features(pictures())
    convert_batch_norms(model)
    assert sum(isinstance(one, SynchronisedBatchNorm) for one in model.backbone.modules()) == 45
    assert torch.equal(model.features(pictures()), wanted)


def test_a_weights_file_makes_it_again_folded_or_not(tmp_path: Path) -> None:
    model = network("tf_efficientnet_lite0", "frozen")
    for one, steps in ((model, ()), (reparameterise(model), ("ifa_to_cfa", "fold_batch_norms", "fold_pixel_std"))):
        one = reparameterise(model, steps) if steps else one
        path = tmp_path / f"{len(steps)}.safetensors"
        categories = tuple(tiny.CATEGORIES[place % 3] for place in range(5))
        save_weights(path, one, recipe={"name": "a"}, categories=categories, provenance={}, steps=steps)
        arguments = {"backbone": "timm:tf_efficientnet_lite0", "backbone_norm": "frozen", **WIDTHS}
        built = build(load_weights(path), arguments)
        assert torch.equal(built.features(pictures()), one.features(pictures()))


def test_costs_and_memory_count_it() -> None:
    small, large = network("tf_efficientnet_lite0"), network("convnext_tiny")
    flops = [count(model, pictures()).flops["backbone"] for model in (small, large)]
    bytes_ = [footprint(one, height=64, width=64, precision="float32", average=False).fixed for one in (small, large)]
    assert 5 < flops[1] / flops[0] < 20
    assert bytes_[1] > 5 * bytes_[0]


def test_the_authors_layout_has_no_place_for_it() -> None:
    model = network("resnet18")
    with pytest.raises(UsageError, match="no backbone timm:resnet18"):
        authors_state(model, model, no_object_weight=0.1)


def published(name: str, path: Path, legacy: bool = False) -> dict[str, torch.Tensor]:
    """A file such as timm publishes: the whole classifier."""
    torch.manual_seed(3)
    state: dict[str, torch.Tensor] = timm.create_model(name).state_dict()
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=not legacy)
    return state


@pytest.mark.parametrize("file", ["whole.safetensors", "whole.pth", "legacy.pth"])
@pytest.mark.parametrize("norm", ["frozen", "batch"])
def test_a_file_of_the_whole_classifier_fills_it(file: str, norm: str, tmp_path: Path) -> None:
    state = published("mobilenetv4_conv_small", tmp_path / file, legacy=file.startswith("legacy"))
    backbone = TimmBackbone("mobilenetv4_conv_small", norm=norm)
    load_pretrained(backbone, read_state(tmp_path / file), file)
    filled = backbone.body.state_dict()
    assert filled
    assert all(torch.equal(one, state[key]) for key, one in filled.items())


def test_names_that_timm_changes_for_features_are_followed(tmp_path: Path) -> None:
    """`stages.0` is `stages_0` in the network of features alone."""
    state = published("convnext_atto", tmp_path / "a.safetensors")
    backbone = TimmBackbone("convnext_atto", norm="batch")
    load_pretrained(backbone, state, "a")
    assert torch.equal(
        backbone.body.state_dict()["stages_1.blocks.0.conv_dw.bias"], state["stages.1.blocks.0.conv_dw.bias"]
    )


def test_a_file_that_lacks_something_is_refused_whole(tmp_path: Path) -> None:
    """timm would leave random values there."""
    state = published("mobilenetv4_conv_small", tmp_path / "a.safetensors")
    backbone = TimmBackbone("mobilenetv4_conv_small")
    before = {key: one.clone() for key, one in backbone.state_dict().items()}
    lacking = {key: one for key, one in state.items() if key != "blocks.1.0.bn1.running_var"}
    with pytest.raises(DataError, match=r"lacks 1 of \d+ tensors, the first is blocks.1.0.bn1.running_var"):
        load_pretrained(backbone, lacking, "a.safetensors")
    with pytest.raises(DataError, match=r"a.safetensors: its weights are not those of timm:mobilenetv4_conv_small"):
        load_pretrained(backbone, {**state, "conv_stem.weight": torch.ones(2)}, "a.safetensors")
    with pytest.raises(DataError, match="are not those"):
        load_pretrained(backbone, published("resnet18", tmp_path / "b.safetensors"), "b.safetensors")
    assert all(torch.equal(one, before[key]) for key, one in backbone.state_dict().items())


def test_a_download_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("timm.models._builder.load_pretrained", refused)
    with pytest.raises(RunError, match=r"no route to host.*file:PATH"):
        load_pretrained(TimmBackbone("mobilenetv4_conv_small"))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("resnet55", "Did you mean 'resnet50'?"),
        ("convnext_tiny.nowhere", "has no model 'convnext_tiny.nowhere'"),
        ("hf_hub:a/b", "has no model 'hf_hub:a/b'"),
        ("vit_tiny_patch16_224", "strides 16"),
        ("levit_128s", "cannot be the backbone"),
    ],
)
def test_a_name_that_cannot_be_is_told(name: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        YOSO(5, backbone=f"timm:{name}", **WIDTHS)
    assert told in str(caught.value)


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    timm_backbone.layout_of.cache_clear()
    with pytest.raises(UsageError, match=r"pip install 'yoso-cli\[timm\]'"):
        YOSO(5, backbone="timm:resnet18", **WIDTHS)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("model.backbone=timm:resnet55", "Did you mean 'resnet50'?"),
        ("model.backbone=timm:", "resnet101, timm:NAME"),
        ("model.backbone_weights=lite", "lite are weights of timm:tf_efficientnet_lite0"),
        ("model.backbone_weights=file:", "lite, none, file:PATH"),
        ("model.base_channels=32", "has widths of its own"),
    ],
)
def test_mistakes_of_a_recipe_are_told_by_its_check(
    value: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "a.yaml"
    recipe.write_text("model: {backbone: timm:resnet18}\n")
    assert run(["recipe", "check", str(recipe)]) == 0
    assert run(["recipe", "check", str(recipe), "--set", value]) == 2
    assert told in " ".join(capsys.readouterr().out.split())


@pytest.mark.skipif(bool(onednn.missing()), reason="this build of torch has no oneDNN")
def test_a_rectifier_with_a_limit_is_fused_with_it() -> None:
    torch.manual_seed(0)
    conv, x = nn.Conv2d(4, 6, 3, stride=2), torch.randn(1, 4, 9, 12)
    wanted = conv(nn.functional.pad(x, (0, 1, 1, 1))).clamp(0, 0.4)
    with torch.inference_mode():
        found = FusedConv(conv, relu=True, most=0.4, same=True)(x)
    torch.testing.assert_close(found, wanted)
