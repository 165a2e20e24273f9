"""Predictions on disk, of any tool, held against their truth: no model runs."""

from pathlib import Path
from typing import TYPE_CHECKING

from yoso_cli.commands import console, wiring
from yoso_cli.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yoso_cli.evaluation.report import Report
    from yoso_cli.panoptic.types import PanopticSet

# What has a part in a score when no model runs.
PACKAGES = ("yoso-cli", "numpy", "pillow")


def evaluate(
    predictions: Path,
    truth: Path,
    true_set: "PanopticSet",
    *,
    metrics: "Sequence[str]" = (),
    workers: int = 1,
    cache: Path | None = None,
) -> "Report":
    """Scores predictions on disk; shows a progress bar.

    Args:
        predictions: as `--predictions` names them.
        truth: as `--truth` names it.
        true_set: what `truth` holds.
        metrics: what to measure beside PQ, as --metric names it.
        workers: how many processes decode and count.
        cache: the file that keeps the truth's run lengths.

    Raises:
        DataError: one of them is missing, malformed, or lacks an image; or AP is asked for and scores are missing.
        RunError: the cache cannot be written.
    """
    from yoso_cli.evaluation.counting import counts_from_files
    from yoso_cli.evaluation.measures import DETAILS
    from yoso_cli.evaluation.report import Report
    from yoso_cli.evaluation.score import read_any, score_counts
    from yoso_cli.runtime import machine
    from yoso_cli.runtime.progress import tracked

    predicted_set = read_any(predictions, like=true_set)
    measured = (*_measurable(metrics, predicted_set), DETAILS)
    counted = counts_from_files(true_set, predicted_set, measured, workers=workers, cache=cache)
    return Report(
        score_counts(
            tracked(counted, len(true_set.records), "eval", console.TERMINAL, size=lambda one: one.images),
            true_set,
            measured,
        ),
        dataset=true_set.name,
        split=true_set.split,
        images=len(true_set.records),
        truth=str(truth),
        predictions=str(predictions),
        versions=machine.versions(PACKAGES),
        machine=machine.describe(),
        command=wiring.typed_command(),
    )


def _measurable(names: "Sequence[str]", predictions: "PanopticSet") -> tuple[str, ...]:
    """The metrics that --metric names, before any PNG is read: AP needs scores, and `all` does without it then."""
    from yoso_cli.evaluation.instances import require_scores
    from yoso_cli.evaluation.measures import ALL, chosen

    metrics = chosen(names)
    if "ap" not in metrics:
        return metrics
    try:
        for record in predictions.records:
            require_scores(record, predictions.categories)
    except DataError as error:
        if "ap" in names or ALL not in names:
            raise
        console.say(f"Mask AP is left out. {error.message}")
        return chosen(names, scored=False)
    return metrics
