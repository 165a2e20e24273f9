"""A recipe for one's own dataset, sized to it and to the machine, and what sizes it."""

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from yoso_cli.api import training_parts
from yoso_cli.api.truth_pictures import read_split_of
from yoso_cli.errors import DataError, UsageError
from yoso_cli.inspection.sizing import SetSize, Suggestion, suggestions
from yoso_cli.inspection.split import Split, find_splits
from yoso_cli.panoptic.types import PanopticSet
from yoso_cli.recipe import file as recipe_file
from yoso_cli.recipe.schema import Recipe
from yoso_cli.runtime import machine
from yoso_cli.runtime.progress import SILENT, Progress
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.training.memory import Footprint

# What a new recipe extends: with a GPU, and without one.
_BASE, _FEW = "coco", "few"
_GIB = 2**30
# What fits no column of a terminal.
_WIDEST = 79
_BATCH = 16
# Pictures of a pass below which the statistics of the neck's batch norms are of little use.
_FEWEST = 2
# Without a GPU: a size whose step takes a second, and as many steps as an afternoon has.
_CPU_EDGE, _CPU_BATCH, _CPU_STEPS = 320, 4, 3000
_SHRINKS = (1.0, 0.75, 0.5)


@dataclass(frozen=True)
class DatasetSize:
    """The sizes of each split of a dataset, the one to train on first, and what a recipe for it should say."""

    sizes: tuple[SetSize, ...]
    suggestions: tuple[Suggestion, ...]


@dataclass(frozen=True)
class NewRecipe:
    """A recipe that was made.

    Attributes:
        recipe: with what it extends.
        values: what it says, with reasons.
        text: its YAML.
    """

    recipe: Recipe
    values: tuple[Suggestion, ...]
    text: str


def dataset_size(dataset: str | Path, *, root: str | Path = "datasets") -> DatasetSize:
    """Sizes a dataset: segments per picture, sizes of pictures and instances, classes; and recipe values for it.

    Args:
        dataset: the name of a prepared dataset below `root`, a prepared split, a folder of splits, a folder in COCO's
            layout, or a COCO panoptic JSON.
        root: the folder of all datasets.

    Raises:
        UsageError: there is no such dataset.
        DataError: a JSON is malformed, or a split has no pictures.
    """
    splits = find_splits(str(dataset), Path(root))
    ordered = sorted(splits, key=lambda one: not one.name.startswith("train"))
    sizes = tuple(SetSize.of(_read(one)) for one in ordered)
    return DatasetSize(sizes, tuple(suggestions(sizes)))


def new_recipe(
    name: str,
    dataset: str | Path,
    val: str | Path | None = None,
    *,
    root: str | Path = "datasets",
    gpu: float | None = None,
    progress: Progress = SILENT,
) -> NewRecipe:
    """Makes a recipe for a prepared split, to train on. Nothing is written.

    Args:
        name: of the recipe.
        dataset: the split to train on: its path, or a dataset below `root`.
        val: the split to evaluate on; by default the one beside it whose name begins with val.
        root: the folder of all datasets.
        gpu: GiB of the GPU to size it to; 0 for none, None for that of this machine.
        progress: shows messages.

    Raises:
        UsageError: there is no such split, or a name that a recipe cannot have.
        DataError: a split is not prepared, is damaged or empty.
    """
    train = _training_split(dataset, Path(root))
    evaluated = _validation_split(train, val, Path(root), progress)
    sizes = [SetSize.of(_read(one)) for one in dict.fromkeys((train, evaluated))]
    memory = _gpu_memory() if gpu is None else gpu * _GIB
    data = _data(name, train, evaluated)
    base = _BASE if memory else _FEW
    values = _for_gpu(sizes, data, memory) if memory else _for_cpu(sizes, data)
    recipe = _loaded(values, base)
    for problem in _doubts(sizes, recipe):
        progress.message(problem)
    return NewRecipe(recipe, tuple(values), _text(values, sizes[0], memory, base))


def _read(split: Split) -> PanopticSet:
    # Recipes name the folders, which may have been renamed.
    return replace(read_split_of(split), name=split.dataset, split=split.name)


def _training_split(dataset: str | Path, root: Path) -> Split:
    """The split itself, or of a dataset that for training."""
    splits = find_splits(str(dataset), root)
    training = splits if len(splits) == 1 else [one for one in splits if one.name.startswith("train")]
    if len(training) != 1:
        there = ", ".join(str(one.folder or one.listing) for one in splits)
        raise UsageError(f"{dataset}: has several splits.", hint=f"Name the one to train on: {there}.")
    return _prepared(training[0], dataset)


def _prepared(split: Split, named: str | Path) -> Split:
    if split.folder is None:
        raise DataError(
            f"{named}: is not prepared, and training reads prepared splits.",
            hint=f"`yoso convert {named} datasets/mine/train --from coco-panoptic` prepares it.",
        )
    return split


def _validation_split(train: Split, val: str | Path | None, root: Path, progress: Progress) -> Split:
    assert train.folder is not None, "a prepared one"
    beside = train.folder.absolute().parent
    if val is not None:
        splits = find_splits(str(val), root)
        chosen = splits if len(splits) == 1 else [one for one in splits if one.name.startswith("val")]
        if len(chosen) != 1:
            raise UsageError(f"{val}: is not one split.", hint="Name the folder of the split to evaluate on.")
        split = _prepared(chosen[0], val)
        if split.folder is None or split.folder.resolve().parent != beside.resolve():
            raise UsageError(
                f"{val}: is in another dataset than {train.folder}, and a recipe has one.",
                hint="`yoso dataset split` writes both parts into one.",
            )
        return split
    found = [one for one in find_splits(str(beside), root) if one.name.startswith("val") and one.folder]
    if found:
        return found[0]
    progress.message(
        f"{beside}: has no split whose name begins with val: the recipe evaluates on what it trains on, which says "
        f"nothing of other pictures. `yoso dataset split` divides a set."
    )
    return train


def _gpu_memory() -> float:
    """Bytes of this machine's first GPU; 0 without one."""
    import torch

    from yoso_cli.training.memory import capacity

    return (capacity(torch.device("cuda")) or 0) if torch.cuda.is_available() else 0


def _data(name: str, train: Split, val: Split) -> list[Suggestion]:
    assert train.folder is not None, "a prepared one"
    root = os.path.relpath(train.folder.absolute().parent.parent)
    inside = not root.startswith("..")
    return [
        Suggestion("name", name, ""),
        Suggestion("description", f"YOSO for {train.dataset}", ""),
        Suggestion("data.name", train.dataset, ""),
        Suggestion("data.root", root if inside else str(train.folder.absolute().parent.parent), ""),
        Suggestion("data.train_split", train.name, ""),
        Suggestion("data.val_split", val.name, ""),
    ]


def _for_gpu(sizes: Sequence[SetSize], data: Sequence[Suggestion], memory: float) -> list[Suggestion]:
    """The largest of a few networks and crops of which two pictures fit into the memory."""
    suggested = suggestions(sizes)
    gib = f"{memory / _GIB:.0f} GiB"
    reasons = {"resnet50": f"fits {gib} at this crop", "resnet18": f"resnet50 does not fit {gib} at this crop"}
    backbones = [Suggestion("model.backbone", name, why) for name, why in reasons.items()]
    whole = {one.value: _footprint(_loaded([*data, one, *suggested])) for one in backbones}
    for shrink in _SHRINKS:
        for backbone in backbones:
            need = whole[backbone.value]
            need = replace(need, per_picture=round(need.per_picture * shrink**2))
            fitting = need.fitting(int(memory), _BATCH)
            if need.total(_FEWEST) <= memory and fitting >= _FEWEST:
                values = [*data, backbone, *(_shrunk(one, shrink) for one in suggested)]
                return _planned(values, _BATCH, f"as the paper's; {counted(fitting, 'picture')} fit at once", gpu=True)
    raise UsageError(f"No network of these recipes trains in {gib}.", hint="Use another GPU, or --gpu 0 for a CPU.")


def _shrunk(one: Suggestion, factor: float) -> Suggestion:
    if factor == 1 or not one.key.startswith("augment.crop"):
        return one
    return Suggestion(one.key, max(32, int(one.value * factor) // 32 * 32), f"{one.reason}; made smaller to fit")


def _for_cpu(sizes: Sequence[SetSize], data: Sequence[Suggestion]) -> list[Suggestion]:
    """The recipe few at the set's size: its network and steps are such as a CPU can do."""
    values = [*data, *suggestions(sizes, largest=_CPU_EDGE)]
    need = _footprint(_loaded(values, _FEW))
    memory = int(machine.describe().get("memory_bytes", 4 * _GIB))
    batch = next((one for one in (_CPU_BATCH, 2) if need.total(one) <= memory / 2), 1)
    return _planned(values, batch, "without a GPU", gpu=False)


def _planned(values: Sequence[Suggestion], batch: int, why: str, *, gpu: bool) -> list[Suggestion]:
    """The values with a schedule for this batch and machine."""
    (asked,) = [one for one in values if one.key == "train.iterations"]
    others = [one for one in values if one is not asked]
    whole = round(asked.value * _BATCH / batch)
    base = recipe_file.load(_BASE if gpu else _FEW).train
    steps = whole if gpu else min(whole, _CPU_STEPS)
    reason = asked.reason if steps == whole else f"a first look: a whole training would be {whole:,} of these steps"
    rate = float(f"{base.lr * batch / base.batch:.3g}")
    cores = machine.usable_cores()
    tenth = max(1, steps // 10)
    plan = [
        Suggestion("train.iterations", steps, reason),
        Suggestion("train.batch", batch, why),
        Suggestion("train.lr", rate, f"{base.lr:g} at a batch of {base.batch}, in proportion to it"),
        Suggestion("train.schedule", "poly", "falls to 0 at the last step, whatever its number"),
        Suggestion("train.warmup", min(500, max(1, steps // 20)), ""),
        Suggestion("train.evaluate_every", tenth, "ten times; keeps the best"),
        Suggestion("train.checkpoint_every", min(5000, tenth), ""),
        Suggestion("train.workers", min(8, cores) if gpu else max(1, cores // 2), f"of {counted(cores, 'core')}"),
    ]
    return [*others, *plan]


def _footprint(recipe: Recipe) -> "Footprint":
    # The number of classes hardly counts.
    return training_parts.footprint(training_parts.build_network(recipe, 100), recipe)


def _loaded(values: Sequence[Suggestion], base: str = _BASE) -> Recipe:
    """The recipe `base` with these values. Raises RecipeError for a name that cannot be one."""
    plain = recipe_file.load(base).to_dict()
    plain["paper"] = Recipe().to_dict()["paper"]
    for one in values:
        section, _, key = one.key.rpartition(".")
        (plain[section] if section else plain)[key] = one.value
    return recipe_file.from_dict(plain, "the new recipe")


def _doubts(sizes: Sequence[SetSize], recipe: Recipe) -> list[str]:
    """What a person should know before training."""
    most = max(one.per_image[2] for one in sizes)
    name, images = sizes[0].rarest
    found = []
    if most > recipe.model.num_proposals:
        found.append(
            f"A picture has {most} segments, and the network {recipe.model.num_proposals} proposals: the rest of it "
            f"cannot be found. model.num_proposals={-(-most // 50) * 50} would do; it takes more memory."
        )
    if 0 < images < _FEW_IMAGES:
        found.append(f"{sizes[0].split}: {name} is in {counted(images, 'picture')} only.")
    return found


_FEW_IMAGES = 20


def _text(values: Sequence[Suggestion], train: SetSize, memory: float, base: str) -> str:
    """The YAML: what the recipe says, each value under its reason."""
    where = (
        f"a GPU of {memory / _GIB:.0f} GiB" if memory else f"{counted(machine.usable_cores(), 'core')} without a GPU"
    )
    intro = f"YOSO for {train.name}, sized to the {counted(train.images, 'picture')} of {train.split} and to {where}."
    name = next(one.value for one in values if one.key == "name")
    lines = [
        *_comment(intro, ""),
        "#",
        f"# Check     yoso train {name}.yaml --dry-run",
        f"# Run       yoso train {name}.yaml",
    ]
    if memory and all(one.value in (100, "resnet50") for one in values if one.key.startswith("model.")):
        lines.append(f"#           yoso train {name}.yaml --weights coco (from the authors' weights)")
    lines += ["#", f"# What is not here is as in {base}; `yoso recipe show {name}.yaml` prints all of it."]
    lines.append(f"extends: {base}")
    section = ""
    for one in sorted(values, key=lambda one: _ORDER.index(one.key.rpartition(".")[0])):
        head, _, key = one.key.rpartition(".")
        if head != section:
            lines.append(f"{head}:")
            section = head
        indent = "  " if head else ""
        lines += _comment(f"{one.reason[:1].upper()}{one.reason[1:]}.", indent) if one.reason else []
        lines.append(f"{indent}{key}: {recipe_file.scalar_text(one.value)}")
    return "\n".join([*lines, ""])


_ORDER = ("", "data", "model", "augment", "train", "inference")


def _comment(text: str, indent: str) -> list[str]:
    plain = "".join(one if one.isprintable() else " " for one in text)
    return textwrap.wrap(plain, _WIDEST, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
