"""Training a recipe into a run folder: start, resume, evaluate."""

import contextlib
import copy
import shlex
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from yoso_cli.api import training_parts
from yoso_cli.api.dataset import beyond_proposals, prepared_set, with_data_of
from yoso_cli.api.edited_recipe import edited, require_same_curve
from yoso_cli.api.evaluate import evaluate_predictor, predicted_by, side_by_side
from yoso_cli.api.predictor import make_predictor
from yoso_cli.api.weights import Named, trained_weights
from yoso_cli.drawing.picture_file import write_picture
from yoso_cli.errors import DataError, UsageError, YosoError
from yoso_cli.evaluation.report import Report, write_report
from yoso_cli.panoptic.types import PanopticSet
from yoso_cli.recipe import file as recipe_file
from yoso_cli.recipe.schema import Recipe
from yoso_cli.run_folder import RunFolder, TrainingLock
from yoso_cli.runtime import machine
from yoso_cli.runtime.distributed import ALONE, ProcessGroup
from yoso_cli.runtime.machine import choose_device, keep_freed_memory
from yoso_cli.runtime.progress import SILENT, Bar, Progress
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    import torch

    from yoso_cli.inference.predict import Predictor
    from yoso_cli.loading.batch import Batch
    from yoso_cli.runtime.stopping import Outcome, Stopping
    from yoso_cli.training.checkpoint import CheckpointKeeper, Loop
    from yoso_cli.training.loop import Hooks
    from yoso_cli.training.step import Step


@dataclass(frozen=True)
class Run:
    """The result of a training.

    Attributes:
        folder: the run folder.
        iteration: steps done, of `iterations`.
        iterations: steps of the whole run.
        skipped: steps skipped because they were not finite.
        unreadable: unreadable pictures, which were replaced by others.
        exit_code: for a command: 0, or 130 after Ctrl-C.
        report: of the validation split; None if a signal stopped the training before.
    """

    folder: RunFolder
    iteration: int
    iterations: int
    skipped: int
    unreadable: int
    exit_code: int
    report: Report | None

    @property
    def weights(self) -> Path:
        """Weights of the newest checkpoint."""
        return self.folder.weights()

    @property
    def best(self) -> Path | None:
        """Weights of the checkpoint with the highest PQ on the validation split; None if none was evaluated."""
        best = self.folder.best()
        return best / self.weights.name if best else None


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


def _finished(training: "Training") -> Run:
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
) -> "Training":
    """A training of `recipe`: new, or resumed if `into` has its run already. Arguments are those of `train`."""
    # All processes check before the first one makes the folder.
    if into is not None and any(group.all_gather((into / "recipe.yaml").is_file())):
        _require_same_recipe(recipe, into)
        return resume_training(into, device=device, group=group, progress=progress)
    where, train_set, val_set = _device_and_sets(recipe, device)
    model = training_parts.build_network(recipe, len(train_set.categories))
    if weights is not None:
        path = group.leaders_first(lambda: trained_weights(weights, runs, progress))
        training_parts.load_initial_weights(model, path, train_set.categories, progress)
    else:
        group.leaders_first(lambda: training_parts.load_backbone(model, recipe))
    step = training_parts.optimizer_step(model, recipe, train_set.categories, where, group, progress)
    # The folder is made last, so that no error above leaves an empty one.
    run = lock = None
    if group.rank == 0:
        run = RunFolder.at(into) if into else RunFolder.create(runs, recipe.name)
        run.write_recipe(recipe)
        lock = run.begin_training(Path(recipe.data.root))
    (found,) = (one for one in group.all_gather(run) if one)
    checkpoints = _checkpoints(found, recipe, train_set, step)
    training = Training(recipe, found, step, train_set, val_set, checkpoints, group, lock=lock, progress=progress)
    if weights is not None:
        # The recipe does not name these weights: the run could not be resumed before its first checkpoint without them.
        training.save()
        training.checkpoints.finish()
    return training


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
    device: str = "auto",
    group: ProcessGroup = ALONE,
    progress: Progress = SILENT,
) -> "Training":
    """A training resumed from the newest intact checkpoint, or from the start if there is none."""
    run = RunFolder.open(path)
    recipe = resumed_recipe(run, data_root)
    if changes := edited(run, run.recipe()):
        progress.message(f"{run.recipe_path} was edited: {'; '.join(changes.values())}.")
    where, train_set, val_set = _device_and_sets(recipe, device)
    model = training_parts.build_network(recipe, len(train_set.categories))
    if not run.checkpoints():
        group.leaders_first(lambda: training_parts.load_backbone(model, recipe))
    step = training_parts.optimizer_step(model, recipe, train_set.categories, where, group, progress)
    lock = run.begin_training(Path(recipe.data.root)) if group.rank == 0 else None
    checkpoints = _checkpoints(run, run.recipe(), train_set, step)
    loop = checkpoints.newest(progress.message)
    if group.rank == 0:
        run.truncate_metrics(loop.iteration)
    return Training(recipe, run, step, train_set, val_set, checkpoints, group, lock=lock, loop=loop, progress=progress)


class Training:
    """One run with all its parts, ready to start.

    Args:
        recipe: the resolved recipe.
        folder: the run folder.
        step: the optimizer step.
        train_set: the training set.
        val_set: the validation set.
        checkpoints: of `folder` and `step`.
        group: the processes that train together.
        lock: of `folder`, freed at the end; None in all processes but the first.
        loop: progress of the loop; None at the start.
        progress: shows progress and messages.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder,
        step: "Step",
        train_set: PanopticSet,
        val_set: PanopticSet,
        checkpoints: "CheckpointKeeper",
        group: ProcessGroup = ALONE,
        *,
        lock: TrainingLock | None = None,
        loop: "Loop | None" = None,
        progress: Progress = SILENT,
    ) -> None:
        from yoso_cli.training.checkpoint import Loop
        from yoso_cli.training.run_log import RunLog

        self.recipe = recipe
        self.folder = folder
        self.val_set = val_set
        self.checkpoints = checkpoints
        self.progress = progress
        self._step = step
        self._train_set = train_set
        self._group = group
        self._lock = lock
        self._loop = loop or Loop()
        self._start = self._loop.iteration
        kept = folder if group.rank == 0 else None
        self._log = RunLog(kept, recipe.to_dict(), workers=recipe.train.workers, say=progress.message)

    def run(self) -> Run:
        """Trains to the end or to a signal, then evaluates and writes report.html.

        Raises:
            KeyboardInterrupt: a second Ctrl-C; the newest checkpoint is intact.
        """
        from yoso_cli.runtime.stopping import Outcome, Stopping

        with self._locked(), Stopping() as stopping:
            outcome = self._train(stopping)
            report = self._finish(stopping) if outcome is Outcome.FINISHED else None
        return self._ended(stopping.outcome or outcome, report)

    def run_without_evaluation(self, *, until: int | None = None) -> Run:
        """As `run`, without the final evaluation; with `until`, only to that step, where it can be resumed."""
        from yoso_cli.runtime.stopping import Stopping

        with self._locked(), Stopping() as stopping:
            outcome = self._train(stopping, until)
        return self._ended(outcome, None)

    def evaluate(self) -> Report:
        """Measures PQ on the validation split, divided among the processes; writes report.json and metrics.jsonl."""
        self.checkpoints.finish()
        self._group.all_gather(None)  # a barrier: the checkpoint is written before it is read
        predictor = self._predictor()
        weights = self.folder.weights()
        report = evaluate_predictor(
            predictor, self.val_set, self.recipe, weights, group=self._group, progress=self.progress
        )
        if self._group.rank == 0:
            self._keep(report, predictor)
        return report

    def save(self) -> None:
        """Writes a checkpoint in the background."""
        if self._group.rank == 0:
            self.checkpoints.save(self._loop)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Records why training failed, and frees the run at the end."""
        try:
            yield
        except Exception as error:
            # What stopped the training may stop this as well, and matters more.
            with contextlib.suppress(YosoError):
                self.folder.record_failure(str(error) or type(error).__name__)
            raise
        finally:
            if self._lock:
                self._lock.release()

    def _ended(self, outcome: "Outcome", report: Report | None) -> Run:
        self._log.close()
        loop, iterations = self._loop, self.recipe.train.iterations
        counts = loop.iteration, iterations, loop.skipped, loop.unreadable
        return Run(self.folder, *counts, outcome.exit_code, report)

    def _train(self, stopping: "Stopping", until: int | None = None) -> "Outcome":
        from yoso_cli.runtime.stopping import Outcome, Stopped
        from yoso_cli.training.loop import Plan, train

        plan = self.recipe.train
        self._announce()
        try:
            with stopping.interruptible():
                self._repeat_aborted_evaluation()
            shown = self.progress.bar(plan.iterations, "train", initial=self._start, unit="it")
            with closing(self._batches()) as batches, shown as bar:
                return train(
                    self._step,
                    batches,
                    training_parts.rate_schedule(self.recipe),
                    self._hooks(bar),
                    Plan(
                        start=self._start,
                        stop=until or plan.iterations,
                        log_every=plan.log_every,
                        checkpoint_every=plan.checkpoint_every,
                        evaluate_every=plan.evaluate_every,
                        bad_steps=plan.bad_steps,
                    ),
                    self._step.device,
                    stopping,
                    self._group,
                )
        except Stopped:
            return stopping.outcome or Outcome.FINISHED
        finally:
            self.checkpoints.finish()

    def _finish(self, stopping: "Stopping") -> Report | None:
        """The final evaluation; None if a signal aborted it."""
        from yoso_cli.page.report import write_page
        from yoso_cli.runtime.stopping import Stopped

        try:
            with stopping.interruptible():
                report = self.evaluate()
                if self._group.rank == 0:
                    page = self.folder.report_path.with_suffix(".html")
                    predict = predicted_by(self._predictor(), self.val_set)
                    write_page(page, report, self.val_set, predict, self.progress)
        except Stopped:
            return None
        return report

    def _keep(self, report: Report, predictor: "Predictor") -> None:
        """Writes the report, sample predictions, PQ, results.csv and the curves."""
        iteration, quality = self._loop.iteration, report.quality
        write_report(self.folder.report_path, report)
        with self._unless_it_fails(self.folder.samples_path(iteration)):
            sample = side_by_side(self.val_set, predicted_by(predictor, self.val_set))
            write_picture(self.folder.samples_path(iteration), sample)
        # By this line a resumed run knows that the evaluation was complete.
        groups = {"pq": quality.all.pq, "pq_things": quality.things.pq, "pq_stuff": quality.stuff.pq}
        self._log.keep({"iteration": iteration, **{name: pq for name, pq in groups.items() if pq is not None}})
        self._tabulate()

    def _tabulate(self) -> None:
        """Writes results.csv and the curves, from metrics.jsonl."""
        from yoso_cli.training.curves import write_curves, write_results

        lines = self.folder.metrics()
        write_results(self.folder.results_path, lines)
        with self._unless_it_fails(self.folder.curves_path):
            write_curves(self.folder.curves_path, lines)

    @contextlib.contextmanager
    def _unless_it_fails(self, path: Path) -> Iterator[None]:
        """Days of training do not end for want of a picture that only shows them."""
        try:
            yield
        except (YosoError, OSError, ValueError, MemoryError) as error:
            why = str(error) or type(error).__name__
            self.progress.message(f"Warning: {path} was not drawn: {why}")

    def _announce(self) -> None:
        plan, train_set = self.recipe.train, self._train_set
        pictures = f"{counted(len(train_set.records), 'image')} of {train_set.name} {train_set.split}"
        begun = f"Resuming {self.folder.path} after step {self._start}" if self._start else None
        begun = begun or f"Training {self.folder.path}"
        where = f"{self._step.device}" if self._group.size == 1 else f"{self._group.size} processes"
        steps = f"{counted(plan.iterations, 'step')} with {plan.batch} each"
        self.progress.message(f"{begun}: {pictures}, {steps}, on {where}.")
        for found in (self._train_set, self.val_set):
            if doubt := beyond_proposals(found, self.recipe.model.num_proposals):
                self.progress.message(f"Warning: {doubt}")
        self.progress.message("Ctrl-C saves and stops; `yoso train --resume` continues.")

    def _batches(self) -> "Generator[Batch, None, None]":
        from yoso_cli.loading.batch import batches

        plan = self.recipe.train
        return batches(
            training_parts.training_dataset(self.recipe, self._train_set),
            batch=plan.batch,
            seed=plan.seed,
            start=self._start,
            stop=plan.iterations,
            # More loaders than cores are slower, and torch warns; the batches are the same.
            workers=min(plan.workers, machine.usable_cores()),
            part=(self._group.rank, self._group.size),
            tolerated=plan.unreadable,
            report=self._replaced,
        )

    def _hooks(self, bar: Bar) -> "Hooks":
        from yoso_cli.training.freezing import set_training
        from yoso_cli.training.loop import Hooks

        def step(metrics: dict[str, float]) -> None:
            skipped = self._loop.skipped + ("loss" not in metrics)
            self._loop = replace(self._loop, iteration=int(metrics["iteration"]), skipped=skipped)
            bar.update(1, **self._log.shown(metrics))

        return Hooks(
            begin=lambda: set_training(self._step.model),
            step=step,
            log=self._log.log,
            save=lambda _: self.save(),
            evaluate=lambda _: self._evaluate_between(),
            warn=self.progress.message,
        )

    def _replaced(self, problem: str) -> None:
        self._loop = replace(self._loop, unreadable=self._loop.unreadable + 1)
        self.progress.message(f"An unreadable picture was replaced by another. {problem}")

    def _evaluate_between(self) -> None:
        pq = self.evaluate().quality.all.pq
        shown = "-" if pq is None else f"{100 * pq:.1f}"
        self.progress.message(f"Step {self._loop.iteration}: PQ {shown} on {self.val_set.split}.")

    def _repeat_aborted_evaluation(self) -> None:
        """Evaluates the checkpoint resumed from, if the run was killed during its evaluation or right after it."""
        every = self.recipe.train.evaluate_every
        if not every or not self._start or self._start % every or self._start >= self.recipe.train.iterations:
            return
        if not any("pq" in line for line in self.folder.metrics() if line.get("iteration") == self._start):
            self._evaluate_between()
        elif self._group.rank == 0:
            self._tabulate()

    def _predictor(self) -> "Predictor":
        # A copy: evaluation changes the memory layout of the network that it runs, and with it how later steps round.
        model = copy.deepcopy(self._step.average.module if self._step.average else self._step.model)
        return make_predictor(model, self.val_set.categories, self.recipe, self._step.device)


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
