"""ADE20K as its scene parsing challenges published it (http://sceneparsing.csail.mit.edu), made panoptic.

DIR/ADEChallengeData2016/images/training/ADE_train_00000001.jpg             unpacked, or in ADEChallengeData2016.zip
DIR/ADEChallengeData2016/annotations/training/ADE_train_00000001.png        the same
DIR/annotations_instance/training/ADE_train_00000001.png                    unpacked, or in annotations_instance.tar

A semantic map holds the class from 1 on, 0 being void. An instance map holds, in red, which of 100 countable classes a
pixel is and, in green, of which instance. Stuff is taken from the first, things from the second, which takes
precedence; a pixel of a thing without an instance is void.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from yoso_cli.datasets.archives import by_stem, stored_files
from yoso_cli.datasets.label_maps import (
    VALUES,
    LabelTable,
    PictureLabels,
    ReadLabels,
    labels_from_runs,
    paired,
    split_plan,
)
from yoso_cli.datasets.spec import Archive, DatasetSpec, Skipped, read_categories
from yoso_cli.datasets.split import LabelledPhoto, SplitPlan, plan_splits
from yoso_cli.errors import DataError
from yoso_cli.panoptic import png
from yoso_cli.panoptic.files import rgb_to_id
from yoso_cli.panoptic.regions import LabelMap, Runs, runs_of

NAME = "ade20k"
ADE20K = DatasetSpec(
    name=NAME,
    title="ADE20K",
    splits=("train", "val"),
    home="http://sceneparsing.csail.mit.edu",
    archives=(
        Archive("ADEChallengeData2016.zip", "0.9 GB", "gives ADEChallengeData2016/"),
        Archive("annotations_instance.tar", "0.1 GB", "from the challenge of 2017, gives annotations_instance/"),
    ),
    licence="Their terms are at https://groups.csail.mit.edu/vision/datasets/ADE20K/terms/.",
    images={"train": 20_210, "val": 2000},
)

FOLDERS = {"train": "training", "val": "validation"}
_PARTS = {"images": "jpg", "annotations": "png", "annotations_instance": "png"}
_CLASSES = 150
# Folders of the full release: images/ADE/training/urban/street/ADE_train_00000001_seg.png and index_ade20k.pkl.
_FULL = ("ADE20K_2021_17_01", "ADE20K_2016_07_26", "ADE", "images")
# An instance map's number is green, its class red: from here on, 256 n + class.
FIRST_INSTANCE = 256


def plans(
    root: Path,
    splits: Sequence[str] = (),
    *,
    semantic: bool = False,
    read: ReadLabels | None = None,
    notes: Mapping[str, Any] | None = None,
) -> tuple[list[SplitPlan], list[Skipped]]:
    """What can be made of a download; without `splits`, what is there.

    Args:
        root: the folder with ADEChallengeData2016/ and annotations_instance/, or with their archives.
        splits: the ones asked for.
        semantic: make semantic maps of train ids as well.
        read: another meaning of the maps than `read_labels`.
        notes: what the manifest says of that meaning.

    Raises:
        DataError: no such folder, a split asked for is not there, or none is; says which file comes from where.
    """
    found = stored_files(root, tuple(_PARTS))
    if not any(re.match("annotations(_instance)?/(training|validation)/", name) for name in found):
        _require_no_full_release(root)

    def plan(split: str) -> SplitPlan | str:
        folder = FOLDERS.get(split, split)
        patterns = [f"{name}/{folder}/*.{suffix}" for name, suffix in _PARTS.items()]
        parts = [by_stem(found, pattern) for pattern in patterns]
        lacking = [pattern for pattern, there in zip(patterns, parts, strict=True) if not there]
        if lacking:
            return " and ".join(lacking)
        photos, missing = paired(*parts, semantic=semantic)
        return split_plan(NAME, split, photos, read or read_labels, missing, notes=notes)

    return plan_splits(ADE20K, root, splits, ADE20K.splits, plan)


def _require_no_full_release(root: Path) -> None:
    """Raises DataError for the full ADE20K, in which the files of the challenges are not."""
    if any(name.endswith(("_seg.png", "index_ade20k.pkl", "index_ade20k.mat")) for name in stored_files(root, _FULL)):
        raise DataError(
            f"{root}: is the full ADE20K, with thousands of classes and parts in *_seg.png, not the 150 classes of the "
            "scene parsing challenge that panoptic results are on, and these cannot be made of it here.",
            hint=ADE20K.where_from(),
        )


def read_labels(photo: LabelledPhoto) -> PictureLabels:
    """The segments of one picture: stuff c has the id c+1, the n-th instance of class c the id (c+1)*256+n."""
    runs, instances, size = read_runs(photo)
    # Where there is no instance, the number is below the first one and stuff finds its place.
    values = np.where(instances < FIRST_INSTANCE, runs.values, instances)
    labels = labels_from_runs(runs._replace(values=values), label_table(), size, str(photo.maps[1]))
    return replace(labels, train_ids=train_ids(runs.values)) if photo.semantic_file else labels


def read_runs(photo: LabelledPhoto) -> tuple[Runs, LabelMap, tuple[int, int]]:
    """The runs in which neither map changes, whose values are the semantic map's classes, uint8, from 1 on.

    Beside them the instance map's value of each run, int32: 256 n + class; and the maps' height and width.

    Raises:
        DataError: one is missing, damaged or of another kind, they differ in size, or a class is unknown.
    """
    semantic_source, instance_source = photo.maps
    semantic = png.decode(semantic_source.read(), str(semantic_source), png.Kind.GREY8)
    colors = png.decode(instance_source.read(), str(instance_source), png.Kind.RGB)
    height, width = semantic.shape
    if (height, width) != colors.shape[:2]:
        high, wide = colors.shape[:2]
        raise DataError(f"{instance_source}: is {wide}x{high} where the semantic map is {width}x{height}.")
    instances = rgb_to_id(colors)
    runs = runs_of(semantic, instances)
    largest = int(runs.values.max(initial=0))
    if largest > _CLASSES:
        raise DataError(f"{semantic_source}: has the class {largest}, but ADE20K has only {_CLASSES}.")
    return runs, instances.reshape(-1)[runs.starts], (height, width)


def train_ids(classes: LabelMap) -> LabelMap:
    """Published classes, uint8, from 0 on; void, 0, becomes 255."""
    shifted: LabelMap = classes - np.uint8(1)
    return shifted


def things() -> list[int]:
    """The categories of the instance maps' classes 1..100: the countable ones of the 150, in their order."""
    return [category.id for category in read_categories(NAME) if category.isthing]


@cache
def label_table() -> LabelTable:
    """What a semantic map's classes mean where no instance lies on them, and the numbers of an instance map."""
    table = LabelTable("ADE20K")
    table.known[: _CLASSES + 1] = True
    for category in read_categories(NAME):
        if not category.isthing:
            table.segment_ids[category.id + 1] = category.id + 1
            table.category_ids[category.id + 1] = category.id
    for place, thing in enumerate(things(), start=1):
        values = slice(FIRST_INSTANCE + place, VALUES, FIRST_INSTANCE)
        table.segment_ids[values] = (thing + 1) * FIRST_INSTANCE + np.arange(1, FIRST_INSTANCE)
        table.category_ids[values] = thing
        table.known[values] = True
    return table
