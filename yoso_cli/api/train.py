"""Training a recipe into a run folder, from the start or from where it was stopped."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yoso_cli.api import training_parts
from yoso_cli.api.dataset import prepared_set, with_data_of
from yoso_cli.api.edited_recipe import edited, require_same_curve, swept_thresholds
from yoso_cli.api.training_run import Run, Training
from yoso_cli.api.weights import Named, trained_weights
from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic.types import PanopticSet
from yoso_cli.recipe import file as recipe_file
from yoso_cli.recipe.schema import Recipe
from yoso_cli.run_folder import RunFolder
from yoso_cli.runtime import machine
from yoso_cli.runtime.distributed import ALONE, ProcessGroup
from yoso_cli.runtime.machine import choose_device, keep_freed_memory
from yoso_cli.runtime.progress import SILENT, Progress
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    import torch

    from yoso_cli.model.yoso import YOSO
    from yoso_cli.training.checkpoint import CheckpointKeeper, Loop
    from yoso_cli.training.step import Step


def train(
    recipe: str | Path | Recipe,
    *,
    overrides: Sequence[str] = (),
    weights: Named = None,
    runs: str | Path = "runs",
    into: str | Path | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Run:
    """Trains a recipe into a run folder and evaluates it.

    In the main thread Ctrl-C and SIGTERM finish the step, save and return; `resume` continues from there.

    Args:
        recipe: the name of a packaged recipe, a YAML file, or a recipe.
        overrides: changes of recipe values, as `train.lr=2e-4`.
        weights: initial weights instead of random or ImageNet ones (see `api.weights.Named`).
        runs: the folder of all runs.
        into: exactly this run folder; a run of the same recipe in it is resumed.
        device: auto, cpu, cuda or cuda:N.
        progress: shows progress and messages.

    Raises:
        UsageError: the recipe is invalid or missing, or `into` has another run.
        DataError: the dataset or the weights are missing, damaged or do not fit.
        RunError: no such device, out of memory, or the training has diverged.
    """
    chosen = _recipe(recipe, overrides)
    folder = Path(into) if into else None
    return _finished(
        open_training(chosen, weights=weights, runs=Path(runs), into=folder, device=device, progress=progress)
    )


def resume(
    run: str | Path, *, data_root: str | Path | None = None, device: str = "auto", progress: Progress = SILENT
) -> Run:
    """Resumes a run from its newest checkpoint, with its own recipe. Raises as `train` does.

    Args:
        run: the run folder.
        data_root: the folder of all datasets, if it is found neither where it was nor beside the run.
        device: auto, cpu, cuda or cuda:N.
        progress: shows progress and messages.
    """
    root = None if data_root is None else str(data_root)
    return _finished(resume_training(Path(run), data_root=root, device=device, progress=progress))


def _finished(training: Training) -> Run:
    """What a program expects of Ctrl-C: it ends there, with all that was learnt on disk."""
    from yoso_cli.runtime.stopping import Outcome

    run = training.run()
    if run.exit_code == Outcome.INTERRUPTED.exit_code:
        raise KeyboardInterrupt(f"Saved after step {run.iteration}; yoso.resume({str(run.folder.path)!r}) goes on.")
    return run


def require_trainable(recipe: Recipe, processes: int, device: str) -> None:
    """Checks what every one of `processes` would fail at, before they start.

    Raises:
        DataError: the prepared dataset is missing or damaged, or its splits have different classes.
        UsageError: the batch cannot be divided equally, or there are fewer GPUs than processes.
    """
    import torch

    if device != "cpu" and (gpus := torch.cuda.device_count()) < processes:
        found = counted(gpus, "GPU") if gpus else "none"
        raise UsageError(
            f"{processes} processes need as many GPUs, and torch finds {found}.",
            hint=f"Give --gpus {gpus}, or --device cpu." if gpus else "Give --device cpu, where they share the cores.",
        )
    _sets(recipe)
    training_parts.require_shared_equally(recipe.train.batch, processes)


def open_training(
    recipe: Recipe,
    *,
    weights: Named = None,
    runs: Path = Path("runs"),
    into: Path | None = None,
    device: str = "auto",
    group: ProcessGroup = ALONE,
    progress: Progress = SILENT,
) -> Training:
    """A training of `recipe`: new, or resumed if `into` has its run already. Arguments are those of `train`."""
    # All processes check before the first one makes the folder.
    if into is not None and any(group.all_gather((into / "recipe.yaml").is_file())):
        _require_same_recipe(recipe, into)
        return resume_training(into, weights=weights, runs=runs, device=device, group=group, progress=progress)
    where, train_set, val_set = _device_and_sets(recipe, device)
    model = training_parts.build_network(recipe, len(train_set.categories))
    _start_from(weights, model, recipe, train_set, runs, group, progress)
    step = training_parts.optimizer_step(model, recipe, train_set.categories, where, group, progress)
    # The folder is made last, so that no error above leaves an empty one.
    run = lock = None
    if group.rank == 0:
        run = RunFolder.at(into) if into else RunFolder.create(runs, recipe.name)
        lock = run.begin_training(Path(recipe.data.root), from_weights=weights is not None)
        run.write_recipe(recipe)
    (found,) = (one for one in group.all_gather(run) if one)
    checkpoints = _checkpoints(found, recipe, train_set, step)
    training = Training(recipe, found, step, train_set, val_set, checkpoints, group, lock=lock, progress=progress)
    if weights is not None:
        # The recipe does not name these weights: the run could not be resumed before its first checkpoint without them.
        training.save_now()
    return training


def _start_from(
    weights: Named,
    model: "YOSO",
    recipe: Recipe,
    train_set: PanopticSet,
    runs: Path,
    group: ProcessGroup,
    progress: Progress,
) -> None:
    """Gives the network the initial weights that were named, or its backbone those of the recipe."""
    if weights is None:
        group.leaders_first(lambda: training_parts.load_backbone(model, recipe))
        return
    path = group.leaders_first(lambda: trained_weights(weights, runs, progress))
    training_parts.load_initial_weights(model, path, train_set.categories, progress)


def resumed_recipe(run: RunFolder, data_root: str | None = None) -> Recipe:
    """The recipe of a run, with `data.root` where its dataset is now, or `data_root` if that is given.

    Raises:
        UsageError: it was edited, and the run would go on along another curve.
    """
    recipe = run.recipe()
    require_same_curve(run, recipe)
    if data_root is None:
        return with_data_of(recipe, run)
    return replace(recipe, data=replace(recipe.data, root=data_root))


def resume_training(
    path: Path,
    *,
    data_root: str | None = None,
    weights: Named = None,
    runs: Path = Path("runs"),
    device: str = "auto",
    group: ProcessGroup = ALONE,
    progress: Progress = SILENT,
) -> Training:
    """A training resumed from the newest intact checkpoint, or from the start if there is none.

    `weights` are those that a new run of the same command line would start from.

    Raises:
        UsageError: it was to start from weights, ended before its first checkpoint, and they are not named.
    """
    run = RunFolder.open(path)
    recipe = resumed_recipe(run, data_root)
    if changes := edited(run, run.recipe()):
        progress.message(f"{run.recipe_path} was edited: {'; '.join(changes.values())}.")
    where, train_set, val_set = _device_and_sets(recipe, device)
    model = training_parts.build_network(recipe, len(train_set.categories))
    beginning = not run.checkpoints()
    if beginning:
        _require_named(weights, run)
        _start_from(weights, model, recipe, train_set, runs, group, progress)
    step = training_parts.optimizer_step(model, recipe, train_set.categories, where, group, progress)
    from_weights = beginning and weights is not None
    lock = run.begin_training(Path(recipe.data.root), from_weights=from_weights) if group.rank == 0 else None
    checkpoints = _checkpoints(run, run.recipe(), train_set, step)
    loop = checkpoints.newest(progress.message)
    if group.rank == 0:
        run.truncate_metrics(loop.iteration)
    if swept := swept_thresholds(run):
        recipe = _beside_swept(recipe, swept, loop, progress)
    training = Training(
        recipe, run, step, train_set, val_set, checkpoints, group, lock=lock, loop=loop, progress=progress
    )
    if from_weights:
        training.save_now()
    return training


def _require_named(weights: Named, run: RunFolder) -> None:
    if weights is None and run.begins_from_weights():
        raise UsageError(
            f"{run.path}: was to start from weights, and ended before its first checkpoint.",
            hint="Repeat the command with --weights and --into, or remove the folder and train anew.",
        )


def _beside_swept(recipe: Recipe, swept: dict[str, Any], loop: "Loop", progress: Progress) -> Recipe:
    """The recipe to go on with after weights with other thresholds: with theirs where no more steps are to come."""
    if loop.iteration >= recipe.train.iterations:
        return replace(recipe, inference=replace(recipe.inference, **swept))
    theirs, own = (
        ", ".join(f"{name} {values[name]:g}" for name in swept) for values in (swept, asdict(recipe.inference))
    )
    progress.message(f"The newest weights have thresholds of a sweep ({theirs}); later ones have the recipe's ({own}).")
    return recipe


def _recipe(named: str | Path | Recipe, overrides: Sequence[str]) -> Recipe:
    if isinstance(named, Recipe):
        return recipe_file.with_overrides(named, overrides)
    return recipe_file.load(str(named), overrides)


def _device_and_sets(recipe: Recipe, device: str) -> "tuple[torch.device, PanopticSet, PanopticSet]":
    """The device, the training set and the validation set."""
    where = choose_device(device)
    if where.type == "cpu":
        keep_freed_memory()
    return where, *_sets(recipe)


def _sets(recipe: Recipe) -> tuple[PanopticSet, PanopticSet]:
    """The training set and the validation set."""
    train_set, val_set = (prepared_set(recipe, split) for split in (recipe.data.train_split, recipe.data.val_split))
    if train_set.categories != val_set.categories:
        raise DataError(
            f"{train_set.name}: the splits {train_set.split} and {val_set.split} do not have the same classes.",
            hint="Prepare both from the same dataset.",
        )
    return train_set, val_set


def _checkpoints(run: RunFolder, recipe: Recipe, train_set: PanopticSet, step: "Step") -> "CheckpointKeeper":
    from yoso_cli.training.checkpoint import CheckpointKeeper

    provenance = {
        "run": run.path.name,
        "dataset": train_set.name,
        "split": train_set.split,
        "images": len(train_set.records),
        "versions": machine.versions(machine.MODEL_PACKAGES),
    }
    return CheckpointKeeper(
        run,
        step,
        recipe=recipe.to_dict(),
        categories=train_set.categories,
        provenance=provenance,
        keep=recipe.train.keep,
    )


def _require_same_recipe(recipe: Recipe, into: Path) -> None:
    if RunFolder.open(into).recipe() != recipe:
        raise UsageError(
            f"{into}: contains a run of another recipe, or of other --set values.",
            hint=f"Name another folder, or resume that run: `yoso train --resume {shlex.quote(str(into))}`.",
        )
