"""Learning aids: all of them leave the network alone, and each does nothing where it is off."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training import tiny

from yoso_cli.api import training_parts
from yoso_cli.export.network import NetworkGraph
from yoso_cli.model.reparam import STEPS, reparameterise
from yoso_cli.model.weights import build, load_weights
from yoso_cli.model.yoso import YOSO
from yoso_cli.recipe import file as recipe_file
from yoso_cli.recipe.schema import Recipe
from yoso_cli.run_folder import WEIGHTS_FILE
from yoso_cli.runtime.distributed import ALONE
from yoso_cli.training import checkpoint
from yoso_cli.training.cells import CellLoss
from yoso_cli.training.clock import Metrics
from yoso_cli.training.freezing import freeze, set_training
from yoso_cli.training.losses import SetLoss
from yoso_cli.training.step import Criterion, Step

# Without aids, the network of tiny.AIDED.
PLAIN = recipe_file.with_overrides(tiny.RECIPE, [f"model.hidden_dim={tiny.AIDED.model.hidden_dim}"])
CELLS = "loss.compare_at=cells"
FROZEN = ("backbone", "aggregator")
AIDS = {
    "cells": [CELLS],
    "box points": [CELLS, "loss.box_points=5"],
    "center loss": ["loss.center_weight=2"],
    "start at centers": ["train.start=centers"],
    "Muon": ["train.optimizer=muon"],
    "norms that keep their statistics": ["train.batch_norms_until=0.2"],
    "moving average": ["train.ema=0.5"],
}


def recipe_with(changes: list[str]) -> Recipe:
    return recipe_file.with_overrides(PLAIN, changes)


def step_of(recipe: Recipe) -> Step:
    model = training_parts.build_network(recipe, len(tiny.CATEGORIES))
    return training_parts.optimizer_step(model, recipe, tiny.CATEGORIES, torch.device("cpu"), ALONE)


def trained(step: Step, steps: int = 2) -> list[Metrics]:
    set_training(step.model)
    return [step(batch, place, tiny.rate(place)) for place, batch in enumerate(tiny.batches(stop=steps))]


def shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[Any, ...]]:
    return {key: (tensor.shape, tensor.dtype) for key, tensor in state.items()}


def layers(model: torch.nn.Module) -> list[tuple[str, str]]:
    """All of its modules with what they are, from which an exporter makes a file."""
    return [(path, repr(module)) for path, module in model.named_modules()]


@pytest.mark.parametrize(
    "changes", [*AIDS.values(), [one for changes in AIDS.values() for one in changes]], ids=[*AIDS, "all"]
)
def test_nothing_of_an_aid_is_in_the_network(tmp_path: Path, changes: list[str]) -> None:
    """A checkpoint has the tensors of any network, is read where nothing knows of aids, and is folded as any."""
    step = step_of(recipe_with(changes))
    trained(step)
    parts = {"recipe": PLAIN.to_dict(), "categories": tiny.CATEGORIES, "provenance": {}}
    checkpoint.save(tmp_path / "c", checkpoint.snapshot(step, checkpoint.Loop(2)), **parts)
    found = build(load_weights(tmp_path / "c" / WEIGHTS_FILE), PLAIN.model.arguments()).eval()
    saved = (step.average.module if step.average else step.model).eval()
    images = torch.rand(1, 3, 64, 96) * 255
    with torch.inference_mode():
        for ours, theirs in zip(saved(images), found(images), strict=True):
            assert ours.features is None
            assert torch.equal(ours.mask_logits, theirs.mask_logits)

    plain = YOSO(len(tiny.CATEGORIES), **PLAIN.model.arguments()).eval()
    assert shapes(load_weights(tmp_path / "c" / WEIGHTS_FILE).state) == shapes(plain.state_dict())
    folded, wanted = (reparameterise(one, tuple(STEPS)) for one in (saved, plain))
    assert shapes(folded.state_dict()) == shapes(wanted.state_dict())
    assert layers(NetworkGraph(folded)) == layers(NetworkGraph(wanted))


def by_hand(criterion: Criterion, frozen: tuple[str, ...] = ()) -> tuple[list[Metrics], dict[str, Tensor]]:
    """What a training gives that is put together without a recipe, of the parts that every training has."""
    torch.manual_seed(PLAIN.train.seed)
    model = YOSO(len(tiny.CATEGORIES), **PLAIN.model.arguments())
    freeze(model, frozen)
    figures = trained(tiny.step(model, criterion, clip=PLAIN.train.clip))
    return figures, model.state_dict()


POINTS = SetLoss(num_points=PLAIN.loss.num_points)


@pytest.mark.parametrize(
    ("changes", "criterion", "frozen"),
    [
        ([], POINTS, ()),
        (["loss.center_weight=0", "train.start=random", "train.optimizer=adamw"], POINTS, ()),
        (["train.batch_norms_until=1", "train.ema=0"], POINTS, ()),
        (["train.batch_norms_until=0.34"], POINTS, ()),  # after two of six steps
        (["train.ema=0.5"], POINTS, ()),  # follows, and does not lead
        (["loss.box_points=5"], POINTS, ()),  # belongs to cells
        ([CELLS, "loss.box_points=0"], CellLoss(), ()),
        (["train.optimizer=muon", f"train.freeze=[{', '.join(FROZEN)}]"], POINTS, FROZEN),  # no convolution is left
    ],
    ids=str,
)
def test_an_aid_that_is_off_changes_nothing(changes: list[str], criterion: Criterion, frozen: tuple[str, ...]) -> None:
    """Losses and weights are bit for bit those of the plain parts; the center loss of weight 0 is in test_centers."""
    step = step_of(recipe_with(changes))
    figures, weights = by_hand(criterion, frozen)
    assert trained(step) == figures
    assert all(torch.equal(tensor, weights[key]) for key, tensor in step.model.state_dict().items())


@pytest.mark.parametrize("changes", AIDS.values(), ids=list(AIDS))
def test_an_aid_that_is_on_changes_what_is_learnt(changes: list[str]) -> None:
    """Or else its being off would prove nothing. The average is what is saved; it follows the weights."""
    without = [change for change in changes if change == CELLS and len(changes) > 1]
    ours, theirs = (step_of(recipe_with(one)) for one in (changes, without))
    trained(ours)
    trained(theirs)
    kept = (ours.average.module if ours.average else ours.model).state_dict()
    assert not all(torch.equal(tensor, kept[key]) for key, tensor in theirs.model.state_dict().items())
