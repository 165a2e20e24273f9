"""The official Cityscapes evaluators, run on panoptic sets: https://github.com/mcordts/cityscapesScripts.

Three of them: `evalPixelLevelSemanticLabeling` (IoU, and iIoU, which gives each instance the same weight),
`evalInstanceLevelSemanticLabeling` (AP of masks) and `evalPanopticSemanticLabeling` (PQ). Their input files
are written for one picture at a time, in a temporary folder, and their functions are called.

A prepared truth has only the 19 evaluated classes; ignored classes are void, label 0. IoU does not depend on that, but
AP can: in Cityscapes' own maps, caravans and trailers have labels of their own, and its evaluator ignores predictions
in void but not in those.
"""

# H, W height and width of the picture in pixels

import contextlib
import io
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from math import isnan
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from yoso_cli.errors import DataError, RunError
from yoso_cli.evaluation.counting import RecordPair, record_pairs
from yoso_cli.evaluation.instances import require_scores
from yoso_cli.evaluation.quality import Figures, PanopticQuality
from yoso_cli.evaluation.reference import quality_by
from yoso_cli.evaluation.score import read_any
from yoso_cli.panoptic import png
from yoso_cli.panoptic.files import read_panoptic
from yoso_cli.panoptic.regions import painted, runs_of
from yoso_cli.panoptic.set_archive import unpacked
from yoso_cli.panoptic.types import Category, IdMap, Panoptic, PanopticSet
from yoso_cli.runtime.progress import SILENT, Progress, tracked

ENGINE = "cityscapesscripts"

# label * 1000 + n is the n-th instance; 16 bits hold no more.
_INSTANCES = 1000


@dataclass(frozen=True)
class LabelIoU(Figures):
    """One class: IoU and iIoU, 0..1; None where there is nothing to measure, as iIoU of stuff."""

    category: Category
    iou: float | None
    iiou: float | None


@dataclass(frozen=True)
class GroupIoU(Figures):
    """One of Cityscapes' categories, such as vehicle, whose classes are not told apart: IoU and iIoU, 0..1."""

    name: str
    iou: float | None
    iiou: float | None


@dataclass(frozen=True)
class PixelQuality(Figures):
    """The pixel-level evaluation; means over classes and over categories, 0..1."""

    iou: float | None
    iiou: float | None
    category_iou: float | None
    category_iiou: float | None
    classes: tuple[LabelIoU, ...]
    categories: tuple[GroupIoU, ...]


@dataclass(frozen=True)
class LabelAP(Figures):
    """One class of things: AP over IoU 0.50 to 0.95, and at 0.50; 0..1, None without a true instance."""

    category: Category
    ap: float | None
    ap50: float | None


@dataclass(frozen=True)
class MaskQuality(Figures):
    """The instance-level evaluation; means over classes, 0..1."""

    ap: float | None
    ap50: float | None
    classes: tuple[LabelAP, ...]


@dataclass(frozen=True)
class CityscapesQuality(Figures):
    """All three evaluations; `instances` is None where predicted things have no scores."""

    pixels: PixelQuality
    instances: MaskQuality | None
    quality: PanopticQuality


def cityscapes_quality(predictions: Path, truth: Path, progress: Progress = SILENT) -> CityscapesQuality:
    """The figures as the official evaluators compute them, on one core.

    Args:
        predictions: as `score.read_any` takes it, or a zip of it.
        truth: the same; its classes must be Cityscapes'.
        progress: shows the progress, and a message if AP is left out.

    Raises:
        RunError: cityscapesscripts cannot be imported.
        DataError: a set cannot be read, has other classes, or an evaluator stops on it.
    """
    official = _Official.imported()
    with unpacked(predictions) as predicted, unpacked(truth) as true:
        return _quality(official, predicted, true, progress)


def _quality(official: "_Official", predictions: Path, truth: Path, progress: Progress) -> CityscapesQuality:
    true_set = read_any(truth)
    predicted_set = read_any(predictions, like=true_set)
    _require_labels(true_set.categories, official, truth)
    pairs = record_pairs(true_set, predicted_set)
    scored = _is_scored(predicted_set, progress)
    counts = _Counts.none(official)
    with _current_numpy(official.pixels, official.instances):
        for number, pair in enumerate(tracked(pairs, len(pairs), "eval", progress)):
            with TemporaryDirectory(prefix="yoso-cityscapes-") as folder:
                files = _write(Path(folder), number, pair, true_set, predicted_set)
                _called(counts.add, files, scored)
        pixels = counts.pixel_quality(true_set.categories)
        instances = _called(counts.mask_quality, true_set.categories) if scored else None
    quality = quality_by(official.panoptic, ENGINE, predictions, truth)
    return CityscapesQuality(pixels, instances, quality)


@dataclass(frozen=True)
class _Official:
    """The modules of cityscapesscripts."""

    pixels: Any
    instances: Any
    panoptic: Any
    labels: Any

    @classmethod
    def imported(cls) -> "_Official":
        try:
            evaluators = [
                import_module(f"cityscapesscripts.evaluation.eval{kind}SemanticLabeling")
                for kind in ("PixelLevel", "InstanceLevel", "Panoptic")
            ]
            labels = import_module("cityscapesscripts.helpers.labels")
            return cls(evaluators[0], evaluators[1], evaluators[2], labels)
        except ImportError as error:
            raise RunError(
                f"--engine {ENGINE}: the package cannot be imported: {error}.",
                hint="Type `pip install cityscapesscripts`.",
            ) from None
        except ValueError as error:  # it looks at $CITYSCAPES_EXPORT_DIR on import
            raise RunError(f"--engine {ENGINE}: {error}.", hint="Unset that variable.") from None


@dataclass
class _Counts:
    """What was counted of the pictures so far, as the evaluators keep it."""

    official: _Official
    pixel_args: Any
    instance_args: Any
    confusion: Any
    instance_stats: Any
    matches: dict[str, Any]

    @classmethod
    def none(cls, official: _Official) -> "_Counts":
        """The evaluators' default settings, without output."""
        silent = {"quiet": True, "JSONOutput": False, "colorized": False}
        pixel_args = SimpleNamespace(**{**vars(official.pixels.args), **silent})
        instance_args = SimpleNamespace(**{**vars(official.instances.args), **silent})
        official.instances.setInstanceLabels(instance_args)
        confusion = official.pixels.generateMatrix(pixel_args)
        stats = official.pixels.generateInstanceStats(pixel_args)
        return cls(official, pixel_args, instance_args, confusion, stats, {})

    def add(self, files: "_Files", scored: bool) -> None:
        """One picture."""
        names = str(files.predicted_labels), str(files.true_labels)
        self.official.pixels.evaluatePair(*names, self.confusion, self.instance_stats, {}, self.pixel_args)
        if scored:
            true = str(files.true_instances)
            self.instance_args.predictionPath = str(files.masks.parent.resolve())
            known = self.official.instances.instances2dict([true], False)
            self.matches |= self.official.instances.matchGtWithPreds(
                [str(files.masks)], [true], known, self.instance_args
            )

    def pixel_quality(self, categories: Sequence[Category]) -> PixelQuality:
        """The IoUs of all pictures."""
        script, args, counted = self.official.pixels, self.pixel_args, (self.confusion, self.instance_stats)
        labels = [one.id for one in categories]
        groups = [name for name, members in self.official.labels.category2labels.items() if _counts(members)]
        iou = {one: script.getIouScoreForLabel(one, self.confusion, args) for one in labels}
        iiou = {one: script.getInstanceIouScoreForLabel(one, *counted, args) for one in labels}
        group_iou = {one: script.getIouScoreForCategory(one, self.confusion, args) for one in groups}
        group_iiou = {one: script.getInstanceIouScoreForCategory(one, *counted, args) for one in groups}
        means = [_figure(script.getScoreAverage(one, args)) for one in (iou, iiou, group_iou, group_iiou)]
        classes = tuple(LabelIoU(one, _figure(iou[one.id]), _figure(iiou[one.id])) for one in categories)
        rows = tuple(GroupIoU(one, _figure(group_iou[one]), _figure(group_iiou[one])) for one in groups)
        return PixelQuality(means[0], means[1], means[2], means[3], classes, rows)

    def mask_quality(self, categories: Sequence[Category]) -> MaskQuality:
        """The AP of all pictures."""
        script, args = self.official.instances, self.instance_args
        with warnings.catch_warnings():
            # numpy warns of a mean over no class at all, which is NaN as it should be.
            warnings.simplefilter("ignore", RuntimeWarning)
            averages = script.computeAverages(script.evaluateMatches(self.matches, args), args)
        classes = tuple(
            LabelAP(one, *(_figure(averages["classes"][one.name][key]) for key in ("ap", "ap50%")))
            for one in categories
            if one.isthing
        )
        return MaskQuality(_figure(averages["allAp"]), _figure(averages["allAp50%"]), classes)


@dataclass(frozen=True)
class _Files:
    """One picture as the evaluators read it."""

    true_labels: Path
    true_instances: Path
    predicted_labels: Path
    masks: Path


def _write(folder: Path, number: int, pair: RecordPair, truth: PanopticSet, predictions: PanopticSet) -> _Files:
    """Writes both label maps, the map of true instances, and the masks of predicted things with their list."""
    true, predicted = read_panoptic(truth, pair[0]), read_panoptic(predictions, pair[1])
    things = {one.id for one in truth.categories if one.isthing}
    # The evaluators find the map of instances by the name of the map of labels, and know a picture by its path.
    files = _Files(
        *(folder / f"{number}_{name}" for name in ("labelIds.png", "instanceIds.png", "found.png", "found.txt"))
    )
    files.true_labels.write_bytes(png.encode(_valued(true, _labels(true)).astype(np.uint8)))
    instances = _instances(true, things, pair[0].panoptic_file)
    files.true_instances.write_bytes(png.encode(_valued(true, instances).astype(np.uint16)))
    files.predicted_labels.write_bytes(png.encode(_valued(predicted, _labels(predicted)).astype(np.uint8)))
    lines = []
    for segment in predicted.segments:
        if segment.category_id in things:
            mask = folder / f"{number}_{segment.id}.png"
            mask.write_bytes(png.encode((predicted.id_map == segment.id).astype(np.uint8) * np.uint8(255)))
            lines.append(f"{mask.name} {segment.category_id} {segment.score}\n")
    files.masks.write_text("".join(lines))
    return files


def _labels(panoptic: Panoptic) -> dict[int, int]:
    return {segment.id: segment.category_id for segment in panoptic.segments}


def _instances(panoptic: Panoptic, things: set[int], name: str) -> dict[int, int]:
    """Each segment's value in Cityscapes' map of instances: crowds and stuff have their label alone."""
    values: dict[int, int] = {}
    nth: Counter[int] = Counter()
    for segment in panoptic.segments:
        values[segment.id] = segment.category_id
        if segment.category_id in things and not segment.iscrowd:
            values[segment.id] = segment.category_id * _INSTANCES + nth[segment.category_id]
            nth[segment.category_id] += 1
    if nth and max(nth.values()) > _INSTANCES:
        raise DataError(f"{name}: has {max(nth.values())} instances of one class, and Cityscapes' maps hold 1000.")
    return values


def _valued(panoptic: Panoptic, values: dict[int, int]) -> IdMap:
    """The map (H, W) with another value for each segment, 0 for void."""
    runs = runs_of(panoptic.id_map)
    return painted(runs, np.array([values.get(one, 0) for one in runs.values.tolist()], np.int32))


def _require_labels(categories: Sequence[Category], official: _Official, truth: Path) -> None:
    known = {one.id: one for one in official.labels.labels if not one.ignoreInEval}
    for one in categories:
        label = known.get(one.id)
        if label is None or (label.name, label.hasInstances) != (one.name, one.isthing):
            kind = "thing" if one.isthing else "stuff"
            raise DataError(
                f"{truth}: has the {kind} class {one.id} {one.name!r}, which is none of Cityscapes' labels.",
                hint=f"--engine {ENGINE} scores Cityscapes alone; --engine yoso scores any set.",
            )


def _is_scored(predictions: PanopticSet, progress: Progress) -> bool:
    try:
        for record in predictions.records:
            require_scores(record, predictions.categories)
    except DataError as error:
        progress.message(f"AP is left out. {error.message}")
        return False
    return True


def _counts(members: Sequence[Any]) -> bool:
    """Whether any label of a category is evaluated."""
    return any(not one.ignoreInEval for one in members)


def _figure(value: float) -> float | None:
    """None for the evaluators' NaN."""
    return None if isnan(value) else float(value)


def _called(function: Any, *arguments: Any) -> Any:
    """The result of `function`; raises a DataError where an evaluator prints a message and exits."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            return function(*arguments)
        except SystemExit:
            told = " ".join(printed.getvalue().split()).removeprefix("ERROR: ").rstrip(".")
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            told = f"{type(error).__name__}: {error}"
    raise DataError(f"{ENGINE} stops on this set: {told}.", hint="--engine yoso may tell what is wrong.")


class _Numpy:
    """numpy with `in1d`, which its version 2.4 has dropped and the evaluators call."""

    def __getattr__(self, name: str) -> Any:
        return np.isin if name == "in1d" else getattr(np, name)


@contextlib.contextmanager
def _current_numpy(*modules: ModuleType) -> Iterator[None]:
    """While the block runs, the evaluators of version 2.3 and older work with numpy 2.4 and newer."""
    for module in modules:
        vars(module)["np"] = _Numpy()
    try:
        yield
    finally:
        for module in modules:
            vars(module)["np"] = np
