"""Weights on disk need nothing beside them and refuse everything that is not theirs."""

import hashlib
import json
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from yoso_cli.errors import DataError
from yoso_cli.model.reparam import STEPS, reparameterise
from yoso_cli.model.weights import (
    BACKBONE,
    Weights,
    build,
    digest,
    load_state,
    load_weights,
    save_weights,
    write_weights,
)
from yoso_cli.model.yoso import YOSO
from yoso_cli.panoptic.types import Category
from yoso_cli.recipe.schema import ModelRecipe, Recipe

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
    model = model or YOSO(len(CATEGORIES), **MODEL.arguments())
    save_weights(
        path, model, recipe=RECIPE.to_dict(), categories=CATEGORIES, provenance={"run": "small-001"}, steps=steps
    )
    return model.eval()


@pytest.mark.parametrize("steps", [(), tuple(STEPS)], ids=["trained", "folded"])
def test_what_is_written_is_what_is_read(tmp_path: Path, steps: tuple[str, ...]) -> None:
    path = tmp_path / "w.safetensors"
    model = reparameterise(YOSO(2, **MODEL.arguments()), steps)
    saved(path, model, steps)
    weights = load_weights(path)
    assert (weights.categories, weights.steps, weights.provenance) == (CATEGORIES, steps, {"run": "small-001"})
    assert weights.recipe == RECIPE.to_dict()
    images = torch.rand(1, 3, 64, 96) * 255
    with torch.inference_mode():
        assert torch.equal(
            build(weights, RECIPE.model.arguments())(images)[-1].mask_logits, model.eval()(images)[-1].mask_logits
        )


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such weights file"):
        load_weights(tmp_path / "none.safetensors")


def test_a_torn_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    saved(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="not a readable weights file"):
        load_weights(path)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    saved(path)
    content = bytearray(path.read_bytes())
    content[-1001] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="do not match their hash"):
        load_weights(path)


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "harmed"),)  # type: ignore[return-value]

    path = tmp_path / "w.safetensors"
    path.write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(DataError, match="not a readable weights file"):
        load_weights(path)
    assert not (tmp_path / "harmed").exists()


def test_another_tools_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"x": torch.zeros(3)}, path)
    with pytest.raises(DataError, match="not one that yoso wrote"):
        load_weights(path)


def test_values_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    model = YOSO(2, **MODEL.arguments())
    model.decoder.proposals.weight.data[0, 0] = float("nan")
    saved(path, model)
    with pytest.raises(DataError, match=r"decoder\.proposals\.weight"):
        load_weights(path)


def test_other_types_than_floating_point_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    saved(path)
    weights = load_weights(path)
    write_weights(path, replace(weights, state=weights.state | {"decoder.proposals.bias": torch.zeros(5).int()}))
    with pytest.raises(DataError, match=r"decoder\.proposals\.bias is int32, not floating point"):
        load_weights(path)


def test_half_precision_is_kept_as_it_is_and_its_hash_holds(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    saved(path)
    weights = load_weights(path)
    halved = {key: tensor.bfloat16() if tensor.is_floating_point() else tensor for key, tensor in weights.state.items()}
    write_weights(path, replace(weights, state=halved))
    assert load_weights(path).state["decoder.proposals.bias"].dtype == torch.bfloat16
    build(load_weights(path), RECIPE.model.arguments())


def test_a_file_that_claims_a_billion_values_is_refused_before_they_are_read(tmp_path: Path) -> None:
    """The file is sparse: on disk it has no more than its header."""
    path = tmp_path / "w.safetensors"
    shape = [40_000, 30_000]
    tensor = {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * shape[0] * shape[1]]}
    header = json.dumps({"__metadata__": {"yoso": json.dumps({"version": 2})}, "x": tensor}).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + 4 * shape[0] * shape[1])
    with pytest.raises(DataError, match=r"x has 1,200,000,000 values"):
        load_weights(path)


@pytest.mark.parametrize("changes", [{"hidden_dim": 1 << 14}, {"base_channels": 1 << 12, "stem_channels": 1 << 12}])
def test_a_recipe_of_a_network_that_would_fill_the_memory_is_refused(tmp_path: Path, changes: dict[str, int]) -> None:
    path = tmp_path / "weights.safetensors"
    saved(path)
    with pytest.raises(DataError, match="these weights do not fit the model of their recipe"):
        build(load_weights(path), replace(MODEL, **changes).arguments())


def as_version_1(path: Path) -> None:
    """Rewrites a file as the first version did: no part, and a hash of names and values alone."""
    with safe_open(path, framework="pt") as opened:
        header = json.loads(opened.metadata()["yoso"])
        state = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (not a mapping)
    found = hashlib.sha256()
    for key in sorted(state):
        found.update(key.encode() + state[key].numpy().tobytes())
    del header["part"], header["header_sha256"]
    save_file(state, path, metadata={"yoso": json.dumps(header | {"version": 1, "sha256": found.hexdigest()})})


def test_the_first_version_is_still_read_and_still_held_to_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    saved(path)
    now = load_weights(path)
    # Its tensors are the file's own memory: torch 2.6 shows what is written over them.
    digested = digest(now.state)
    as_version_1(path)
    then = load_weights(path)
    assert (then.part, then.recipe, then.categories) == (now.part, now.recipe, now.categories)
    assert digest(then.state) == digested
    content = bytearray(path.read_bytes())
    content[-1001] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="do not match their hash"):
        load_weights(path)


@pytest.mark.parametrize("part", ["header", "tensors"])
def test_a_flipped_bit_is_noticed_or_changes_nothing(tmp_path: Path, part: str) -> None:
    """In the header too: a threshold of 0.35 instead of 0.25 is another model."""
    path = tmp_path / "w.safetensors"
    saved(path)
    whole, random = path.read_bytes(), np.random.default_rng(3)
    now = load_weights(path)
    digested, told = digest(now.state), (now.recipe, now.categories, now.steps, now.provenance, now.part)
    header = 8 + int.from_bytes(whole[:8], "little")
    noticed = 0
    for place in random.integers(0, header, 300) if part == "header" else random.integers(header, len(whole), 60):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        try:
            then = load_weights(path)
        except DataError:
            noticed += 1
            continue
        assert (then.recipe, then.categories, then.steps, then.provenance, then.part) == told
        assert digest(then.state) == digested
    assert noticed > 50


def test_a_flipped_bit_in_a_threshold_is_noticed_whatever_version_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    for version in (b"3", b"2", b"1"):
        saved(path)
        content = path.read_bytes().replace(b'\\"version\\": 3', b'\\"version\\": ' + version, 1)
        shown = b'\\"overlap_threshold\\": 0.'
        assert shown in content
        path.write_bytes(content.replace(shown, shown[:-2] + b"1."))
        with pytest.raises(DataError, match="header does not match its hash"):
            load_weights(path)


@pytest.mark.parametrize(("version", "answer"), [(4, "newer than this version"), (0, "no format version 0")])
def test_a_version_that_is_not_known_is_told(tmp_path: Path, version: int, answer: str) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"x": torch.zeros(3)}, path, metadata={"yoso": json.dumps({"version": version})})
    with pytest.raises(DataError, match=answer):
        load_weights(path)


def test_a_backbone_alone_fills_a_backbone_and_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    model = YOSO(2, **MODEL.arguments())
    state = model.backbone.state_dict()
    write_weights(path, Weights(path, BACKBONE, state, RECIPE.to_dict(), (), (), {}))
    weights = load_weights(path)
    with pytest.raises(DataError, match="contains only a backbone"):
        build(weights, RECIPE.model.arguments())
    for norm in ("batch", "frozen"):
        other = YOSO(9, **replace(MODEL, backbone_norm=norm).arguments())
        load_state(other, weights)
        assert torch.equal(other.backbone.layer4[1].conv2.weight, model.backbone.layer4[1].conv2.weight)


def test_weights_for_another_class_count_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    saved(path)
    with pytest.raises(DataError, match="do not fit the model"):
        load_state(YOSO(9, **MODEL.arguments()), load_weights(path))


def test_weights_under_another_recipe_are_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    saved(path)
    other = YOSO(2, **replace(MODEL, attention="mhca").arguments())
    before = other.decoder.proposals.weight.clone()
    with pytest.raises(DataError, match=r"is missing|is unknown"):
        load_state(other, load_weights(path))
    assert torch.equal(before, other.decoder.proposals.weight)
