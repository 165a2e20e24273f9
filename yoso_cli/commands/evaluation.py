"""One evaluation of a model with all its parts joined: weights, recipe, data, processes and report."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from yoso_cli.commands import advice, console, pages, running, wiring
from yoso_cli.commands.running import Running
from yoso_cli.errors import UsageError
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.commands.source import Source
    from yoso_cli.evaluation.report import Report
    from yoso_cli.inference.predict import Predictor
    from yoso_cli.panoptic.types import PanopticSet
    from yoso_cli.recipe.schema import Recipe
    from yoso_cli.runtime.distributed import ProcessGroup

# The measures that --metric asks for, as people call them.
_MEASURES = {"semantic": "mIoU", "instances": "mask AP", "boundary": "boundary PQ"}


@dataclass(frozen=True)
class Asked:
    """What the command line asks for.

    Attributes:
        runs: the folder of run folders.
        source: which weights, as SOURCE names them; None for the newest run's.
        recipe: the name or file of a recipe that says how to evaluate; None for the one that the weights carry.
        metrics: what to measure beside PQ.
        split: of the dataset; None for the recipe's.
        save_to: the folder for the predictions, if any.
        html: the page to look at; None for the one in the run folder.
        device: as --device names it.
        overrides: of --set.
        flip: whether each picture is seen mirrored as well.
        scales: at which scales each picture is seen beside the recipe's.
        running: how the network runs and masks are merged.
        batch: pictures of one padded size that the network sees at once.
    """

    runs: Path
    source: str | None
    recipe: str | None
    metrics: tuple[str, ...]
    split: str | None
    save_to: Path | None
    html: Path | None
    device: str
    overrides: tuple[str, ...]
    flip: bool
    scales: tuple[float, ...]
    running: Running
    batch: int


def evaluate(asked: Asked, as_json: bool) -> None:
    """Evaluates, keeps the report and prints it; with several processes, the first one does."""
    from yoso_cli.runtime.distributed import process_group

    with process_group() as group, console.heard(group.rank == 0):
        if asked.save_to is not None:
            _require_free(asked.save_to)
        # Nobody goes on, and writes there, before all have looked at the folder.
        group.all_gather(None)
        found = _source(asked, group)
        truth = wiring.prepared_set(found.recipe, asked.split or found.recipe.data.val_split)
        found.require_classes_of(truth)
        predictor = _predictor(asked, found)
        console.say(f"The network runs on {running.shown(predictor)}.")
        report = _report(asked, found, truth, predictor, group)
        if group.rank == 0:
            _keep(asked, report, found, truth, predictor)
            _tell(asked, report, found, as_json)


def _require_free(folder: Path) -> None:
    """Raises UsageError when something lies in `folder`: hours of work would end there."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: is there already.", hint="Choose another folder for --save-predictions.")


def _source(asked: Asked, group: "ProcessGroup") -> "Source":
    """The weights with the recipe that they carry, or that was named instead; downloaded once for all processes."""
    from yoso_cli.commands.source import read_source, trained_weights
    from yoso_cli.recipe import file as recipe_file

    def located() -> Path:
        return group.in_turn(lambda: trained_weights(asked.source, asked.runs))

    if asked.recipe is None:
        return read_source(located(), asked.overrides)
    # Mistakes in a recipe are told before hundreds of megabytes are read.
    recipe = recipe_file.load(asked.recipe, asked.overrides)
    found = read_source(located())
    _require_network(asked.recipe, recipe, found)
    return replace(found, recipe=recipe)


def _require_network(name: str, recipe: "Recipe", found: "Source") -> None:
    """Raises UsageError when the recipe's network is not that of the weights; how it starts is no matter here."""
    free = ("backbone_weights", "backbone_norm", "aggregator")
    ours, theirs = (
        {key: value for key, value in one.to_dict()["model"].items() if key not in free}
        for one in (recipe, found.trained)
    )
    differing = [f"{key} {ours[key]} where the weights have {theirs[key]}" for key in ours if ours[key] != theirs[key]]
    if differing:
        raise UsageError(
            f"{name}: describes another network than {found.path}: {', '.join(differing)}.",
            hint="Leave the recipe out: the weights carry their own.",
        )


def _predictor(asked: Asked, found: "Source") -> "Predictor":
    return wiring.make_predictor(
        found.model(),
        found.weights.categories,
        found.recipe,
        wiring.choose_device(asked.device),
        flip=asked.flip,
        scales=asked.scales,
        running=asked.running,
    )


def _report(
    asked: Asked, found: "Source", truth: "PanopticSet", predictor: "Predictor", group: "ProcessGroup"
) -> "Report":
    from yoso_cli.recipe import file as recipe_file

    looks = len(predictor.views)
    where = f"{predictor.device}, {group.size} processes" if group.size > 1 else str(predictor.device)
    images = counted(len(truth.records), "image")
    console.say(f"Evaluating {found.path} on {truth.name} {truth.split} ({images}, {where}).")
    if found.overridden:
        console.say(f"Not as these weights are meant to be used: {found.overridden}.")
    if looks > 1:
        console.say(f"Test-time augmentation: each image is seen {looks} times.")
    report = wiring.evaluate(
        predictor,
        truth,
        found.recipe,
        found.path,
        metrics=asked.metrics,
        save_to=asked.save_to,
        group=group,
        batch=asked.batch,
    )
    aimed_at = (found.trained if asked.recipe is None else recipe_file.load(asked.recipe)).data
    plain = looks == 1 and predictor.merge_rule == "exact"
    published = (truth.name, truth.split) == (aimed_at.name, aimed_at.val_split) and plain
    # The published figures are for one set, one look at each picture and the exact merge.
    return report if published else replace(report, paper=None)


def _apart(asked: Asked, found: "Source") -> tuple[str, ...]:
    """What sets this evaluation apart from the run's own, a word for each: another set, other views and settings."""
    own, used = found.trained.data, found.recipe.data
    split = asked.split or used.val_split
    dataset = [used.name] * (used.name != own.name)
    others = [*dataset, *[split] * (bool(dataset) or split != own.val_split)]
    views = [*["flip"] * asked.flip, *(f"{scale:g}x" for scale in asked.scales if scale != 1)]
    # The other switches leave the answers.
    precision = asked.running.precision or "float32"
    switches = [*["fast-merge"] * asked.running.fast_merge, *[precision] * (precision != "float32")]
    return (*others, *views, *switches, *(f"{name}={now}" for name, (_, now) in found.overrides.items()))


def _keep(asked: Asked, report: "Report", found: "Source", truth: "PanopticSet", predictor: "Predictor") -> None:
    """Writes the files of the run folder, and the page where it is wanted."""
    from yoso_cli.evaluation.report import further_measures, write_report

    html = asked.html
    if found.run:
        kept = found.run.report_of(found.path, _apart(asked, found))
        if more := further_measures(kept, report):
            named = " and ".join(_MEASURES[one] for one in more)
            console.say(f"Left as it was: {kept} says the same, and {named} besides.")
        else:
            write_report(kept, report)
            console.say(f"Kept in {kept}.")
            html = html or kept.with_suffix(".html")
    if html:
        pages.write(html, report, truth, pages.predicted_by(predictor, truth))


def _tell(asked: Asked, report: "Report", found: "Source", as_json: bool) -> None:
    """Prints what came out, and what to type next."""
    from yoso_cli.evaluation.summary import table

    console.result(report.to_dict(), table(report), as_json)
    console.next_step(_next(found, _apart(asked, found), report))


def _next(found: "Source", apart: Sequence[str], report: "Report") -> str:
    """The command that a person would type after this evaluation."""
    run, own = found.run, found.trained.data
    place = run.path if run else found.path
    source = shlex.quote(str(place))
    if run and run.report_path.is_file() and (report.dataset, report.split) == (own.name, own.val_split):
        kept = run.report_of(found.path, apart)
        if kept.parent != run.path:
            return f"yoso compare {source} {shlex.quote(str(kept.parent))}"
    faster = bool(found.weights.steps) or (run is not None and run.reparameterised.exists())
    return advice.drawing(place, advice.validation_pictures(found.recipe)) if faster else f"yoso reparam {source}"
