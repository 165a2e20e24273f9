"""Weights on disk need nothing beside them and refuse everything that is not theirs."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from yoso_cli.errors import DataError
from yoso_cli.model.reparam import STEPS, reparameterise
from yoso_cli.model.weights import build, load_state, load_weights, save_weights
from yoso_cli.model.yoso import YOSO
from yoso_cli.panoptic.types import Category
from yoso_cli.recipe import ModelRecipe, Recipe

MODEL = ModelRecipe(
    backbone="resnet18",
    backbone_norm="batch",
    stem_channels=4,
    base_channels=4,
    aggregator="ifa",
    aggregation_dim=8,
    hidden_dim=8,
    num_heads=2,
    feedforward_dim=16,
    num_proposals=5,
)
RECIPE = Recipe(name="small", model=MODEL)
CATEGORIES = (Category(3, "ball", True, (1, 2, 3)), Category(7, "sky", False))


def saved(path: Path, model: YOSO | None = None, steps: tuple[str, ...] = ()) -> YOSO:
    torch.manual_seed(0)
    model = model or YOSO.from_recipe(MODEL, len(CATEGORIES))
    save_weights(path, model, recipe=RECIPE, categories=CATEGORIES, provenance={"run": "small-001"}, steps=steps)
    return model.eval()


@pytest.mark.parametrize("steps", [(), tuple(STEPS)], ids=["trained", "folded"])
def test_what_is_written_is_what_is_read(tmp_path: Path, steps: tuple[str, ...]) -> None:
    path = tmp_path / "w.safetensors"
    model = reparameterise(YOSO.from_recipe(MODEL, 2), steps)
    saved(path, model, steps)
    weights = load_weights(path)
    assert (weights.categories, weights.steps, weights.provenance) == (CATEGORIES, steps, {"run": "small-001"})
    assert weights.recipe == RECIPE.to_dict()
    images = torch.rand(1, 3, 64, 96) * 255
    with torch.inference_mode():
        assert torch.equal(build(weights, RECIPE)(images)[-1].mask_logits, model.eval()(images)[-1].mask_logits)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such weights file"):
        load_weights(tmp_path / "none.safetensors")


def test_a_torn_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    saved(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="not a weights file"):
        load_weights(path)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    saved(path)
    content = bytearray(path.read_bytes())
    content[-1001] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="not the ones that were written"):
        load_weights(path)


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "harmed"),)  # type: ignore[return-value]

    path = tmp_path / "w.safetensors"
    path.write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(DataError, match="not a weights file"):
        load_weights(path)
    assert not (tmp_path / "harmed").exists()


def test_another_tools_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"x": torch.zeros(3)}, path)
    with pytest.raises(DataError, match="not one that yoso wrote"):
        load_weights(path)


def test_values_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    model = YOSO.from_recipe(MODEL, 2)
    model.decoder.proposals.weight.data[0, 0] = float("nan")
    saved(path, model)
    with pytest.raises(DataError, match=r"decoder\.proposals\.weight"):
        load_weights(path)


def test_weights_for_another_class_count_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    saved(path)
    with pytest.raises(DataError, match="do not fit the model"):
        load_state(YOSO.from_recipe(MODEL, 9), load_weights(path))


def test_weights_under_another_recipe_are_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    saved(path)
    other = YOSO.from_recipe(replace(MODEL, attention="mhca"), 2)
    before = other.decoder.proposals.weight.clone()
    with pytest.raises(DataError, match=r"is missing|is unknown"):
        load_state(other, load_weights(path))
    assert torch.equal(before, other.decoder.proposals.weight)
