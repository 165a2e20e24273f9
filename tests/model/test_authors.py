"""Weights go from the authors' layout to ours and back, and whatever does not fit is named."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from yoso_cli.errors import DataError, UsageError
from yoso_cli.model.authors import (
    EMPTY_WEIGHT,
    authors_key,
    authors_state,
    class_count,
    is_released_layout,
    load_authors_state,
    network,
    save_authors_state,
)
from yoso_cli.model.reparam import reparameterise
from yoso_cli.model.yoso import YOSO
from yoso_cli.recipe.schema import ModelRecipe

SMALL: dict[str, Any] = {
    "stem_channels": 4,
    "base_channels": 4,
    "width_per_group": 32,
    "aggregation_dim": 8,
    "hidden_dim": 16,
    "num_heads": 2,
    "feedforward_dim": 24,
    "num_proposals": 5,
}
CHANGES: list[dict[str, Any]] = [
    {},
    {"backbone": "resnet18", "width_per_group": 64},
    {"backbone": "resnet101", "backbone_norm": "batch"},
    {"num_class_layers": 3, "num_mask_layers": 0, "num_stages": 3, "kernel_size": 5},
    {"aggregator": "ifa"},
]
CLASSES = 6


def made(**changes: Any) -> YOSO:
    """A small model with norms that do something."""
    torch.manual_seed(0)
    model = YOSO(CLASSES, **ModelRecipe(**SMALL | changes).arguments()).eval()
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif key.endswith("running_mean"):
                tensor.normal_(0, 0.3)
    return model


def plain(**changes: Any) -> YOSO:
    return made(**changes | {"aggregator": "cfa"})


def answer(model: YOSO) -> Tensor:
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1)) * 255
    with torch.inference_mode():
        return model.double()(images.double())[-1].mask_logits


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_there_and_back_gives_the_same_answers(changes: dict[str, Any]) -> None:
    model = made(**changes)
    exported = authors_state(model, plain(**changes), no_object_weight=0.1)
    other = plain(**changes)
    load_authors_state(other, exported)
    assert torch.allclose(answer(other), answer(model), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_the_shapes_tell_the_network(changes: dict[str, Any]) -> None:
    exported = authors_state(made(**changes), plain(**changes), no_object_weight=0.1)
    assert is_released_layout(exported)
    assert class_count(exported) == CLASSES
    told = network(exported)
    wanted = replace(ModelRecipe(**SMALL | changes), aggregator="cfa")
    assert {key: getattr(wanted, key) for key in told} == told
    assert set(told) | {"backbone_norm", "backbone_weights", "num_heads", "temperature"} == set(vars(wanted))


@pytest.mark.parametrize("changes", [CHANGES[0], CHANGES[2]], ids=str)
def test_folded_norms_come_and_go(changes: dict[str, Any]) -> None:
    """Export makes plain norms of folded ones; import takes a file whose norms are folded."""
    model = made(**changes)
    folded = reparameterise(model, ("ifa_to_cfa", "fold_batch_norms"))
    exported = authors_state(folded, plain(**changes), no_object_weight=0.1)
    assert exported.keys() == authors_state(model, plain(**changes), no_object_weight=0.1).keys()
    bare = {authors_key(key): tensor for key, tensor in folded.state_dict().items()}
    for state in (exported, bare):
        other = plain(**changes)
        notes = load_authors_state(other, state)
        assert torch.allclose(answer(other), answer(made(**changes)), rtol=1e-4, atol=1e-4)
    assert any("norms were folded" in note for note in notes)


def test_counters_of_trained_norms_are_left_out_or_made() -> None:
    trained, frozen = made(backbone_norm="batch"), made()
    notes = load_authors_state(frozen, authors_state(trained, trained, no_object_weight=0.1))
    assert any("num_batches_tracked were left out" in note for note in notes)
    bare = {
        key: value
        for key, value in authors_state(trained, trained, no_object_weight=0.1).items()
        if "_tracked" not in key
    }
    notes = load_authors_state(trained, bare)
    assert any("num_batches_tracked were missing and start at 0" in note for note in notes)
    assert torch.allclose(answer(frozen), answer(trained))


def test_every_key_that_does_not_fit_is_named() -> None:
    state = authors_state(made(), plain(), no_object_weight=0.1)
    state["yoso_head.more.weight"] = torch.zeros(2)
    del state["yoso_neck.loc_conv.bias"], state["backbone.res2.0.conv1.norm.bias"]
    state["yoso_head.kernels.weight"] = torch.zeros(4, 16, 1, 1)
    model = plain()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(DataError) as caught:
        load_authors_state(model, state)
    for sentence in (
        "yoso_head.more.weight is unknown",
        "yoso_neck.loc_conv.bias is missing",
        "backbone.res2.0.conv1.norm.bias is missing",
        "yoso_head.kernels.weight is (4, 16, 1, 1), not (5, 16, 1, 1)",
    ):
        assert sentence in str(caught.value)
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())


def test_half_precision_is_converted_and_said() -> None:
    model = made()
    state = {
        key: value.half() if value.is_floating_point() else value
        for key, value in authors_state(model, model, no_object_weight=0.1).items()
    }
    assert any("were float16 and became float32" in note for note in load_authors_state(plain(), state))


@pytest.mark.parametrize("key", ["backbone.res2.0.conv1.weight", "yoso_head.mask_heads.0.f_atten.weight_linear.weight"])
def test_a_layout_without_its_landmarks_is_told(key: str) -> None:
    state = authors_state(made(), plain(), no_object_weight=0.1)
    del state[key]
    with pytest.raises(DataError, match=key):
        network(state)


@pytest.mark.parametrize("changes", [{"attention": "mhca"}, {"num_blocks": 3}], ids=str)
def test_a_network_that_the_authors_do_not_know_is_not_exported(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="does not support this network"):
        authors_state(made(**changes), plain(**changes), no_object_weight=0.1)


def test_a_file_is_what_their_code_loads_strictly(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    count = save_authors_state(path, made(), plain(), no_object_weight=0.3)
    written = torch.load(path, weights_only=True)
    assert list(written) == ["model"]
    assert len(written["model"]) == count
    assert written["model"][EMPTY_WEIGHT].tolist() == pytest.approx([1.0] * CLASSES + [0.3])


def test_the_tiny_reference_comes_back_key_for_key_and_bit_for_bit(shared: Path) -> None:
    from model import reference

    theirs = torch.load(shared / "reference/tiny/checkpoint_fp16.pth", weights_only=True)["model"]
    model = reference.tiny_model(shared)
    exported = authors_state(model, model, no_object_weight=0.1)
    assert exported.keys() == theirs.keys()
    assert all(torch.equal(exported[key], theirs[key]) for key in theirs)
