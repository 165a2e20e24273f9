"""How good a model's predictions are, by running it."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from yoso_cli.api.dataset import prepared_set, with_data_of
from yoso_cli.api.predictor import AS_MEASURED, EngineOptions, described
from yoso_cli.api.weights import ModelFile, Named, read_model, trained_weights
from yoso_cli.atomic import replacing_folder
from yoso_cli.drawing.overlay import overlay
from yoso_cli.drawing.sheet import bounded, sheet
from yoso_cli.drawing.style import Style
from yoso_cli.errors import UsageError
from yoso_cli.evaluation import counting
from yoso_cli.evaluation.measures import DETAILS, Counts, Measures, chosen, score_counts, total
from yoso_cli.evaluation.report import (
    ExactMerge,
    InferenceSettings,
    PaperRow,
    Report,
    WeightsFile,
    further_measures,
    write_report,
)
from yoso_cli.panoptic.files import SetWriter, read_panoptic
from yoso_cli.panoptic.photos import read_image
from yoso_cli.panoptic.types import ImageRecord, PanopticSet, Rgb
from yoso_cli.recipe import file as recipe_file
from yoso_cli.recipe.schema import Recipe
from yoso_cli.runtime import machine
from yoso_cli.runtime.distributed import ALONE, ProcessGroup
from yoso_cli.runtime.progress import SILENT, Progress, tracked
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.inference.predict import Predictor
    from yoso_cli.page.gallery import Predict

# The measures besides PQ, as people call them.
_MEASURES = {
    "semantic": "mIoU",
    "instances": "mask AP",
    "cityscapes_ap": "AP by Cityscapes' rules",
    "boundary": "boundary PQ",
}


@dataclass(frozen=True)
class EvaluationRequest:
    """A model, what to evaluate it on, and how.

    Attributes:
        source: the weights (see `api.weights.Named`).
        recipe: name or file of a recipe to evaluate by; None for the one in the weights.
        overrides: changes of recipe values, as `inference.short_edge=640`.
        metrics: metrics besides PQ: miou, ap, ap-cityscapes, boundary or all.
        split: of the dataset; None for the recipe's `data.val_split`.
        device: auto, cpu, cuda or cuda:N.
        options: how the network runs and masks are merged.
        flip: test-time augmentation by flipping.
        scales: test-time augmentation by these scales beside 1.
        batch: batch size; pictures of one padded size are batched.
        save_predictions: a new folder for the predictions, if any.
        html: the HTML report; None for report.html in the run folder.
        runs: the folder of all runs.
        command: the command line, for the report.
    """

    source: Named = None
    recipe: str | None = None
    overrides: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    split: str | None = None
    device: str = "auto"
    options: EngineOptions = AS_MEASURED
    flip: bool = False
    scales: tuple[float, ...] = ()
    batch: int = 1
    save_predictions: Path | None = None
    html: Path | None = None
    runs: Path = Path("runs")
    command: str = ""


@dataclass(frozen=True)
class Evaluated:
    """A finished evaluation of a model.

    Attributes:
        report: the results.
        model: the weights that were evaluated.
        kept: the report in the run folder; None if the weights are not in a run.
    """

    report: Report
    model: ModelFile
    kept: Path | None


def evaluate(
    source: Named = None,
    *,
    recipe: str | None = None,
    overrides: Sequence[str] = (),
    metrics: Sequence[str] = (),
    split: str | None = None,
    device: str = "auto",
    options: EngineOptions = AS_MEASURED,
    batch: int = 1,
    save_predictions: str | Path | None = None,
    runs: str | Path = "runs",
    progress: Progress = SILENT,
) -> Report:
    """Runs a model on a split of its dataset and scores it. A run folder keeps report.json and report.html.

    Arguments are those of `EvaluationRequest`; `progress` shows progress and messages.

    Raises:
        DataError: weights, pictures or truth are missing or damaged, or the classes differ.
        RunError: the device is not there, or something cannot be written.
        UsageError: an argument names what does not exist, or changes the network.
    """
    request = EvaluationRequest(
        source=source,
        recipe=recipe,
        overrides=tuple(overrides),
        metrics=tuple(metrics),
        split=split,
        device=device,
        options=options,
        batch=batch,
        save_predictions=Path(save_predictions) if save_predictions else None,
        runs=Path(runs),
    )
    return evaluate_model(request, progress=progress).report


def evaluate_model(
    request: EvaluationRequest, *, group: ProcessGroup = ALONE, progress: Progress = SILENT
) -> Evaluated:
    """As `evaluate`, in one process or as one of several: each gets the whole report, and the first one writes it."""
    if request.save_predictions is not None:
        _require_empty(request.save_predictions)
    # A barrier: no process writes to the folder before all have checked it.
    group.all_gather(None)
    return _evaluated(request, group, progress)


@contextmanager
def _saving(folder: Path | None, group: ProcessGroup) -> Iterator[Path | None]:
    """Where predictions are written; all of them appear in `folder` at the end, and none after a kill."""
    if folder is None:
        yield None
        return
    with ExitStack() as writing:
        made = None
        if group.rank == 0:
            made = writing.enter_context(replacing_folder(folder))
            _require_empty(folder)
        yield group.all_gather(made)[0]


def _evaluated(request: EvaluationRequest, group: ProcessGroup, progress: Progress) -> Evaluated:
    model = evaluated_model(request, group, progress)
    if model.run:
        model.run.require_no_links()
    truth = prepared_set(model.recipe, request.split or model.recipe.data.val_split)
    model.require_classes_of(truth)
    predictor = model.predictor(request.device, request.options, flip=request.flip, scales=request.scales)
    announce(request, model, truth, predictor, group, progress)
    # The folder appears after the report: a kill before that leaves nothing in the way of the same command.
    with _saving(request.save_predictions, group) as folder:
        report = evaluate_predictor(
            predictor,
            truth,
            model.recipe,
            model.path,
            metrics=request.metrics,
            save_to=folder,
            batch=request.batch,
            command=request.command,
            group=group,
            progress=progress,
        )
        report = replace(report, predictions=str(request.save_predictions or ""))
        report = report if _is_published(request, model, truth, predictor) else replace(report, paper=None)
        kept = _keep(request, report, model, truth, predictor, progress) if group.rank == 0 else None
    return Evaluated(report, model, kept)


def evaluate_predictor(
    predictor: "Predictor",
    truth: PanopticSet,
    recipe: Recipe,
    weights: Path,
    *,
    metrics: Sequence[str] = (),
    save_to: Path | None = None,
    batch: int = 1,
    command: str = "",
    group: ProcessGroup = ALONE,
    progress: Progress = SILENT,
) -> Report:
    """Predicts every picture of `truth` and scores it.

    Args:
        predictor: the model to evaluate.
        truth: ground truth.
        recipe: for the report.
        weights: the file of the predictor's weights, for the report.
        metrics: metrics besides PQ.
        save_to: an empty folder for the predictions, if they are to be kept.
        batch: batch size; pictures of one padded size are batched.
        command: the command line, for the report.
        group: the processes that the pictures are divided among.
        progress: shows progress.

    Raises:
        DataError: a picture or its truth is unreadable.
        RunError: predictions cannot be written.
    """
    figures, exact = _figures(predictor, truth, chosen(metrics), save_to, batch, group, progress)
    return Report(
        figures,
        dataset=truth.name,
        split=truth.split,
        images=len(truth.records),
        truth=str(truth.panoptic_dir),
        recipe=recipe.name,
        weights=WeightsFile.of(weights),
        settings=InferenceSettings(
            predictor.short_edge,
            predictor.long_edge,
            predictor.score_threshold,
            predictor.overlap_threshold,
            str(predictor.device),
            tuple(map(str, predictor.views)),
            predictor.merge_rule,
            str(predictor.engine),
        ),
        exact_merge=exact,
        paper=_paper_row(recipe),
        versions=machine.versions(machine.MODEL_PACKAGES),
        machine=machine.describe(),
        command=command,
    )


def predicted_by(predictor: "Predictor", truth: PanopticSet) -> "Predict":
    """A model's prediction for each picture of `truth`."""
    return lambda record: predictor(read_image(truth.image_path(record)))


def side_by_side(truth: PanopticSet, predict: "Predict", *, count: int = 4) -> Rgb:
    """Photo, truth and prediction of the first `count` pictures of `truth`, in rows; uint8 (H, W, 3)."""
    style = Style(color="class", legend=False)

    def row(record: ImageRecord) -> list[Rgb]:
        image = read_image(truth.image_path(record))
        segments = read_panoptic(truth, record), predict(record)
        # One by one: several large pictures would not fit into memory together.
        return [bounded(image), *(bounded(overlay(image, one, truth.categories, style)) for one in segments)]

    return sheet([row(record) for record in truth.records[:count]], ("photo", "truth", "prediction"))


def _require_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: exists already.", hint="Choose another folder for --save-predictions.")


def evaluated_model(request: EvaluationRequest, group: ProcessGroup, progress: Progress) -> ModelFile:
    """The weights with their own recipe or the one named instead; downloaded once for all processes."""

    def located() -> Path:
        return group.leaders_first(lambda: trained_weights(request.source, request.runs, progress))

    if request.recipe is None:
        return read_model(located(), request.overrides, progress)
    # Mistakes in a recipe are reported before hundreds of megabytes are read.
    recipe = recipe_file.load(request.recipe, request.overrides)
    model = read_model(located(), progress=progress)
    _require_network(request.recipe, recipe, model)
    # A root of --set is where the dataset must be.
    own_root = recipe.data.root == model.trained.data.root
    return replace(model, recipe=with_data_of(recipe, model.run) if own_root else recipe)


def _require_network(name: str, recipe: Recipe, model: ModelFile) -> None:
    """Raises UsageError if the recipe's network is not that of the weights; settings of training are ignored."""
    free = ("backbone_weights", "backbone_norm", "aggregator")
    ours, theirs = (
        {key: value for key, value in one.to_dict()["model"].items() if key not in free}
        for one in (recipe, model.trained)
    )
    differing = [f"{key} {ours[key]} where the weights have {theirs[key]}" for key in ours if ours[key] != theirs[key]]
    if differing:
        raise UsageError(
            f"{name}: is for another network than {model.path}: {', '.join(differing)}.",
            hint="Leave the recipe out: the weights include their own.",
        )


def announce(
    request: EvaluationRequest,
    model: ModelFile,
    truth: PanopticSet,
    predictor: "Predictor",
    group: ProcessGroup,
    progress: Progress,
) -> None:
    """Says what runs where, and what differs from the weights' own settings."""
    progress.message(f"The network runs on {described(predictor)}.")
    where = f"{predictor.device}, {group.size} processes" if group.size > 1 else str(predictor.device)
    images = counted(len(truth.records), "image")
    progress.message(f"Evaluating {model.path} on {truth.name} {truth.split} ({images}, {where}).")
    if model.recipe.data.root != model.trained.data.root:
        progress.message(f"The dataset is in {model.recipe.data.root}.")
    if model.overridden:
        progress.message(f"Settings that differ from those of these weights: {model.overridden}.")
    views = len(predictor.views)
    if views > 1:
        progress.message(f"Test-time augmentation: {views} views of each image.")


def _is_published(request: EvaluationRequest, model: ModelFile, truth: PanopticSet, predictor: "Predictor") -> bool:
    """Whether the paper's figures are comparable: the recipe's split, no test-time augmentation, the exact merge."""
    aimed_at = (model.trained if request.recipe is None else recipe_file.load(request.recipe)).data
    plain = len(predictor.views) == 1 and predictor.merge_rule == "exact"
    return (truth.name, truth.split) == (aimed_at.name, aimed_at.val_split) and plain


def apart(request: EvaluationRequest, model: ModelFile) -> tuple[str, ...]:
    """How this evaluation differs from the run's own, a word for each: another set, other views and settings."""
    own, used = model.trained.data, model.recipe.data
    split = request.split or used.val_split
    dataset = [used.name] * (used.name != own.name)
    others = [*dataset, *[split] * (bool(dataset) or split != own.val_split)]
    views = [*["flip"] * request.flip, *(f"{scale:g}x" for scale in request.scales if scale != 1)]
    # The other switches do not change predictions.
    precision = request.options.precision or "float32"
    switches = [*["fast-merge"] * request.options.fast_merge, *[precision] * (precision != "float32")]
    return (*others, *views, *switches, *(f"{name}={now}" for name, (_, now) in model.overrides.items()))


def _keep(
    request: EvaluationRequest,
    report: Report,
    model: ModelFile,
    truth: PanopticSet,
    predictor: "Predictor",
    progress: Progress,
) -> Path | None:
    """Writes the reports; returns the path of the run folder's."""
    html, kept = request.html, None
    if model.run:
        kept = model.run.report_of(model.path, apart(request, model))
        if more := further_measures(kept, report):
            named = " and ".join(_MEASURES[one] for one in more)
            progress.message(f"Not overwritten: {kept} has the same figures, and {named} in addition.")
        else:
            write_report(kept, report)
            progress.message(f"Report: {kept}.")
            html = html or kept.with_suffix(".html")
    if html:
        from yoso_cli.page.report import write_page

        write_page(html, report, truth, predicted_by(predictor, truth), progress)
    return kept


def _figures(
    predictor: "Predictor",
    truth: PanopticSet,
    metrics: Sequence[str],
    save_to: Path | None,
    batch: int,
    group: ProcessGroup,
    progress: Progress,
) -> tuple[Measures, ExactMerge | None]:
    """The scores of the model on `truth`: pictures are divided among the processes, and each gets the total.

    With the fast merge, the exact one is scored as well, on the same network outputs.
    """
    from yoso_cli.inference.predict import predict_set, predict_two_ways, threads_beside_network

    wanted = (*metrics, DETAILS)
    mine = replace(truth, records=tuple(group.part(truth.records)))
    exact: list[Counts] = []
    if predictor.merge_rule == "exact":
        predicted = predict_set(predictor, mine, batch=batch)
    else:
        predicted = counting.pass_first_of_two(predict_two_ways(predictor, mine, "exact", batch=batch), mine, exact)
    writer = None
    if save_to is not None:
        image_dir = str(truth.image_dir.resolve())
        writer = SetWriter(save_to, truth.name, truth.split, truth.categories, image_dir=image_dir)
        predicted = counting.saving(predicted, writer)
    threads = threads_beside_network(predictor.device)
    counts = counting.counts_from_stream(predicted, mine, wanted, threads=threads)
    shown = tracked(counts, len(mine.records), "eval", progress)
    parts = group.all_gather(total(shown, truth.categories, wanted))
    if writer is not None:
        saved = group.all_gather(writer.records)
        if group.rank == 0:
            counting.complete(writer, saved[1:])
    figures = score_counts(parts, truth, wanted)
    if predictor.merge_rule == "exact":
        return figures, None
    of_all = group.all_gather(total(exact, truth.categories))
    return figures, ExactMerge.of(score_counts(of_all, truth).quality)


def _paper_row(recipe: Recipe) -> PaperRow | None:
    paper = recipe.paper
    return PaperRow(paper.table, paper.pq, paper.pq_things, paper.pq_stuff) if paper.pq is not None else None
