"""The labels of a dataset as results, to be drawn as predictions are."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from yoso_cli.api.result import Result
from yoso_cli.drawing.style import chosen
from yoso_cli.errors import DataError, UsageError, did_you_mean
from yoso_cli.evaluation.score import read_any
from yoso_cli.inspection.split import Split, find_splits
from yoso_cli.panoptic.files import read_panoptic, read_set
from yoso_cli.panoptic.photos import read_image
from yoso_cli.panoptic.types import ImageRecord, PanopticSet


def truth_pictures(
    dataset: str | Path,
    *,
    split: str = "",
    root: str | Path = "datasets",
    count: int = 16,
    classes: Sequence[str] = (),
    seed: int | None = None,
) -> Iterator[Result]:
    """Pictures of a dataset with their labels, one by one; `source` is the path of the photo.

    Mistakes in the arguments are reported at once, those in a picture when its turn comes.

    Args:
        dataset: the name of a prepared dataset, the path of a split, or a folder in COCO's layout.
        split: one of the dataset's; empty for the only one, or for that whose name begins with `val`.
        root: the folder of all datasets.
        count: of pictures at most.
        classes: names; only pictures with a segment of any of them. Empty for all pictures.
        seed: chooses pictures at random; None for the first ones.

    Raises:
        UsageError: there is no such dataset, split or class.
        DataError: no picture has a segment of these classes, or the labels or a photo cannot be read.
    """
    found = read_split_of(chosen_split(dataset, split, Path(root)))
    records = _with_classes(found, classes)
    if seed is not None:
        records = [records[place] for place in np.random.default_rng(seed).permutation(len(records)).tolist()]
    return (_result(found, record) for record in records[:count])


def chosen_split(dataset: str | Path, name: str, root: Path) -> Split:
    """The split `name` of a dataset; without a name the only one, or that whose name begins with `val`.

    Raises:
        UsageError: there is no such dataset or split, or it is unclear which is meant.
    """
    splits = find_splits(str(dataset), root)
    names = [split.name for split in splits]
    there = f"The splits of {dataset} are {', '.join(names)}."
    if name and name not in names:
        raise UsageError(f"{dataset}: has no split {name}.", hint=did_you_mean(name, names, there))
    fitting = [split for split in splits if split.name == name] if name else splits
    if len(fitting) > 1:
        fitting = [split for split in fitting if split.name.startswith("val")]
    if len(fitting) != 1:
        raise UsageError(f"{dataset}: has several splits.", hint=f"Name one of them with --split. {there}")
    return fitting[0]


def read_split_of(split: Split) -> PanopticSet:
    """What the JSON of a split lists. Raises DataError when it cannot be read."""
    if split.folder is not None:
        return read_set(split.folder)
    return replace(read_any(split.listing), name=split.dataset, split=split.name)


def _with_classes(found: PanopticSet, classes: Sequence[str]) -> list[ImageRecord]:
    """The records with a segment of these classes; all where none is named."""
    if not classes:
        if not found.records:
            raise DataError(f"{found.name}/{found.split}: has no pictures.")
        return list(found.records)
    ids = chosen(classes, found.categories)
    records = [one for one in found.records if any(segment.category_id in ids for segment in one.segments)]
    if not records:
        names = " or ".join(classes)
        hint = f"`yoso stats {found.name}` counts the segments of each class."
        raise DataError(f"{found.name}/{found.split}: no picture has a segment of {names}.", hint=hint)
    return records


def _result(found: PanopticSet, record: ImageRecord) -> Result:
    path = found.image_path(record)
    image = read_image(path)
    if image.shape[:2] != (record.height, record.width):
        raise DataError(
            f"{path}: is {image.shape[1]}x{image.shape[0]} where its labels are {record.width}x{record.height}.",
            hint="They belong to different pictures, or one was resized: download both again.",
        )
    return Result(image, read_panoptic(found, record), found.categories, str(path))
