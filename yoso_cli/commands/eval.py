"""`yoso eval`: how good panoptic predictions are, a model's or those on disk."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yoso_cli.commands import console, options, wiring
from yoso_cli.errors import UsageError

if TYPE_CHECKING:
    from yoso_cli.commands.source import Source
    from yoso_cli.evaluation.report import Report
    from yoso_cli.inference.predict import Predictor
    from yoso_cli.inference.shards import Shard


@click.command(name="eval")
@click.argument("source", required=False)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    callback=lambda _context, _option, given: _metrics(given),
    help="What to compute beside PQ: miou, ap, boundary, or all. Repeatable, or a list with commas.",
)
@options.weights_option
@click.option("--split", metavar="NAME", show_default="the recipe's data.val_split", help="Split to evaluate on.")
@click.option(
    "--predictions",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Score these predictions, of any tool. Needs --truth.",
)
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="What --predictions are compared with.",
)
@click.option(
    "--save-predictions",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep the model's predictions in this new folder, ready to submit: panoptic.json and panoptic/.",
)
@options.runs_option
@options.device_option
@options.set_option
@options.json_option
def command(
    source: str | None,
    metrics: tuple[str, ...],
    weights: str | None,
    split: str | None,
    predictions: Path | None,
    truth: Path | None,
    save_predictions: Path | None,
    runs: Path,
    device: str,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure panoptic quality (PQ): of a run, of weights, or of predictions on disk.

    SOURCE is a run folder, a weights file, the name of released weights (`yoso weights list`) or a URL; without it, the
    newest run is taken. The result is also kept in the run folder, as report.json.

    --predictions and --truth are each a folder with panoptic.json and panoptic/, or a COCO panoptic JSON with its PNGs
    in a folder of the same name beside it. Nothing else is needed then: no network, no pictures.

    \b
    Example:
      yoso eval
      yoso eval runs/shapes-001 --split val --json
      yoso eval --predictions results.json --truth annotations/panoptic_val2017.json
    """
    if predictions is None and truth is None:
        path = _chosen_weights(source, weights, runs)
        _eval_model(path, metrics, split, save_predictions, device, overrides, as_json)
        return
    if predictions is None or truth is None:
        raise UsageError("--predictions and --truth belong together.", hint="Give both, or neither to run a model.")
    for name, value in {"SOURCE": source, "--weights": weights, "--split": split, "--set": overrides}.items():
        _refuse_beside_predictions(name, value)
    _refuse_beside_predictions("--save-predictions", save_predictions)
    _eval_files(predictions, truth, metrics, as_json)


def _refuse_beside_predictions(name: str, value: object) -> None:
    if value:
        raise UsageError(f"{name} has no meaning beside --predictions: no model runs.", hint="Leave one of them out.")


def _metrics(given: Sequence[str]) -> tuple[str, ...]:
    """The names that --metric asks for, one by one."""
    from yoso_cli.evaluation.measures import ALL, METRICS

    names = [name.strip() for one in given for name in one.split(",")]
    for name in names:
        if name not in (*METRICS, ALL):
            raise UsageError(
                f"--metric {name}: there is no such metric.", hint=f"There are {', '.join(METRICS)} and {ALL}."
            )
    return tuple(names)


def _eval_files(predictions: Path, truth: Path, metrics: Sequence[str], as_json: bool) -> None:
    from yoso_cli.evaluation.score import read_any
    from yoso_cli.evaluation.summary import table

    report = wiring.evaluate_files(predictions, truth, read_any(truth), metrics)
    console.result(report.to_dict(), table(report), as_json)
    if not as_json:
        paths = f"--predictions {shlex.quote(str(predictions))} --truth {shlex.quote(str(truth))}"
        console.next_step(f"yoso eval {paths} --json > report.json")


def _eval_model(
    path: Path,
    metrics: Sequence[str],
    split: str | None,
    save_to: Path | None,
    device: str,
    overrides: Sequence[str],
    as_json: bool,
) -> None:
    from yoso_cli.commands.source import read_source
    from yoso_cli.inference.shards import joined

    with joined() as shard, console.heard(shard.rank == 0):
        if save_to is not None:
            _require_free(save_to)
        # Nobody goes on, and writes there, before the folder was looked at by all.
        shard.gathered(None)
        found = read_source(path, overrides)
        truth = wiring.prepared_set(found.recipe, split or found.recipe.data.val_split)
        found.require_classes_of(truth)
        predictor = found.predictor(device)
        images = f"{len(truth.records)} images"
        console.say(f"Evaluating {path} on {truth.name} {truth.split} ({images}, {_where(predictor, shard)}).")
        if found.overridden:
            console.say(f"Not as these weights are meant to be used: {found.overridden}.")
        report = wiring.evaluate(predictor, truth, found.recipe, path, metrics=metrics, save_to=save_to, shard=shard)
        aimed_at = found.trained.data
        if (truth.name, truth.split) != (aimed_at.name, aimed_at.val_split):
            report = replace(report, paper=None)  # the published figures are for another set
        if shard.rank == 0:
            _tell(report, found, as_json)


def _tell(report: "Report", found: "Source", as_json: bool) -> None:
    """Keeps and prints what came out, and what to type next."""
    from yoso_cli.evaluation.report import write_report
    from yoso_cli.evaluation.summary import table

    if found.run:
        kept = found.run.report_of(found.path)
        write_report(kept, report)
        console.say(f"Kept in {kept}.")
    console.result(report.to_dict(), table(report), as_json)
    source = shlex.quote(str(found.run.path if found.run else found.path))
    faster = bool(found.weights.steps) or (found.run is not None and found.run.reparameterised.exists())
    console.next_step(f"yoso viz image.jpg --weights {source}" if faster else f"yoso reparam {source}")


def _where(predictor: "Predictor", shard: "Shard") -> str:
    return f"{predictor.device}, {shard.count} processes" if shard.count > 1 else str(predictor.device)


def _require_free(folder: Path) -> None:
    """Raises UsageError when something lies in `folder`: an hour of work would end there."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: is there already.", hint="Choose another folder for --save-predictions.")


def _chosen_weights(source: str | None, weights: str | None, runs: Path) -> Path:
    from yoso_cli.commands.source import trained_weights

    if source is not None and weights is not None:
        raise UsageError("SOURCE and --weights both name weights.", hint="Give one of them.")
    return trained_weights(source or weights, runs)
