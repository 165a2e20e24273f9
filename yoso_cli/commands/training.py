"""One training run with all its parts joined: recipe, data, step, loop, evaluation and run folder."""

import copy
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yoso_cli.commands import assembly, console, feeding, pages, wiring
from yoso_cli.errors import DataError
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.commands.following import Following
    from yoso_cli.commands.keeping import Keeping
    from yoso_cli.evaluation.report import Report
    from yoso_cli.inference.predict import Predictor
    from yoso_cli.loading.batch import Batch
    from yoso_cli.panoptic.types import PanopticSet
    from yoso_cli.recipe.schema import Recipe
    from yoso_cli.run_folder import RunFolder
    from yoso_cli.runtime.distributed import ProcessGroup
    from yoso_cli.runtime.progress import Bar
    from yoso_cli.training.loop import Hooks
    from yoso_cli.training.step import Step
    from yoso_cli.training.stopping import Outcome, Stopping


class Training:
    """One run with all its parts, ready to go."""

    def __init__(self, recipe: "Recipe", device: str, group: "ProcessGroup | None" = None) -> None:
        from yoso_cli.runtime.distributed import ProcessGroup
        from yoso_cli.runtime.memory import keep_freed_memory
        from yoso_cli.training.checkpoint import Loop

        self.recipe = recipe
        self.group = group or ProcessGroup()
        self.device = wiring.choose_device(device)
        if self.device.type == "cpu":
            keep_freed_memory()
        self.train_set = wiring.prepared_set(recipe, recipe.data.train_split)
        self.val_set = wiring.prepared_set(recipe, recipe.data.val_split)
        _require_same_classes(self.train_set, self.val_set)
        self.model = assembly.network(recipe, len(self.train_set.categories))
        self.loop = Loop()
        self.start = 0
        self.step: Step
        self.run: RunFolder
        self.keeping: Keeping
        self.following: Following

    @classmethod
    def started(
        cls,
        recipe: "Recipe",
        weights: str | None,
        runs: Path,
        device: str,
        *,
        into: Path | None = None,
        group: "ProcessGroup | None" = None,
    ) -> "Training":
        """A new run, under `runs` or exactly in `into`. Its folder is made when all else is known to be in order."""
        from yoso_cli.commands.source import trained_weights
        from yoso_cli.run_folder import RunFolder

        training = cls(recipe, device, group)
        if weights is not None:
            path = training.group.in_turn(lambda: trained_weights(weights, runs))
            assembly.fill(training.model, path, training.train_set.categories)
        else:
            training.group.in_turn(lambda: assembly.fill_backbone(training.model, recipe))
        training.step = assembly.learning_step(training.model, recipe, training.device, training.group)
        run = None
        if training.group.rank == 0:
            run = RunFolder.at(into) if into else RunFolder.create(runs, recipe.name)
            run.write_recipe(recipe)
        (found,) = (one for one in training.group.all_gather(run) if one)
        training._enter(found)
        if weights is not None:
            # The recipe does not know these weights; with them on disk a run can go on from its very start.
            training._save(0)
            training.keeping.finish()
        return training

    @classmethod
    def resumed(cls, path: Path, device: str, group: "ProcessGroup | None" = None) -> "Training":
        """A run that goes on from its newest checkpoint that is whole, or from its start if it has none."""
        from yoso_cli.run_folder import RunFolder

        run = RunFolder.open(path)
        training = cls(run.recipe(), device, group)
        if not run.checkpoints():
            training.group.in_turn(lambda: assembly.fill_backbone(training.model, training.recipe))
        training.step = assembly.learning_step(training.model, training.recipe, training.device, training.group)
        training._enter(run)
        training.loop = training.keeping.newest()
        training.start = training.loop.iteration
        if training.group.rank == 0:
            run.truncate_metrics(training.start)
        return training

    @property
    def done(self) -> int:
        """Steps made."""
        return self.loop.iteration

    def train(self, stopping: "Stopping") -> "Outcome":
        """Runs the loop to its end or to a signal that `stopping` hears."""
        from yoso_cli.training.loop import Plan, train
        from yoso_cli.training.stopping import Outcome, Stopped

        plan = self.recipe.train
        self._announce()
        try:
            with stopping.at_once():
                self._evaluate_what_was_cut_off()
            with console.bar(plan.iterations, "train", initial=self.start, unit="it") as bar:
                return train(
                    self.step,
                    self._batches(),
                    assembly.rate(self.recipe),
                    self._hooks(bar),
                    Plan(
                        start=self.start,
                        stop=plan.iterations,
                        log_every=plan.log_every,
                        checkpoint_every=plan.checkpoint_every,
                        evaluate_every=plan.evaluate_every,
                        bad_steps=plan.bad_steps,
                    ),
                    self.device,
                    stopping,
                    self.group,
                )
        except Stopped:
            return stopping.outcome or Outcome.FINISHED
        finally:
            self.keeping.finish()

    def finish(self, stopping: "Stopping") -> "Report | None":
        """Evaluates what was trained and draws the worst pictures into report.html; None where a signal ended that."""
        from yoso_cli.training.stopping import Stopped

        try:
            with stopping.at_once():
                report = self.evaluate()
                if self.group.rank == 0:
                    predict = pages.predicted_by(self._predictor(), self.val_set)
                    pages.write(self.run.report_path.with_suffix(".html"), report, self.val_set, predict)
        except Stopped:
            return None
        return report

    def evaluate(self) -> "Report":
        """Measures PQ on the validation split, each process its part, into report.json and metrics.jsonl."""
        self.keeping.finish()
        self.group.all_gather(None)  # nobody reads the checkpoint before it is there
        predictor = self._predictor()
        report = wiring.evaluate(predictor, self.val_set, self.recipe, self.run.weights(), group=self.group)
        self.following.evaluated(self.done, report, predictor, self.val_set)
        return report

    def tell(self, report: "Report | None", as_json: bool) -> None:
        """Prints what came out and what to type next."""
        from yoso_cli.evaluation.summary import table

        self.following.close()
        best = self.run.best()
        value = {
            "run": str(self.run.path),
            "iteration": self.done,
            "iterations": self.recipe.train.iterations,
            "skipped": self.loop.skipped,
            "unreadable": self.loop.unreadable,
            "weights": str(self.run.weights()),
            "best": str(best / self.run.weights().name) if best else None,
            "report": report.to_dict() if report else None,
        }
        if report is None:
            text = f"Stopped after step {self.done} of {self.recipe.train.iterations}; saved in {self.run.path}."
            console.result(value, text, as_json)
            self.say_how_to_go_on()
            return
        console.result(value, "\n".join([table(report), "", *self._summary(value)]), as_json)
        console.next_step(f"yoso reparam {self._quoted()}")

    def say_how_to_go_on(self) -> None:
        """The line that resumes this run."""
        console.next_step(f"yoso train --resume {self._quoted()}")

    def _summary(self, value: dict[str, Any]) -> list[str]:
        lines = [f"Weights: {value['weights']}"]
        if value["best"] not in (None, value["weights"]):
            lines.append(f"Best:    {value['best']}")
        lines.append(f"Curves:  {self.run.curves_path}")
        counts = {"steps left out": self.loop.skipped, "unreadable pictures replaced": self.loop.unreadable}
        return lines + [f"{count} {what}." for what, count in counts.items() if count]

    def _enter(self, run: "RunFolder") -> None:
        from yoso_cli.commands.following import Following
        from yoso_cli.commands.keeping import Keeping

        self.run = run
        self.keeping = Keeping(run, self.recipe, self.train_set, self.step)
        self.following = Following(run, self.recipe, keeps=self.group.rank == 0)

    def _announce(self) -> None:
        plan = self.recipe.train
        pictures = f"{counted(len(self.train_set.records), 'image')} of {self.train_set.name} {self.train_set.split}"
        begun = f"Going on with {self.run.path} after step {self.start}" if self.start else f"Training {self.run.path}"
        where = f"{self.device}" if self.group.size == 1 else f"{self.group.size} processes"
        console.say(f"{begun}: {pictures}, {counted(plan.iterations, 'step')} with {plan.batch} each, on {where}.")
        console.say("Ctrl-C saves and stops; training can go on from there.")

    def _batches(self) -> "Iterator[Batch]":
        from yoso_cli.loading.batch import batches
        from yoso_cli.runtime import machine

        plan = self.recipe.train
        return batches(
            feeding.training_pictures(self.recipe, self.train_set),
            batch=plan.batch,
            seed=plan.seed,
            start=self.start,
            stop=plan.iterations,
            # More loaders than cores only get in each other's way, and torch warns; the batches are the same.
            workers=min(plan.workers, int(machine.describe()["cores"])),
            part=(self.group.rank, self.group.size),
            tolerated=plan.unreadable,
            report=self._replaced,
        )

    def _hooks(self, bar: "Bar") -> "Hooks":
        from yoso_cli.training.freezing import set_training
        from yoso_cli.training.loop import Hooks

        def step(metrics: dict[str, float]) -> None:
            skipped = self.loop.skipped + ("loss" not in metrics)
            self.loop = replace(self.loop, iteration=int(metrics["iteration"]), skipped=skipped)
            bar.update(1, **self.following.shown(metrics))

        return Hooks(
            begin=lambda: set_training(self.model),
            step=step,
            log=self.following.log,
            save=self._save,
            evaluate=self._evaluate_between,
            warn=console.say,
        )

    def _replaced(self, problem: str) -> None:
        self.loop = replace(self.loop, unreadable=self.loop.unreadable + 1)
        console.say(f"Another picture stands in for one that cannot be read. {problem}")

    def _evaluate_between(self, _: int) -> None:
        quality = self.evaluate().quality
        console.say(f"Step {self.done}: PQ {_percent(quality.all.pq)} on {self.val_set.split}.")

    def _evaluate_what_was_cut_off(self) -> None:
        """A kill amid an evaluation leaves the checkpoint before it, and no PQ."""
        every = self.recipe.train.evaluate_every
        if not every or not self.start or self.start % every or self.start >= self.recipe.train.iterations:
            return
        if not any("pq" in line for line in self.run.metrics() if line.get("iteration") == self.start):
            self._evaluate_between(self.start)

    def _predictor(self) -> "Predictor":
        # A copy: evaluation changes the memory layout of the network that it runs, and with it how later steps round.
        model = copy.deepcopy(self.step.average.model if self.step.average else self.model)
        return wiring.make_predictor(model, self.val_set.categories, self.recipe, self.device)

    def _save(self, _: int) -> None:
        if self.group.rank == 0:
            self.keeping.save(self.loop)

    def _quoted(self) -> str:
        return shlex.quote(str(self.run.path))


def _require_same_classes(train_set: "PanopticSet", val_set: "PanopticSet") -> None:
    if train_set.categories != val_set.categories:
        raise DataError(
            f"{train_set.name}: the splits {train_set.split} and {val_set.split} do not have the same classes.",
            hint="Prepare both from the same dataset.",
        )


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f}"
