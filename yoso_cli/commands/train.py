"""`yoso train`: a recipe to a run folder."""

from pathlib import Path

import click

from yoso_cli.commands import options
from yoso_cli.errors import UsageError


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
    runs: Path,
    device: str,
    as_json: bool,
) -> None:
    """Train RECIPE into a new run folder, then evaluate it.

    RECIPE is the name of a packaged recipe (see `yoso recipe list`) or a YAML file. The run folder keeps the resolved
    recipe, metrics.jsonl, the newest two checkpoints, report.json and report.html.

    Ctrl-C finishes the step, saves and says how to go on. A resumed run continues the very same curve.

    \b
    Example:
      yoso train shapes
      yoso train coco --set train.batch=8 --set train.lr=5e-5
      yoso train --resume runs/shapes-001
    """
    from yoso_cli import recipe_file
    from yoso_cli.commands.training import Training
    from yoso_cli.training.loop import Outcome

    if resume is not None:
        _refuse_beside_resume({"RECIPE": recipe, "--set": overrides, "--weights": weights})
        training = Training.resumed(resume, device)
    elif recipe is not None:
        training = Training.started(recipe_file.load(recipe, overrides), weights, runs, device)
    else:
        raise UsageError("there is no RECIPE to train.", hint="Try `yoso train shapes`, or see `yoso recipe list`.")

    try:
        outcome = training.train()
        report = training.finish() if outcome is Outcome.FINISHED else None
    except KeyboardInterrupt:
        training.say_how_to_go_on()
        raise
    training.tell(report, as_json)
    ctx.exit(outcome.value)


def _refuse_beside_resume(given: dict[str, object]) -> None:
    for name, value in given.items():
        if value:
            raise UsageError(
                f"{name} has no meaning beside --resume: a run goes on with its own recipe and weights.",
                hint="Leave it out, or start a new run.",
            )
