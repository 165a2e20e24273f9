"""A training from its first step to its report: steps, signals, checkpoints, evaluations in between."""

import contextlib
import copy
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from yoso_cli.api import training_parts
from yoso_cli.api.dataset import beyond_proposals
from yoso_cli.api.evaluate import evaluate_predictor, predicted_by, side_by_side
from yoso_cli.api.predictor import make_predictor
from yoso_cli.drawing.picture_file import write_picture
from yoso_cli.errors import YosoError
from yoso_cli.evaluation.report import Report, write_report
from yoso_cli.panoptic.types import PanopticSet
from yoso_cli.recipe.schema import Recipe
from yoso_cli.run_folder import RunFolder, TrainingLock
from yoso_cli.runtime import machine
from yoso_cli.runtime.distributed import ALONE, ProcessGroup
from yoso_cli.runtime.progress import SILENT, Bar, Progress
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
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

    def save_now(self) -> None:
        """Writes a checkpoint, and waits until it is there."""
        self.save()
        self.checkpoints.finish()

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
