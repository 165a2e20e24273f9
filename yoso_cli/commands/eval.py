"""`yoso eval`: panoptic quality and other metrics; here of a model, in `eval_predictions` of what is on disk."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yoso_cli.api.predictor import EngineOptions
from yoso_cli.commands import console, next_step, options
from yoso_cli.commands.eval_predictions import DiskOptions, disk_options, eval_predictions, of_videos
from yoso_cli.commands.eval_sweep import SweepOptions, sweep_model, sweep_options
from yoso_cli.errors import UsageError

if TYPE_CHECKING:
    from yoso_cli.api.evaluate import Evaluated, EvaluationRequest

# The scales of `--tta scales` beside 1, and the range that --tta accepts.
SCALES = (0.75, 1.25)
SMALLEST_SCALE, LARGEST_SCALE = 0.1, 4.0


@click.command(name="eval")
@click.argument("source", required=False)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    callback=lambda _context, _option, given: _metrics(given),
    help="Metrics besides PQ: miou, ap, ap-cityscapes, boundary, or all. Repeatable, or separated by commas. Of "
    "videos, with --predictions: vpq, stq.",
)
@click.option(
    "--windows",
    metavar="K,...",
    show_default="1,5,10,15",
    help="Lengths of the windows of --metric vpq, in frames that the truth lists. Of Cityscapes-VPS: 1,2,3,4.",
)
@options.weights_option
@click.option("--split", metavar="NAME", show_default="the recipe's data.val_split", help="Split to evaluate on.")
@disk_options
@click.option(
    "--save-predictions",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Save the model's predictions in this new folder: panoptic.json and panoptic/, ready for a submission.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    show_default="report.html in the run folder",
    help="Write the report as one HTML file.",
)
@click.option("--force", is_flag=True, help="Overwrite the FILE of --html.")
@click.option(
    "--images",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Photos for --html, if they are neither in images/ beside the truth nor in COCO's layout.",
)
@click.option(
    "--tta",
    metavar="HOW",
    help="Test-time augmentation: flip, scales (0.75,1.25), any scales such as 0.5, or several of these separated by "
    "commas.",
)
@click.option(
    "--batch",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Batch size; pictures of one padded size are batched, so that padding does not change results.",
)
@sweep_options
@options.engine_options
@options.runs_option
@options.device_option
@options.set_option
@options.json_option
def command(
    source: str | None,
    metrics: tuple[str, ...],
    windows: str | None,
    weights: str | None,
    split: str | None,
    disk: DiskOptions,
    save_predictions: Path | None,
    html: Path | None,
    force: bool,
    images: Path | None,
    tta: str | None,
    batch: int,
    sweep: SweepOptions,
    engine_options: EngineOptions,
    runs: Path,
    device: str,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure panoptic quality (PQ) of a run, of weights, or of predictions on disk.

    SOURCE is a run folder, a weights file, the name of released weights (`yoso weights list`) or a URL; without it, the
    newest run is used. With --weights, SOURCE is a recipe, whose sizes, thresholds and data are used. The run folder
    keeps report.json and report.html; reports of another split, of --tta or of changed settings go to evaluations/.

    --predictions and --truth are each a folder with panoptic.json and panoptic/, a COCO panoptic JSON with its PNGs in
    a folder of the same name beside it, or a zip of either; a network is not needed. A truth whose JSON and PNGs
    contradict each other is refused. With --metric vpq,stq pictures are frames, and a segment's id is its track's.

    Under torchrun, the pictures are divided among the GPUs; the results are those of a single process.

    \b
    Example:
      yoso eval
      yoso eval coco --weights runs/coco-001 --metric all --tta flip
      yoso eval --predictions results.json --truth panoptic_val2017.json
      yoso eval --predictions clips.json --truth clips_val.json --metric vpq,stq
      torchrun --nproc-per-node 8 --no-python yoso eval runs/coco-001
    """
    _refuse_standing(html, force)
    named = disk.named()
    if named is None:
        needing = {**disk.given(), "--images": images, "--metric vpq or stq": of_videos(metrics), "--windows": windows}
        options.refuse(needing, "needs --predictions.", "Give --predictions and --truth, or leave it out.")
        how = {"metrics": metrics, "split": split, "overrides": overrides, "device": device, "batch": batch}
        where = {"save_predictions": save_predictions, "html": html, "runs": runs, "options": engine_options}
        _eval_model(_request(source, weights, tta, {**how, **where}), sweep, as_json)
        return
    model = {"SOURCE": source, "--weights": weights, "--split": split, "--set": overrides, "--tta": tta}
    running = {"--save-predictions": save_predictions, "--batch": batch > 1, **options.given(engine_options)}
    beside = {**model, **running, **sweep.given()}
    options.refuse(beside, "cannot be combined with --predictions: no model runs.", "Leave one of them out.")
    eval_predictions(named, disk, metrics, windows, html, images, as_json)


def _request(source: str | None, weights: str | None, tta: str | None, how: dict[str, Any]) -> "EvaluationRequest":
    from yoso_cli.api.evaluate import EvaluationRequest

    named, recipe = _source_and_recipe(source, weights)
    flip, scales = _augmentation(tta)
    typed = console.typed_command()
    return EvaluationRequest(source=named, recipe=recipe, flip=flip, scales=scales, command=typed, **how)


def _eval_model(request: "EvaluationRequest", sweep: SweepOptions, as_json: bool) -> None:
    """Evaluates a model, or sweeps its thresholds, and prints it; with several processes, the first one prints."""
    if any(sweep.given().values()):
        sweep_model(request, sweep, as_json)
        return
    from yoso_cli.api.evaluate import evaluate_model
    from yoso_cli.evaluation.summary import table
    from yoso_cli.runtime.distributed import process_group

    request.options.prepare_process()
    with process_group() as group, console.silenced_unless(group.rank == 0):
        done = evaluate_model(request, group=group, progress=console.TERMINAL)
        if group.rank == 0:
            console.result(done.report.to_dict(), table(done.report), as_json)
            console.next_step(_next(done))


def _next(done: "Evaluated") -> str:
    """The next command to type after this evaluation."""
    run, own, report = done.model.run, done.model.trained.data, done.report
    place = run.path if run else done.model.path
    source = shlex.quote(str(place))
    own_set = (report.dataset, report.split) == (own.name, own.val_split)
    if run and done.kept and own_set and run.report_path.is_file() and done.kept.parent != run.path:
        return f"yoso compare {source} {shlex.quote(str(done.kept.parent))}"
    faster = bool(done.model.weights.steps) or (run is not None and run.reparameterised.exists())
    if not faster:
        return f"yoso reparam {source}"
    return next_step.viz(place, next_step.validation_pictures(done.model.recipe))


def _refuse_standing(html: Path | None, force: bool) -> None:
    if html is not None and html.exists() and not force:
        raise UsageError(f"{html}: exists already.", hint="Add --force to overwrite it, or choose another for --html.")


def _source_and_recipe(source: str | None, weights: str | None) -> tuple[str | None, str | None]:
    """The weights, and the recipe if not their own: with --weights, the argument is a recipe."""
    from yoso_cli.api.weights import SUFFIXES

    if source is not None and Path(source).suffix == ".json":
        raise UsageError(
            f"{source}: SOURCE must be a model's weights.",
            hint="To score predictions, type yoso eval --predictions PATH --truth PATH.",
        )
    if not weights or source is None:
        return weights or source, None
    if Path(source).suffix in SUFFIXES or (Path(source) / "recipe.yaml").is_file():
        raise UsageError("SOURCE and --weights both name weights.", hint="Give one of them, or a recipe and --weights.")
    return weights, source


def _metrics(given: Sequence[str]) -> tuple[str, ...]:
    """The metrics of --metric, one by one; those of pictures, or those of videos."""
    from yoso_cli.evaluation.measures import chosen
    from yoso_cli.evaluation.video import VIDEO_METRICS

    names = tuple(name.strip() for one in given for name in one.split(","))
    of_pictures = [name for name in names if name not in VIDEO_METRICS]
    chosen(of_pictures)  # refuses an unknown one before anything is read
    if of_pictures and len(of_pictures) < len(names):
        told = f"--metric {','.join(names)}: metrics of videos ({', '.join(VIDEO_METRICS)}) have a report of their own."
        raise UsageError(told, hint="Evaluate once for the videos, and once for the pictures.")
    return names


def _augmentation(asked: str | None) -> tuple[bool, tuple[float, ...]]:
    """Of --tta: whether to flip, and the scales beside 1."""
    words = [word.strip() for word in asked.split(",")] if asked is not None else []
    scales: list[float] = []
    for word in words:
        if word != "flip":
            scales += SCALES if word == "scales" else [_scale(word)]
    return "flip" in words, tuple(dict.fromkeys(scales))


def _scale(word: str) -> float:
    try:
        scale = float(word)
    except ValueError:
        scale = 0.0
    if not SMALLEST_SCALE <= scale <= LARGEST_SCALE:
        raise UsageError(
            f"--tta {word}: must be flip, scales, or a scale from {SMALLEST_SCALE:g} to {LARGEST_SCALE:g}.",
            hint="For example --tta flip,scales or --tta flip,0.5,1.5.",
        )
    return scale
