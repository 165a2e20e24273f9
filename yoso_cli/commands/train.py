"""`yoso train`: a recipe to a run folder."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yoso_cli.commands import console, options
from yoso_cli.errors import UsageError

if TYPE_CHECKING:
    from yoso_cli.commands.training import Training
    from yoso_cli.recipe.schema import Recipe
    from yoso_cli.runtime.distributed import ProcessGroup


@click.command(name="train")
@click.argument("recipe", required=False)
@options.set_option
@click.option(
    "--resume",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="RUN",
    help="Go on with this run folder from its newest checkpoint, with its own recipe.",
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
    help="Train into exactly this folder, going on if the run is there already: the same line may be repeated, as a "
    "scheduler does with a job that it has cut off.",
)
@click.option(
    "--gpus", type=click.IntRange(1), metavar="N", help="Train with N processes, one for each GPU (torchrun)."
)
@click.option("--dry-run", is_flag=True, help="Tell network, data, schedule, memory and aim, and train nothing.")
@options.runs_option
@options.device_option
@options.json_option
@click.pass_context
def command(
    ctx: click.Context,
    recipe: str | None,
    overrides: tuple[str, ...],
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

    Ctrl-C finishes the step, saves and says how to go on; so does SIGTERM. A resumed run continues the very same curve.

    \b
    Example:
      yoso train shapes
      yoso train coco --dry-run
      yoso train coco --gpus 8 --set train.precision=bfloat16
      yoso train mine.yaml --weights coco --set train.freeze=[backbone]
      yoso train --resume runs/shapes-001
    """
    from yoso_cli.recipe import file as recipe_file

    asked = Asked(recipe, overrides, resume, weights, into, runs, device)
    _refuse_what_does_not_go_together(asked)
    options.require_there(resume)
    if dry_run:
        if recipe is None:
            raise UsageError("--dry-run tells about a RECIPE.", hint="Name one: yoso train coco --dry-run.")
        _tell_outlook(asked, as_json)
        return
    if gpus is not None and gpus > 1:
        from yoso_cli.commands.launch import on_several, without_option

        if recipe is not None:
            recipe_file.load(recipe, overrides)  # its mistakes are told once, not by each process
        words = without_option(ctx.find_root().obj, "--gpus")
        ctx.exit(on_several(gpus, words, goes_on=resume is not None or into is not None))
    ctx.exit(_train(asked, as_json))


@dataclass(frozen=True)
class Asked:
    """What the command line asks for, of the options with the same names."""

    recipe: str | None
    overrides: tuple[str, ...]
    resume: Path | None
    weights: str | None
    into: Path | None
    runs: Path
    device: str


def _train(asked: Asked, as_json: bool) -> int:
    """Trains, evaluates and tells; of several processes the first one does the telling. Gives the exit code."""
    import torch

    from yoso_cli.commands.launch import ended_with
    from yoso_cli.runtime.distributed import process_group
    from yoso_cli.training.stopping import Outcome, Stopping

    on_gpu = asked.device != "cpu" and torch.cuda.is_available()
    if on_gpu and "LOCAL_RANK" in os.environ:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    with process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo") as group, console.heard(group.rank == 0):
        training = _prepared(asked, group)
        try:
            with Stopping() as stopping:
                outcome = training.train(stopping)
                report = training.finish(stopping) if outcome is Outcome.FINISHED else None
        except KeyboardInterrupt:
            training.say_how_to_go_on()
            raise
        code = (stopping.outcome or outcome).exit_code
        if group.rank == 0:
            training.tell(report, as_json)
            ended_with(code)
    return code


def _prepared(asked: Asked, group: "ProcessGroup") -> "Training":
    from yoso_cli.commands.training import Training
    from yoso_cli.recipe import file as recipe_file

    if asked.resume is not None:
        return Training.resumed(asked.resume, asked.device, group)
    assert asked.recipe is not None, "one of the two is given"
    recipe = recipe_file.load(asked.recipe, asked.overrides)
    # All look before the first one makes the folder.
    if asked.into is not None and any(group.all_gather((asked.into / "recipe.yaml").is_file())):
        _require_same_recipe(recipe, asked.into)
        return Training.resumed(asked.into, asked.device, group)
    return Training.started(recipe, asked.weights, asked.runs, asked.device, into=asked.into, group=group)


def _require_same_recipe(recipe: "Recipe", into: Path) -> None:
    from yoso_cli.run_folder import RunFolder

    if RunFolder.open(into).recipe() != recipe:
        raise UsageError(
            f"{into}: holds a run of another recipe, or of other --set values.",
            hint=f"Name another folder, or go on with that run: `yoso train --resume {shlex.quote(str(into))}`.",
        )


def _tell_outlook(asked: Asked, as_json: bool) -> None:
    from yoso_cli.commands.outlook import outlook, text
    from yoso_cli.commands.source import require_source
    from yoso_cli.commands.wiring import preparing
    from yoso_cli.recipe import file as recipe_file

    assert asked.recipe is not None, "a resumed run has no outlook"
    if asked.weights is not None:
        require_source(asked.weights)
    recipe = recipe_file.load(asked.recipe, asked.overrides)
    facts = outlook(recipe)
    console.result(facts, text(facts), as_json)
    missing = [split for split in facts["data"]["splits"].values() if not split["prepared"]]
    console.next_step(preparing(recipe) if missing else shlex.join(_begin(asked)))


def _begin(asked: Asked) -> list[str]:
    """The command that trains what was looked at."""
    words = ["yoso", "train", str(asked.recipe)]
    for one in asked.overrides:
        words += ["--set", one]
    return [*words, "--weights", asked.weights] if asked.weights else words


def _refuse_what_does_not_go_together(asked: Asked) -> None:
    if asked.resume is None:
        if asked.recipe is None:
            raise UsageError("there is no RECIPE to train.", hint="Try `yoso train shapes`, or see `yoso recipe list`.")
        return
    beside = {"RECIPE": asked.recipe, "--set": asked.overrides, "--weights": asked.weights, "--into": asked.into}
    for name, value in beside.items():
        if value:
            raise UsageError(
                f"{name} has no meaning beside --resume: a run goes on with its own recipe and weights.",
                hint="Leave it out, or start a new run.",
            )
