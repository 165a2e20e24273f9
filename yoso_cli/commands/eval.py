"""`yoso eval`: how good panoptic predictions are, a model's or those on disk."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yoso_cli.commands import console, options, pages, wiring
from yoso_cli.errors import UsageError

if TYPE_CHECKING:
    from yoso_cli.commands.source import Source
    from yoso_cli.evaluation.report import Report
    from yoso_cli.inference.predict import Predictor
    from yoso_cli.inference.shards import Shard
    from yoso_cli.panoptic.types import PanopticSet


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
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    show_default="1",
    help="Processes that score --predictions; the figures do not depend on it.",
)
@click.option(
    "--truth-cache",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keep what was decoded of --truth here, so that scoring against it again takes less.",
)
@click.option(
    "--engine",
    type=click.Choice(["yoso", "panopticapi"]),
    default="yoso",
    show_default=True,
    help="What scores --predictions: this program, or the reference evaluator.",
)
@click.option(
    "--save-predictions",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep the model's predictions in this new folder, ready to submit: panoptic.json and panoptic/.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    show_default="report.html in the run folder",
    help="Write the report as one HTML file to look at.",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The photos that --html shows, where they do not lie in images/ beside the truth.",
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
    workers: int | None,
    truth_cache: Path | None,
    engine: str,
    save_predictions: Path | None,
    html: Path | None,
    images: Path | None,
    runs: Path,
    device: str,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure panoptic quality (PQ): of a run, of weights, or of predictions on disk.

    SOURCE is a run folder, a weights file, the name of released weights (`yoso weights list`) or a URL; without it, the
    newest run is taken. The result is also kept in the run folder, as report.json and, to look at, report.html.

    --predictions and --truth are each a folder with panoptic.json and panoptic/, or a COCO panoptic JSON with its PNGs
    in a folder of the same name beside it. Nothing else is needed then: no network, no pictures.

    \b
    Example:
      yoso eval
      yoso eval runs/shapes-001 --split val --json
      yoso eval --predictions results.json --truth annotations/panoptic_val2017.json --html report.html
    """
    if predictions is None and truth is None:
        _refuse_without_predictions("--workers", workers)
        _refuse_without_predictions("--truth-cache", truth_cache)
        _refuse_without_predictions("--engine", engine != "yoso")
        if images is not None:
            raise UsageError("--images belongs to --predictions: a dataset knows its photos.", hint="Leave it out.")
        path = _chosen_weights(source, weights, runs)
        _eval_model(path, metrics, split, save_predictions, html, device, overrides, as_json)
        return
    if predictions is None or truth is None:
        raise UsageError("--predictions and --truth belong together.", hint="Give both, or neither to run a model.")
    for name, value in {"SOURCE": source, "--weights": weights, "--split": split, "--set": overrides}.items():
        _refuse_beside_predictions(name, value)
    _refuse_beside_predictions("--save-predictions", save_predictions)
    if engine == "panopticapi":
        _refuse_beside_reference("--metric", metrics)
        _refuse_beside_reference("--workers", workers)
        _refuse_beside_reference("--truth-cache", truth_cache)
        _refuse_beside_reference("--html", html)
        _eval_with_reference(predictions, truth, as_json)
        return
    _eval_files(
        predictions, truth, metrics, workers=workers or 1, cache=truth_cache, html=html, images=images, as_json=as_json
    )


def _refuse_without_predictions(name: str, value: object) -> None:
    if value:
        raise UsageError(
            f"{name} is for scoring --predictions.", hint="Give --predictions and --truth, or leave it out."
        )


def _refuse_beside_reference(name: str, value: object) -> None:
    if value:
        raise UsageError(f"{name} has no meaning for panopticapi, which computes PQ on one core.", hint="Leave it out.")


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


def _eval_with_reference(predictions: Path, truth: Path, as_json: bool) -> None:
    from yoso_cli import machine
    from yoso_cli.evaluation.reference import reference_quality

    quality = reference_quality(predictions, truth)
    versions = machine.versions(["panopticapi-lite", "panopticapi", "numpy", "pillow"])
    rows = [
        (name, 100 * (one.pq or 0), 100 * (one.sq or 0), 100 * (one.rq or 0), one.n)
        for name, one in (("All", quality.all), ("Things", quality.things), ("Stuff", quality.stuff))
    ]
    text = console.table(("", "PQ", "SQ", "RQ", "classes"), rows, title="Panoptic quality as panopticapi computes it")
    console.result({"engine": "panopticapi", "quality": quality.to_dict(), "versions": versions}, text, as_json)
    if not as_json:
        console.next_step(f"yoso eval {_paths(predictions, truth)}")


def _paths(predictions: Path, truth: Path) -> str:
    return f"--predictions {shlex.quote(str(predictions))} --truth {shlex.quote(str(truth))}"


def _eval_files(
    predictions: Path,
    truth: Path,
    metrics: Sequence[str],
    *,
    workers: int,
    cache: Path | None,
    html: Path | None,
    images: Path | None,
    as_json: bool,
) -> None:
    from yoso_cli.evaluation.score import read_any
    from yoso_cli.evaluation.summary import table

    true_set = read_any(truth)
    report = wiring.evaluate_files(predictions, truth, true_set, metrics=metrics, workers=workers, cache=cache)
    if html is not None:
        shown = replace(true_set, image_dir=images) if images is not None else true_set
        pages.write(html, report, shown, pages.predicted_in(predictions, true_set))
    console.result(report.to_dict(), table(report), as_json)
    if not as_json:
        again = "--json > report.json" if html else "--html report.html"
        console.next_step(f"yoso eval {_paths(predictions, truth)} {again}")


def _eval_model(
    path: Path,
    metrics: Sequence[str],
    split: str | None,
    save_to: Path | None,
    html: Path | None,
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
            _keep(report, found, html, truth, predictor)
            _tell(report, found, as_json)


def _keep(report: "Report", found: "Source", html: Path | None, truth: "PanopticSet", predictor: "Predictor") -> None:
    """Writes the files of the run folder, and the page where it is wanted."""
    from yoso_cli.evaluation.report import write_report

    if found.run:
        kept = found.run.report_of(found.path)
        write_report(kept, report)
        console.say(f"Kept in {kept}.")
        html = html or kept.with_suffix(".html")
    if html:
        pages.write(html, report, truth, pages.predicted_by(predictor, truth))


def _tell(report: "Report", found: "Source", as_json: bool) -> None:
    """Prints what came out, and what to type next."""
    from yoso_cli.evaluation.summary import table

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
