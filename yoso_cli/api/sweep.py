"""Sweeping the thresholds of a model: one pass of the network, every pair merged from each answer, the best saved."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from yoso_cli import atomic
from yoso_cli.api.dataset import prepared_set
from yoso_cli.api.evaluate import EvaluationRequest, announce, apart, evaluated_model
from yoso_cli.api.weights import ModelFile, outdated
from yoso_cli.errors import DataError, RunError, UsageError
from yoso_cli.evaluation import counting
from yoso_cli.evaluation.measures import overlap_for
from yoso_cli.evaluation.report import readable_json
from yoso_cli.evaluation.sweep import (
    Cell,
    Pictures,
    Reported,
    Sweep,
    SweepCount,
    Thresholds,
    best_of,
    count_at,
    grid,
    summed,
)
from yoso_cli.panoptic.files import read_panoptic
from yoso_cli.panoptic.types import ImageRecord, Panoptic, PanopticSet
from yoso_cli.runtime.distributed import ALONE, ProcessGroup
from yoso_cli.runtime.progress import SILENT, Progress, tracked

if TYPE_CHECKING:
    from yoso_cli.inference.predict import Predictor

MOST_PAIRS = 1000
"""Of a sweep: what is kept of a picture grows with it, and nobody reads more."""

PLACES = ("these", "half", "train")
"""What the pair is chosen on: the pictures of the figure, every second of them, or the training split."""


@dataclass(frozen=True)
class SweepRequest:
    """A sweep to run.

    Attributes:
        evaluation: the model, split and way to run; its metrics and saved predictions are not looked at.
        scores: score thresholds, 0..1; empty for the present one.
        overlaps: overlap thresholds, 0..1; empty for the present one.
        on: one of PLACES.
        save: whether to write the best pair into the weights' header.
    """

    evaluation: EvaluationRequest
    scores: tuple[float, ...] = ()
    overlaps: tuple[float, ...] = ()
    on: str = PLACES[0]
    save: bool = False


@dataclass(frozen=True)
class Swept:
    """A finished sweep of a model: its figures, the weights, and the files whose thresholds were changed."""

    sweep: Sweep
    model: ModelFile
    saved: tuple[Path, ...]


def sweep_model(request: SweepRequest, *, group: ProcessGroup = ALONE, progress: Progress = SILENT) -> Swept:
    """Measures PQ at every pair of thresholds, in one process or as one of several.

    A run keeps sweep.json and sweep.html under evaluations/.

    Raises:
        DataError: weights, pictures or truth are missing or damaged, or the classes differ.
        RunError: the device is not there, or something cannot be written.
        UsageError: an argument names what does not exist, or too many pairs.
    """
    asked = request.evaluation
    model = evaluated_model(asked, group, progress)
    if model.run:
        model.run.require_no_links()
    if model.exported and model.exported.merge == "inside":
        raise UsageError(
            f"{model.path}: has the merge and its thresholds inside, where they cannot be changed.",
            hint=f"Sweep {model.exported.weights.get('from', 'the weights that it was made from')} instead.",
        )
    if request.save:
        _require_writable(model)
    present = Thresholds(model.recipe.inference.score_threshold, model.recipe.inference.overlap_threshold)
    scores = tuple(sorted(set(request.scores))) or (present.score,)
    overlaps = tuple(sorted(set(request.overlaps))) or (present.overlap,)
    if len(scores) * len(overlaps) > MOST_PAIRS:
        raise UsageError(f"--sweep: {len(scores) * len(overlaps)} pairs are more than {MOST_PAIRS}.")
    truth = prepared_set(model.recipe, asked.split or model.recipe.data.val_split)
    others = prepared_set(model.recipe, model.recipe.data.train_split) if request.on == "train" else truth
    for one in (truth, others):
        model.require_classes_of(one)
    predictor = model.predictor(asked.device, asked.options, flip=asked.flip, scales=asked.scales)
    announce(asked, model, others, predictor, group, progress)
    count = partial(_counted, predictor, asked.batch, group, progress)
    sweep = _sweep(request.on, truth, others, (scores, overlaps), present, count)
    saved: tuple[Path, ...] = ()
    if group.rank == 0:
        _keep(request, sweep, model, progress)
        saved = _save(model, sweep, progress) if request.save else ()
    return Swept(sweep, model, saved)


_Count = Callable[[PanopticSet, Sequence[Thresholds]], list[SweepCount]]


def _sweep(
    on: str,
    truth: PanopticSet,
    others: PanopticSet,
    axes: tuple[tuple[float, ...], tuple[float, ...]],
    present: Thresholds,
    count: _Count,
) -> Sweep:
    """Counts, chooses and reports. The network sees a picture once; of the training split also those of the report."""
    pairs = tuple(dict.fromkeys([*grid(*axes), present]))
    halves = [replace(truth, records=truth.records[place::2]) for place in (0, 1)]
    chosen_from = {"half": halves[0], "train": others}.get(on, truth)
    if not chosen_from.records or (on == "half" and not halves[1].records):
        raise DataError(f"{truth.panoptic_dir}: has too few pictures to choose on half of them.")
    sums = dict(zip(pairs, count(chosen_from, pairs), strict=True))
    cells = tuple(Cell.of(pair, sums[pair], truth.categories) for pair in grid(*axes))
    best = best_of(cells, present)
    reported = halves[1] if on == "half" else truth
    if on != "these":
        few = tuple(dict.fromkeys((best, present)))
        sums = dict(zip(few, count(reported, few), strict=True))
    which = ("half", "the other half") if on == "half" else ("", "")
    chosen_on, reported_on = (
        Pictures(one.name, one.split, len(one.records), word)
        for one, word in zip((chosen_from, reported), which, strict=True)
    )
    at_best, at_present = (Reported.of(pair, sums[pair], truth.categories) for pair in (best, present))
    return Sweep(*axes, cells, chosen_on, reported_on, at_best, at_present)


def _counted(
    predictor: "Predictor",
    batch: int,
    group: ProcessGroup,
    progress: Progress,
    truth: PanopticSet,
    pairs: Sequence[Thresholds],
) -> list[SweepCount]:
    """What all pictures of `truth` add at each pair; each process counts a part, and gets the whole."""
    from yoso_cli.inference.predict import predict_at_thresholds

    mine = replace(truth, records=tuple(group.part(truth.records)))
    found = predict_at_thresholds(predictor, mine, pairs, partial(_of_picture, truth, len(pairs)), batch=batch)
    parts = group.all_gather(summed(tracked(found, len(mine.records), "sweep", progress)))
    return summed(one for one in parts if one)


def _of_picture(
    truth: PanopticSet,
    pairs: int,
    record: ImageRecord,
    answers: Iterable[tuple[Panoptic, tuple[int, ...]]],
) -> list[SweepCount]:
    """What a picture adds at each pair: those of one answer share what was counted."""
    path, true = truth.panoptic_path(record), read_panoptic(truth, record)
    counted: dict[int, SweepCount] = {}
    for answer, places in answers:
        found = overlap_for(str(path), true, answer)
        counting.require_consistent(found, true, path)
        counted |= dict.fromkeys(places, count_at(found, truth.categories))
    return [counted[place] for place in range(pairs)]


def _keep(request: SweepRequest, sweep: Sweep, model: ModelFile, progress: Progress) -> None:
    """Writes sweep.json into the run, and the page there or where it was asked for."""
    from yoso_cli.page.sweep import write_sweep

    html = request.evaluation.html
    if model.run:
        words = (*apart(request.evaluation, model), "sweep", *([] if request.on == "these" else [request.on]))
        folder = model.run.report_of(model.path, words).parent
        atomic.write_text(folder / "sweep.json", readable_json(sweep.to_dict()) + "\n")
        progress.message(f"Sweep: {folder / 'sweep.json'}.")
        html = html or folder / "sweep.html"
    if html:
        write_sweep(html, sweep, str(model.path))
        progress.message(f"HTML report: {html} (open it in a browser).")


def _require_writable(model: ModelFile) -> None:
    """Raises UsageError for weights in another layout, RunError for those of a run that is being trained."""
    from yoso_cli.model.weights import is_own

    model.require_weights()
    if not is_own(model.path):
        raise UsageError(
            f"{model.path}: has no header of yoso for thresholds.",
            hint="`yoso weights import FILE` writes one that has; or leave --save out.",
        )
    if model.run and model.run.is_training():
        raise RunError(f"{model.run.path}: is being trained.", hint="Wait until it has ended, or leave --save out.")


def _save(model: ModelFile, sweep: Sweep, progress: Progress) -> tuple[Path, ...]:
    """Writes the best pair into the weights, and into those of the run that were made from them or they from."""
    best, own = sweep.best.cell.thresholds, model.trained.inference
    if best == (own.score_threshold, own.overlap_threshold):
        progress.message(f"{model.path}: has these thresholds already.")
        return ()
    note = {"score": best.score, "overlap": best.overlap, "chosen_on": asdict(sweep.chosen_on)}
    paths = [model.path, *_of_same_tensors(model)]
    for path in paths:
        _write_thresholds(path, best, note)
    return tuple(paths)


def _of_same_tensors(model: ModelFile) -> Iterator[Path]:
    """Of a run, the other of its trained and its re-parameterised weights, if one was made from the other."""
    if not model.run:
        return
    folded = model.run.reparameterised
    with suppress(DataError):  # a damaged one is left alone
        trained = model.run.weights()
        if folded.is_file() and model.path in (trained, folded) and not outdated(folded, trained):
            yield trained if model.path == folded else folded


def _write_thresholds(path: Path, best: Thresholds, note: dict[str, object]) -> None:
    """Changes the thresholds of a weights file in one step; of a checkpoint's, with the hash that its manifest has."""
    from yoso_cli.model.weights import load_weights
    from yoso_cli.training.checkpoint import replace_weights

    weights = load_weights(path)
    recipe = {**weights.recipe, "inference": {**weights.recipe.get("inference", {})}}
    recipe["inference"] |= {"score_threshold": best.score, "overlap_threshold": best.overlap}
    replace_weights(replace(weights, recipe=recipe, provenance={**weights.provenance, "thresholds": note}))
