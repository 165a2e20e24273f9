"""What a training would be, told before it begins: network, data, schedule, memory, and the row it aims at."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from yoso_cli.commands import assembly, console
from yoso_cli.errors import DataError
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.recipe.schema import Recipe

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
        "paper": recipe.to_dict()["paper"],
    }


def text(facts: dict[str, Any]) -> str:
    """The facts as a person reads them, no line wider than the terminal."""
    model, schedule, memory, paper = (facts[key] for key in ("model", "schedule", "memory", "paper"))
    classes = (
        counted(model["classes"], "class") if model["classes"] is not None else "as many classes as the dataset has"
    )
    million = {key: f"{model[key] / 1e6:.1f} M" for key in ("parameters", "learning")}
    told = [
        ("Recipe", facts["recipe"]),
        (
            "Model",
            f"{model['backbone']}, {million['parameters']} parameters of which {million['learning']} learn; "
            f"{classes}, {counted(model['proposals'], 'proposal')}, {counted(model['stages'], 'stage')}",
        ),
    ]
    for name, split in facts["data"]["splits"].items():
        found = counted(split["images"], "image") if split["prepared"] else f"missing. {split['problem']}"
        told.append(("Data", f"{facts['data']['name']} {name}: {found}"))
    epochs = f", {schedule['epochs']:.1f} epochs" if schedule["epochs"] else ""
    told += [
        (
            "Schedule",
            f"{counted(schedule['iterations'], 'step')} of {counted(schedule['batch'], 'picture')} of "
            f"{schedule['crop']}{epochs}",
        ),
        ("Rate", schedule["rate"]),
        (
            "Memory",
            f"about {_gib(memory['gib']['1'])} for one picture at a time, {_gib(memory['batch_gib'])} for all "
            f"{schedule['batch']} ({memory['precision']}; an estimate)",
        ),
        ("", f"pictures at a time that fit a GPU of {_cards(memory['micro_batch'])}"),
    ]
    if paper["pq"] is not None:
        told.append(("Aims at", _aim(paper)))
    told += [("", f"the paper says of {note}") for note in paper["says"]]
    return "\n".join(console.labelled(label, words) for label, words in told)


def _aim(paper: dict[str, Any]) -> str:
    """The paper's row; it does not give every figure of every row."""
    kinds = {"things": paper["pq_things"], "stuff": paper["pq_stuff"]}
    parts = ", ".join(f"{name} {figure:.1f}" for name, figure in kinds.items() if figure is not None)
    speed = f", {paper['fps']:g} FPS on {paper['gpu']}" if paper["fps"] is not None else ""
    return f"PQ {paper['pq']:.1f}{f' ({parts})' if parts else ''}{speed}: {paper['table']} of the paper"


def _gib(size: float) -> str:
    return f"{size:.1f} GiB" if size >= 1 else f"{size * 1024:.0f} MiB"


def _split(recipe: "Recipe", split: str) -> dict[str, Any]:
    from yoso_cli.commands.wiring import prepared_set

    try:
        return {"prepared": True, "images": len(prepared_set(recipe, split).records), "problem": None}
    except DataError as error:
        return {"prepared": False, "images": _published(recipe, split), "problem": str(error)}


def _published(recipe: "Recipe", split: str) -> int | None:
    """Pictures of a split as its publishers count them."""
    from yoso_cli.datasets.catalog import published

    spec = published(recipe.data.name)
    return spec.images.get(split) if spec else None


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
    warm = f"rises over {counted(plan.warmup, 'step')} to" if plan.warmup else "begins at"
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
