"""Parameter groups and the learning rate, against the four released configurations."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training import tiny

from yoso_cli.model.authors import authors_key
from yoso_cli.model.yoso import YOSO
from yoso_cli.training.optim import adamw, learning_rate, parameter_groups, set_rate

CONFIGS = {
    "coco": (133, {}),
    "cityscapes": (19, {"backbone_norm": "batch", "num_class_layers": 3, "num_mask_layers": 3}),
    "ade20k": (150, {}),
    "mapillary": (65, {"num_class_layers": 3, "num_mask_layers": 3, "num_proposals": 150}),
}
STEP = {"lr": 1e-4, "schedule": "step", "milestones": (10, 20), "gamma": 0.1, "power": 0.9, "iterations": 30}


@pytest.fixture(scope="module")
def facts(shared: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((shared / "reference" / "config_facts.json").read_text())
    return read


@pytest.mark.parametrize("name", CONFIGS)
def test_each_parameter_has_the_released_rate_and_decay(facts: dict[str, Any], name: str) -> None:
    classes, changes = CONFIGS[name]
    with torch.device("meta"):
        model = YOSO(classes, **changes)
    optimizer = adamw(model, weight_decay=0.05, backbone_lr=0.1)
    set_rate(optimizer, 1e-4)
    groups = optimizer.param_groups
    place = {parameter: group for group in groups for parameter in group["params"]}
    ours = {
        authors_key(key): (place[parameter]["lr"], place[parameter]["weight_decay"])
        for key, parameter in model.named_parameters()
    }
    theirs = {key: (pytest.approx(rate), decay) for key, rate, decay in facts[name]["param_groups"]}
    assert ours == theirs
    assert len(place) == sum(len(group["params"]) for group in groups), "no parameter stands in two groups"


@pytest.mark.parametrize("name", CONFIGS)
def test_the_rate_is_the_released_one_at_every_recorded_iteration(facts: dict[str, Any], name: str) -> None:
    config = facts[name]["lr"]
    schedule = "poly" if "Poly" in config["name"] else "step"
    assert len(config["rows"]) >= 15
    for iteration, expected in config["rows"]:
        rate = learning_rate(
            iteration,
            lr=1e-4,
            schedule=schedule,
            milestones=config["steps"],
            gamma=config["gamma"],
            power=config["power"],
            iterations=config["max_iter"],
            warmup=0,
        )
        assert rate == pytest.approx(expected, rel=1e-9, abs=1e-18), iteration


def test_warmup_is_linear_up_to_the_full_rate() -> None:
    rates = [learning_rate(iteration, **STEP, warmup=4) for iteration in range(6)]
    assert rates == pytest.approx([0.25e-4, 0.5e-4, 0.75e-4, 1e-4, 1e-4, 1e-4])


def test_each_group_follows_the_rate_by_its_factor() -> None:
    optimizer = adamw(tiny.model(), weight_decay=0.05, backbone_lr=0.1)
    set_rate(optimizer, 5e-4)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == pytest.approx([5e-5, 5e-4])


def test_parameters_without_gradient_are_left_out() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    model[0].requires_grad_(False)
    groups = parameter_groups(model, weight_decay=0.05, backbone_lr=0.1)
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(2, 0.0)]
