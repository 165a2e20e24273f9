"""`yoso runs`: list, plot and remove runs."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yoso_cli.commands import console, options
from yoso_cli.errors import UsageError
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.api.runs import RunSummary

_COLUMNS = ("run", "recipe", "steps", "state", "best PQ", "PQ", "ms", "trained")
# Of a table: what fits a terminal of 80 columns.
_WIDTH = 80
_SHORTEST_NAME = 8


@click.group(invoke_without_command=True)
@options.runs_option
@options.json_option
@click.pass_context
def command(ctx: click.Context, runs: Path, as_json: bool) -> None:
    """List the runs, the one trained last first; plot them; remove some.

    The state of a run is training (a process trains it now), finished, interrupted, failed (an error ended it), or no
    checkpoint. PQ is that of the validation split during training: the best and the newest. ms is the latency of the
    network alone, as `yoso bench` measured it last, of the faster of the trained and the re-parameterised weights.

    \b
    Example:
      yoso runs
      yoso runs --json
      yoso runs plot
      yoso runs remove shapes-001 shapes-002
    """
    if ctx.invoked_subcommand is not None:
        return
    from yoso_cli.api.runs import list_runs

    found = list_runs(runs)
    console.result({"runs": [one.to_dict() for one in found]}, _text(found, runs), as_json)
    if as_json:
        return
    for run in found:
        for problem in run.problems:
            console.say(f"{run.folder.path.name}: {problem}")
    if not found:
        console.next_step("yoso train shapes")
    elif any(run.latencies for run in found):
        console.next_step(f"yoso runs plot{_elsewhere(runs)}")
    else:
        console.next_step(f"yoso bench {shlex.quote(str(found[0].folder.path))}")


@command.command()
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    show_default="pq-over-latency.png in the folder of all runs",
    help="The picture, a PNG.",
)
@options.runs_option
@options.force_option
@options.json_option
@click.pass_context
def plot(ctx: click.Context, output: Path | None, runs: Path, force: bool, as_json: bool) -> None:
    """Draw PQ over latency, of all runs and of the paper.

    The picture is like the paper's Fig. 4. The latency is that of the network alone, which `yoso bench RUN` measures
    and keeps, for the trained and for the re-parameterised weights. The paper's latencies are of a V100. Runs on other
    datasets than COCO and Cityscapes get a panel of their own. Runs without PQ or latency are named.

    \b
    Example:
      yoso runs plot
      yoso runs plot -o fig4.png
    """
    from yoso_cli.api.runs import plot_runs

    runs = _folder(ctx, runs)
    if output is not None and output.exists() and not force:
        raise UsageError(f"{output}: exists already.", hint="Add --force to overwrite it, or choose another --output.")
    done = plot_runs(output or runs / "pq-over-latency.png", runs)
    rows = [(point.name, panel, point.pq, point.latency) for panel, points in done.points.items() for point in points]
    value = {
        "picture": str(done.path),
        "points": [dict(zip(("name", "panel", "pq", "ms"), row, strict=True)) for row in rows],
        "left_out": done.left_out,
    }
    told = [f"Left out: {one}" for one in done.left_out]
    text = "\n".join([console.table(("run", "panel", "PQ", "ms"), rows), *told, f"Picture: {done.path}"])
    console.result(value, text, as_json)


@command.command()
@click.argument("named", nargs=-1, required=True, metavar="RUN...")
@options.runs_option
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@options.json_option
@click.pass_context
def remove(ctx: click.Context, named: tuple[str, ...], runs: Path, yes: bool, as_json: bool) -> None:
    """Delete runs.

    RUN is the name of a folder in the folder of all runs, or a path to one. A run that is being trained is refused.
    Links are not followed: a run that is a link loses the link alone.

    \b
    Example:
      yoso runs remove shapes-001
      yoso runs remove runs/shapes-002 runs/shapes-003 --yes
    """
    from yoso_cli.api.runs import removable, remove_runs

    runs = _folder(ctx, runs)
    chosen = removable(named, runs)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("nobody can be asked here whether to delete.", hint="Add --yes to delete without asking.")
        listed = ", ".join(str(run.path) for run in chosen)
        if not click.confirm(f"Delete {counted(len(chosen), 'run')} ({listed})?", err=True):
            console.say("Nothing was deleted.")
            return
    gone = [str(path) for path in remove_runs(named, runs)]
    console.result({"removed": gone}, "\n".join(f"Deleted {path}." for path in gone), as_json)


def _folder(ctx: click.Context, runs: Path) -> Path:
    """The folder of all runs, which may be named before or after the subcommand."""
    source = ctx.get_parameter_source("runs")
    assert ctx.parent is not None, "a subcommand"
    before: Path = ctx.parent.params["runs"]
    return before if source == click.core.ParameterSource.DEFAULT else runs


def _elsewhere(runs: Path) -> str:
    return "" if runs == Path("runs") else f" --runs {shlex.quote(str(runs))}"


def _text(found: "list[RunSummary]", runs: Path) -> str:
    if not found:
        return f"{runs}: there is no run yet."
    rows = [_row(run) for run in found]
    # The name of a run says its recipe, but for one of `train --into`.
    telling = [run for run in found if run.recipe is None or not run.folder.path.name.startswith(f"{run.recipe.name}-")]
    places = [place for place in range(len(_COLUMNS)) if _COLUMNS[place] != "recipe" or telling]
    columns = [_COLUMNS[place] for place in places]
    cells = [[row[place] for place in places] for row in rows]
    return console.table(columns, _fitting(columns, cells, names=1 + bool(telling)))


def _row(run: "RunSummary") -> tuple[str, ...]:
    planned = "?" if run.iterations is None else _short(run.iterations)
    ms = min(run.latencies.values(), default=None)
    return (
        run.folder.path.name,
        run.recipe.name if run.recipe else "-",
        f"{_short(run.iteration)}/{planned}",
        run.state,
        *("-" if figure is None else f"{figure:.1f}" for figure in (run.best_pq, run.newest_pq, ms)),
        f"{run.trained:%Y-%m-%d}",
    )


def _short(steps: int) -> str:
    """`368k`, and all digits below ten thousand."""
    return str(steps) if steps < 10_000 else f"{steps // 1000}k"


def _fitting(columns: list[str], cells: list[list[str]], names: int) -> list[list[str]]:
    """The cells, with the first `names` columns shortened in their middle where the table were too wide."""
    widths = [max(map(len, [column, *(row[place] for row in cells)])) for place, column in enumerate(columns)]
    while (longest := max(widths[:names])) > _SHORTEST_NAME and sum(widths) + 2 * len(widths) + 2 > _WIDTH:
        widths[widths.index(longest)] -= 1
    return [[*(_cut(row[place], widths[place]) for place in range(names)), *row[names:]] for row in cells]


def _cut(text: str, width: int) -> str:
    kept = width - 1
    return text if len(text) <= width else f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
