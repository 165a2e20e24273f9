"""The smallest YOSO that has every part, batches for it without any file, and the reference's recorded numbers."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from yoso_cli.loading.batch import Batch
from yoso_cli.loading.dataset import Target
from yoso_cli.model.yoso import YOSO
from yoso_cli.panoptic.types import Category
from yoso_cli.recipe.schema import AugmentRecipe, LossRecipe, ModelRecipe, Recipe, TrainRecipe
from yoso_cli.training.losses import SetLoss
from yoso_cli.training.optim import adamw, parameter_groups
from yoso_cli.training.points import Rand
from yoso_cli.training.step import Criterion, Step, StepConfig

CATEGORIES = (Category(1, "disc", True), Category(2, "square", True), Category(9, "ground", False))
MODEL = ModelRecipe(
    backbone="resnet18",
    backbone_weights="none",
    backbone_norm="batch",
    stem_channels=8,
    base_channels=8,
    aggregator="ifa",
    aggregation_dim=16,
    hidden_dim=16,
    num_proposals=6,
    num_heads=2,
    feedforward_dim=32,
)
RECIPE = Recipe(
    name="tiny",
    model=MODEL,
    augment=AugmentRecipe(crop_height=64, crop_width=64),
    loss=LossRecipe(num_points=128),
    train=TrainRecipe(iterations=6, batch=2, clip=1.0),
)
# With every learning aid. A decoder that starts at the centers of such crops needs 18 channels.
AIDED = replace(
    RECIPE,
    model=replace(MODEL, hidden_dim=24),
    loss=replace(RECIPE.loss, compare_at="cells", box_points=5, center_weight=2.0),
    train=replace(RECIPE.train, start="centers", optimizer="muon", batch_norms_until=0.5, ema=0.5),
)


def model(seed: int = 0) -> YOSO:
    torch.manual_seed(seed)
    return YOSO(len(CATEGORIES), **MODEL.arguments())


def rate(iteration: int) -> float:
    return 1e-3 * 0.9**iteration


def step(model: YOSO, criterion: Criterion | None = None, **changes: Any) -> Step:
    """One optimizer step of `model`; `changes` go to `StepConfig` if it has them, else to `Step`."""
    known = {field.name for field in fields(StepConfig)}
    arithmetic = {key: changes.pop(key) for key in known & set(changes)}
    return Step(
        model,
        changes.pop("optimizer", None) or adamw(model, weight_decay=0.05, backbone_lr=0.1),
        criterion or SetLoss(num_points=128),
        StepConfig(**{"clip": 1.0, "seed": 0, **arithmetic}),
        torch.device("cpu"),
        **changes,
    )


def sgd(model: YOSO) -> torch.optim.Optimizer:
    """Follows the gradient as it is: AdamW makes whole steps of gradients that are all rounding."""
    return torch.optim.SGD(parameter_groups(model, weight_decay=0.0, backbone_lr=0.1), lr=1e-3)


def batches(
    *, start: int = 0, stop: int = 6, size: int = 64, pictures: int = 2, uneven: bool = False
) -> Iterator[Batch]:
    """A picture is noise with a bright square and a dark one; iteration i is a function of i.

    In an `uneven` batch the first picture lacks its ground.
    """
    for iteration in range(start, stop):
        random = np.random.default_rng(iteration)
        images, targets = [], []
        for _ in range(pictures):
            image = random.integers(90, 160, (3, size, size))
            masks = np.zeros((3, size, size), bool)
            for place in (0, 1):
                top, left = random.integers(0, size - 24, 2)
                masks[place, top : top + 24, left : left + 24] = True
            masks[0] &= ~masks[1]
            masks[2] = ~masks[0] & ~masks[1]
            image[:, masks[0]] += 80
            image[:, masks[1]] -= 80
            images.append(torch.from_numpy(image.astype(np.uint8)))
            targets.append(Target(torch.arange(3), torch.from_numpy(masks)))
        if uneven:
            targets[0] = Target(targets[0].labels[:2], targets[0].masks[:2])
        yield Batch(torch.stack(images), targets, [f"{iteration}{letter}" for letter in "abc"[:pictures]])


class Reference:
    """What the authors' code gave on a tiny model."""

    def __init__(self, shared: Path, archive: str) -> None:
        folder = shared / "reference" / "tiny"
        self.arrays = np.load(folder / f"{archive}.npz")
        self.meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
        self.folder = folder

    def __getitem__(self, key: str) -> Tensor:
        array = self.arrays[key]
        return torch.from_numpy(array.astype(np.float32) if array.dtype == np.float16 else array)

    def __contains__(self, key: str) -> bool:
        return key in self.arrays.files


def target(labels: Tensor, masks_packed: Tensor) -> Target:
    return Target(labels, torch.from_numpy(np.unpackbits(masks_packed.numpy(), axis=-1).astype(bool)))


def replay(recorded: Sequence[Tensor]) -> Rand:
    """Gives recorded random numbers in order, and insists on being asked for exactly these."""
    left = list(recorded)

    def rand(*shape: int) -> Tensor:
        numbers = left.pop(0)
        assert numbers.shape == shape
        return numbers

    return rand
