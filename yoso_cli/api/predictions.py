"""How good predictions on disk are, of any tool; no model runs, and nothing that one needs is imported."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yoso_cli.errors import DataError, UsageError
from yoso_cli.evaluation import counting
from yoso_cli.evaluation.instances import require_scores
from yoso_cli.evaluation.measures import DETAILS, SCORED, chosen, score_counts
from yoso_cli.evaluation.report import Report
from yoso_cli.evaluation.score import read_any
from yoso_cli.evaluation.sequences import videos_of
from yoso_cli.evaluation.video import VIDEO_METRICS, WINDOWS, checked_windows, measure_videos, video_measures
from yoso_cli.evaluation.video_report import VideoReport
from yoso_cli.panoptic.files import read_panoptic
from yoso_cli.panoptic.set_archive import is_zip, unpacked
from yoso_cli.panoptic.types import Category, PanopticSet
from yoso_cli.runtime import machine
from yoso_cli.runtime.progress import SILENT, Progress, tracked
from yoso_cli.runtime.words import counted, shortened

if TYPE_CHECKING:
    from yoso_cli.page.gallery import Predict


def evaluate_predictions(
    predictions: str | Path,
    truth: str | Path,
    *,
    metrics: Sequence[str] = (),
    workers: int | None = None,
    cache: Path | None = None,
    html: Path | None = None,
    images: Path | None = None,
    trust_json: bool = False,
    command: str = "",
    progress: Progress = SILENT,
) -> Report:
    """Scores predictions on disk, of any tool; no model runs.

    Args:
        predictions: a folder with panoptic.json and panoptic/, a COCO panoptic JSON with its PNGs in a folder of the
            same name beside it, or a zip of either.
        truth: the same.
        metrics: what to measure besides PQ: miou, ap, ap-cityscapes, boundary or all, which leaves AP out where
            scores are missing.
        workers: processes that decode and count; None for as many as pay. The figures do not depend on it.
        cache: a file that keeps the truth's run lengths, so that scoring against it again takes less.
        html: a page to write.
        images: the folder of the photos that the page shows, where they do not lie in the usual place.
        trust_json: take the truth's areas and segments from its JSON, whatever its PNGs hold, as panopticapi does.
        command: the command line, for the report.
        progress: shows how far it is.

    Raises:
        DataError: one of them is missing, malformed, or lacks an image; the truth contradicts itself; or AP is asked
            for and scores are missing.
        RunError: the cache or the page cannot be written.
    """
    predictions, truth = Path(predictions), Path(truth)
    with _both(predictions, truth, progress) as (predicted_set, true_set, remarks):
        measured = (*_measurable(metrics, predicted_set, progress), DETAILS)
        how: dict[str, Any] = {"workers": workers, "cache": cache, "trust_json": trust_json}
        counts = counting.counts_from_files(true_set, predicted_set, measured, **how)
        shown = tracked(counts, len(true_set.records), "eval", progress, size=lambda one: one.images)
        report = Report(
            score_counts(shown, true_set, measured),
            remarks=(*remarks, *([_TRUSTED] if trust_json else [])),
            **_facts(true_set, truth, predictions, command),
        )
        if html is not None:
            pictured = replace(true_set, image_dir=images) if images is not None else true_set
            from yoso_cli.page.report import write_page

            write_page(html, report, pictured, predicted_in(predicted_set), progress)
    return report


_TRUSTED = "Areas and segments of the truth are those of its JSON; whether its PNGs have them was not looked at."


@contextmanager
def _both(
    predictions: Path, truth: Path, progress: Progress
) -> Iterator[tuple[PanopticSet, PanopticSet, tuple[str, ...]]]:
    """Predictions and truth, unpacked while the block runs, and what is odd about them, which is told."""
    with unpacked(truth) as true, unpacked(predictions) as predicted:
        true_set = replace(read_any(true), name=truth.stem) if is_zip(truth) else read_any(true)
        predicted_set = read_any(predicted, like=true_set)
        on_files = (f"{remark}." for remark in (*true_set.remarks, *predicted_set.remarks))
        remarks = (*on_files, *_differing(true_set.categories, predicted_set.categories))
        for remark in remarks:
            progress.message(remark)
        yield predicted_set, true_set, remarks


def _differing(true: Sequence[Category], predicted: Sequence[Category]) -> Iterator[str]:
    """What the predictions' table of classes says otherwise than that of the truth, which counts."""
    known = {category.id: category for category in true}
    pairs = [(known[category.id], category) for category in predicted if category.id in known]
    names = [f"{mine.id} {theirs.name!r} for {mine.name!r}" for mine, theirs in pairs if theirs.name != mine.name]
    kinds = [mine.name for mine, theirs in pairs if theirs.isthing != mine.isthing]
    of_all = f"of {counted(len(pairs), 'class')} of the predictions"
    if names:
        yield (
            f"{len(names)} {of_all} have another name than in the truth, whose ids count: {shortened(names)}. If the "
            "ids are indices into another list, all figures are wrong."
        )
    if kinds:
        yield f"{len(kinds)} {of_all} are a thing on one side and stuff on the other; the truth's counts: " + (
            f"{shortened(kinds)}."
        )


def evaluate_videos(
    predictions: str | Path,
    truth: str | Path,
    *,
    metrics: Sequence[str] = VIDEO_METRICS,
    windows: Sequence[int] = WINDOWS,
    workers: int | None = None,
    trust_json: bool = False,
    command: str = "",
    progress: Progress = SILENT,
) -> VideoReport:
    """Video panoptic quality (VPQ) and segmentation and tracking quality (STQ) of predictions on disk.

    Segment ids that persist through a video are tubes; `evaluation.sequences` says which pictures are a video.

    Args:
        predictions: as `evaluate_predictions` takes them.
        truth: the same.
        metrics: vpq, stq, or both.
        windows: of VPQ, in frames that the truth lists.
        workers: processes that decode and count; None for as many as pay.
        trust_json: as `evaluate_predictions` takes it.
        command: the command line, for the report.
        progress: shows how far it is.

    Raises:
        UsageError: a metric is unknown, or a window is shorter than a frame.
        DataError: one of them is missing, malformed, or lacks a picture; or a picture belongs to no video.
    """
    for name in metrics:
        if name not in VIDEO_METRICS:
            raise UsageError(f"{name}: is no metric of videos.", hint=f"There are {' and '.join(VIDEO_METRICS)}.")
    lengths = checked_windows(windows)
    with _both(Path(predictions), Path(truth), progress) as (predicted_set, true_set, _):
        wanted = lengths if "vpq" in metrics else ()
        counts = measure_videos(true_set, predicted_set, windows=wanted, workers=workers, trust_json=trust_json)
        shown = tracked(counts, len(true_set.records), "eval", progress, size=lambda one: one.frames)
        measures = video_measures(shown, true_set.categories, metrics)
    return VideoReport(
        measures,
        videos=len(videos_of(true_set.records, str(truth))),
        **_facts(true_set, truth, predictions, command),
    )


def _facts(true_set: PanopticSet, truth: str | Path, predictions: str | Path, command: str) -> dict[str, Any]:
    """What the report of an evaluation of files says besides its figures."""
    return {
        "dataset": true_set.name,
        "split": true_set.split,
        "images": len(true_set.records),
        "truth": str(truth),
        "predictions": str(predictions),
        "versions": machine.versions(machine.SCORING_PACKAGES),
        "machine": machine.describe(),
        "command": command,
    }


def predicted_in(predictions: PanopticSet) -> "Predict":
    """What lies on disk for each picture of the truth."""
    by_id = {record.image_id: record for record in predictions.records}
    return lambda record: read_panoptic(predictions, by_id[record.image_id])


def _measurable(names: Sequence[str], predictions: PanopticSet, progress: Progress) -> tuple[str, ...]:
    """The metrics that `names` ask for, before any PNG is read: AP needs scores, and `all` does without it then."""
    metrics = chosen(names)
    if not SCORED & set(metrics):
        return metrics
    try:
        for record in predictions.records:
            require_scores(record, predictions.categories)
    except DataError as error:
        if SCORED & set(names):
            raise
        progress.message(f"Mask AP is skipped. {error.message}")
        return chosen(names, scored=False)
    return metrics
