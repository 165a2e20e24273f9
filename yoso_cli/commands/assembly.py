"""The parts that learn, as a recipe describes them: network, starting weights, optimizer and step."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from yoso_cli.commands import console
from yoso_cli.errors import DataError, UsageError
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from yoso_cli.model.yoso import YOSO
    from yoso_cli.panoptic.types import Category
    from yoso_cli.recipe.schema import Recipe
    from yoso_cli.runtime.distributed import ProcessGroup
    from yoso_cli.training.memory import Footprint
    from yoso_cli.training.step import Step


def network(recipe: "Recipe", num_classes: int) -> "YOSO":
    """The recipe's network on the CPU, where a seed means the same weights on every machine."""
    import torch

    from yoso_cli.model.yoso import YOSO

    torch.manual_seed(recipe.train.seed)
    return YOSO(num_classes, **recipe.model.arguments())


def fill_backbone(model: "YOSO", recipe: "Recipe") -> None:
    """Starts from ImageNet, where the recipe says so."""
    from yoso_cli.model.backbone import load_imagenet

    if recipe.model.backbone_weights == "imagenet":
        load_imagenet(model.backbone)


def fill(model: "YOSO", path: Path, categories: "tuple[Category, ...]") -> None:
    """Starts from a weights file, of other classes too; says which classes it knows.

    Raises:
        DataError: it does not fit the recipe's network, or is re-parameterised.
    """
    from yoso_cli.commands.source import read_weights
    from yoso_cli.model.weights import load_state
    from yoso_cli.training.transfer import carried_over

    weights = read_weights(path)
    if weights.steps:
        raise DataError(
            f"{path}: re-parameterised weights cannot be trained further.",
            hint="Name the weights.safetensors of the checkpoint they were made from.",
        )
    carried = carried_over(weights, model, categories)
    load_state(model, carried.weights)
    if carried.new:
        console.say(
            f"{path}: knows {len(carried.known)} of this dataset's {counted(len(categories), 'class')} by name, of "
            f"its own {len(weights.categories)}; to be learnt anew: {_some(carried.new)}. "
            "All but the class layers is taken over."
        )


def learning_step(model: "YOSO", recipe: "Recipe", device: "torch.device", group: "ProcessGroup") -> "Step":
    """All that learns, ready for the first batch; `model` moves to `device`.

    Raises:
        UsageError: the batch cannot be shared equally, or nothing is left to learn.
    """
    import torch

    from yoso_cli.training import distributed
    from yoso_cli.training.ema import MovingAverage
    from yoso_cli.training.freezing import freeze
    from yoso_cli.training.losses import SetLoss
    from yoso_cli.training.optim import adamw
    from yoso_cli.training.step import Arithmetic, Step

    plan = recipe.train
    if plan.batch % group.size:
        raise UsageError(
            f"train.batch of {plan.batch} cannot be shared by {group.size} processes.",
            hint="Choose a multiple, or another number of GPUs.",
        )
    freeze(model, plan.freeze)
    model.to(device)
    if group.size > 1:
        distributed.synchronised(model)
    forward = distributed.shared(model, device) if group.size > 1 else model
    return Step(
        model,
        adamw(model, lr=plan.lr, weight_decay=plan.weight_decay, backbone_lr=plan.backbone_lr),
        SetLoss(**asdict(recipe.loss)),
        Arithmetic(
            clip=plan.clip,
            seed=plan.seed,
            precision=plan.precision,
            micro_batch=_micro_batch(model, recipe, device, group),
            channels_last=plan.channels_last,
        ),
        device,
        forward=torch.compile(forward) if plan.compile else forward,
        average=MovingAverage(model, plan.ema) if plan.ema else None,
        group=group,
    )


def rate(recipe: "Recipe") -> "Callable[[int], float]":
    """The learning rate of an iteration, as the recipe's schedule has it."""
    from yoso_cli.training.optim import learning_rate

    plan = recipe.train
    return partial(
        learning_rate,
        lr=plan.lr,
        schedule=plan.schedule,
        milestones=plan.milestones,
        gamma=plan.gamma,
        power=plan.power,
        iterations=plan.iterations,
        warmup=plan.warmup,
    )


def footprint(model: "YOSO", recipe: "Recipe") -> "Footprint":
    """What training takes of a GPU's memory."""
    from yoso_cli.training.memory import footprint as counted

    augment, plan = recipe.augment, recipe.train
    return counted(
        model,
        height=augment.crop_height,
        width=augment.crop_width,
        precision=plan.precision,
        average=bool(plan.ema),
    )


def _micro_batch(model: "YOSO", recipe: "Recipe", device: "torch.device", group: "ProcessGroup") -> int:
    """Pictures per pass: as the recipe says, or as many as fit into the smallest of the GPUs."""
    from yoso_cli.training.memory import capacity

    share = recipe.train.batch // group.size
    room = capacity(device)
    if recipe.train.micro_batch or room is None:
        return recipe.train.micro_batch or share
    fitting: int = min(group.all_gather(footprint(model, recipe).fitting(room, share)))
    if fitting < share:
        console.say(f"{fitting} of {share} pictures fit into the GPU's memory at a time (train.micro_batch=0).")
    return fitting


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
