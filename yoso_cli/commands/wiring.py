"""Where rooms that do not know each other are joined, for more than one command."""

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yoso_cli.commands import console
from yoso_cli.commands.running import AS_MEASURED, Running
from yoso_cli.errors import DataError, RunError, UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from yoso_cli.evaluation.findings import Findings
    from yoso_cli.evaluation.measures import Counts
    from yoso_cli.evaluation.report import ExactMerge, PaperRow, Report
    from yoso_cli.inference.predict import Predictor
    from yoso_cli.model.yoso import YOSO
    from yoso_cli.panoptic.types import Category, PanopticSet
    from yoso_cli.recipe.schema import Recipe
    from yoso_cli.runtime.distributed import ProcessGroup

# A report and a weights file name the versions of what had a part in them.
PACKAGES = ("yoso-cli", "torch", "torchvision", "numpy", "pillow")


def choose_device(name: str) -> "torch.device":
    """The device that `--device` asks for: auto, cpu, cuda or cuda:N.

    Raises:
        UsageError: it is none of these.
        RunError: there is no such GPU here.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        # torchrun starts one process for each GPU of a machine.
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name}: no such device.", hint="It may be auto, cpu, cuda or cuda:N.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise RunError(f"--device {name}: torch finds {_counted_gpus()} here.", hint="Try --device cpu.")
    return device


def _counted_gpus() -> str:
    import torch

    count = torch.cuda.device_count()
    return "no CUDA GPU" if not count else f"only {count} CUDA GPU{'s' if count > 1 else ''}"


def prepared_set(recipe: "Recipe", split: str) -> "PanopticSet":
    """A split of the recipe's dataset.

    Raises:
        DataError: it was not prepared, is damaged or empty; says what to type.
    """
    from yoso_cli.panoptic.files import MANIFEST, read_set

    folder = Path(recipe.data.root) / recipe.data.name / split
    try:
        found = read_set(folder)
    except DataError as error:
        made = (folder / MANIFEST).exists()
        raise DataError(error.message, hint=error.hint if made else _way_out(recipe, folder)) from None
    if not found.records:
        raise DataError(f"{folder}: there is no picture in it.", hint="Prepare it again with --force.")
    return found


def preparing(recipe: "Recipe", split: str = "SPLIT") -> str:
    """What makes the recipe's dataset: a published one is prepared, all splits and versions together."""
    from yoso_cli.datasets.catalog import published

    spec = published(recipe.data.name)
    folder = Path(recipe.data.root) / recipe.data.name / split
    return f"yoso prepare {spec.name}" if spec else f"yoso convert SOURCE {shlex.quote(str(folder))}"


def _way_out(recipe: "Recipe", folder: Path) -> str:
    """What to do about a split that was not prepared: another name was meant, or it is still to be made."""
    from yoso_cli.datasets.catalog import DATASETS, published
    from yoso_cli.panoptic.files import MANIFEST

    dataset = folder.parent
    there = {path.parent for path in dataset.parent.glob(f"*/*/{MANIFEST}")}
    splits = sorted(path.name for path in there if path.parent == dataset) if not folder.exists() else []
    making = f"Type `{preparing(recipe, folder.name)}` to make it."
    if splits:
        return f"{making} These splits of {dataset.name} are there: {', '.join(splits)}."
    names = {*DATASETS, *(path.parent.name for path in there)} - {dataset.name}
    return making if published(dataset.name) else did_you_mean(dataset.name, names, making)


def make_predictor(
    model: "YOSO",
    categories: "tuple[Category, ...]",
    recipe: "Recipe",
    device: "torch.device",
    *,
    flip: bool = False,
    scales: "Sequence[float]" = (),
    running: Running = AS_MEASURED,
) -> "Predictor":
    """The model with the recipe's sizes and thresholds, in evaluation mode on `device`, run as `running` says.

    `flip` and `scales` are test-time augmentation, see `inference.views.views`.
    """
    from yoso_cli.inference.predict import Predictor
    from yoso_cli.inference.views import views

    running.begin()
    chosen = recipe.inference
    return Predictor(
        model,
        categories,
        short_edge=chosen.short_edge,
        long_edge=chosen.long_edge,
        score_threshold=chosen.score_threshold,
        overlap_threshold=chosen.overlap_threshold,
        device=device,
        merge=running.merge,
        views=views(flip, scales),
        switches=running.switches(device),
    )


def evaluate(
    predictor: "Predictor",
    truth: "PanopticSet",
    recipe: "Recipe",
    weights: Path,
    *,
    metrics: "Sequence[str]" = (),
    save_to: Path | None = None,
    group: "ProcessGroup | None" = None,
    batch: int = 1,
) -> "Report":
    """Predicts every picture of `truth` and scores it; shows a progress bar.

    Args:
        predictor: what is measured.
        truth: with what.
        recipe: for the report.
        weights: the file that the predictor's weights are in, for the report.
        metrics: what to measure beside PQ, as --metric names it.
        save_to: where to keep the predictions, if anywhere.
        group: this process among those that share the pictures; each of them gets the whole report.
        batch: pictures of one padded size that the network sees at once.

    Raises:
        DataError: a picture or its truth is unreadable.
        RunError: predictions cannot be written.
    """
    from yoso_cli.evaluation.measures import chosen
    from yoso_cli.evaluation.report import InferenceSettings, Report, WeightsFile
    from yoso_cli.runtime import machine
    from yoso_cli.runtime.distributed import ProcessGroup

    findings, exact = _find(predictor, truth, chosen(metrics), save_to, group or ProcessGroup(), batch)
    return Report(
        findings,
        dataset=truth.name,
        split=truth.split,
        images=len(truth.records),
        truth=str(truth.panoptic_dir),
        predictions=str(save_to or ""),
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
            str(predictor.engine.switches),
        ),
        exact_merge=exact,
        paper=_paper_row(recipe),
        versions=machine.versions(PACKAGES),
        machine=machine.describe(),
        command=typed_command(),
    )


def _find(
    predictor: "Predictor",
    truth: "PanopticSet",
    metrics: "Sequence[str]",
    save_to: Path | None,
    group: "ProcessGroup",
    batch: int,
) -> "tuple[Findings, ExactMerge | None]":
    """What the model makes of `truth`: each process sees its own pictures, and each gets what all of them found.

    Where the merge is not the exact one, the exact one is scored as well, on the same answers of the network.
    """
    from yoso_cli.evaluation import live
    from yoso_cli.evaluation.findings import found
    from yoso_cli.evaluation.measures import FAILURES, measures, total
    from yoso_cli.evaluation.report import ExactMerge
    from yoso_cli.inference.predict import predict_set, predict_two_ways, threads_beside_network
    from yoso_cli.panoptic.files import SetWriter
    from yoso_cli.runtime.progress import tracked

    k, wanted = len(truth.categories), (*metrics, FAILURES)
    mine = replace(truth, records=tuple(group.part(truth.records)))
    exact: list[Counts] = []
    if predictor.merge_rule == "exact":
        predicted = predict_set(predictor, mine, batch=batch)
    else:
        predicted = live.first_of_two(predict_two_ways(predictor, mine, "exact", batch=batch), mine, exact)
    writer = None
    if save_to is not None:
        image_dir = str(truth.image_dir.resolve())
        writer = SetWriter(save_to, truth.name, truth.split, truth.categories, image_dir=image_dir)
        predicted = live.saving(predicted, writer)
    counted = live.counted(predicted, mine, wanted, threads=threads_beside_network(predictor.device))
    counted = tracked(counted, len(mine.records), "eval", console.TERMINAL)
    parts = group.all_gather(total(counted, k, wanted))
    if writer is not None:
        saved = group.all_gather(writer.records)
        if group.rank == 0:
            live.complete(writer, saved[1:])
    images = [(record.image_id, record.image_file) for record in truth.records]
    findings = found(total(parts, k, wanted), images, truth.categories)
    if predictor.merge_rule == "exact":
        return findings, None
    of_all = total(group.all_gather(total(exact, k)), k)
    return findings, ExactMerge.of(measures(of_all, truth.categories).quality)


def typed_command() -> str:
    """The command line that is running, ready to be typed again; empty where a program calls."""
    context = click.get_current_context(silent=True)
    return shlex.join(["yoso", *context.find_root().obj]) if context else ""


def _paper_row(recipe: "Recipe") -> "PaperRow | None":
    from yoso_cli.evaluation.report import PaperRow

    paper = recipe.paper
    return PaperRow(paper.table, paper.pq, paper.pq_things, paper.pq_stuff) if paper.pq is not None else None
