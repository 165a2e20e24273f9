"""`yoso eval`: panoptic quality and other metrics, of a model or of predictions on disk."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yoso_cli.api.predictor import EngineOptions
from yoso_cli.commands import console, next_step, options
from yoso_cli.errors import UsageError
from yoso_cli.runtime.paths import require_there

if TYPE_CHECKING:
    from yoso_cli.api.evaluate import Evaluated, EvaluationRequest
    from yoso_cli.api.sweep import Swept
    from yoso_cli.evaluation.cityscapes import CityscapesQuality

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
@click.option(
    "--predictions",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Score predictions on disk, of any tool. Needs --truth.",
)
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Ground truth for --predictions.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    show_default="as many as pay, up to one for each core",
    help="Processes that score --predictions; the figures do not depend on it.",
)
@click.option(
    "--truth-cache",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Cache the decoded --truth in this file, which makes scoring against it again faster.",
)
@click.option(
    "--trust-json",
    is_flag=True,
    help="Take areas and segments of --truth from its JSON, as panopticapi does, even if its PNGs contradict it.",
)
@click.option(
    "--engine",
    type=click.Choice(["yoso", "panopticapi", "cityscapesscripts"]),
    default="yoso",
    show_default=True,
    help="What scores --predictions: this program, the reference evaluator of PQ, or the official ones of Cityscapes.",
)
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
@options.sweep_options
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
    predictions: Path | None,
    truth: Path | None,
    workers: int | None,
    truth_cache: Path | None,
    trust_json: bool,
    engine: str,
    save_predictions: Path | None,
    html: Path | None,
    force: bool,
    images: Path | None,
    tta: str | None,
    batch: int,
    sweep: options.SweepOptions,
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
    if predictions is None and truth is None:
        scoring = {"--workers": workers, "--truth-cache": truth_cache, "--images": images, "--trust-json": trust_json}
        of_videos = {"--metric vpq or stq": _of_videos(metrics), "--windows": windows}
        _refuse_without_predictions({**scoring, "--engine": engine != "yoso", **of_videos})
        how = {"metrics": metrics, "split": split, "overrides": overrides, "device": device, "batch": batch}
        where = {"save_predictions": save_predictions, "html": html, "runs": runs, "options": engine_options}
        _eval_model(_request(source, weights, tta, {**how, **where}), sweep, as_json)
        return
    both = _both(predictions, truth)
    model = {"SOURCE": source, "--weights": weights, "--split": split, "--set": overrides, "--tta": tta}
    running = {"--save-predictions": save_predictions, "--batch": batch > 1, **options.given(engine_options)}
    _refuse_beside_predictions({**model, **running, **sweep.given()})
    shown = {"--truth-cache": truth_cache, "--html": html, "--images": images}
    _eval_on_disk(engine, *both, metrics, windows, workers, trust_json, shown, as_json)


def _both(predictions: Path | None, truth: Path | None) -> tuple[Path, Path]:
    if predictions is None or truth is None:
        raise UsageError("--predictions and --truth need each other.", hint="Give both, or neither to run a model.")
    return predictions, truth


def _request(source: str | None, weights: str | None, tta: str | None, how: dict[str, Any]) -> "EvaluationRequest":
    from yoso_cli.api.evaluate import EvaluationRequest

    named, recipe = _source_and_recipe(source, weights)
    flip, scales = _augmentation(tta)
    typed = console.typed_command()
    return EvaluationRequest(source=named, recipe=recipe, flip=flip, scales=scales, command=typed, **how)


def _eval_model(request: "EvaluationRequest", sweep: options.SweepOptions, as_json: bool) -> None:
    """Evaluates a model, or sweeps its thresholds, and prints it; with several processes, the first one prints."""
    if any(sweep.given().values()):
        _sweep_model(request, sweep, as_json)
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


def _sweep_model(request: "EvaluationRequest", asked: options.SweepOptions, as_json: bool) -> None:
    """Sweeps the thresholds of a model and prints the table; with several processes, the first one prints."""
    from yoso_cli.api.sweep import PLACES, SweepRequest, sweep_model
    from yoso_cli.evaluation.sweep import table
    from yoso_cli.runtime.distributed import process_group

    if not asked.axes:
        raise UsageError("--sweep-on and --save need --sweep.", hint="For example --sweep score=0.1:0.9:0.05.")
    for name in (name for name, value in _not_swept(request).items() if value):
        raise UsageError(f"{name} has no meaning for --sweep, which measures PQ alone.", hint="Leave it out.")
    scores, overlaps = (asked.axes.get(name, ()) for name in ("score", "overlap"))
    whole = SweepRequest(request, scores, overlaps, asked.on or PLACES[0], asked.save)
    request.options.prepare_process()
    with process_group() as group, console.silenced_unless(group.rank == 0):
        done = sweep_model(whole, group=group, progress=console.TERMINAL)
        if group.rank == 0:
            value = {**done.sweep.to_dict(), "weights": str(done.model.path), "saved": list(map(str, done.saved))}
            written = "".join(f"\nWritten into {path}." for path in done.saved)
            console.result(value, table(done.sweep) + written, as_json)
            console.next_step(_next_of_sweep(done))


def _not_swept(request: "EvaluationRequest") -> dict[str, object]:
    return {"--metric": request.metrics, "--save-predictions": request.save_predictions}


def _next_of_sweep(done: "Swept") -> str:
    """Saving the pair if it is worth it, else an evaluation with all figures."""
    place = shlex.quote(str(done.model.run.path if done.model.run else done.model.path))
    best, present = done.sweep.best.cell, done.sweep.present.cell
    if done.saved or (best.pq or 0) <= (present.pq or 0):
        return f"yoso eval {place}"
    again = console.typed_command()
    return again if "--save" in again.split() else f"{again} --save"


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


def _refuse_without_predictions(given: dict[str, object]) -> None:
    for name in (name for name, value in given.items() if value):
        raise UsageError(f"{name} needs --predictions.", hint="Give --predictions and --truth, or leave it out.")


def _refuse_beside_reference(given: dict[str, object], engine: str) -> None:
    for name in (name for name, value in given.items() if value):
        raise UsageError(
            f"{name} has no meaning for {engine}, which computes its own figures on one core.", hint="Leave it out."
        )


def _refuse_beside_predictions(given: Mapping[str, object]) -> None:
    for name in (name for name, value in given.items() if value):
        raise UsageError(f"{name} cannot be combined with --predictions: no model runs.", hint="Leave one of them out.")


def _refuse_beside_videos(given: Mapping[str, object]) -> None:
    for name in (name for name, value in given.items() if value):
        raise UsageError(f"{name} has no meaning for --metric vpq and stq.", hint="Leave it out.")


def _refuse_without_videos(given: Mapping[str, object]) -> None:
    for name in (name for name, value in given.items() if value):
        raise UsageError(f"{name} needs --metric vpq.", hint="Give both, or neither.")


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


def _of_videos(metrics: Sequence[str]) -> bool:
    """Whether `_metrics` gave those of videos."""
    from yoso_cli.evaluation.video import VIDEO_METRICS

    return any(name in VIDEO_METRICS for name in metrics)


def _eval_videos(
    predictions: Path,
    truth: Path,
    metrics: Sequence[str],
    windows: str | None,
    workers: int | None,
    trust_json: bool,
    as_json: bool,
) -> None:
    from yoso_cli.api.predictions import evaluate_videos
    from yoso_cli.evaluation.video import WINDOWS
    from yoso_cli.evaluation.video_report import table

    lengths = _windows(windows) if windows is not None else WINDOWS
    if windows is not None and "vpq" not in metrics:
        _refuse_without_videos({"--windows": windows})
    require_there(predictions, truth)
    report = evaluate_videos(
        predictions,
        truth,
        metrics=metrics,
        windows=lengths,
        workers=workers,
        trust_json=trust_json,
        command=console.typed_command(),
        progress=console.TERMINAL,
    )
    console.result(report.to_dict(), table(report), as_json)
    if not as_json:
        again = f"--metric {','.join(metrics)} --json > video_report.json"
        console.next_step(f"yoso eval {_paths(predictions, truth)} {again}")


def _windows(asked: str) -> tuple[int, ...]:
    """The lengths of --windows."""
    words = [word.strip() for word in asked.split(",")]
    if not all(word.isdecimal() and int(word) for word in words):
        raise UsageError(f"--windows {asked}: must be numbers of frames.", hint="For example --windows 1,2,3,4.")
    return tuple(int(word) for word in words)


def _eval_on_disk(
    engine: str,
    predictions: Path,
    truth: Path,
    metrics: Sequence[str],
    windows: str | None,
    workers: int | None,
    trust_json: bool,
    of_pictures: Mapping[str, Path | None],
    as_json: bool,
) -> None:
    """By another engine, of videos, or of pictures; `of_pictures` are options that only the last one takes."""
    if engine != "yoso":
        counting = {"--metric": metrics, "--workers": workers, "--windows": windows}
        counting |= {"--trust-json": trust_json}
        _refuse_beside_reference({**counting, **of_pictures}, engine)
        _eval_with(engine, predictions, truth, as_json)
    elif _of_videos(metrics):
        _refuse_beside_videos(of_pictures)
        _eval_videos(predictions, truth, metrics, windows, workers, trust_json, as_json)
    else:
        _refuse_without_videos({"--windows": windows})
        cache, html, images = of_pictures.values()
        _eval_files(predictions, truth, metrics, workers, cache, html, images, trust_json, as_json)


def _eval_with(engine: str, predictions: Path, truth: Path, as_json: bool) -> None:
    require_there(predictions, truth)
    _REFERENCES[engine](predictions, truth, as_json)
    if not as_json:
        console.next_step(f"yoso eval {_paths(predictions, truth)}")


def _eval_with_panopticapi(predictions: Path, truth: Path, as_json: bool) -> None:
    from yoso_cli.evaluation.reference import reference_quality
    from yoso_cli.runtime import machine

    quality = reference_quality(predictions, truth)
    versions = machine.versions(["panopticapi-lite", "panopticapi", "numpy", "pillow"])
    rows = [
        (name, 100 * (one.pq or 0), 100 * (one.sq or 0), 100 * (one.rq or 0), one.n)
        for name, one in (("All", quality.all), ("Things", quality.things), ("Stuff", quality.stuff))
    ]
    text = console.table(("", "PQ", "SQ", "RQ", "classes"), rows, title="Panoptic quality as panopticapi computes it")
    console.result({"engine": "panopticapi", "quality": quality.to_dict(), "versions": versions}, text, as_json)


def _eval_with_cityscapesscripts(predictions: Path, truth: Path, as_json: bool) -> None:
    from yoso_cli.evaluation.cityscapes import cityscapes_quality
    from yoso_cli.runtime import machine

    found = cityscapes_quality(predictions, truth, console.TERMINAL)
    versions = machine.versions(["cityscapesScripts", "numpy", "pillow"])
    result = {"engine": "cityscapesscripts", **found.to_dict(), "versions": versions}
    console.result(result, _cityscapes_tables(found), as_json)


def _cityscapes_tables(found: "CityscapesQuality") -> str:
    """All figures by class, and IoU by category."""
    pixels, masks, quality = found.pixels, found.instances, found.quality
    whole = (masks.ap, masks.ap50) if masks else (None, None)
    of_things = {one.category.id: (one.ap, one.ap50) for one in masks.classes} if masks else {}
    rows = [("All", pixels.iou, pixels.iiou, *whole, quality.all.pq)]
    for one, panoptic in zip(pixels.classes, quality.classes, strict=True):
        masked = of_things.get(one.category.id, (None, None))
        rows.append((one.category.name, one.iou, one.iiou, *masked, panoptic.pq))
    groups = [("All", pixels.category_iou, pixels.category_iiou)]
    groups += [(one.name, one.iou, one.iiou) for one in pixels.categories]
    title = "As the official Cityscapes evaluators compute it, in percent"
    classes = console.table(("Class", "IoU", "iIoU", "AP", "AP50", "PQ"), _percent(rows), title=title)
    return f"{classes}\n\n{console.table(('Category', 'IoU', 'iIoU'), _percent(groups))}"


def _percent(rows: Iterable[Sequence[Any]]) -> list[list[object]]:
    return [[name, *(None if one is None else 100 * one for one in figures)] for name, *figures in rows]


_REFERENCES = {"panopticapi": _eval_with_panopticapi, "cityscapesscripts": _eval_with_cityscapesscripts}


def _paths(predictions: Path, truth: Path) -> str:
    return f"--predictions {shlex.quote(str(predictions))} --truth {shlex.quote(str(truth))}"


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


def _eval_files(
    predictions: Path,
    truth: Path,
    metrics: Sequence[str],
    workers: int | None,
    cache: Path | None,
    html: Path | None,
    images: Path | None,
    trust_json: bool,
    as_json: bool,
) -> None:
    from yoso_cli.api.predictions import evaluate_predictions
    from yoso_cli.evaluation.summary import table

    if images is not None and html is None:
        raise UsageError("--images needs --html.", hint="Give --html FILE as well, or leave it out.")
    if images is not None and not images.is_dir():
        raise UsageError(f"--images {images}: no such folder.", hint="Name the folder of the photos.")
    require_there(predictions, truth)
    report = evaluate_predictions(
        predictions,
        truth,
        metrics=metrics,
        workers=workers,
        cache=cache,
        html=html,
        images=images,
        trust_json=trust_json,
        command=console.typed_command(),
        progress=console.TERMINAL,
    )
    # Either takes a while to make of thousands of pictures.
    console.result(report.to_dict() if as_json else {}, "" if as_json else table(report), as_json)
    if not as_json:
        wanted = f"--metric {','.join(metrics)} " if metrics else ""
        again = "--json > report.json" if html or Path("report.html").exists() else "--html report.html"
        console.next_step(f"yoso eval {_paths(predictions, truth)} {wanted}{again}")
