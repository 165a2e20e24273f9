"""A page of a small evaluation, with names that would do harm if they were taken for markup."""

from collections.abc import Sequence
from pathlib import Path

import build
import numpy as np
from evaluation.test_score import disturbed

from yoso_cli.evaluation.measures import DETAILS, METRICS, counts, overlap_for, score_counts
from yoso_cli.evaluation.report import InferenceSettings, PaperRow, Report, WeightsFile
from yoso_cli.page.report import write_page
from yoso_cli.panoptic.files import read_panoptic
from yoso_cli.panoptic.types import Category, ImageRecord, Panoptic, PanopticSet, Segment

HOSTILE = "<script>window.harmed = 1</script>"
SECOND = "'\"><img src=x onerror='window.harmed = 2'>&amp;"
CATEGORIES = (
    Category(1, "cat", True),
    Category(2, HOSTILE, True),
    Category(3, "sky", False),
    Category(4, SECOND, False),
    Category(9, "never seen", False),
)


def truth_in(folder: Path, images: int = 5) -> PanopticSet:
    """A prepared split of rectangles; its first photo is missing."""
    random = np.random.default_rng(3)
    pictures = []
    for _ in range(images):
        panoptic = build.blocks(random, 48, 64, CATEGORIES[:4])
        image = random.integers(0, 255, (48, 64, 3)).astype(np.uint8)
        pictures.append((image, panoptic))
    found = build.write_set(folder / "set" / "val", CATEGORIES, pictures)
    found.image_path(found.records[0]).unlink()
    return found


def predictions_of(truth: PanopticSet) -> dict[int | str, Panoptic]:
    """The truth with errors of all kinds, and a score on each segment."""
    random = np.random.default_rng(5)
    return {record.image_id: _scored(truth, record, random) for record in truth.records}


def _scored(truth: PanopticSet, record: ImageRecord, random: np.random.Generator) -> Panoptic:
    found = disturbed(read_panoptic(truth, record), CATEGORIES[:4], random)
    segments = [
        Segment(one.id, one.category_id, one.area, one.bbox, score=float(random.uniform(0.4, 1)))
        for one in found.segments
    ]
    return Panoptic(found.id_map, tuple(segments))


def report_of(
    truth: PanopticSet, predictions: dict[int | str, Panoptic], metrics: Sequence[str] = ("pq", DETAILS)
) -> Report:
    pictures = (
        overlap_for(record.image_file, read_panoptic(truth, record), predictions[record.image_id], metrics)
        for record in truth.records
    )
    return Report(
        score_counts(counts(pictures, CATEGORIES, metrics), truth, metrics),
        dataset=HOSTILE,
        split="val",
        images=len(truth.records),
        truth=SECOND,
        recipe=HOSTILE,
        weights=WeightsFile(f"runs/{HOSTILE}", "0" * 64),
        settings=InferenceSettings(800, 1333, 0.7, 0.8, "cpu"),
        paper=PaperRow("Table 1", 48.4, 53.5, None),
        versions={"numpy": "2"},
        machine={"cores": 2},
        command=f"yoso eval {HOSTILE}",
    )


def written(folder: Path) -> tuple[Path, Report]:
    """The page's path and what it tells of."""
    truth = truth_in(folder)
    predictions = predictions_of(truth)
    report = report_of(truth, predictions, (*METRICS, DETAILS))
    path = folder / "report.html"
    write_page(path, report, truth, lambda record: predictions[record.image_id])
    return path, report
