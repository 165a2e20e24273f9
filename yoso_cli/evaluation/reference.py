"""The reference evaluator, https://github.com/cocodataset/panopticapi, run on the same files where it is installed."""

import contextlib
import io
from importlib import import_module
from pathlib import Path
from typing import Any

from yoso_cli.errors import DataError, RunError
from yoso_cli.evaluation.counting import record_pairs
from yoso_cli.evaluation.quality import ClassQuality, GroupQuality, PanopticQuality
from yoso_cli.evaluation.score import read_any
from yoso_cli.panoptic.layout import find_listing
from yoso_cli.panoptic.set_archive import unpacked
from yoso_cli.panoptic.types import Category
from yoso_cli.runtime.json_text import read_json

# What the reference calls `isthing`: its own three tables.
_ALL, _THINGS, _STUFF = None, True, False


def reference_quality(predictions: Path, truth: Path) -> PanopticQuality:
    """The quality as panopticapi computes it on one core.

    Args:
        predictions: as `score.read_any` takes it, or a zip of it.
        truth: the same.

    Raises:
        RunError: panopticapi is not installed.
        DataError: a set cannot be read, or panopticapi stops on it, which it does where this program has an answer.
    """
    evaluation = _panopticapi()
    with unpacked(predictions) as predicted, unpacked(truth) as true:
        return quality_by(evaluation, "panopticapi", predicted, true)


def quality_by(evaluation: Any, name: str, predictions: Path, truth: Path) -> PanopticQuality:
    """The same by `evaluation`, a module with panopticapi's functions, which errors call `name`. Raises likewise."""
    true_set = read_any(truth)
    predicted_set = read_any(predictions, like=true_set)
    record_pairs(true_set, predicted_set)  # or else tells which images have no prediction
    true_json, predicted_json = read_json(find_listing(truth)), read_json(find_listing(predictions))
    by_image = {one["image_id"]: one for one in predicted_json["annotations"]}
    categories = {one["id"]: one for one in true_json["categories"]}
    try:
        # It prints to stdout, which is for results.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            pairs = [(one, by_image[one["image_id"]]) for one in true_json["annotations"]]
            folders = str(true_set.panoptic_dir), str(predicted_set.panoptic_dir)
            stat = evaluation.pq_compute_single_core(0, pairs, *folders, categories)
            return _quality(stat, categories, true_set.categories)
    except ZeroDivisionError:
        message = f"{name} divides by zero on this set: a group (all, things or stuff) has no class to average."
        raise DataError(message, hint="--engine yoso handles this case.") from None
    except Exception as error:
        # Python quotes the message of a KeyError.
        words = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
        told = " ".join(words.split()).rstrip(".")
        message = f"{name} stops on this set with {type(error).__name__}: {told}."
        raise DataError(message, hint="--engine yoso may give a clearer error.") from None


def _panopticapi() -> Any:
    try:
        return import_module("panopticapi.evaluation")
    except ImportError:
        raise RunError(
            "--engine panopticapi: panopticapi is not installed.",
            hint="Type `pip install --no-deps panopticapi-lite`; its figures are those of --engine yoso.",
        ) from None


def _quality(stat: Any, as_json: dict[int, Any], categories: tuple[Category, ...]) -> PanopticQuality:
    """Raises ZeroDivisionError where a group has no class."""
    groups = [GroupQuality(**stat.pq_average(as_json, isthing)[0]) for isthing in (_ALL, _THINGS, _STUFF)]
    by_class = stat.pq_average(as_json, _ALL)[1]
    classes = []
    for category in categories:
        counted, figures = stat[category.id], by_class[category.id]
        seen = counted.tp + counted.fp + counted.fn > 0
        pq, sq, rq = (figures[name] if seen else None for name in ("pq", "sq", "rq"))
        classes.append(ClassQuality(category, pq, sq, rq, counted.tp, counted.fp, counted.fn))
    return PanopticQuality(groups[0], groups[1], groups[2], tuple(classes))
