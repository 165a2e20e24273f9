"""The runs of a folder: what became of each, how good and how fast they are, and their removal."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yoso_cli.atomic import remove_leftovers
from yoso_cli.errors import DataError, RecipeError, RunError, UsageError, YosoError
from yoso_cli.recipe.schema import Recipe
from yoso_cli.run_folder import RunFolder, checkpoint_iteration
from yoso_cli.runtime.json_text import read_json
from yoso_cli.runtime.paths import require_there

if TYPE_CHECKING:
    from yoso_cli.inference.paper_figures import Point

TRAINING, FINISHED, INTERRUPTED, FAILED, EMPTY = "training", "finished", "interrupted", "failed", "no checkpoint"
"""The states of a run: a process trains it now; its last step is saved; it was stopped before; an error ended it; it
was stopped before its first checkpoint."""

# The panels of Fig. 4 by the dataset of a run.
_PANELS = {"coco": "COCO, Table 1", "cityscapes": "Cityscapes, Table 2"}


@dataclass(frozen=True)
class RunSummary:
    """What is known of one run.

    Attributes:
        folder: the run folder.
        recipe: None if it was edited and is invalid.
        iteration: steps done.
        state: TRAINING, FINISHED, INTERRUPTED, FAILED or EMPTY.
        best_pq: the highest PQ on the validation split during training, percent, else that of the run's report; None
            if it was never evaluated.
        newest_pq: the last one, percent.
        latencies: median ms of the network alone on one picture, as `yoso bench` measured it last, by weights:
            `trained` and `reparam`.
        devices: where these were measured, by weights.
        trained: when training last wrote to the folder, in local time.
        problems: what is wrong with its files or ended its training, sentences.
    """

    folder: RunFolder
    recipe: Recipe | None
    iteration: int
    state: str
    best_pq: float | None
    newest_pq: float | None
    latencies: dict[str, float]
    devices: dict[str, str]
    trained: datetime
    problems: tuple[str, ...]

    @property
    def iterations(self) -> int | None:
        """Steps of the whole run; None without a valid recipe."""
        return self.recipe.train.iterations if self.recipe else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.folder.path.name,
            "run": str(self.folder.path),
            "recipe": self.recipe.name if self.recipe else None,
            "dataset": self.recipe.data.name if self.recipe else None,
            "iteration": self.iteration,
            "iterations": self.iterations,
            "state": self.state,
            "best_pq": self.best_pq,
            "newest_pq": self.newest_pq,
            "network_ms": self.latencies,
            "devices": self.devices,
            "trained": self.trained.isoformat(timespec="seconds"),
            "problems": list(self.problems),
        }


def list_runs(runs: str | Path = "runs") -> list[RunSummary]:
    """All runs under `runs`, the one trained last first; a damaged one says in `problems` what is wrong with it.

    Raises:
        UsageError: there is no such folder.
    """
    folder = Path(runs)
    if folder != Path("runs"):
        require_there(folder)
    return [summarise(run) for run in RunFolder.all(folder)]


def summarise(run: RunFolder) -> RunSummary:
    """What is known of `run`, whatever is damaged in it."""
    problems: list[str] = []
    recipe, metrics = None, []
    try:
        recipe = run.recipe()
    except RecipeError as error:
        problems += error.problems
    except (YosoError, OSError) as error:
        problems.append(str(error))
    try:
        metrics = run.metrics()
    except (YosoError, OSError) as error:
        problems.append(str(error))
    checkpoints = run.checkpoints()
    saved = checkpoint_iteration(checkpoints[-1]) if checkpoints else 0
    logged = [line["iteration"] for line in metrics if isinstance(line.get("iteration"), int)]
    pqs = [100 * pq for line in metrics if (pq := _number(line.get("pq"))) is not None]
    # The demo's training is evaluated afterwards, which only the report tells.
    pqs = pqs or _reported(run, problems)
    latencies, devices = _latencies(run, problems)
    if failure := run.failure():
        problems.append(f"Training failed: {failure}")
    return RunSummary(
        run,
        recipe,
        iteration=max([saved, *logged]),
        state=_state(run, recipe, saved, failed=failure is not None),
        best_pq=max(pqs, default=None),
        newest_pq=pqs[-1] if pqs else None,
        latencies=latencies,
        devices=devices,
        trained=datetime.fromtimestamp(run.trained_at()),
        problems=tuple(problems),
    )


def _state(run: RunFolder, recipe: Recipe | None, saved: int, *, failed: bool) -> str:
    if run.is_training():
        return TRAINING
    if recipe and saved >= recipe.train.iterations:
        return FINISHED
    if failed:
        return FAILED
    return INTERRUPTED if saved else EMPTY


def _reported(run: RunFolder, problems: list[str]) -> list[float]:
    """PQ of the run's report, percent, if it has one; adds to `problems` why it cannot be read."""
    if not run.report_path.is_file():
        return []
    try:
        pq = _number(read_json(run.report_path)["quality"]["all"]["pq"])
    except DataError as error:
        problems.append(str(error))
        return []
    except (KeyError, TypeError):
        problems.append(f"{run.report_path}: is damaged. `yoso eval` writes it again.")
        return []
    return [] if pq is None else [pq]


def _latencies(run: RunFolder, problems: list[str]) -> tuple[dict[str, float], dict[str, str]]:
    """Median ms of the network alone and the device, by weights; adds to `problems` what cannot be read."""
    latencies, devices = {}, {}
    for weights, path in run.latency_paths.items():
        if not path.is_file():
            continue
        try:
            kept = read_json(path)
            forward = kept.get("forward")
            median = _number(forward.get("median_ms")) if isinstance(forward, dict) else None
        except DataError as error:
            problems.append(str(error))
            continue
        if median is None:
            problems.append(f"{path}: has no latency. `yoso bench` measures it again.")
        else:
            latencies[weights], devices[weights] = median, str(kept.get("device", ""))
    return latencies, devices


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


@dataclass(frozen=True)
class Plotted:
    """The plot of PQ over latency.

    Attributes:
        path: the picture.
        points: name, PQ in percent and ms of each point of ours, by panel.
        left_out: runs without a point, and why: sentences.
    """

    path: Path
    points: "dict[str, list[Point]]"
    left_out: tuple[str, ...]


def plot_runs(path: str | Path, runs: str | Path = "runs") -> Plotted:
    """Draws PQ over the latency of the network for all runs beside the paper's points (its Fig. 4), as a PNG.

    A run has a point for its newest checkpoint and one for its re-parameterised weights, where `yoso bench` has
    measured them. Datasets that the figure does not have get a panel of their own.

    Raises:
        UsageError: there is no such folder of runs, or `path` does not end in .png.
        DataError: no run has both figures.
        RunError: the picture cannot be written.
    """
    from yoso_cli.inference.paper_figures import draw_pq_over_latency

    if Path(path).suffix.lower() != ".png":
        raise UsageError(f"{path}: the plot is a PNG.", hint="Use a name that ends in .png.")
    points: dict[str, list[Point]] = {}
    left_out: list[str] = []
    devices: set[str] = set()
    for run in list_runs(runs):
        found = _points(run, left_out)
        if found and run.recipe:
            name = run.recipe.data.name
            points.setdefault(_PANELS.get(name, name), []).extend(found)
            devices.update(run.devices.values())
    if not points:
        raise DataError(
            f"{runs}: no run has both PQ and latency. {' '.join(left_out)}".rstrip(),
            hint="`yoso train` measures PQ, `yoso bench` latency.",
        )
    draw_pq_over_latency(Path(path), points, device=" and ".join(sorted(devices)))
    return Plotted(Path(path), points, tuple(left_out))


def _points(run: RunSummary, left_out: list[str]) -> "list[Point]":
    """The points of a run; adds to `left_out` why it has none, or why its re-parameterised weights have none."""
    from yoso_cli.api.weights import outdated
    from yoso_cli.inference.paper_figures import Point

    name, folder = run.folder.path.name, run.folder
    if run.recipe is None or run.newest_pq is None or not run.latencies:
        lacking = "valid recipe" if run.recipe is None else "PQ" if run.newest_pq is None else "latency"
        left_out.append(f"{name}: no {lacking}.")
        return []
    found = []
    for weights, latency in run.latencies.items():
        pq = run.newest_pq
        if weights == "reparam":
            if not folder.reparameterised.is_file():
                left_out.append(f"{name}: its re-parameterised weights are gone.")
                continue
            if problem := outdated(folder.reparameterised, folder.weights()):
                left_out.append(f"{name}: {folder.reparameterised.name} {problem}.")
                continue
        found.append(Point(name if weights == "trained" else f"{name} {weights}", pq, latency))
    return found


def removable(named: Sequence[str], runs: str | Path = "runs") -> list[RunFolder]:
    """The runs called `named`: names of folders in `runs`, or paths to them.

    What a removal that was killed has left in `runs` is removed first.

    Raises:
        UsageError: one lies elsewhere.
        DataError: one is no run folder.
        RunError: one is being trained.
    """
    root = Path(runs)
    remove_leftovers(root)
    found = []
    for one in dict.fromkeys(named):
        path = root / one if Path(one).name == one else Path(one)
        if path.name in ("", "..") or path.parent.resolve() != root.resolve():
            raise UsageError(f"{one}: is not in {root}.", hint="Name its folder of runs with --runs DIR.")
        run = RunFolder.open(path)
        if run.is_training():
            raise RunError(f"{path}: is being trained now.", hint="Stop that first, with Ctrl-C in its terminal.")
        found.append(run)
    return found


def remove_runs(named: Sequence[str], runs: str | Path = "runs") -> list[Path]:
    """Deletes runs; nothing is deleted unless all can be, and links are never followed. Raises as `removable`."""
    chosen = removable(named, runs)
    for run in chosen:
        run.remove()
    return [run.path for run in chosen]
