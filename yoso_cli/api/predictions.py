"""How good predictions on disk are, of any tool; no model runs, and nothing that one needs is imported."""

from collections.abc import Sequence
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
from yoso_cli.panoptic.types import PanopticSet
from yoso_cli.runtime import machine
from yoso_cli.runtime.progress import SILENT, Progress, tracked

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
    command: str = "",
    progress: Progress = SILENT,
) -> Report:
    """Scores predictions on disk, of any tool; no model runs.

    Args:
        predictions: a folder with panoptic.json and panoptic/, or a COCO panoptic JSON with its PNGs in a folder of the
            same name beside it.
        truth: the same.
        metrics: what to measure besides PQ: miou, ap, ap-cityscapes, boundary or all, which leaves AP out where
            scores are missing.
        workers: processes that decode and count; None for as many as pay. The figures do not depend on it.
        cache: a file that keeps the truth's run lengths, so that scoring against it again takes less.
        html: a page to write.
        images: the folder of the photos that the page shows, where they do not lie in the usual place.
        command: the command line, for the report.
        progress: shows how far it is.

    Raises:
        DataError: one of them is missing, malformed, or lacks an image; or AP is asked for and scores are missing.
        RunError: the cache or the page cannot be written.
    """
    predictions, truth = Path(predictions), Path(truth)
    true_set = read_any(truth)
    predicted_set = read_any(predictions, like=true_set)
    measured = (*_measurable(metrics, predicted_set, progress), DETAILS)
    counts = counting.counts_from_files(true_set, predicted_set, measured, workers=workers, cache=cache)
    shown = tracked(counts, len(true_set.records), "eval", progress, size=lambda one: one.images)
    report = Report(
        score_counts(shown, true_set, measured),
        **_facts(true_set, truth, predictions, command),
    )
    if html is not None:
        pictured = replace(true_set, image_dir=images) if images is not None else true_set
        from yoso_cli.page.report import write_page

        write_page(html, report, pictured, predicted_in(predicted_set), progress)
    return report


def evaluate_videos(
    predictions: str | Path,
    truth: str | Path,
    *,
    metrics: Sequence[str] = VIDEO_METRICS,
    windows: Sequence[int] = WINDOWS,
    workers: int | None = None,
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
    true_set = read_any(Path(truth))
    predicted_set = read_any(Path(predictions), like=true_set)
    counts = measure_videos(true_set, predicted_set, windows=lengths if "vpq" in metrics else (), workers=workers)
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
