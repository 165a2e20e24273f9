"""`yoso tune`: values of a recipe that suit a dataset, by successive halving."""

import shlex
from pathlib import Path

import click

from yoso_cli.commands import console, options
from yoso_cli.errors import UsageError


@click.command(name="tune")
@click.argument("recipe", required=False)
@click.option(
    "--trials",
    type=click.IntRange(1, 1000),
    metavar="N",
    show_default="20; with --resume as many as the search began with",
    help="How many at most.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="N",
    help="Time for all of them, with --resume from now on; the evaluation under way is finished.",
)
@click.option(
    "--steps",
    type=click.IntRange(1),
    metavar="N",
    show_default="as many as the minutes allow",
    help="Steps of a whole trial.",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Continue a search that was stopped, with its own recipe and steps.",
)
@options.set_option
@options.runs_option
@options.device_option
@options.json_option
def command(
    recipe: str | None,
    trials: int | None,
    minutes: float,
    steps: int | None,
    resume: Path | None,
    overrides: tuple[str, ...],
    runs: Path,
    device: str,
    as_json: bool,
) -> None:
    """Search learning rate, augmentation and size for RECIPE.

    Each trial is a run with other values. It is evaluated after a ninth, a third and all of its steps, and goes on only
    while it is among the best third. A new folder runs/tune-NAME-001 keeps tune.json, trials.png and best.yaml, the
    recipe with the best values. They are chosen on the validation split, so its PQ flatters. Needs
    `pip install 'yoso-cli[tune]'`.

    \b
    Example:
      yoso tune mine.yaml --trials 12 --minutes 60
      yoso tune --resume runs/tune-mine-001
    """
    from yoso_cli.api.tune import tune
    from yoso_cli.recipe import file as recipe_file

    if (recipe is None) == (resume is None):
        raise UsageError("Name a RECIPE or a search with --resume.", hint="For example yoso tune mine.yaml.")
    if resume is not None and (overrides or steps):
        raise UsageError("--resume takes recipe and steps of the search.", hint="Leave --set and --steps out.")
    chosen = None if recipe is None else recipe_file.load(recipe, overrides)
    done = tune(
        chosen,
        trials=trials,
        minutes=minutes,
        steps=steps,
        resume=resume,
        runs=runs,
        device=device,
        progress=console.TERMINAL,
    )
    rows = [
        (
            one.number,
            *(f"{one.params['lr']:.2g}", one.params["scale"], one.params["color"], f"{one.params['size']:g}"),
            max(map(int, one.pq), default=0),
            f"{100 * one.last:.1f}" if one.pq else "-",
            one.state,
        )
        for one in done.trials
    ]
    heads = ("Trial", "lr", "scale", "color", "size", "steps", "PQ", "")
    best = done.best
    told = f"{done.folder / 'best.yaml'}: the values of trial {best.number}." if best else "No trial was evaluated."
    value = {**done.to_dict(), "folder": str(done.folder), "best": best.number if best else None}
    console.result(value, f"{console.table(heads, rows)}\n\n{told}", as_json)
    if best and not as_json:
        console.next_step(f"yoso train {shlex.quote(str(done.folder / 'best.yaml'))}")
