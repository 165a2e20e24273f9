"""Whether one result is better than another, by their reports or by predictions on disk."""

from pathlib import Path

from yoso_cli.api.predictions import evaluate_predictions
from yoso_cli.api.weights import SUFFIXES
from yoso_cli.errors import DataError, UsageError
from yoso_cli.evaluation.comparison import Comparison, compared
from yoso_cli.evaluation.per_image import Measured
from yoso_cli.evaluation.report import FORMAT, read_measured
from yoso_cli.panoptic.set_archive import is_zip
from yoso_cli.run_folder import RunFolder
from yoso_cli.runtime.json_text import read_json


def compare(a: str | Path, b: str | Path, *, truth: str | Path | None = None) -> Comparison:
    """Whether B is better than A on the same pictures, with 95 % intervals of a paired bootstrap.

    Args:
        a: a run folder, a folder of its evaluations, a report.json, or, with `truth`, predictions on disk.
        b: the same.
        truth: what predictions are compared with.

    Raises:
        DataError: there is no report, or the two were measured on different pictures.
        UsageError: one of them is none of these.
    """
    return compared(*(_measured(Path(side), Path(truth) if truth else None) for side in (a, b)))


def _measured(path: Path, truth: Path | None) -> Measured:
    """A report where there is one; else predictions, which need the truth."""
    if (path / "recipe.yaml").is_file():
        kept = RunFolder.open(path).report_path
        if not kept.is_file():
            raise DataError(f"{path}: this run has no report yet.", hint=f"Type `yoso eval {path}` first.")
        return read_measured(kept)
    if (path / "report.json").is_file():
        return read_measured(path / "report.json")
    if path.suffix in SUFFIXES and path.is_file():
        raise UsageError(
            f"{path}: is a model, and reports are compared.",
            hint=f"`yoso eval {path} --json > {path.stem}.json` writes its report.",
        )
    if path.is_file() and not is_zip(path) and read_json(path).get("format") == FORMAT:
        return read_measured(path)
    if truth is None:
        raise UsageError(
            f"{path}: is neither a run folder nor a report of `yoso eval`.",
            hint="To compare predictions, add --truth PATH.",
        )
    return evaluate_predictions(path, truth).measured(str(path))
