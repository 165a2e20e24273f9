"""Datasets: prepare published ones, convert labels, check, compute statistics."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from yoso_cli.api.dataset import recipe_for
from yoso_cli.api.instances_check import find_instances, read_parts
from yoso_cli.atomic import recover
from yoso_cli.conversion import forms
from yoso_cli.conversion.color_table import read_classes
from yoso_cli.conversion.convert import Converted, LabelReader, convert_pictures
from yoso_cli.conversion.maps import MapFiles
from yoso_cli.conversion.recognition import recognised
from yoso_cli.conversion.split_choice import SplitChoice
from yoso_cli.datasets import ade20k, cityscapes, coco, mapillary, mask2former, shapes
from yoso_cli.datasets.catalog import DATASETS
from yoso_cli.datasets.spec import Prepared, Skipped
from yoso_cli.datasets.split import SplitPlan, make
from yoso_cli.errors import DataError, UsageError, did_you_mean
from yoso_cli.evaluation.score import read_any
from yoso_cli.inspection.census import Census, take_census
from yoso_cli.inspection.check import CheckedDataset, check_parts, check_splits
from yoso_cli.inspection.rules import PROPOSALS, Finding
from yoso_cli.inspection.split import Split, find_splits, read_split
from yoso_cli.panoptic.files import EDITED, MANIFEST
from yoso_cli.panoptic.packed_segments import SegmentTable
from yoso_cli.panoptic.types import Category
from yoso_cli.recipe.file import load
from yoso_cli.runtime.machine import usable_cores
from yoso_cli.runtime.paths import require_there
from yoso_cli.runtime.progress import SILENT, Progress

AUTO = "auto"
_Plans = tuple[Sequence[SplitPlan], Sequence[Skipped]]


@dataclass(frozen=True)
class PreparedDataset:
    """The result of `prepare`.

    Attributes:
        name: of the dataset, with its version where it has several.
        splits: the prepared splits.
        skipped: incomplete splits, which were left out.
    """

    name: str
    splits: tuple[Prepared, ...]
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class Conversion:
    """The result of `convert`.

    Attributes:
        destination: the folder or zip.
        form: its format, one of `conversion.forms.TARGETS`.
        image_dir: the folder of the pictures.
        categories: the classes.
        counts: pictures, segments, crowds, losses and repairs of the conversion.
        remarks: on the source, such as pictures without labels.
        background: the class that unlabelled pixels became, if that was asked for.
    """

    destination: Path
    form: str
    image_dir: Path
    categories: tuple[Category, ...]
    counts: Converted
    remarks: tuple[str, ...] = ()
    background: Category | None = None

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.categories)

    @property
    def has_stuff(self) -> bool:
        """Whether any pixel is of a stuff class."""
        return any(self.counts.areas[one.id] for one in self.categories if not one.isthing)


def prepare(
    dataset: str,
    root: str | Path = ".",
    *,
    splits: Sequence[str] = (),
    semantic: bool = False,
    version: str = "",
    compat: str = "",
    output: str | Path = "datasets",
    workers: int | None = None,
    keep_going: bool = False,
    force: bool = False,
    progress: Progress = SILENT,
) -> PreparedDataset:
    """Prepares a published dataset, or finds it prepared.

    Args:
        dataset: coco, cityscapes, ade20k or mapillary.
        root: folder of the download, unpacked or still in its archives.
        splits: the splits to prepare; empty for all that are found.
        semantic: also write semantic maps: 8-bit PNGs of train ids, 255 for void.
        version: for mapillary: v1.2 or v2.0.
        compat: for ade20k: mask2former reproduces that converter.
        output: the folder of all datasets; a split is written to `output`/NAME/SPLIT.
        workers: number of worker processes; one for each core by default.
        keep_going: report all problems, not just the first.
        force: prepare again.
        progress: shows progress and messages.

    Raises:
        UsageError: there is no such dataset, or the output folder has something else.
        DataError: nothing to prepare, or files are missing or damaged; what is converted already is kept.
        RunError: the disk is full or the place cannot be written.
    """
    reading: dict[str, Callable[[], _Plans]] = {
        "coco": lambda: coco.plans(Path(root), splits, semantic=semantic),
        "cityscapes": lambda: cityscapes.plans(Path(root), splits, semantic=semantic),
        "ade20k": lambda: _ade20k(Path(root), splits, semantic, compat),
        "mapillary": lambda: mapillary.plans(Path(root), splits, version=version, semantic=semantic),
    }
    if dataset not in reading:
        raise UsageError(f"{dataset}: there is no such published dataset.", hint=did_you_mean(dataset, reading))
    spec = DATASETS[dataset]
    plans, skipped = reading[dataset]()
    for one in skipped:
        progress.message(f"Skipping {one.split}: {one.reason} are missing. {spec.where_from()}")
    for plan in plans:
        published = spec.images.get(plan.split, 0)
        if len(plan.photos) < published:
            progress.message(f"{plan.title}: only {len(plan.photos)} of the {published} published images are there.")
    processes = workers or usable_cores()
    made = (
        make(plan, Path(output), workers=processes, force=force, keep_going=keep_going, progress=progress)
        for plan in plans
    )
    return PreparedDataset(plans[0].name, tuple(made), tuple(skipped))


def prepare_shapes(
    *,
    train: int = 1500,
    val: int = 100,
    size: int = 128,
    seed: int = 0,
    output: str | Path = "datasets",
    force: bool = False,
    progress: Progress = SILENT,
) -> PreparedDataset:
    """Draws synthetic scenes: shapes on textured ground. A scene depends only on the seed, its split and its number.

    Args:
        train: training scenes; 0 leaves the split out.
        val: validation scenes; 0 leaves the split out.
        size: edge of a scene, pixels.
        seed: random seed.
        output: the folder of all datasets.
        force: draw again.
        progress: shows progress and messages.

    Raises:
        UsageError: both counts are 0, or the output folder has something else.
        RunError: the disk is full or the place cannot be written.
    """
    counts = {name: count for name, count in (("train", train), ("val", val)) if count}
    if not counts:
        raise UsageError("--train and --val are both 0: there is nothing to draw.")
    made = shapes.prepare(Path(output), splits=counts, size=size, seed=seed, force=force, progress=progress)
    return PreparedDataset("shapes", tuple(made))


def convert(
    source: str | Path,
    destination: str | Path,
    *,
    source_form: str = AUTO,
    target_form: str = "prepared",
    split: str | None = None,
    class_attribute: str | None = None,
    categories: str | None = None,
    images: str | Path | None = None,
    semantic: str | Path | None = None,
    instances: str | Path | None = None,
    truth: str | Path | None = None,
    maps: MapFiles | None = None,
    background: str | None = None,
    repair: bool = False,
    workers: int | None = None,
    keep_going: bool = False,
    force: bool = False,
    progress: Progress = SILENT,
) -> Conversion:
    """Converts labels or predictions from one format to another; pictures are not copied.

    Args:
        source: a folder or file in the format `source_form`.
        destination: a folder, or a zip where `target_form` is a submission.
        source_form: one of `conversion.forms.SOURCES`, or auto: what lies there is recognised, and told.
        target_form: one of `conversion.forms.TARGETS`.
        split: of a source with several; by default the one that `destination` is called like.
        class_attribute: of regions in VIA; by default their only one.
        categories: a YAML file of classes, or the name of a published dataset.
        images: folder of the pictures, if not in the usual place.
        semantic: folder of the semantic maps, if elsewhere.
        instances: folder of the instance maps, if elsewhere.
        truth: ground truth of a submission.
        maps: names of the files, and of the pictures to convert.
        background: a stuff class for unlabelled pixels.
        repair: leave out or renumber what is wrong; the result lists it.
        workers: number of worker processes; one for each core by default.
        keep_going: report all problems, not just the first.
        force: whether a prepared split or a zip at `destination` may be replaced.
        progress: shows progress and messages.

    Raises:
        UsageError: a path does not exist, or `destination` does already, or it is unclear what `source` is.
        DataError: files are missing or damaged; nothing is written then.
        RunError: the disk is full or the place cannot be written.
    """
    source, destination = Path(source), Path(destination)
    images, semantic, instances, truth = (Path(one) if one else None for one in (images, semantic, instances, truth))
    require_there(source, images, semantic, instances, truth)
    _require_free(destination, target_form, force)
    table = read_classes(categories) if categories else None
    choice, true_set = SplitChoice(split, destination.name), read_any(truth) if truth else None
    chosen = (choice, replace(maps or MapFiles(), repair=repair), class_attribute, background, progress)
    places = forms.Places(source, table, images, semantic, instances, true_set, *chosen)
    how = {"processes": workers or usable_cores(), "keep_going": keep_going, "repair": repair}
    return _converted(source_form, places, target_form, destination, **how)


def _converted(source_form: str, places: forms.Places, target_form: str, destination: Path, **how: Any) -> Conversion:
    with _opened(source_form, places) as (opened, category):
        target = forms.TARGETS[target_form](opened, destination)
        counts = convert_pictures(
            opened, target.writer, target.placing, unsaid=target.unsaid, progress=places.progress, **how
        )
        found = (opened.image_dir, opened.table.categories, counts, opened.remarks, category)
    return Conversion(destination, target_form, *found)


@contextmanager
def _opened(form: str, places: forms.Places) -> Iterator[tuple[LabelReader, Category | None]]:
    """The labels and the class of their background; remarks, and what they are recognised as, are told.

    Raises:
        UsageError: that is unclear.
    """
    if form == AUTO:
        found = recognised(places.source)
        places.progress.message(f"{found.source}: taken for {found.form}, {found.why}.")
        form, places = found.form, replace(places, source=found.source)
    with forms.opened(form, places) as (opened, category):
        of_table = places.table.remarks if places.table else ()
        for remark in dict.fromkeys((*of_table, *opened.remarks)):
            places.progress.message(f"{remark}.")
        yield opened, category


def check(
    dataset: str | Path,
    *,
    root: str | Path = "datasets",
    recipe: str | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> CheckedDataset:
    """Validates a dataset: reads every file and reports all problems.

    Args:
        dataset: the name of a prepared dataset below `root`, a prepared split, a folder of splits, a folder in COCO's
            layout, a COCO panoptic JSON, or COCO's instance annotations.
        root: the folder of all datasets.
        recipe: the one that will be trained, for its number of proposals; by default that of the dataset's name.
        workers: number of worker processes; one for each core by default.
        progress: shows progress.

    Raises:
        UsageError: there is no such dataset.
    """
    processes = workers or usable_cores()
    instances = [] if (Path(root) / dataset).is_dir() else find_instances(Path(dataset))
    try:
        splits = find_splits(str(dataset), Path(root)) if Path(dataset) not in instances else []
    except UsageError:
        if not instances:
            raise
        splits = []
    if splits:
        proposals = _proposals(recipe, splits[0].dataset)
        return check_splits(splits, proposals=proposals, processes=processes, progress=progress)
    parts = read_parts(instances, _proposals(recipe, ""), processes, progress)
    return check_parts(parts, processes=processes, progress=progress)


def _proposals(recipe: str | None, dataset: str) -> int:
    """Of a recipe: the one that is named, or that of the dataset's name, or the paper's number."""
    if recipe is not None:
        return load(recipe).model.num_proposals
    found = recipe_for(dataset)
    return found[1].model.num_proposals if found else PROPOSALS


def stats(
    dataset: str | Path, *, root: str | Path = "datasets", splits: Sequence[str] = ()
) -> list[tuple[Split, Census]]:
    """Statistics of each split of a dataset, from its JSON alone.

    Args:
        dataset: as for `check`.
        root: the folder of all datasets.
        splits: the splits to summarise; empty for all.

    Raises:
        UsageError: there is no such dataset or split.
        DataError: a JSON is malformed.
    """
    chosen = [split for split in find_splits(str(dataset), Path(root)) if not splits or split.name in splits]
    if not chosen:
        raise UsageError(f"{dataset}: has no split {' or '.join(splits)}.", hint="Leave --split out for all of them.")
    return [(split, _census(split)) for split in chosen]


def _ade20k(root: Path, splits: Sequence[str], semantic: bool, compat: str) -> _Plans:
    read = mask2former.read_labels if compat else ade20k.read_labels
    notes: dict[str, Any] = {"compat": compat} if compat else {}
    return ade20k.plans(root, splits, semantic=semantic, read=read, notes=notes)


def _require_free(destination: Path, form: str, force: bool) -> None:
    """Refuses to overwrite: `force` allows it for a prepared split and a zip, never for any other folder."""
    zipped = form.endswith("-submission")
    if zipped and destination.suffix.lower() != ".zip":
        raise UsageError(f"{destination}: a submission must be a zip.", hint="Use a name that ends in .zip.")
    if form == "prepared" and destination.resolve().parent == destination.resolve():
        raise UsageError(f"{destination}: a dataset cannot be written there.", hint="Name datasets/NAME/SPLIT.")
    recover(destination)
    if not destination.exists() or (destination.is_dir() and not zipped and not any(destination.iterdir())):
        return
    ours = destination.is_file() if zipped else (destination / MANIFEST).exists()
    if not ours:
        raise UsageError(
            f"{destination}: exists already and was not made by yoso, so it is not replaced.", hint="Name another path."
        )
    if not force:
        raise UsageError(f"{destination}: exists already.", hint="Add --force to replace it.")


def _census(split: Split) -> Census:
    listed = read_split(split)
    if isinstance(listed, Finding):
        raise DataError(listed.detail)
    if any(finding.code == "listing-changed" for finding in listed.findings):
        raise DataError(f"{split.listing}: is not as it was written: its checksum differs.", hint=EDITED)
    known = {category.id for category in listed.panoptic_set.categories}
    table = SegmentTable.of(listed.panoptic_set.records)
    if not set(np.unique(table.category_id).tolist()) <= known:
        mistakes = [finding for finding in listed.findings if finding.code in ("unknown-category", "malformed-entry")]
        raise DataError(f"{split.listing}: {mistakes[0].detail}.", hint="`yoso check` reports all problems.")
    return take_census(listed.panoptic_set)
