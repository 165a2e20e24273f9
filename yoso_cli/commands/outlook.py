"""What a training would be, told before it begins: network, data, schedule, memory, and the row it aims at."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from yoso_cli.commands import assembly
from yoso_cli.errors import DataError

if TYPE_CHECKING:
    from yoso_cli.datasets.spec import DatasetSpec
    from yoso_cli.recipe import Recipe

_GIB = 2**30
# Graphics cards by memory, in GiB.
_CARDS = (8, 12, 16, 24, 40, 80)
# Where nothing tells the classes: enough for an estimate.
_GUESSED_CLASSES = 100


def outlook(recipe: "Recipe") -> dict[str, Any]:
    """The facts, by what they are about. Works without the dataset, and says what of it is missing."""
    from yoso_cli.training.freezing import freeze

    data = {split: _split(recipe, split) for split in (recipe.data.train_split, recipe.data.val_split)}
    classes, known = _classes(recipe)
    model = assembly.network(recipe, classes)
    freeze(model, recipe.train.freeze)
    images = data[recipe.data.train_split]["images"]
    return {
        "recipe": recipe.name,
        "model": {
            "backbone": recipe.model.backbone,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "learning": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
            "classes": classes if known else None,
            "proposals": recipe.model.num_proposals,
            "stages": recipe.model.num_stages,
        },
        "data": {"name": recipe.data.name, "splits": data},
        "schedule": _schedule(recipe, images),
        "memory": _memory(recipe, assembly.footprint(model, recipe)),
        "paper": {"table": recipe.paper.table, "pq": recipe.paper.pq, "says": list(recipe.paper.says)},
    }


def text(facts: dict[str, Any]) -> str:
    """The facts as a person reads them."""
    model, schedule, memory, paper = (facts[key] for key in ("model", "schedule", "memory", "paper"))
    classes = model["classes"] if model["classes"] is not None else "as many classes as the dataset has"
    lines = [
        f"Recipe    {facts['recipe']}",
        f"Model     {model['backbone']}, {model['parameters'] / 1e6:.1f} M parameters of which "
        f"{model['learning'] / 1e6:.1f} M learn; {classes} classes, {model['proposals']} proposals, "
        f"{model['stages']} stages",
    ]
    for name, split in facts["data"]["splits"].items():
        found = f"{split['images']} images" if split["prepared"] else f"missing: {split['problem']}"
        lines.append(f"Data      {facts['data']['name']} {name}: {found}")
    epochs = f", {schedule['epochs']:.1f} epochs" if schedule["epochs"] else ""
    lines += [
        f"Schedule  {schedule['iterations']} steps of {schedule['batch']} pictures of {schedule['crop']}{epochs}",
        f"Rate      {schedule['rate']}",
        f"Memory    about {memory['gib']['1']:.1f} GiB for one picture at a time, {memory['batch_gib']:.1f} GiB for "
        f"all {schedule['batch']} ({memory['precision']}; an estimate)",
        f"          pictures at a time that fit a GPU of {_cards(memory['micro_batch'])}",
    ]
    if paper["pq"] is not None:
        lines.append(f"Aims at   PQ {paper['pq']:.1f} ({paper['table']} of the paper)")
    return "\n".join([*lines, *(f"          the paper says of {note}" for note in paper["says"])])


def _split(recipe: "Recipe", split: str) -> dict[str, Any]:
    from yoso_cli.commands.wiring import prepared_set

    try:
        return {"prepared": True, "images": len(prepared_set(recipe, split).records), "problem": None}
    except DataError as error:
        images = _published(recipe, split)
        return {"prepared": False, "images": images, "problem": f"{error.message} Type `{preparing(recipe)}`."}


def preparing(recipe: "Recipe") -> str:
    """What prepares the recipe's dataset: versions of one are prepared together."""
    name = recipe.data.name
    spec = _spec(name)
    return f"yoso prepare {spec.name}" if spec else f"yoso convert SOURCE {recipe.data.root}/{name}/SPLIT"


def _published(recipe: "Recipe", split: str) -> int | None:
    """Pictures of a split as its publishers count them."""
    spec = _spec(recipe.data.name)
    return spec.images.get(split) if spec else None


def _spec(name: str) -> "DatasetSpec | None":
    from yoso_cli.datasets.catalog import DATASETS

    return next((spec for spec in DATASETS.values() if name == spec.name or name.startswith(f"{spec.name}-")), None)


def _classes(recipe: "Recipe") -> tuple[int, bool]:
    """How many classes there are, and whether that is known."""
    from yoso_cli.datasets.spec import read_categories
    from yoso_cli.panoptic.files import read_set

    folder = Path(recipe.data.root) / recipe.data.name / recipe.data.train_split
    try:
        return len(read_set(folder).categories), True
    except DataError:
        pass
    try:
        return len(read_categories(recipe.data.name)), True
    except FileNotFoundError:
        return _GUESSED_CLASSES, False


def _schedule(recipe: "Recipe", images: int | None) -> dict[str, Any]:
    plan = recipe.train
    fall = (
        f"falls by {plan.gamma:g} after {' and '.join(map(str, plan.milestones))} steps"
        if plan.schedule == "step"
        else f"falls to nothing as (1 - share of the way) to the power {plan.power:g}"
    )
    warm = f"rises over {plan.warmup} steps to" if plan.warmup else "begins at"
    return {
        "iterations": plan.iterations,
        "batch": plan.batch,
        "crop": f"{recipe.augment.crop_height}x{recipe.augment.crop_width}",
        "epochs": plan.iterations * plan.batch / images if images else None,
        "rate": f"{warm} {plan.lr:g} (backbone {plan.lr * plan.backbone_lr:g}), {fall}",
        "evaluations": plan.iterations // plan.evaluate_every if plan.evaluate_every else 1,
    }


def _memory(recipe: "Recipe", footprint: Any) -> dict[str, Any]:
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


def _cards(fitting: dict[str, int]) -> str:
    return ", ".join(f"{card} GiB: {count or 'none'}" for card, count in fitting.items())
