"""`yoso compare`: two evaluations side by side, with confidence intervals."""

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
    help="Ground truth; A and B are then predictions, which are scored first.",
)
@options.json_option
def command(a: Path, b: Path, truth: Path | None, as_json: bool) -> None:
    """Compare evaluation B with A, and say whether the difference is significant.

    A and B are each a run folder (for its report.json), a folder under its evaluations/, a report.json, or, with
    --truth, predictions of any tool. Both must be measured on the same images. Existing reports are read, not computed
    again.

    Differences come with 95 % intervals from a paired bootstrap over images.

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
