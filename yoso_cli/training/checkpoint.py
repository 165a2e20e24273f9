"""Checkpoints: weights, optimizer, loss scale, moving average and progress of the loop.

    iteration-0000500/weights.safetensors   for all commands; the moving average where there is one
    iteration-0000500/training.pt           the rest; only tensors and plain values
    iteration-0000500/checkpoint.json       the hashes of both, to detect corruption

There is no random state in it: data order, augmentation and sampled points are functions of (seed, iteration).
"""

import copy
import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yoso_cli import atomic
from yoso_cli.errors import DataError, RunError
from yoso_cli.model.weights import Weights, load_state, load_weights, save_weights, write_weights
from yoso_cli.model.yoso import YOSO
from yoso_cli.panoptic.types import Category
from yoso_cli.run_folder import MANIFEST_FILE, TRAINING_FILE, WEIGHTS_FILE, RunFolder
from yoso_cli.runtime.json_text import read_json
from yoso_cli.training.step import Step

VERSION = 2


@dataclass(frozen=True)
class Loop:
    """Progress of the loop.

    Attributes:
        iteration: steps done, including skipped ones.
        skipped: steps skipped because they were not finite.
        unreadable: unreadable pictures, which were replaced by others.
    """

    iteration: int = 0
    skipped: int = 0
    unreadable: int = 0


@dataclass(frozen=True)
class Snapshot:
    """A copy of the training state on the host, independent of the running training."""

    weights: YOSO
    training: dict[str, Any]


def snapshot(step: Step, loop: Loop) -> Snapshot:
    """Copies the state of a checkpoint: the only part of saving that blocks training."""
    average = step.average
    training = {
        "format": "yoso-training",
        "version": VERSION,
        "loop": asdict(loop),
        "optimizer": step.optimizer.state_dict(),
        "scaler": step.scaler.state_dict(),
        # If the weights file has the moving average, the trained weights themselves are here.
        "model": step.model.state_dict() if average else None,
    }
    weights = copy.deepcopy(average.module if average else step.model)
    weights.zero_grad()  # gradients are copied along, and are half of it
    return Snapshot(weights.cpu().to(memory_format=torch.contiguous_format), _on_host(training))


def save(
    folder: Path,
    moment: Snapshot,
    *,
    recipe: Mapping[str, Any],
    categories: tuple[Category, ...],
    provenance: dict[str, Any],
) -> None:
    """Writes a checkpoint to `folder`, which appears when it is complete.

    Args:
        folder: as `RunFolder.checkpoint_path` names it.
        moment: what to write; its weights file is usable by itself.
        recipe: stored in the weights file, as plain values.
        categories: stored in the weights file.
        provenance: stored in the weights file.

    Raises:
        RunError: the disk is full or the place cannot be written; what was there before is untouched.
    """
    with atomic.replacing_folder(folder) as temporary:
        weights = temporary / WEIGHTS_FILE
        save_weights(weights, moment.weights, recipe=recipe, categories=categories, provenance=provenance)
        _write(temporary / TRAINING_FILE, moment.training, folder)
        hashes = {name: _digest(temporary / name) for name in (WEIGHTS_FILE, TRAINING_FILE)}
        atomic.write_json(temporary / MANIFEST_FILE, {"version": VERSION, "sha256": hashes}, indent=2)


def replace_weights(weights: Weights) -> None:
    """Writes `weights` to their path, which exists, in one step.

    A checkpoint's are replaced together with the hash in its manifest, so that training resumes from it.

    Raises:
        DataError: the checkpoint is damaged.
        RunError: the disk is full or the place cannot be written; what was there before is untouched.
    """
    folder = weights.path.parent
    manifest = folder / MANIFEST_FILE
    resumable = manifest.is_file() and (folder / TRAINING_FILE).is_file()
    if weights.path.name != WEIGHTS_FILE or not resumable:
        write_weights(weights.path, weights)
        return
    _check_hashes(folder)
    told = read_json(manifest)
    with atomic.replacing_folder(folder) as temporary:
        for path in folder.iterdir():
            if path.name not in (WEIGHTS_FILE, MANIFEST_FILE):
                shutil.copyfile(path, temporary / path.name)
        write_weights(temporary / WEIGHTS_FILE, weights)
        hashes = {**told["sha256"], WEIGHTS_FILE: _digest(temporary / WEIGHTS_FILE)}
        atomic.write_json(temporary / MANIFEST_FILE, {**told, "sha256": hashes}, indent=2)


def load(folder: Path, step: Step) -> Loop:
    """Restores `step` from a checkpoint; returns the progress of the loop.

    Raises:
        DataError: a file is missing, damaged, of another tool or version, or does not fit the model. `step` may then be
            partly restored.
    """
    path = folder / TRAINING_FILE
    _require_training(path)
    # Before it is unpickled: damage is found as such.
    _check_hashes(folder)
    state = _read(path)
    weights = load_weights(folder / WEIGHTS_FILE)
    load_state(step.average.module if step.average else step.model, weights)
    try:
        if step.average:
            step.model.load_state_dict(state["model"])
        step.optimizer.load_state_dict(state["optimizer"])
        if step.scaler.is_enabled():
            step.scaler.load_state_dict(state["scaler"])
        moments = step.optimizer.state.items()
        fits = all(moment["exp_avg"].shape == parameter.shape for parameter, moment in moments)
        loop = Loop(**state["loop"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise _damaged(path, str(error)) from error
    if not fits:
        raise _damaged(path, "its optimizer state is that of another model")
    return loop


def prune(checkpoints: Sequence[Path], *, keep: int, best: Path | None = None) -> None:
    """Removes all `checkpoints` (oldest first) except the newest `keep` and `best`, and unfinished ones.

    With `keep` above 1 there is an earlier checkpoint in case the newest is damaged.
    """
    for folder in checkpoints[: -max(keep, 1)]:
        if folder == best:
            continue
        # What stays is in the way of nobody, and no reason to end a training.
        with suppress(OSError):
            atomic.remove_folder(folder)
    for parent in {folder.parent for folder in checkpoints}:
        atomic.remove_leftovers(parent)


class CheckpointKeeper:
    """The checkpoints of one run: written in the background, and restored when a run is resumed.

    Args:
        run: the run folder.
        step: whose state is saved and restored.
        recipe: stored in the weights file, as plain values.
        categories: stored in the weights file.
        provenance: stored in the weights file, with the iteration added.
        keep: how many of the newest are kept, besides the best.
    """

    def __init__(
        self,
        run: RunFolder,
        step: Step,
        *,
        recipe: Mapping[str, Any],
        categories: tuple[Category, ...],
        provenance: Mapping[str, Any],
        keep: int,
    ) -> None:
        self._run = run
        self._step = step
        self._recipe = recipe
        self._categories = categories
        self._provenance = provenance
        self._keep = keep
        # Python waits for its thread at exit, so that a checkpoint is completed.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def save(self, loop: Loop) -> None:
        """Copies the state of a checkpoint and writes it in the background.

        Raises:
            RunError: the previous checkpoint could not be written.
        """
        moment = snapshot(self._step, loop)
        self.finish()
        self._pending = self._writer.submit(self._write, moment, loop.iteration)

    def finish(self) -> None:
        """Waits until all is written. Raises RunError where it could not be."""
        pending, self._pending = self._pending, None
        if pending:
            pending.result()

    def newest(self, warn: Callable[[str], None]) -> Loop:
        """Restores the step from the newest intact checkpoint; reports damaged ones to `warn`.

        What a kill has left beside them is removed: a run whose last step is done saves nothing more, which would.

        Raises:
            DataError: all of them are damaged.
        """
        atomic.remove_leftovers(self._run.checkpoint_path(0).parent)
        folders = self._run.checkpoints()
        for folder in reversed(folders):
            try:
                return load(folder, self._step)
            except DataError as error:
                if folder == folders[0]:
                    raise
                warn(f"Warning: {error.message} Resuming from the previous checkpoint.")
        return Loop()

    def _write(self, moment: Snapshot, iteration: int) -> None:
        provenance = {**self._provenance, "iteration": iteration}
        folder = self._run.checkpoint_path(iteration)
        save(folder, moment, recipe=self._recipe, categories=self._categories, provenance=provenance)
        prune(self._run.checkpoints(), keep=self._keep, best=self._run.best())


def _on_host(value: Any) -> Any:
    """A copy of nested containers with every tensor on the host."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _on_host(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_on_host(item) for item in value]
    return value


def _write(path: Path, state: dict[str, Any], folder: Path) -> None:
    try:
        torch.save(state, path)
    except RuntimeError as error:
        # torch's writer does not give the reason; a full disk is the likely one.
        free = shutil.disk_usage(path.parent).free
        raise RunError(
            f"{folder}: the checkpoint cannot be written; {free // 2**20} MiB are free.",
            hint="Free some space and resume from the previous checkpoint, which is intact.",
        ) from error


def _require_training(path: Path) -> None:
    if not path.is_file():
        raise DataError(
            f"{path}: the optimizer state is missing, so training cannot resume from this checkpoint.",
            hint="Start a new run from its weights: `yoso train RECIPE --weights FILE`.",
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        # Only tensors and plain containers: an untrusted file cannot run code.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what torch and pickle raise about a foreign file is not written down anywhere
        raise _damaged(path, "it is truncated or not a checkpoint") from error
    if not isinstance(state, dict) or state.get("format") != "yoso-training":
        raise _damaged(path, "it was not written by `yoso train`")
    if state.get("version") != VERSION:
        raise DataError(
            f"{path}: checkpoint version {state.get('version')} is not supported.",
            hint="Start a new run from its weights: `yoso train RECIPE --weights FILE`.",
        )
    return state


def _check_hashes(folder: Path) -> None:
    path = folder / MANIFEST_FILE
    try:
        hashes = dict(read_json(path)["sha256"])
    except (DataError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, "it is missing or truncated") from error
    for name in (WEIGHTS_FILE, TRAINING_FILE):
        if not (folder / name).is_file() or hashes.get(name) != _digest(folder / name):
            raise _damaged(folder / name, "its hash does not match")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        found = hashlib.sha256()
        while chunk := file.read(2**20):
            found.update(chunk)
    return found.hexdigest()


def _damaged(path: Path, why: str) -> DataError:
    return DataError(
        f"{path}: training cannot resume from this file: {why}.",
        hint=f"Remove {path.parent} to resume from the previous checkpoint.",
    )
