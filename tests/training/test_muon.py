"""Muon: what its update is, which weights it moves, and that all others move as by AdamW."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from training import tiny

from yoso_cli.api import training_parts
from yoso_cli.runtime.distributed import ALONE
from yoso_cli.training.muon import MuonAdamW, equalised, muon
from yoso_cli.training.optim import adamw, set_rate
from yoso_cli.training.step import Step


def matrices(seed: int, rows: int, columns: int, *, spread: float = 2.0) -> torch.Tensor:
    """Three matrices whose singular values go from 1 down by `spread` powers of ten."""
    draw = torch.Generator().manual_seed(seed)
    left, _, right = torch.linalg.svd(torch.randn(3, rows, columns, generator=draw), full_matrices=False)
    strengths = 10 ** torch.linspace(0, -spread, min(rows, columns))
    return left * strengths @ right


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 24), st.integers(2, 24), st.floats(1e-6, 1e6))
def test_directions_become_equally_strong_and_stay_what_they_were(
    seed: int, rows: int, columns: int, factor: float
) -> None:
    given = matrices(seed, rows, columns)
    found = equalised(given * factor)
    left, _, right = torch.linalg.svd(given, full_matrices=False)
    torch.testing.assert_close(found, left @ right, rtol=0, atol=0.05)
    torch.testing.assert_close(equalised(given.transpose(1, 2)).transpose(1, 2), equalised(given))


def test_a_gradient_of_zeros_moves_nothing() -> None:
    assert not equalised(torch.zeros(1, 4, 9)).any()


def test_only_convolutions_of_backbone_and_neck_are_moved_so() -> None:
    model = tiny.model()
    optimizer = muon(model, weight_decay=0.05, backbone_lr=0.1)
    names = {parameter: name for name, parameter in model.named_parameters()}
    placed = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(names[one] for one in placed) == sorted(names.values()), "each in one group"
    moved = {names[one] for group in optimizer.param_groups if group["matrices"] for one in group["params"]}
    assert {"backbone.layer1.0.conv1.weight", "aggregator.pyramid.laterals.0.weight"} <= moved
    assert not any(name.startswith("decoder") or "offset" in name or "bias" in name for name in moved)
    assert "backbone.conv1.weight" not in moved
    assert all(model.get_parameter(name).dim() == 4 for name in moved)


def test_large_matrices_are_left_to_adamw() -> None:
    layers = nn.ModuleDict({"small": nn.Conv2d(96, 192, 1), "large": nn.Conv2d(192, 192, 3)})
    optimizer = muon(layers, weight_decay=0.0, backbone_lr=1.0)
    (moved,) = (group["params"] for group in optimizer.param_groups if group["matrices"])
    assert [tuple(one.shape) for one in moved] == [(192, 96, 1, 1)]


def test_rates_and_decay_are_those_of_adamw() -> None:
    model = tiny.model()
    ours, plain = (make(model, weight_decay=0.05, backbone_lr=0.1) for make in (muon, adamw))
    for optimizer in (ours, plain):
        set_rate(optimizer, 1e-3)
    settings_of = [
        {one: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for one in group["params"]}
        for optimizer in (ours, plain)
    ]
    assert settings_of[0] == settings_of[1]


def test_one_step_is_the_definition_and_adamws_for_the_rest() -> None:
    """At first the direction is that of the gradient; the root mean square of an update is half of the rate."""
    ours, plain = tiny.model(), tiny.model()
    optimizers = muon(ours, weight_decay=0.0, backbone_lr=1.0), adamw(plain, weight_decay=0.0, backbone_lr=1.0)
    draw = torch.Generator().manual_seed(1)
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        one.grad = torch.randn(one.shape, generator=draw)
        other.grad = one.grad.clone()
    before = {name: parameter.detach().clone() for name, parameter in ours.named_parameters()}
    for optimizer in optimizers:
        set_rate(optimizer, 1e-3)
        optimizer.step()
    moved = {one for group in optimizers[0].param_groups if group["matrices"] for one in group["params"]}
    for name, parameter in ours.named_parameters():
        if parameter not in moved:
            assert torch.equal(parameter, plain.get_parameter(name)), name
            continue
        assert parameter.grad is not None
        update = (before[name] - parameter.detach()).flatten(1)
        left, _, right = torch.linalg.svd(parameter.grad.flatten(1), full_matrices=False)
        expected = 1e-3 * 0.5 * max(update.shape) ** 0.5 * (left @ right)
        torch.testing.assert_close(update, expected, rtol=0, atol=0.06 * float(expected.abs().max()))


def test_weights_decay_without_a_gradient_of_their_own() -> None:
    model = tiny.model()
    optimizer = muon(model, weight_decay=0.5, backbone_lr=1.0)
    weight = model.get_parameter("backbone.layer1.0.conv1.weight")
    weight.grad = torch.zeros_like(weight)
    before = weight.detach().clone()
    set_rate(optimizer, 0.1)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), 0.95 * before)


def test_a_gradient_scaler_leaves_the_step_out_for_all_weights() -> None:
    model = tiny.model()
    step = tiny.step(model, optimizer=muon(model, weight_decay=0.05, backbone_lr=0.1), precision="float16")
    model.train()
    step.scaler.scale(torch.ones(()))
    step.scaler.update(2.0**126)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    (batch,) = tiny.batches(stop=1)
    step(batch, 0, 1e-3)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_the_recipe_chooses_the_optimizer(name: str) -> None:
    recipe = replace(tiny.RECIPE, train=replace(tiny.RECIPE.train, optimizer=name))
    made: Step = training_parts.optimizer_step(tiny.model(), recipe, tiny.CATEGORIES, torch.device("cpu"), ALONE)
    assert isinstance(made.optimizer, MuonAdamW) == (name == "muon")
