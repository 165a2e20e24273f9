"""Settings that choose themselves: learning rate, augmentation and size of a recipe by successive halving.

Every trial is a run of the recipe with other values. It is evaluated after a ninth, a third and all of its steps, and
goes on only while it is among the best third of the trials that came so far (Jamieson and Talwalkar, arXiv:1502.07943;
Li et al., arXiv:1810.05934). optuna proposes the values. What is known is in tune.json after every evaluation, and a
trial is a run that can be resumed, so a kill costs at most a ninth of a trial, and changes nothing of the choice.
"""

import importlib.util
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yoso_cli import atomic
from yoso_cli.api.evaluate import evaluate
from yoso_cli.api.train import open_training, require_trainable
from yoso_cli.errors import DataError, StepError, UsageError, YosoError
from yoso_cli.recipe import file as recipe_file
from yoso_cli.recipe.schema import Recipe
from yoso_cli.run_folder import RunFolder, TrainingLock
from yoso_cli.runtime.json_text import read_json
from yoso_cli.runtime.progress import SILENT, Progress

if TYPE_CHECKING:
    import optuna

_FORMAT, _FILE = "yoso-tune", "tune.json"
_THIRD = 3
_SHARES = (9, 3, 1)
# How much of a full training a trial takes on average, as two of three stop at each evaluation.
_AVERAGE = 0.3
_LEAST_STEPS = 9

TRIALS = 20
"""Of a search, where it is not said."""
SCALES = {"own": None, "none": (1.0, 1.0), "some": (0.7, 1.4), "much": (0.4, 2.0)}
"""Ranges of the jitter of scale."""
SIZES = (0.75, 1.0, 1.25)


@dataclass
class Trial:
    """One trial: its values, PQ (fractions) by steps, and whether it is `running`, `finished` or `stopped`."""

    number: int
    params: dict[str, Any]
    pq: dict[str, float] = field(default_factory=dict)
    state: str = "running"

    @property
    def last(self) -> float:
        """The newest PQ; -1 before the first."""
        return max(((int(steps), pq) for steps, pq in self.pq.items()), default=(0, -1.0))[1]


@dataclass
class Tuning:
    """What was tried.

    Attributes:
        folder: of the trials.
        recipe: that is tuned.
        steps: of a whole trial.
        wanted: how many trials there are to be.
        trials: in their order; the first has the recipe's own values.
    """

    folder: Path
    recipe: Recipe
    steps: int
    wanted: int
    trials: list[Trial] = field(default_factory=list)

    @property
    def best(self) -> Trial | None:
        """Of those that were trained longest, that of the highest PQ."""
        seen = [one for one in self.trials if one.pq]
        return max(seen, key=lambda one: (max(map(int, one.pq)), one.last), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; PQ as fractions."""
        trials = [asdict(one) for one in self.trials]
        head = {"format": _FORMAT, "version": 1, "recipe": self.recipe.to_dict()}
        return {**head, "steps": self.steps, "wanted": self.wanted, "trials": trials}


def tune(
    recipe: Recipe | None,
    *,
    trials: int | None = None,
    minutes: float = 60.0,
    steps: int | None = None,
    resume: Path | None = None,
    runs: Path = Path("runs"),
    device: str = "auto",
    progress: Progress = SILENT,
) -> Tuning:
    """Searches values for `recipe`; writes best.yaml, trials.png and tune.json into a new folder of `runs`.

    Args:
        recipe: with a prepared dataset; None with `resume`.
        trials: how many at most; None for as many as the search with `resume` began with, else TRIALS.
        minutes: after which no evaluation is waited for any more.
        steps: of a whole trial; None for as many as the minutes allow, by the time of a few steps.
        resume: the folder of a search that was stopped; its recipe and steps are taken.
        runs: the folder of all runs.
        device: auto, cpu, cuda or cuda:N.
        progress: shows progress and messages.

    Raises:
        UsageError: optuna is missing, or `resume` is no search.
        DataError: the dataset or the weights are missing or damaged.
        RunError: no such device, something cannot be written, or another process runs this search.
    """
    if importlib.util.find_spec("optuna") is None:
        raise UsageError("yoso tune needs the package optuna.", hint="Type `pip install 'yoso-cli[tune]'`.")
    deadline = time.monotonic() + 60 * minutes
    if resume is not None:
        _require_search(resume)
        folder = resume
    else:
        assert recipe is not None, "one of the two is given"
        require_trainable(recipe, 1, "cpu")  # before there is a folder
        whole = steps or _steps(recipe, trials or TRIALS, minutes, device)
        folder = RunFolder.create(runs, f"tune-{recipe.name}").path
        _write(Tuning(folder, recipe, whole, trials or TRIALS))
    lock = TrainingLock(folder)
    try:
        tuning = _read(folder)
        tuning.wanted = trials or tuning.wanted
        while time.monotonic() < deadline and (_unfinished(tuning) or len(tuning.trials) < tuning.wanted):
            _run(tuning, _unfinished(tuning) or _proposed(tuning), deadline, device, progress)
        _conclude(tuning)
    finally:
        lock.release()
    return tuning


def changed(recipe: Recipe, params: Mapping[str, Any]) -> Recipe:
    """`recipe` with the values of a trial."""
    augment, used = recipe.augment, recipe.inference
    factor = params["size"]

    def scaled(edge: int) -> int:
        return max(32, round(edge * factor / 32) * 32) if factor != 1 else edge

    low, high = SCALES[params["scale"]] or (augment.scale_min, augment.scale_max)
    return replace(
        recipe,
        train=replace(recipe.train, lr=params["lr"]),
        augment=replace(
            augment,
            scale_min=low,
            scale_max=high,
            color=params["color"],
            crop_height=scaled(augment.crop_height),
            crop_width=scaled(augment.crop_width),
        ),
        inference=replace(used, short_edge=scaled(used.short_edge), long_edge=scaled(used.long_edge)),
    )


def _steps(recipe: Recipe, trials: int, minutes: float, device: str) -> int:
    """As many steps as let so many trials end in time, by the time of a few of them."""
    import tempfile

    timed = 6
    with tempfile.TemporaryDirectory() as folder:
        plan = replace(recipe.train, iterations=timed, evaluate_every=0, checkpoint_every=timed)
        training = open_training(replace(recipe, train=plan), runs=Path(folder), device=device)
        began = time.monotonic()
        training.run_without_evaluation()
        seconds = (time.monotonic() - began) / timed
    found = int(60 * minutes / (trials * _AVERAGE * seconds))
    if found < _LEAST_STEPS:
        raise UsageError(
            f"{minutes:g} minutes are too few for {trials} trials: a step takes {seconds:.1f} s.",
            hint="Give more minutes or fewer trials.",
        )
    return min(found, recipe.train.iterations)


def _unfinished(tuning: Tuning) -> Trial | None:
    return next((one for one in tuning.trials if one.state == "running"), None)


def _study(tuning: Tuning) -> "optuna.Study":
    """optuna's, with what is known of the trials."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=tuning.recipe.train.seed + len(tuning.trials), n_startup_trials=5)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for one in tuning.trials:
        known = {name: one.params[name] for name in _space(tuning.recipe)}
        study.add_trial(
            optuna.trial.create_trial(params=known, distributions=_space(tuning.recipe), value=max(one.last, 0.0))
        )
    return study


def _space(recipe: Recipe) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    lr = recipe.train.lr
    return {
        "lr": FloatDistribution(lr / 4, lr * 4, log=True),
        "scale": CategoricalDistribution(list(SCALES)),
        "color": CategoricalDistribution(["none", "ssd"]),
        "size": CategoricalDistribution(list(SIZES)),
    }


def _proposed(tuning: Tuning) -> Trial:
    """The next trial: first the recipe's own values."""
    own = {"lr": tuning.recipe.train.lr, "scale": "own", "color": tuning.recipe.augment.color, "size": 1.0}
    params = dict(_study(tuning).ask(_space(tuning.recipe)).params) if tuning.trials else own
    tuning.trials.append(Trial(len(tuning.trials), params))
    _write(tuning)
    return tuning.trials[-1]


def _run(tuning: Tuning, trial: Trial, deadline: float, device: str, progress: Progress) -> None:
    """Trains and evaluates a trial as long as it is good enough, and time is left."""
    folder = tuning.folder / "trials" / f"trial-{trial.number:03d}"
    recipe = _of_trial(tuning, trial)
    for share in _SHARES:
        until = max(1, tuning.steps // share)
        if str(until) not in trial.pq:
            try:
                training = open_training(recipe, into=folder, device=device, progress=SILENT)
                ended = training.run_without_evaluation(until=until)
                if ended.iteration < until:
                    raise KeyboardInterrupt
                trial.pq[str(until)] = evaluate(folder, device=device).quality.all.pq or 0.0
            except StepError as error:
                progress.message(f"Trial {trial.number} ended: {error.message}")
                trial.pq[str(until)], trial.state = 0.0, "stopped"
        progress.message(f"Trial {trial.number}: PQ {100 * trial.last:.1f} after {until} of {tuning.steps} steps.")
        if trial.state != "running" or (until < tuning.steps and not _is_among_best(tuning, trial, until)):
            trial.state = "stopped"
        elif until == tuning.steps:
            trial.state = "finished"
        _write(tuning)
        if trial.state != "running" or time.monotonic() > deadline:
            return


def _of_trial(tuning: Tuning, trial: Trial) -> Recipe:
    recipe = changed(tuning.recipe, trial.params)
    saved = max(1, tuning.steps // _SHARES[0])
    plan = replace(recipe.train, iterations=tuning.steps, evaluate_every=0, checkpoint_every=saved, keep=1)
    plan = replace(plan, warmup=min(plan.warmup, tuning.steps // 10))
    return replace(recipe, name=f"trial-{trial.number:03d}", train=plan)


def _is_among_best(tuning: Tuning, trial: Trial, steps: int) -> bool:
    """Whether it is in the best third of all that were evaluated after so many steps; the first always is."""
    found = sorted((one.pq[str(steps)] for one in tuning.trials if str(steps) in one.pq), reverse=True)
    return trial.pq[str(steps)] >= found[max(1, len(found) // _THIRD) - 1]


def _conclude(tuning: Tuning) -> None:
    """Writes the recipe with the best values, and the plot."""
    from yoso_cli.training.curves import write_trials

    best = tuning.best
    if best is None:
        return
    recipe = changed(tuning.recipe, best.params)
    atomic.write_text(tuning.folder / "best.yaml", recipe_file.to_yaml(recipe))
    write_trials(tuning.folder / "trials.png", [(one.number, one.pq) for one in tuning.trials], best.number)


def _write(tuning: Tuning) -> None:
    atomic.write_json(tuning.folder / _FILE, tuning.to_dict(), indent=1)


def _require_search(folder: Path) -> None:
    """Raises UsageError if there is no search in `folder`."""
    if not (folder / _FILE).is_file():
        raise UsageError(
            f"{folder}: there is no search of `yoso tune`.", hint="Name its folder, as runs/tune-mine-001."
        )


def _read(folder: Path) -> Tuning:
    path = folder / _FILE
    plain = read_json(path)
    try:
        if plain["format"] != _FORMAT:
            raise ValueError("of another tool")
        trials = [
            Trial(int(one["number"]), dict(one["params"]), dict(one["pq"]), str(one["state"]))
            for one in plain["trials"]
        ]
        recipe = recipe_file.from_dict(plain["recipe"], str(path))
        for one in trials:
            changed(recipe, one.params)
        return Tuning(folder, recipe, int(plain["steps"]), int(plain["wanted"]), trials)
    except YosoError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: is damaged ({error}).", hint="Begin a new search.") from error
