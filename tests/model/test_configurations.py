"""The four released configurations: every tensor's name and shape, the parameter count, the initial values."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from yoso_cli.loading.transforms import fitted, padded
from yoso_cli.model.authors import UNUSED, authors_key
from yoso_cli.model.yoso import YOSO

DATASETS = {
    "coco": (133, {}),
    "cityscapes": (19, {"num_class_layers": 3, "num_mask_layers": 3, "backbone_norm": "batch"}),
    "ade20k": (150, {"temperature": 0.5}),
    "mapillary": (65, {"num_class_layers": 3, "num_mask_layers": 3, "num_proposals": 150, "temperature": 0.1}),
}


@pytest.fixture(scope="module")
def facts(shared: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shared / "reference/config_facts.json").read_text())
    return found


@pytest.mark.parametrize("name", DATASETS)
def test_tensors_have_the_released_names_and_shapes(facts: dict[str, Any], name: str) -> None:
    classes, values = DATASETS[name]
    model = YOSO(classes, **values)
    ours = {authors_key(key): list(tensor.shape) for key, tensor in model.state_dict().items()}
    theirs = {key: shape for key, shape, _ in facts[name]["state_dict_keys"] if key not in UNUSED}
    assert ours == theirs
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert trained == sum(facts[name]["trainable_params"].values())


def test_initial_values_are_drawn_as_the_released_code_draws_them(facts: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = YOSO(133)
    statistics = facts["coco"]["init_stats"]
    compared = 0
    for key, tensor in model.state_dict().items():
        name = authors_key(key)
        if name not in statistics or not tensor.is_floating_point():
            continue
        _, std, largest = statistics[name]
        compared += 1
        if tensor.numel() < 1000:
            # Too few numbers for a spread; constants must still be equal, and bounds hold.
            assert float(tensor.abs().max()) <= 1.1 * largest + 1e-6, name
            continue
        assert float(tensor.std()) == pytest.approx(std, rel=0.1, abs=1e-6), name
        assert float(tensor.abs().max()) == pytest.approx(largest, rel=0.35, abs=1e-6), name
    assert compared > 100


@pytest.mark.parametrize("name", DATASETS)
def test_pictures_are_resized_and_padded_to_the_released_sizes(facts: dict[str, Any], name: str) -> None:
    checked = 0
    for sizes in facts[name]["sizes"].values():
        for height, width, new_height, new_width, padded_height, padded_width in sizes["rows"]:
            resized = fitted((height, width), short_edge=sizes["min"], long_edge=sizes["max"])
            assert resized == (new_height, new_width)
            assert padded(resized, 32) == (padded_height, padded_width)
            checked += 1
    assert checked >= 15
