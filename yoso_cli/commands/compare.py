"""`yoso compare`: whether B is really better than A."""

import shlex
from pathlib import Path

import click

from yoso_cli.commands import console, options
from yoso_cli.runtime.paths import require_there


@click.command(name="compare")
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Score A and B, predictions on disk, against this truth first.",
)
@options.json_option
def command(a: Path, b: Path, truth: Path | None, as_json: bool) -> None:
    """Tell whether B is better than A, or whether the difference could be noise.

    A and B are each a run folder (its own evaluation counts), a folder under its evaluations/, a report.json, or with
    --truth predictions of any tool. Both must have been measured on the same images. Nothing is evaluated again where a
    report is there.

    Differences come with 95 % intervals from drawing the images again, the same ones for both (paired bootstrap).

    \b
    Example:
      yoso compare runs/shapes-001 runs/shapes-002
      yoso compare runs/shapes-001 runs/shapes-001/evaluations/flip
      yoso compare old-report.json runs/coco-001 --json
      yoso compare a.json b.json --truth annotations/panoptic_val2017.json
    """
    from yoso_cli.api.compare import compare
    from yoso_cli.evaluation.comparison import table

    require_there(a, b, truth)
    found = compare(a, b, truth=truth)
    console.result(found.to_dict(), table(found), as_json)
    if not as_json:
        words = [str(a), str(b), *(("--truth", str(truth)) if truth else ())]
        console.next_step(f"yoso compare {shlex.join(words)} --json > comparison.json")
