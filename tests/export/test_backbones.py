"""A network on a backbone of timm, exported: EfficientNet-Lite0, whose padding is TensorFlow's."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import oracle
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from training import tiny

from yoso_cli.api import training_parts
from yoso_cli.api.export import export_model
from yoso_cli.export.network import NetworkGraph, PaddedConv
from yoso_cli.model.reparam import STEPS, reparameterise
from yoso_cli.model.weights import save_weights
from yoso_cli.recipe.schema import LITE, Recipe

pytestmark = pytest.mark.timeout(1200)  # a busy machine traces for minutes

oracle("timm")

# Sizes of its own belong to torchvision's ResNets.
RECIPE = replace(
    tiny.RECIPE,
    model=replace(tiny.MODEL, backbone=LITE, stem_channels=64, base_channels=64),
    inference=replace(Recipe().inference, short_edge=64, long_edge=96),
)


@given(st.sampled_from([1, 3, 5, 7]), st.sampled_from([1, 2]), st.sampled_from([1, 2]), st.integers(1, 6))
def test_padding_has_one_amount_wherever_strides_divide_the_map(
    kernel: int, stride: int, dilation: int, steps: int
) -> None:
    from timm.layers.conv2d_same import Conv2dSame

    torch.manual_seed(0)
    conv = Conv2dSame(2, 4, kernel, stride=stride, dilation=dilation, groups=2).eval()
    maps = torch.randn(1, 2, stride * steps, stride * (steps + 3))
    torch.testing.assert_close(PaddedConv(conv)(maps), conv(maps))


def test_the_exported_form_answers_as_the_model_and_a_file_of_any_size_is_proved(tmp_path: Path) -> None:
    oracle("onnxruntime")
    model = reparameterise(training_parts.build_network(RECIPE, len(tiny.CATEGORIES)).eval())
    graph = NetworkGraph(model)
    for size in ((64, 96), (32, 160)):
        images = torch.rand(1, 3, *size) * 255
        with torch.inference_mode():
            torch.testing.assert_close(graph(images), tuple(model(images)[-1][:2]), rtol=1e-4, atol=1e-5)
    path, picture = tmp_path / "lite.safetensors", tmp_path / "noise.png"
    whole = {"recipe": RECIPE.to_dict(), "categories": tiny.CATEGORIES, "provenance": {}, "steps": tuple(STEPS)}
    save_weights(path, model, **whole)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 110, 3), np.uint8)).save(picture)
    done = export_model(path, tmp_path / "lite.onnx", pictures=[picture])
    assert len(done.proof.sizes) == 2
    assert all(one.file < 1e-3 for one in done.proof.figures)
