"""`yoso train`: train a recipe into a run folder."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yoso_cli.commands import console, options
from yoso_cli.errors import UsageError
from yoso_cli.runtime.paths import require_there
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.api.training_run import Run, Training
    from yoso_cli.runtime.distributed import ProcessGroup

_DATA_ROOT = "data.root="


@click.command(name="train")
@click.argument("recipe", required=False)
@options.set_option
@click.option("--seed", type=click.IntRange(0), metavar="N", help="Random seed: short for --set train.seed=N.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="RUN",
    help="Continue this run from its newest checkpoint, with its own recipe; of --set only data.root is taken.",
)
@click.option(
    "--weights",
    metavar="SOURCE",
    help="Start from these weights instead of random or ImageNet ones: a run folder, a weights file, the name of "
    "released weights, or a URL.",
)
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="RUN",
    help="Train into exactly this folder, or resume the run that is in it. The same command line can be repeated, as a "
    "scheduler does when it restarts a job.",
)
@click.option(
    "--gpus", type=click.IntRange(1), metavar="N", help="Train with N processes, one for each GPU (torchrun)."
)
@click.option(
    "--dry-run", is_flag=True, help="Print network, data, schedule, memory estimate and the paper's PQ; train nothing."
)
@options.runs_option
@options.device_option
@options.json_option
@click.pass_context
def command(
    ctx: click.Context,
    recipe: str | None,
    overrides: tuple[str, ...],
    seed: int | None,
    resume: Path | None,
    weights: str | None,
    into: Path | None,
    gpus: int | None,
    dry_run: bool,
    runs: Path,
    device: str,
    as_json: bool,
) -> None:
    """Train RECIPE into a new run folder, then evaluate it.

    RECIPE is the name of a packaged recipe (see `yoso recipe list`) or a YAML file. The run folder keeps the resolved
    recipe, metrics.jsonl, results.csv, curves.png, samples/, the newest checkpoints and the best, report.json and
    report.html.

    Ctrl-C and SIGTERM finish the step, save, and print the command that resumes. A resumed run gives the same losses as
    an uninterrupted one.

    \b
    Example:
      yoso train shapes
      yoso train coco --dry-run
      yoso train coco --gpus 8 --set train.precision=bfloat16
      yoso train mine.yaml --weights coco --set train.freeze=[backbone]
      yoso train --resume runs/shapes-001
    """
    asked = Asked(recipe, overrides, seed, resume, weights, into, runs, device)
    _refuse_what_does_not_go_together(asked)
    require_there(resume)
    if dry_run:
        if recipe is None:
            raise UsageError("--dry-run needs a RECIPE.", hint="Name one: yoso train coco --dry-run.")
        _dry_run(asked, as_json)
        return
    if gpus is not None and gpus > 1:
        from yoso_cli.runtime.launch import launch_processes, without_option

        _require_ready(asked, gpus)
        words = without_option(ctx.find_root().obj, "--gpus")
        ctx.exit(launch_processes(gpus, words, restartable=resume is not None or into is not None))
    ctx.exit(_train(asked, as_json))


@dataclass(frozen=True)
class Asked:
    """The options of the command line."""

    recipe: str | None
    overrides: tuple[str, ...]
    seed: int | None
    resume: Path | None
    weights: str | None
    into: Path | None
    runs: Path
    device: str

    @property
    def settings(self) -> tuple[str, ...]:
        """The values of --set, with that of --seed."""
        return self.overrides if self.seed is None else (*self.overrides, f"train.seed={self.seed}")

    @property
    def data_root(self) -> str | None:
        """The `data.root` of --set, which is all that a resumed run takes of it."""
        roots = [one.removeprefix(_DATA_ROOT) for one in self.overrides if one.startswith(_DATA_ROOT)]
        return roots[-1] if roots else None


def _require_ready(asked: Asked, processes: int) -> None:
    """Reports what no process could train with, once and before any of them starts."""
    from yoso_cli.api.train import require_trainable, resumed_recipe
    from yoso_cli.recipe import file as recipe_file
    from yoso_cli.run_folder import RunFolder

    resumed = resumed_recipe(RunFolder.open(asked.resume), asked.data_root) if asked.resume else None
    recipe = resumed or recipe_file.load(str(asked.recipe), asked.settings)
    require_trainable(recipe, processes, asked.device)


def _train(asked: Asked, as_json: bool) -> int:
    """Trains, evaluates and prints; of several processes only the first prints. Returns the exit code."""
    import torch

    from yoso_cli.runtime.distributed import process_group
    from yoso_cli.runtime.launch import report_exit_code

    on_gpu = asked.device != "cpu" and torch.cuda.is_available()
    if on_gpu and "LOCAL_RANK" in os.environ:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    with process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo") as group, console.silenced_unless(group.rank == 0):
        training = _opened(asked, group)
        try:
            run = training.run()
        except KeyboardInterrupt:
            _say_how_to_go_on(training.folder.path)
            raise
        if group.rank == 0:
            _tell(run, as_json)
            report_exit_code(run.exit_code)
    return run.exit_code


def _opened(asked: Asked, group: "ProcessGroup") -> "Training":
    from yoso_cli.api.train import open_training, resume_training
    from yoso_cli.recipe import file as recipe_file

    around: dict[str, Any] = {"device": asked.device, "group": group, "progress": console.TERMINAL}
    if asked.resume is not None:
        return resume_training(asked.resume, data_root=asked.data_root, **around)
    assert asked.recipe is not None, "one of the two is given"
    recipe = recipe_file.load(asked.recipe, asked.settings)
    return open_training(recipe, weights=asked.weights, runs=asked.runs, into=asked.into, **around)


def _tell(run: "Run", as_json: bool) -> None:
    """Prints the result and what to type next."""
    from yoso_cli.evaluation.summary import table

    value = {
        "run": str(run.folder.path),
        "iteration": run.iteration,
        "iterations": run.iterations,
        "skipped": run.skipped,
        "unreadable": run.unreadable,
        "weights": str(run.weights),
        "best": str(run.best) if run.best else None,
        "report": run.report.to_dict() if run.report else None,
    }
    if run.report is None:
        text = f"Stopped after step {run.iteration} of {run.iterations}; saved in {run.folder.path}."
        console.result(value, text, as_json)
        _say_how_to_go_on(run.folder.path)
        return
    console.result(value, "\n".join([table(run.report), "", *_summary(run)]), as_json)
    console.next_step(f"yoso reparam {shlex.quote(str(run.folder.path))}")


def _summary(run: "Run") -> list[str]:
    lines = [f"Weights: {run.weights}"]
    if run.best not in (None, run.weights):
        lines.append(f"Best:    {run.best}")
    lines.append(f"Curves:  {run.folder.curves_path}")
    counts = {"steps skipped": run.skipped, "unreadable pictures replaced": run.unreadable}
    return lines + [f"{count} {what}." for what, count in counts.items() if count]


def _say_how_to_go_on(folder: Path) -> None:
    console.next_step(f"yoso train --resume {shlex.quote(str(folder))}")


def _dry_run(asked: Asked, as_json: bool) -> None:
    from yoso_cli.api.dataset import prepare_command
    from yoso_cli.api.dry_run import dry_run
    from yoso_cli.api.weights import require_source
    from yoso_cli.recipe import file as recipe_file

    assert asked.recipe is not None, "a resumed run has no dry run"
    if asked.weights is not None:
        require_source(asked.weights)
    recipe = recipe_file.load(asked.recipe, asked.settings)
    facts = dry_run(recipe)
    console.result(facts, _dry_run_text(facts), as_json)
    missing = [split for split in facts["data"]["splits"].values() if not split["prepared"]]
    console.next_step(prepare_command(recipe) if missing else shlex.join(_begin(asked)))


def _weights_text(weights: str) -> str:
    texts = {"none": "random weights", "imagenet": "ImageNet weights", "lite": "ImageNet weights of yoso-cli[lite]"}
    return texts.get(weights) or f"weights of {weights.partition(':')[2]}"


def _dry_run_text(facts: dict[str, Any]) -> str:
    """The facts as text, wrapped to the terminal."""
    model, schedule, memory, paper = (facts[key] for key in ("model", "schedule", "memory", "paper"))
    classes = (
        counted(model["classes"], "class") if model["classes"] is not None else "as many classes as the dataset has"
    )
    million = {key: f"{model[key] / 1e6:.1f} M" for key in ("parameters", "learning")}
    told = [
        ("Recipe", facts["recipe"]),
        (
            "Model",
            f"{model['backbone']} ({_weights_text(model['backbone_weights'])}), "
            f"{million['parameters']} parameters of which {million['learning']} are trained; "
            f"{classes}, {counted(model['proposals'], 'proposal')}, {counted(model['stages'], 'stage')}",
        ),
    ]
    for name, split in facts["data"]["splits"].items():
        found = counted(split["images"], "image") if split["prepared"] else f"missing. {split['problem']}"
        told.append(("Data", f"{facts['data']['name']} {name}: {found}"))
        told += [("Warning", split["warning"])] if split["warning"] else []
    epochs = f", {schedule['epochs']:.1f} epochs" if schedule["epochs"] else ""
    told += [
        (
            "Schedule",
            f"{counted(schedule['iterations'], 'step')} of {counted(schedule['batch'], 'picture')} of "
            f"{schedule['crop']}{epochs}",
        ),
        ("Rate", schedule["rate"]),
        *(
            (("Optimizer", "Muon for the convolutions of backbone and neck"),)
            if schedule["optimizer"] == "muon"
            else ()
        ),
        *(
            (("Norms", f"keep their statistics after {counted(schedule['norms_fixed_at'], 'step')}"),)
            if schedule["norms_fixed_at"] < schedule["iterations"]
            else ()
        ),
        *(
            (("Average", f"of the weights, with decay {schedule['ema']:g}, is evaluated and saved"),)
            if schedule["ema"]
            else ()
        ),
        ("Loss", _loss_text(facts["loss"])),
        (
            "Memory",
            f"about {_gib(memory['gib']['1'])} at batch 1, {_gib(memory['batch_gib'])} at batch "
            f"{schedule['batch']} ({memory['precision']}; an estimate)",
        ),
        ("", f"batch that fits a GPU of {_cards(memory['micro_batch'])}"),
    ]
    if paper["pq"] is not None:
        told.append(("Target", _aim(paper)))
    told += [("", f"the paper on {note}") for note in paper["says"]]
    return "\n".join(console.labelled(label, words) for label, words in told)


def _loss_text(loss: dict[str, Any]) -> str:
    inner = loss["box_points"]
    where = counted(loss["places"] - inner, "cell" if loss["compare_at"] == "cells" else "point")
    where += f" and {counted(inner, 'point')} in the box of" if inner else ""
    aids = [
        *([f"center codes with weight {loss['center_weight']:g}"] if loss["center_weight"] else []),
        *(["a decoder that starts at centers"] if loss["start"] == "centers" else []),
    ]
    return f"masks compared at {where} each" + (f"; {' and '.join(aids)}" if aids else "")


def _aim(paper: dict[str, Any]) -> str:
    """The paper's row; it does not give every figure of every row."""
    kinds = {"things": paper["pq_things"], "stuff": paper["pq_stuff"]}
    parts = ", ".join(f"{name} {figure:.1f}" for name, figure in kinds.items() if figure is not None)
    speed = f", {paper['fps']:g} FPS on {paper['gpu']}" if paper["fps"] is not None else ""
    return f"PQ {paper['pq']:.1f}{f' ({parts})' if parts else ''}{speed}: {paper['table']} of the paper"


def _gib(size: float) -> str:
    return f"{size:.1f} GiB" if size >= 1 else f"{size * 1024:.0f} MiB"


def _cards(fitting: dict[str, int]) -> str:
    return ", ".join(f"{card} GiB: {count or 'none'}" for card, count in fitting.items())


def _begin(asked: Asked) -> list[str]:
    """The command that starts this training."""
    words = ["yoso", "train", str(asked.recipe)]
    for one in asked.settings:
        words += ["--set", one]
    return [*words, "--weights", asked.weights] if asked.weights else words


def _refuse_what_does_not_go_together(asked: Asked) -> None:
    if asked.resume is None:
        if asked.recipe is None:
            raise UsageError("RECIPE is missing.", hint="Try `yoso train shapes`, or see `yoso recipe list`.")
        return
    others = [one for one in asked.overrides if not one.startswith(_DATA_ROOT)]
    beside: dict[str, object] = {
        "RECIPE": asked.recipe,
        "--set": others,
        "--weights": asked.weights,
        "--into": asked.into,
    }
    beside["--seed"] = asked.seed is not None
    why = "cannot be combined with --resume: a run continues with its own recipe and weights."
    options.refuse(beside, why, "Leave it out, or start a new run.")
