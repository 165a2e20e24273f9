"""The smallest YOSO that has every part, batches for it without any file, and the reference's recorded numbers."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from yoso_cli.loading.batch import Batch
from yoso_cli.loading.dataset import Target
from yoso_cli.model.yoso import YOSO
from yoso_cli.panoptic.types import Category
from yoso_cli.recipe import ModelRecipe, Recipe, TrainRecipe
from yoso_cli.training.points import Rand

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
RECIPE = Recipe(name="tiny", model=MODEL, train=TrainRecipe(iterations=6, batch=2))


def model(seed: int = 0) -> YOSO:
    torch.manual_seed(seed)
    return YOSO.from_recipe(MODEL, len(CATEGORIES))


def batches(*, start: int = 0, stop: int = 6, size: int = 64) -> Iterator[Batch]:
    """A picture is noise with a bright square and a dark one; iteration i is a function of i."""
    for iteration in range(start, stop):
        random = np.random.default_rng(iteration)
        pictures, targets = [], []
        for _ in range(2):
            image = random.integers(90, 160, (3, size, size))
            masks = np.zeros((3, size, size), bool)
            for place in (0, 1):
                top, left = random.integers(0, size - 24, 2)
                masks[place, top : top + 24, left : left + 24] = True
            masks[0] &= ~masks[1]
            masks[2] = ~masks[0] & ~masks[1]
            image[:, masks[0]] += 80
            image[:, masks[1]] -= 80
            pictures.append(torch.from_numpy(image.astype(np.uint8)))
            targets.append(Target(torch.arange(3), torch.from_numpy(masks)))
        yield Batch(torch.stack(pictures), targets, [f"{iteration}a", f"{iteration}b"])


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
