"""A dataset, a run or any predictions as a page to browse."""

import threading
from collections import OrderedDict
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from yoso_cli import atomic
from yoso_cli.api.dataset import prepared_set, with_data_of
from yoso_cli.api.truth_pictures import chosen_split, read_split_of
from yoso_cli.errors import DataError
from yoso_cli.evaluation.report import read_measured
from yoso_cli.evaluation.score import read_any
from yoso_cli.panoptic.files import read_panoptic
from yoso_cli.panoptic.types import ImageRecord, Panoptic, PanopticSet
from yoso_cli.run_folder import RunFolder
from yoso_cli.runtime.machine import usable_cores
from yoso_cli.runtime.progress import SILENT, Progress, tracked
from yoso_cli.runtime.words import counted
from yoso_cli.runtime.workers import mapped
from yoso_cli.view.content import Content, Predict
from yoso_cli.view.document import single_file
from yoso_cli.view.facts import Compared, Facts, PictureErrors

# Bytes of predicted maps that are kept: a thumbnail's is wanted again when the picture is shown alone.
_KEPT = 128 << 20


@dataclass(frozen=True)
class Written:
    """A page in a file: its path, how many pictures it has and of how many, and its size in bytes."""

    path: Path
    pictures: int
    of: int
    size: int


def open_view(
    what: str | Path,
    *,
    predictions: str | Path | None = None,
    split: str = "",
    root: str | Path = "datasets",
    device: str = "auto",
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Content:
    """Reads what is to be shown.

    Args:
        what: a prepared dataset or split, a folder in COCO's layout, a COCO panoptic JSON, or a run folder, which is
            shown beside the truth that it is evaluated on.
        predictions: predictions on disk for these pictures, in any layout that `yoso eval` takes. Without them, a run's
            model predicts each picture when it is first shown.
        split: one of the dataset's; by default the only one, or that whose name begins with `val`.
        root: the folder of all datasets.
        device: where the model of a run computes.
        workers: processes that compare predictions with the truth; one for each core by default.
        progress: shows how far that is, and messages.

    Raises:
        UsageError: there is no such dataset, run or split.
        DataError: the dataset, the predictions or the run cannot be read.
    """
    run = RunFolder.open(Path(what)) if (Path(what) / "recipe.yaml").is_file() else None
    truth = _truth_of(run, split) if run else read_split_of(chosen_split(what, split, Path(root)))
    if not truth.records:
        raise DataError(f"{what}: has no pictures.")
    facts = Facts.of_truth(truth)
    place = f"{truth.name} {truth.split}".strip()
    if predictions is not None:
        predicted = read_any(Path(predictions), like=truth)
        facts = _compared(truth, predicted, facts, workers, progress)
        return Content(place, str(predictions), truth, facts, _on_disk(predicted))
    if run is not None:
        facts = _reported(run, truth, facts, split, progress)
        return Content(place, str(run.path), truth, facts, _by_model(run, truth, device, progress))
    return Content(place, str(truth.panoptic_dir), truth, facts)


def write_view(content: Content, path: str | Path, *, count: int = 60, progress: Progress = SILENT) -> Written:
    """Writes the page with at most `count` pictures inside, and 25 MB: the worst ones where errors are known.

    Raises:
        RunError: the file cannot be written.
    """
    text, pictures = single_file(content, content.facts.worst_first()[:count], progress)
    atomic.write_text(Path(path), text)
    return Written(Path(path), pictures, len(content), len(text.encode()))


def _truth_of(run: RunFolder, split: str) -> PanopticSet:
    recipe = with_data_of(run.recipe(), run)
    return prepared_set(recipe, split or recipe.data.val_split)


def _compared(
    truth: PanopticSet, predicted: PanopticSet, facts: Facts, workers: int | None, progress: Progress
) -> Facts:
    """The facts with the errors of predictions on disk."""
    by_id = {record.image_id: record for record in predicted.records}
    pairs = [(record, by_id.get(record.image_id)) for record in truth.records]
    if not any(found for _, found in pairs):
        raise DataError(
            f"{predicted.panoptic_dir}: has a prediction for none of the {counted(len(pairs), 'picture')}.",
            hint="Predictions belong to a picture by its id.",
        )
    job = Compared(replace(truth, records=()), replace(predicted, records=()))
    with closing(mapped(job, pairs, workers=workers or usable_cores())) as results:
        found = list(tracked(results, len(pairs), "comparing", progress))
    problems = [one for one in found if isinstance(one, str)]
    if problems:
        progress.message(f"{counted(len(problems), 'picture')} cannot be compared, the first: {problems[0]}")
    errors = [one if isinstance(one, PictureErrors) else None for one in found]
    return facts.with_errors(errors, len(truth.categories))


def _reported(run: RunFolder, truth: PanopticSet, facts: Facts, split: str, progress: Progress) -> Facts:
    """The facts with what the run's own report says of each picture, where it has one of these pictures."""
    if split and split != run.recipe().data.val_split:
        return facts
    try:
        return facts.with_report(truth.records, read_measured(run.report_path).tallies)
    except DataError as error:
        progress.message(f"Errors cannot be filtered: {error} `yoso eval {run.path}` makes a report.")
        return facts


def _on_disk(predicted: PanopticSet) -> Predict:
    by_id = {record.image_id: record for record in predicted.records}

    def predict(record: ImageRecord) -> Panoptic:
        if record.image_id not in by_id:
            raise DataError(f"{record.image_file}: has no prediction.")
        return read_panoptic(predicted, by_id[record.image_id])

    return predict


def _by_model(run: RunFolder, truth: PanopticSet, device: str, progress: Progress) -> Predict:
    """The run's model, which is loaded when it is first asked; one picture at a time."""
    from yoso_cli.api.evaluate import predicted_by
    from yoso_cli.api.weights import read_model

    lock = threading.Lock()
    kept: OrderedDict[int | str, Panoptic] = OrderedDict()
    model: list[Predict] = []
    # Mistakes are told now, not by the first picture.
    file = read_model(run.weights(), progress=progress)
    file.require_classes_of(truth)
    progress.message(
        f"The model predicts a picture when it is first shown. Faster: `yoso eval {run.path} --save-predictions DIR`, "
        f"then `yoso view {run.path} --predictions DIR`."
    )

    def predict(record: ImageRecord) -> Panoptic:
        with lock:
            if record.image_id in kept:
                kept.move_to_end(record.image_id)
                return kept[record.image_id]
            if not model:
                model.append(predicted_by(file.predictor(device), truth))
            kept[record.image_id] = found = model[0](record)
            while sum(one.id_map.nbytes for one in kept.values()) > _KEPT and len(kept) > 1:
                kept.popitem(last=False)
            return found

    return predict
