"""Reports as HTML, for the commands that evaluate."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from yoso_cli.commands import console

if TYPE_CHECKING:
    from yoso_cli.evaluation.report import Report
    from yoso_cli.inference.predict import Predictor
    from yoso_cli.panoptic.types import ImageRecord, Panoptic, PanopticSet, Rgb

    Predict = Callable[[ImageRecord], Panoptic]


def write(path: Path, report: "Report", truth: "PanopticSet", predict: "Predict") -> None:
    """Writes `report` as a page to `path`, with the worst pictures of `truth` predicted once more.

    Raises:
        DataError: a truth or a prediction cannot be read any more.
        RunError: the page cannot be written.
    """
    from yoso_cli.page.gallery import exhibits
    from yoso_cli.page.report import write_page

    write_page(path, report, exhibits(truth, report.measures.tallies, predict))
    console.say(f"To look at: {path} (open it in a browser).")


def predicted_by(predictor: "Predictor", truth: "PanopticSet") -> "Predict":
    """What a model makes of each picture of `truth`."""
    from yoso_cli.panoptic.files import read_image

    return lambda record: predictor(read_image(truth.image_path(record)))


def predicted_in(predictions: Path, truth: "PanopticSet") -> "Predict":
    """What lies on disk for each picture of `truth`."""
    from yoso_cli.evaluation.score import read_any
    from yoso_cli.panoptic.files import read_panoptic

    found = read_any(predictions, like=truth)
    by_id = {record.image_id: record for record in found.records}
    return lambda record: read_panoptic(found, by_id[record.image_id])


def side_by_side(predictor: "Predictor", truth: "PanopticSet", *, count: int = 4) -> "Rgb":
    """Photo, truth and prediction of the first `count` pictures of `truth`, in rows."""
    from yoso_cli.panoptic.draw import overlay, sheet
    from yoso_cli.panoptic.files import read_image, read_panoptic

    def row(record: "ImageRecord") -> "list[Rgb]":
        image = read_image(truth.image_path(record))
        segments = read_panoptic(truth, record), predictor(image)
        return [image, *(overlay(image, one, truth.categories, legend=False) for one in segments)]

    return sheet([row(record) for record in truth.records[:count]], ("photo", "truth", "prediction"))
