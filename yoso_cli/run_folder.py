"""The run folder.

runs/<name>-NNN/
  recipe.yaml            the resolved recipe; a folder without it is not a run
  metrics.jsonl          one JSON object per logged iteration, behind its checksum
  checkpoints/iteration-0000500/{weights.safetensors, training.pt, checkpoint.json}     complete once it has this name
  reparam.safetensors    written by `yoso reparam`
  report.json            evaluation of the newest checkpoint with the recipe in it; report.html is the same as a page
  report-reparam.json    the same of reparam.safetensors, and report-reparam.html
  evaluations/test+flip/ other evaluations, named after how they differ from report.json: report.json, report.html
  latency.json           by `yoso bench` of the newest checkpoint; latency-reparam.json of reparam.safetensors
  results.csv            one row per evaluation; curves.png and samples/ are pictures
  training.json          where the dataset was, and why training failed if it did
  training.lock          locked by the process that trains the run
"""

import os
import re
import shlex
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yoso_cli import locks
from yoso_cli.atomic import (
    remove_folder,
    remove_leftovers,
    reporting,
    require_no_link,
    traces,
    write_bytes,
    write_json,
    write_text,
)
from yoso_cli.errors import DataError, RunError, UsageError, YosoError
from yoso_cli.recipe import file as recipe_file
from yoso_cli.recipe.schema import Recipe
from yoso_cli.runtime.checksum import KEY, checked_line, is_damaged
from yoso_cli.runtime.json_text import parse_json, read_json
from yoso_cli.runtime.paths import is_possible

WEIGHTS_FILE = "weights.safetensors"
TRAINING_FILE = "training.pt"
MANIFEST_FILE = "checkpoint.json"

_RECIPE, _TRAINING_RECORD, _LOCK = "recipe.yaml", "training.json", "training.lock"
_LOCK_TRIES, _LOCK_PAUSE = 10, 0.05
_REMOVE_LINE = "Remove that line to continue."

_CHECKPOINT = re.compile(r"iteration-(\d{7,})")
_RUN = re.compile(r"(.+)-(\d{3,})")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._=-]+|^\.+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class RunFolder:
    """One run on disk."""

    path: Path

    @classmethod
    def create(cls, root: Path, name: str) -> "RunFolder":
        """Makes the next free `root/name-NNN`; safe when two runs start at the same time.

        Raises:
            UsageError: `name` is not a valid folder name.
            RunError: the folder cannot be made.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} cannot name a run.", hint="Use letters, digits, dots, dashes and underscores.")
        with reporting(root):
            root.mkdir(parents=True, exist_ok=True)
            remove_leftovers(root)
            number = 1 + max((_number(path) for path in root.iterdir() if _stem(path) == name), default=0)
            while True:
                path = root / f"{name}-{number:03d}"
                try:
                    path.mkdir()
                except FileExistsError:
                    number += 1
                else:
                    return cls(path)

    @classmethod
    def at(cls, path: Path) -> "RunFolder":
        """Makes exactly this folder; it may exist if it is empty, but for what a kill before the recipe has left.

        Raises:
            UsageError: it is not empty.
            RunError: the folder cannot be made.
        """
        left = {one.name for name in (_RECIPE, _TRAINING_RECORD) for one in traces(path / name)}
        left |= {_TRAINING_RECORD, _LOCK}
        if path.is_dir() and not left.issuperset(one.name for one in path.iterdir()):
            raise UsageError(f"{path}: is not empty and not a run.", hint="Name another folder.")
        with reporting(path):
            path.mkdir(parents=True, exist_ok=True)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """The run at `path`. Raises DataError if there is none."""
        run = cls(path)
        if not run.recipe_path.is_file():
            what = "is not a run folder: it has no recipe.yaml" if path.is_dir() else "there is no such run folder"
            raise DataError(f"{path}: {what}.", hint="`yoso train shapes` makes one under runs/.")
        return run

    @classmethod
    def all(cls, root: Path) -> list["RunFolder"]:
        """The runs under `root`, the one that was trained last first."""
        found = [cls(path) for path in root.iterdir() if not path.name.startswith(".")] if root.is_dir() else []
        return sorted((run for run in found if run.recipe_path.is_file()), key=RunFolder._age, reverse=True)

    @classmethod
    def newest(cls, root: Path) -> "RunFolder":
        """The run under `root` that `newest_of` chooses. Raises DataError if there is none."""
        runs = cls.all(root)
        if not runs:
            raise DataError(
                f"{root}: there is no run yet.",
                hint="Make one with `yoso train shapes` or `yoso demo`, or name one.",
            )
        return newest_of(runs)

    @property
    def recipe_path(self) -> Path:
        """The resolved recipe."""
        return self.path / _RECIPE

    @property
    def metrics_path(self) -> Path:
        """One JSON object per line."""
        return self.path / "metrics.jsonl"

    @property
    def results_path(self) -> Path:
        """One row for each evaluation."""
        return self.path / "results.csv"

    @property
    def curves_path(self) -> Path:
        """Losses, learning rate and PQ as a picture."""
        return self.path / "curves.png"

    def samples_path(self, iteration: int) -> Path:
        """Sample predictions after `iteration` steps."""
        return self.path / "samples" / f"iteration-{iteration:07d}.jpg"

    @property
    def report_path(self) -> Path:
        """The run's own evaluation: of the newest checkpoint, by its recipe."""
        return self.path / "report.json"

    def report_of(self, weights: Path, apart: Sequence[str] = ()) -> Path:
        """The report file of an evaluation of this run's `weights`; each kind of evaluation has its own.

        Args:
            weights: of a checkpoint, or the re-parameterised ones.
            apart: how the evaluation differs from the run's own, a word for each: a split, a view, a setting.
        """
        folded = weights == self.reparameterised
        earlier = not folded and weights.parent != self.checkpoints()[-1]
        if not apart and not earlier:
            return self.path / "report-reparam.json" if folded else self.report_path
        words = [*["reparam"] * folded, *[weights.parent.name] * earlier, *apart]
        return self.path / "evaluations" / "+".join(_NOT_IN_A_NAME.sub("_", word) for word in words) / "report.json"

    @property
    def reparameterised(self) -> Path:
        """The re-parameterised weights of `yoso reparam`."""
        return self.path / "reparam.safetensors"

    @property
    def latency_paths(self) -> dict[str, Path]:
        """The latency of the newest checkpoint, `trained`, and of the re-parameterised weights, `reparam`."""
        return {"trained": self.path / "latency.json", "reparam": self.path / "latency-reparam.json"}

    def latency_of(self, weights: Path) -> Path | None:
        """The file of the latency of this run's `weights`; None for those of an earlier checkpoint."""
        if weights == self.reparameterised:
            return self.latency_paths["reparam"]
        return self.latency_paths["trained"] if weights.parent == self.checkpoints()[-1] else None

    def write_recipe(self, recipe: Recipe) -> None:
        """Writes the resolved recipe, which makes the folder a run."""
        write_text(self.recipe_path, recipe_file.to_yaml(recipe, comments=True))

    def recipe(self) -> Recipe:
        """The recipe that the run was made with. Raises RecipeError if it was edited and is invalid."""
        return recipe_file.read(self.recipe_path)

    def append_metrics(self, values: dict[str, Any]) -> None:
        """Appends one line to metrics.jsonl, unbuffered. Raises RunError if it cannot be written."""
        # Unbuffered: a line is one write, and a kill can truncate at most the last one.
        require_no_link(self.metrics_path)
        with reporting(self.metrics_path):
            handle = os.open(self.metrics_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            with os.fdopen(handle, "ab", buffering=0) as file:
                file.write(checked_line(values))

    def metrics(self) -> list[dict[str, Any]]:
        """Every complete line of metrics.jsonl, without its checksum; a truncated last line is ignored.

        Raises:
            DataError: another line is not a JSON object, or is damaged.
        """
        if not self.metrics_path.exists():
            return []
        lines = self.metrics_path.read_bytes().split(b"\n")
        # What follows the last line break is empty or truncated.
        found = [_parsed(line, self.metrics_path, place) for place, line in enumerate(lines[:-1], 1)]
        # Earlier versions wrote no checksums, so the first lines of a resumed run may lack them, but no later ones.
        begun = False
        for place, line in enumerate(found, 1):
            begun |= KEY in line
            if is_damaged(line) or (begun and KEY not in line):
                raise DataError(f"{self.metrics_path}:{place}: is damaged: its checksum differs.", hint=_REMOVE_LINE)
        return [{key: value for key, value in line.items() if key != KEY} for line in found]

    def truncate_metrics(self, after_iteration: int) -> None:
        """Drops the lines after an iteration, so that a resumed run does not have them twice."""
        if not self.metrics_path.exists():
            return
        kept = [line for line in self.metrics() if line.get("iteration", 0) <= after_iteration]
        write_bytes(self.metrics_path, b"".join(map(checked_line, kept)))

    def checkpoint_path(self, iteration: int) -> Path:
        """The folder of the checkpoint made after `iteration` steps."""
        return self.path / "checkpoints" / f"iteration-{iteration:07d}"

    def checkpoints(self) -> list[Path]:
        """The folders of all complete checkpoints, oldest first."""
        folder = self.path / "checkpoints"
        if not folder.is_dir():
            return []
        found = [path for path in folder.iterdir() if _CHECKPOINT.fullmatch(path.name)]
        return sorted((path for path in found if (path / WEIGHTS_FILE).is_file()), key=checkpoint_iteration)

    def best(self) -> Path | None:
        """The checkpoint of the highest PQ on the validation split; None if no evaluated one is left."""
        at = {checkpoint_iteration(path): path for path in self.checkpoints()}
        measured = [line for line in self.metrics() if line.get("pq") is not None and line.get("iteration") in at]
        # The newer of equals.
        return at[max(measured, key=lambda line: (line["pq"], line["iteration"]))["iteration"]] if measured else None

    def weights(self) -> Path:
        """The weights of the newest checkpoint. Raises DataError when the run has not saved one yet."""
        checkpoints = self.checkpoints()
        if not checkpoints:
            raise DataError(
                f"{self.path}: this run has no checkpoint yet.",
                hint=f"Train it with `yoso train --resume {shlex.quote(str(self.path))}`, or name another run.",
            )
        return checkpoints[-1] / WEIGHTS_FILE

    def is_finished(self) -> bool:
        """Whether the newest checkpoint is that of the last step; not where the recipe was edited and is invalid."""
        checkpoints = self.checkpoints()
        try:
            return bool(checkpoints) and checkpoint_iteration(checkpoints[-1]) >= self.recipe().train.iterations
        except YosoError:
            return False

    def require_no_links(self) -> None:
        """Raises DataError if a link stands where files are written: the run may be a stranger's."""
        folders = [self.path / name for name in ("checkpoints", "evaluations", "samples", "tensorboard", "wandb")]
        for path in [self.metrics_path, *folders]:
            require_no_link(path)
        for path in [inner for folder in folders if folder.is_dir() for inner in folder.iterdir()]:
            require_no_link(path)

    def begin_training(self, data_root: Path, *, from_weights: bool = False) -> "TrainingLock":
        """Locks the run for this process and records where its dataset is, and whether weights were given to it.

        Raises:
            DataError: a link stands where training writes.
            RunError: another process trains it, or the folder cannot be written.
        """
        self.require_no_links()
        lock = TrainingLock(self.path)
        record = {"data_root": str(data_root.absolute())}
        write_json(self.path / _TRAINING_RECORD, {**record, "from_weights": True} if from_weights else record)
        return lock

    def record_failure(self, why: str) -> None:
        """Records why training ended before the last step. Raises RunError if it cannot be written."""
        write_json(self.path / _TRAINING_RECORD, {**self._training_record(), "failure": why})

    def data_root(self) -> Path | None:
        """The folder of all datasets when the run was trained; None if it was not recorded."""
        found = self._training_record().get("data_root")
        return Path(found) if isinstance(found, str) and found and is_possible(found) else None

    def begins_from_weights(self) -> bool:
        """Whether its first checkpoint is to have weights that the recipe does not name."""
        return self._training_record().get("from_weights") is True

    def failure(self) -> str | None:
        """Why training failed the last time; None if it did not."""
        found = self._training_record().get("failure")
        return found if isinstance(found, str) else None

    def _training_record(self) -> dict[str, Any]:
        # A damaged one counts as none.
        try:
            return read_json(self.path / _TRAINING_RECORD)
        except DataError:
            return {}

    def is_training(self) -> bool:
        """Whether a process trains this run now; a network file system must support locks to tell of other machines."""
        try:
            return not TrainingLock.is_free(self.path)
        except OSError:
            return False

    def remove(self) -> None:
        """Deletes the run folder; a link to one is deleted alone, and what links in it lead to is left.

        Raises:
            RunError: a process trains it, or it cannot be deleted.
        """
        if self.path.is_symlink():
            with reporting(self.path):
                self.path.unlink()
            return
        lock = TrainingLock(self.path)
        try:
            with reporting(self.path):
                remove_folder(self.path)
        finally:
            lock.release()

    def trained_at(self) -> float:
        """When training last wrote here, in seconds since 1970; evaluating an old run does not make it the newest."""
        return self._touched() / 1e9

    def _age(self) -> tuple[int, int, str]:
        """Sort key: the time of training, then the number."""
        return self._touched(), _number(self.path), self.path.name

    def _touched(self) -> int:
        files = (self.recipe_path, self.metrics_path, self.path / "checkpoints")
        return max(file.stat().st_mtime_ns for file in files if file.exists())


class TrainingLock:
    """Held by the process that trains a run, and freed when that ends in whatever way.

    Args:
        run: the run folder.

    Raises:
        RunError: another process holds it, or it cannot be written.
    """

    def __init__(self, run: Path) -> None:
        import fcntl

        path = run / _LOCK
        with reporting(path):
            # A run folder may be a stranger's: a link in it is not followed.
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        self._close = weakref.finalize(self, os.close, handle)
        # Loader processes are copies of this one, and would hold the lock after it was killed.
        os.register_at_fork(after_in_child=self._close)
        holder = ""
        for _ in range(_LOCK_TRIES):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = locks.holder(handle)
                time.sleep(_LOCK_PAUSE)  # `is_free` holds it for a moment
            except OSError:
                return  # a file system without locks
            else:
                return
        self.release()
        raise RunError(f"{run}: is being trained by another yoso{holder}.", hint="Wait for it, or stop it with Ctrl-C.")

    def release(self) -> None:
        """Frees the run."""
        self._close()

    @staticmethod
    def is_free(run: Path) -> bool:
        """Whether no process trains the run. Raises OSError where that cannot be told."""
        import fcntl

        path = run / _LOCK
        if not path.is_file():
            return True
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(handle)
        return True


def newest_of(runs: Sequence[RunFolder]) -> RunFolder:
    """Of `runs`, newest first, the first finished one; without any the first with a checkpoint, else the first."""
    finished = (run for run in runs if run.is_finished())
    usable = (run for run in runs if run.checkpoints())
    return next(finished, None) or next(usable, runs[0])


def checkpoint_iteration(path: Path) -> int:
    """The iteration after which a checkpoint folder was made, from its name."""
    match = _CHECKPOINT.fullmatch(path.name)
    if match is None:
        raise DataError(
            f"{path}: is not a checkpoint folder.", hint="A checkpoint folder is named like iteration-0000500."
        )
    return int(match[1])


def _stem(path: Path) -> str:
    match = _RUN.fullmatch(path.name)
    return match[1] if match else ""


def _number(path: Path) -> int:
    match = _RUN.fullmatch(path.name)
    return int(match[2]) if match else 0


def _parsed(line: bytes, path: Path, place: int) -> dict[str, Any]:
    try:
        found = parse_json(line, f"{path}:{place}")
    except DataError as error:
        raise DataError(error.message, hint=_REMOVE_LINE) from None
    iteration = found.get("iteration")
    if type(iteration) is not int or iteration < 0:
        raise DataError(f"{path}:{place}: lacks its 'iteration'.", hint=_REMOVE_LINE)
    odd = [key for key, value in found.items() if key != KEY and not _is_figure(value)]
    if odd:
        raise DataError(f"{path}:{place}: {odd[0]!r} is not a number.", hint=_REMOVE_LINE)
    return found


def _is_figure(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
