"""A dry run: network, data, schedule, memory estimate and the paper's figures of a training, before it starts."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from yoso_cli.api import training_parts
from yoso_cli.api.dataset import beyond_proposals, prepared_set
from yoso_cli.datasets.catalog import published
from yoso_cli.datasets.spec import read_categories
from yoso_cli.errors import DataError
from yoso_cli.panoptic.files import read_set
from yoso_cli.recipe.schema import Recipe
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.training.memory import Footprint

_GIB = 2**30
# Memory of common GPUs, GiB.
_CARDS = (8, 12, 16, 24, 40, 80)
# Assumed where the number of classes is unknown: good enough for an estimate.
_GUESSED_CLASSES = 100


def dry_run(recipe: Recipe) -> dict[str, Any]:
    """The facts by subject, as plain values. Works without the dataset, and reports what of it is missing."""
    from yoso_cli.training.freezing import freeze

    training_parts.require_backbone(recipe)
    data = {split: _split(recipe, split) for split in (recipe.data.train_split, recipe.data.val_split)}
    classes, known = _classes(recipe)
    model = training_parts.build_network(recipe, classes)
    freeze(model, recipe.train.freeze)
    images = data[recipe.data.train_split]["images"]
    return {
        "recipe": recipe.name,
        "model": {
            "backbone": recipe.model.backbone,
            "backbone_weights": recipe.model.backbone_weights,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "learning": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
            "classes": classes if known else None,
            "proposals": recipe.model.num_proposals,
            "stages": recipe.model.num_stages,
        },
        "data": {"name": recipe.data.name, "splits": data},
        "schedule": _schedule(recipe, images),
        "loss": _loss(recipe),
        "memory": _memory(recipe, training_parts.footprint(model, recipe)),
        "paper": recipe.to_dict()["paper"],
    }


def _split(recipe: Recipe, split: str) -> dict[str, Any]:
    try:
        found = prepared_set(recipe, split)
    except DataError as error:
        return {"prepared": False, "images": _published(recipe, split), "problem": str(error), "warning": None}
    warning = beyond_proposals(found, recipe.model.num_proposals) or None
    return {"prepared": True, "images": len(found.records), "problem": None, "warning": warning}


def _published(recipe: Recipe, split: str) -> int | None:
    """Published number of images in a split."""
    spec = published(recipe.data.name)
    return spec.images.get(split) if spec else None


def _classes(recipe: Recipe) -> tuple[int, bool]:
    """The number of classes, and whether it is known rather than assumed."""
    folder = Path(recipe.data.root) / recipe.data.name / recipe.data.train_split
    try:
        return len(read_set(folder).categories), True
    except DataError:
        pass
    try:
        return len(read_categories(recipe.data.name)), True
    except FileNotFoundError:
        return _GUESSED_CLASSES, False


def _schedule(recipe: Recipe, images: int | None) -> dict[str, Any]:
    plan = recipe.train
    fall = (
        f"times {plan.gamma:g} after {' and '.join(map(str, plan.milestones))} steps"
        if plan.schedule == "step"
        else f"polynomial decay to 0 with power {plan.power:g}"
    )
    warm = f"warm-up over {counted(plan.warmup, 'step')} to" if plan.warmup else "starts at"
    return {
        "iterations": plan.iterations,
        "batch": plan.batch,
        "crop": f"{recipe.augment.crop_height}x{recipe.augment.crop_width}",
        "epochs": plan.iterations * plan.batch / images if images else None,
        "rate": f"{warm} {plan.lr:g} (backbone {plan.lr * plan.backbone_lr:g}), {fall}",
        "optimizer": plan.optimizer,
        "norms_fixed_at": training_parts.norms_fixed_at(recipe),
        "ema": plan.ema,
        "evaluations": plan.iterations // plan.evaluate_every if plan.evaluate_every else 1,
    }


def _loss(recipe: Recipe) -> dict[str, Any]:
    loss = recipe.loss
    return {
        "compare_at": loss.compare_at,
        "places": training_parts.places_per_mask(recipe),
        "box_points": loss.box_points**2 if loss.compare_at == "cells" else 0,
        "center_weight": loss.center_weight,
        "start": recipe.train.start,
    }


def _memory(recipe: Recipe, footprint: "Footprint") -> dict[str, Any]:
    batch = recipe.train.batch
    return {
        "precision": recipe.train.precision,
        "gib": {str(count): footprint.total(count) / _GIB for count in (1, 2, 4, 8, 16)},
        "batch_gib": footprint.total(batch) / _GIB,
        "micro_batch": {
            str(card): footprint.fitting(card * _GIB, batch) if footprint.total(1) < card * _GIB else 0
            for card in _CARDS
        },
    }
