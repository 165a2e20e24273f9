"""One training run with all its parts joined: recipe, data, model, optimizer, loop, evaluation and run folder."""

import shlex
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yoso_cli.commands import console, feeding, pages, wiring
from yoso_cli.errors import DataError

if TYPE_CHECKING:
    from yoso_cli.evaluation.report import Report
    from yoso_cli.inference.predict import Predictor
    from yoso_cli.loading.batch import Batch
    from yoso_cli.panoptic.types import PanopticSet
    from yoso_cli.recipe import Recipe
    from yoso_cli.run_folder import RunFolder
    from yoso_cli.training.loop import Hooks, Outcome


class Training:
    """One run with all its parts, ready to go."""

    def __init__(self, recipe: "Recipe", device: str) -> None:
        import torch

        from yoso_cli.model.yoso import YOSO
        from yoso_cli.training.optim import adamw

        self.recipe = recipe
        self.device = wiring.choose_device(device)
        self.train_set = wiring.prepared_set(recipe, recipe.data.train_split)
        self.val_set = wiring.prepared_set(recipe, recipe.data.val_split)
        _require_same_classes(self.train_set, self.val_set)
        torch.manual_seed(recipe.train.seed)
        # Weights are drawn on the CPU, so that a seed means the same on every device.
        self.model = YOSO.from_recipe(recipe.model, len(self.train_set.categories))
        self.model.to(self.device)
        plan = recipe.train
        self.optimizer = adamw(self.model, lr=plan.lr, weight_decay=plan.weight_decay, backbone_lr=plan.backbone_lr)
        self.start = 0
        self.done = 0
        self.run: RunFolder

    @classmethod
    def started(cls, recipe: "Recipe", weights: str | None, runs: Path, device: str) -> "Training":
        """A new run. Its folder is made when everything else is known to be in order."""
        from yoso_cli.commands.source import trained_weights
        from yoso_cli.run_folder import RunFolder

        training = cls(recipe, device)
        if weights is not None:
            training._fill(trained_weights(weights, runs))
        else:
            training._fill_backbone()
        training.run = RunFolder.create(runs, training.recipe.name)
        training.run.write_recipe(training.recipe)
        if weights is not None:
            # The recipe does not know these weights; with them on disk a run can go on from its very start.
            training._save(0)
        return training

    @classmethod
    def resumed(cls, path: Path, device: str) -> "Training":
        """A run that goes on from its newest checkpoint, or from its start if it has none."""
        from yoso_cli.run_folder import RunFolder
        from yoso_cli.training import checkpoint

        run = RunFolder.open(path)
        training = cls(run.recipe(), device)
        training.run = run
        checkpoints = run.checkpoints()
        if checkpoints:
            training.start = checkpoint.load(checkpoints[-1], model=training.model, optimizer=training.optimizer)
        else:
            training._fill_backbone()
        training.done = training.start
        run.truncate_metrics(training.start)
        return training

    def train(self) -> "Outcome":
        """Runs the loop to its end or to an interrupt."""
        from yoso_cli.training.loop import Plan, train
        from yoso_cli.training.losses import SetLoss

        plan = self.recipe.train
        self._announce()
        with console.bar(plan.iterations, "train", initial=self.start) as bar:
            return train(
                self.model,
                self.optimizer,
                self._batches(),
                SetLoss(**asdict(self.recipe.loss)),
                self._learning_rate,
                self._hooks(bar),
                Plan(
                    start=self.start,
                    stop=plan.iterations,
                    clip=plan.clip,
                    seed=plan.seed,
                    log_every=plan.log_every,
                    checkpoint_every=plan.checkpoint_every,
                    evaluate_every=plan.evaluate_every,
                ),
                self.device,
            )

    def finish(self) -> "Report":
        """Evaluates what was trained and draws the worst pictures into report.html."""
        report = self.evaluate()
        predict = pages.predicted_by(self._predictor(), self.val_set)
        pages.write(self.run.report_path.with_suffix(".html"), report, self.val_set, predict)
        return report

    def evaluate(self) -> "Report":
        """Measures PQ on the validation split, into report.json and metrics.jsonl."""
        from yoso_cli.evaluation.report import write_report

        predictor = self._predictor()
        report = wiring.evaluate(predictor, self.val_set, self.recipe, self.run.weights())
        write_report(self.run.report_path, report)
        quality = report.quality
        groups = {"pq": quality.all, "pq_things": quality.things, "pq_stuff": quality.stuff}
        self.run.append_metrics({"iteration": self.done, **{name: group.pq for name, group in groups.items()}})
        return report

    def _predictor(self) -> "Predictor":
        return wiring.make_predictor(self.model, self.val_set.categories, self.recipe, self.device)

    def tell(self, report: "Report | None", as_json: bool) -> None:
        """Prints what came out and what to type next."""
        from yoso_cli.evaluation.summary import table

        value = {
            "run": str(self.run.path),
            "iteration": self.done,
            "iterations": self.recipe.train.iterations,
            "weights": str(self.run.weights()),
            "report": report.to_dict() if report else None,
        }
        if report is None:
            text = f"Stopped after step {self.done} of {self.recipe.train.iterations}; saved in {self.run.path}."
            console.result(value, text, as_json)
            self.say_how_to_go_on()
            return
        console.result(value, f"{table(report)}\n\nWeights: {self.run.weights()}", as_json)
        console.next_step(f"yoso reparam {self._quoted()}")

    def say_how_to_go_on(self) -> None:
        """The line that resumes this run."""
        console.next_step(f"yoso train --resume {self._quoted()}")

    def _announce(self) -> None:
        plan = self.recipe.train
        pictures = f"{len(self.train_set.records)} images of {self.train_set.name} {self.train_set.split}"
        begun = f"Going on with {self.run.path} after step {self.start}" if self.start else f"Training {self.run.path}"
        console.say(f"{begun}: {pictures}, {plan.iterations} steps with {plan.batch} each, on {self.device}.")
        console.say("Ctrl-C saves and stops; training can go on from there.")

    def _batches(self) -> "Iterator[Batch]":
        from yoso_cli import machine
        from yoso_cli.loading.batch import batches

        plan = self.recipe.train
        return batches(
            feeding.training_pictures(self.recipe, self.train_set),
            batch=plan.batch,
            seed=plan.seed,
            start=self.start,
            stop=plan.iterations,
            # More loaders than cores only get in each other's way, and torch warns; the batches are the same.
            workers=min(plan.workers, int(machine.describe()["cores"])),
        )

    def _learning_rate(self, iteration: int) -> float:
        from yoso_cli.training.optim import learning_rate

        plan = self.recipe.train
        return learning_rate(
            iteration,
            lr=plan.lr,
            schedule=plan.schedule,
            milestones=plan.milestones,
            gamma=plan.gamma,
            power=plan.power,
            iterations=plan.iterations,
            warmup=plan.warmup,
        )

    def _hooks(self, bar: console.Progress) -> "Hooks":
        from yoso_cli.training.loop import Hooks

        def step(metrics: dict[str, float]) -> None:
            self.done = int(metrics["iteration"])
            bar.update(1, **_shown(metrics))

        return Hooks(step=step, log=self.run.append_metrics, save=self._save, evaluate=self._evaluate_between)

    def _evaluate_between(self, _: int) -> None:
        quality = self.evaluate().quality
        console.say(f"Step {self.done}: PQ {_percent(quality.all.pq)} on {self.val_set.split}.")

    def _save(self, iteration: int) -> None:
        from yoso_cli import machine
        from yoso_cli.training import checkpoint

        provenance: dict[str, Any] = {
            "run": self.run.path.name,
            "iteration": iteration,
            "dataset": self.train_set.name,
            "split": self.train_set.split,
            "images": len(self.train_set.records),
            "versions": machine.versions(wiring.PACKAGES),
        }
        checkpoint.save(
            self.run.checkpoint_path(iteration),
            model=self.model,
            optimizer=self.optimizer,
            iteration=iteration,
            recipe=self.recipe,
            categories=self.train_set.categories,
            provenance=provenance,
        )
        checkpoint.prune(self.run.checkpoints())

    def _fill(self, path: Path) -> None:
        """Starts from a weights file. Raises DataError when it does not fit."""
        from yoso_cli.commands.source import read_weights
        from yoso_cli.model.weights import load_state

        weights = read_weights(path)
        if weights.steps:
            raise DataError(
                f"{path}: re-parameterised weights cannot be trained further.",
                hint="Name the weights.safetensors of the checkpoint they were made from.",
            )
        load_state(self.model, weights)

    def _fill_backbone(self) -> None:
        from yoso_cli.model.backbone import load_imagenet

        if self.recipe.model.backbone_weights == "imagenet":
            load_imagenet(self.model.backbone)

    def _quoted(self) -> str:
        return shlex.quote(str(self.run.path))


def _require_same_classes(train_set: "PanopticSet", val_set: "PanopticSet") -> None:
    if train_set.categories != val_set.categories:
        raise DataError(
            f"{train_set.name}: the splits {train_set.split} and {val_set.split} do not have the same classes.",
            hint="Prepare both from the same dataset.",
        )


def _shown(metrics: dict[str, float]) -> dict[str, float | str]:
    """What stands beside the bar: the loss, its kinds summed over the stages, the rate, memory."""
    kinds = {
        kind: sum(value for name, value in metrics.items() if name.endswith(f".{kind}"))
        for kind in ("class", "mask", "dice")
    }
    return {"loss": metrics["loss"], **kinds, "lr": metrics["lr"], "mem": f"{metrics['memory_mib']:.0f} MiB"}


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f}"
