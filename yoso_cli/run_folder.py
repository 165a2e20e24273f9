"""The run folder.

runs/<name>-NNN/
  recipe.yaml            the resolved recipe; a folder without it is not a run
  metrics.jsonl          one JSON object per logged iteration
  checkpoints/iteration-0000500/{weights.safetensors, training.pt, checkpoint.json}     complete once it has this name
  reparam.safetensors    written by `yoso reparam`
  report.json            evaluation of the newest checkpoint by the run's recipe; report.html is the same as a page
  report-reparam.json    the same of reparam.safetensors, and report-reparam.html
  evaluations/test+flip/ other evaluations, named after how they differ from report.json: report.json, report.html
  results.csv            one row per evaluation; curves.png and samples/ are pictures
"""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yoso_cli.atomic import reporting, write_bytes, write_text
from yoso_cli.errors import DataError, UsageError
from yoso_cli.recipe import file as recipe_file
from yoso_cli.recipe.schema import Recipe

WEIGHTS_FILE = "weights.safetensors"
TRAINING_FILE = "training.pt"
MANIFEST_FILE = "checkpoint.json"

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
        """Makes exactly this folder; it may exist if it is empty.

        Raises:
            UsageError: it is not empty.
            RunError: the folder cannot be made.
        """
        if path.is_dir() and any(path.iterdir()):
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
    def newest(cls, root: Path) -> "RunFolder":
        """The run under `root` that was trained last; runs with a checkpoint take precedence.

        Raises:
            DataError: there is none yet.
        """
        runs = [cls(path) for path in root.iterdir() if _RUN.fullmatch(path.name)] if root.is_dir() else []
        runs = [run for run in runs if run.recipe_path.is_file()]
        if not runs:
            raise DataError(
                f"{root}: there is no run yet.",
                hint="Make one with `yoso train shapes` or `yoso demo`, or name one.",
            )
        return max(runs, key=lambda run: (bool(run.checkpoints()), *run._age()))

    def newer(self) -> list["RunFolder"]:
        """The runs in the same folder that were trained later, oldest first."""
        runs = [RunFolder(path) for path in self.path.parent.iterdir() if _RUN.fullmatch(path.name)]
        runs = [run for run in runs if run.recipe_path.is_file() and run._age() > self._age()]
        return sorted(runs, key=RunFolder._age)

    @property
    def recipe_path(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

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

    def write_recipe(self, recipe: Recipe) -> None:
        """Writes the resolved recipe, which makes the folder a run."""
        write_text(self.recipe_path, recipe_file.to_yaml(recipe, comments=True))

    def recipe(self) -> Recipe:
        """The recipe that the run was made with. Raises RecipeError if it was edited and is invalid."""
        return recipe_file.read(self.recipe_path)

    def append_metrics(self, values: dict[str, Any]) -> None:
        """Appends one line to metrics.jsonl, unbuffered. Raises RunError if it cannot be written."""
        line = (json.dumps(values) + "\n").encode()
        # Unbuffered: a line is one write, and a kill can truncate at most the last one.
        with reporting(self.metrics_path), self.metrics_path.open("ab", buffering=0) as file:
            file.write(line)

    def metrics(self) -> list[dict[str, Any]]:
        """Every complete line of metrics.jsonl; a truncated last line is ignored.

        Raises:
            DataError: another line is not a JSON object.
        """
        if not self.metrics_path.exists():
            return []
        lines = self.metrics_path.read_bytes().split(b"\n")
        # What follows the last line break is empty or truncated.
        return [_parsed(line, self.metrics_path, place) for place, line in enumerate(lines[:-1], 1)]

    def truncate_metrics(self, after_iteration: int) -> None:
        """Drops the lines after an iteration, so that a resumed run does not have them twice."""
        if not self.metrics_path.exists():
            return
        kept = [line for line in self.metrics() if line.get("iteration", 0) <= after_iteration]
        write_bytes(self.metrics_path, b"".join((json.dumps(line) + "\n").encode() for line in kept))

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

    def _age(self) -> tuple[int, int, str]:
        """Sort key: the time of training, then the number."""
        return self._touched(), _number(self.path), self.path.name

    def _touched(self) -> int:
        """When training last wrote here, in nanoseconds; evaluating an old run does not make it the newest."""
        files = (self.recipe_path, self.metrics_path, self.path / "checkpoints")
        return max(file.stat().st_mtime_ns for file in files if file.exists())


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
        value = json.loads(line)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise DataError(f"{path}:{place}: is not a JSON object.", hint="Remove that line to continue.")
    return value
