"""What a run needs to go on: weights, optimizer state and the iteration reached. Written whole or not at all.

Random numbers are no part of it: data order, augmentation and sampled points are functions of (seed, iteration).
"""

import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from yoso_cli import atomic
from yoso_cli.errors import DataError, RunError
from yoso_cli.model.weights import load_state, load_weights, save_weights
from yoso_cli.model.yoso import YOSO
from yoso_cli.panoptic.types import Category
from yoso_cli.recipe import Recipe
from yoso_cli.run_folder import TRAINING_FILE, WEIGHTS_FILE

VERSION = 1


def save(
    folder: Path,
    *,
    model: YOSO,
    optimizer: torch.optim.Optimizer,
    iteration: int,
    recipe: Recipe,
    categories: tuple[Category, ...],
    provenance: dict[str, Any],
) -> None:
    """Writes a checkpoint to `folder`, which appears when it is complete.

    Args:
        folder: as `RunFolder.checkpoint_path` names it.
        model: its weights are usable alone, by every command that takes weights.
        optimizer: its moments.
        iteration: steps done.
        recipe: travels in the weights file.
        categories: the same.
        provenance: where the weights come from, the same.

    Raises:
        RunError: the disk is full or the place cannot be written; what was there before is untouched.
    """
    with atomic.replacing_folder(folder) as temporary:
        weights = temporary / WEIGHTS_FILE
        save_weights(weights, model, recipe=recipe, categories=categories, provenance=provenance)
        state = {"format": "yoso-training", "version": VERSION, "iteration": iteration}
        _write(temporary / TRAINING_FILE, {**state, "optimizer": optimizer.state_dict()}, folder)


def load(folder: Path, *, model: YOSO, optimizer: torch.optim.Optimizer) -> int:
    """Fills model and optimizer from a checkpoint and gives the steps done.

    Raises:
        DataError: a file is missing, damaged, of another tool or version, or does not fit the model.
    """
    path = folder / TRAINING_FILE
    state = _read(path)
    load_state(model, load_weights(folder / WEIGHTS_FILE))
    try:
        optimizer.load_state_dict(state["optimizer"])
        fits = all(moments["exp_avg"].shape == parameter.shape for parameter, moments in optimizer.state.items())
        iteration = int(state["iteration"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, str(error)) from error
    if not fits:
        raise _damaged(path, "its optimizer state belongs to another model")
    return iteration


def prune(checkpoints: Sequence[Path], *, keep: int = 2) -> None:
    """Removes all but the newest `keep` of `checkpoints` (oldest first), and what a kill left half-written.

    The one before the newest stays for the day when the newest turns out to be the one that went wrong.
    """
    for folder in checkpoints[:-keep]:
        # A kill amid the removal must not leave something that looks like a checkpoint.
        aside = folder.with_name(f".{folder.name}.removed")
        folder.rename(aside)
    for parent in {folder.parent for folder in checkpoints}:
        for leftover in parent.glob(".iteration-*"):
            shutil.rmtree(leftover, ignore_errors=True)


def _write(path: Path, state: dict[str, Any], folder: Path) -> None:
    try:
        torch.save(state, path)
    except RuntimeError as error:
        # torch's own writer does not say why; a full disk is the one reason that is not a bug.
        free = shutil.disk_usage(path.parent).free
        raise RunError(
            f"{folder}: the checkpoint cannot be written; {free // 2**20} MiB are free there.",
            hint="Free some space and go on from the checkpoint before; it is untouched.",
        ) from error


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(
            f"{path}: the optimizer's state is missing, so training cannot go on from this checkpoint.",
            hint="Start a new run from its weights: `yoso train RECIPE --weights FILE`.",
        )
    try:
        # Tensors and plain containers only: a file from a stranger cannot run code.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError, KeyError) as error:
        raise _damaged(path, "it is torn, or not a checkpoint at all") from error
    if not isinstance(state, dict) or state.get("format") != "yoso-training":
        raise _damaged(path, "it was not written by `yoso train`")
    if state.get("version") != VERSION:
        raise DataError(f"{path}: checkpoint version {state.get('version')} is not known here.", hint="Update yoso.")
    return state


def _damaged(path: Path, why: str) -> DataError:
    return DataError(
        f"{path}: training cannot go on from this file: {why}.",
        hint=f"Remove {path.parent} to go on from the checkpoint before it.",
    )
