"""`yoso compare`: whether B is really better than A."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yoso_cli.commands import console, options, scoring
from yoso_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from yoso_cli.evaluation.per_image import Measured
    from yoso_cli.panoptic.types import PanopticSet


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
    from yoso_cli.evaluation.comparison import compared, table

    options.require_there(a, b, truth)
    true_set = _read_truth(truth) if truth else None
    sides = [_measured(path, truth, true_set) for path in (a, b)]
    found = compared(*sides)
    console.result(found.to_dict(), table(found), as_json)
    if not as_json:
        words = [str(a), str(b), *(("--truth", str(truth)) if truth else ())]
        console.next_step(f"yoso compare {shlex.join(words)} --json > comparison.json")


def _read_truth(truth: Path) -> "PanopticSet":
    from yoso_cli.evaluation.score import read_any

    return read_any(truth)


def _measured(path: Path, truth: Path | None, true_set: "PanopticSet | None") -> "Measured":
    """A report where there is one; else predictions, which need the truth."""
    from yoso_cli.evaluation.report import FORMAT, read_measured
    from yoso_cli.panoptic.annotations import read_json
    from yoso_cli.run_folder import RunFolder

    if (path / "recipe.yaml").is_file():
        kept = RunFolder.open(path).report_path
        if not kept.is_file():
            raise DataError(f"{path}: this run has no report yet.", hint=f"Type `yoso eval {path}` first.")
        return read_measured(kept)
    if (path / "report.json").is_file():
        return read_measured(path / "report.json")
    if path.is_file() and read_json(path).get("format") == FORMAT:
        return read_measured(path)
    if truth is None or true_set is None:
        raise UsageError(
            f"{path}: is neither a run folder nor a report of `yoso eval`.",
            hint="Predictions are compared with --truth PATH.",
        )
    return scoring.evaluate(path, truth, true_set).measured(str(path))
