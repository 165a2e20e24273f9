"""ADE20K as its scene parsing challenges published it (http://sceneparsing.csail.mit.edu), made panoptic.

DIR/ADEChallengeData2016/images/training/ADE_train_00000001.jpg             unpacked, or in ADEChallengeData2016.zip
DIR/ADEChallengeData2016/annotations/training/ADE_train_00000001.png        the same
DIR/annotations_instance/training/ADE_train_00000001.png                    unpacked, or in annotations_instance.tar

A semantic map holds the class from 1 on, 0 being void. An instance map holds, in red, which of 100 countable classes a
pixel is and, in green, of which instance. Stuff is taken from the first, things from the second, which lies on top; a
pixel of a thing without an instance is void.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from yoso_cli.datasets.coding import VALUES, Coded, Coding, read_coded
from yoso_cli.datasets.download import by_stem, sources
from yoso_cli.datasets.labelled import Labelled, Read, paired, plan_of
from yoso_cli.datasets.spec import Archive, DatasetSpec, Skipped, read_categories, refuse_if_lacking
from yoso_cli.datasets.split import Plan
from yoso_cli.errors import DataError
from yoso_cli.panoptic import png
from yoso_cli.panoptic.files import rgb_to_id
from yoso_cli.panoptic.regions import Runs, runs_of

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
# An instance map's number is green, its class red: from here on, 256 n + class.
FIRST_INSTANCE = 256

LabelMap = npt.NDArray[Any]


def plans(
    root: Path,
    splits: Sequence[str] = (),
    *,
    semantic: bool = False,
    read: Read | None = None,
    notes: Mapping[str, Any] | None = None,
) -> tuple[list[Plan], list[Skipped]]:
    """What can be made of a download; without `splits`, what is there.

    Args:
        root: the folder with ADEChallengeData2016/ and annotations_instance/, or with their archives.
        splits: the ones asked for.
        semantic: make semantic maps of train ids as well.
        read: another meaning of the maps than `read_picture`.
        notes: what the manifest shall say of that meaning.

    Raises:
        DataError: no such folder, a split asked for is not there, or none is; says which file comes from where.
    """
    found = sources(root, tuple(_PARTS))
    ready, skipped = [], []
    for split in splits or ADE20K.splits:
        folder = FOLDERS.get(split, split)
        patterns = [f"{name}/{folder}/*.{suffix}" for name, suffix in _PARTS.items()]
        images, semantic_maps, instance_maps = parts = [by_stem(found, pattern) for pattern in patterns]
        lacking = [pattern for pattern, there in zip(patterns, parts, strict=True) if not there]
        if lacking:
            skipped.append(Skipped(split, " and ".join(lacking)))
            continue
        whole, missing = paired(images, semantic_maps, instance_maps)
        pictures = [
            Labelled(
                image_id=key,
                image=images[key],
                image_file=f"{key}.jpg",
                panoptic_file=f"{key}.png",
                maps=(semantic_maps[key], instance_maps[key]),
                semantic_file=f"{key}.png" if semantic else "",
            )
            for key in whole
        ]
        ready.append(plan_of(NAME, split, pictures, read or read_picture, missing, notes=notes))
    refuse_if_lacking(root, ADE20K, skipped, may_skip=bool(ready) and not splits)
    return ready, skipped


def read_picture(picture: Labelled) -> Coded:
    """The segments of one picture: stuff c has the id c+1, the n-th instance of class c the id (c+1)*256+n."""
    runs, instances, size = read_runs(picture)
    # Where there is no instance, the number is below the first one and stuff finds its place.
    values = np.where(instances < FIRST_INSTANCE, runs.values, instances)
    coded = read_coded(runs._replace(values=values), coding(), size, str(picture.maps[1]))
    return replace(coded, train_ids=train_ids(runs.values)) if picture.semantic_file else coded


def read_runs(picture: Labelled) -> tuple[Runs, LabelMap, tuple[int, int]]:
    """The runs in which neither map changes, whose values are the semantic map's classes, uint8, from 1 on.

    Beside them the instance map's value of each run, int32: 256 n + class; and the maps' height and width.

    Raises:
        DataError: one is missing, damaged or of another kind, they differ in size, or a class is unknown.
    """
    semantic_source, instance_source = picture.maps
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
        raise DataError(f"{semantic_source}: holds the class {largest} where ADE20K has {_CLASSES}.")
    return runs, instances.reshape(-1)[runs.starts], (height, width)


def train_ids(classes: LabelMap) -> LabelMap:
    """Published classes, uint8, from 0 on; void, 0, becomes 255."""
    shifted: LabelMap = classes - np.uint8(1)
    return shifted


def things() -> list[int]:
    """The categories of the instance maps' classes 1..100: the countable ones of the 150, in their order."""
    return [category.id for category in read_categories(NAME) if category.isthing]


@cache
def coding() -> Coding:
    """What a semantic map's classes mean where no instance lies on them, and the numbers of an instance map."""
    table = Coding.blank("ADE20K")
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
