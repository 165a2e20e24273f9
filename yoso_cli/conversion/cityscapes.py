"""Cityscapes' format: one 16-bit PNG per picture, in which label * 1000 + n is the n-th instance of a label.

A label alone is stuff, or a crowd: a group of things without separate instances. The files, as published and as written
here:

    gtFine/train/aachen/aachen_000000_000019_gtFine_instanceIds.png
    leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png

Source: https://github.com/mcordts/cityscapesScripts, `json2instanceImg.py`.
"""

# H, W height and width of the picture in pixels

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yoso_cli.conversion.category_file import CategoryTable, write_table
from yoso_cli.conversion.convert import InformationLoss, LabelReader, SourcePicture
from yoso_cli.conversion.maps import (
    CATEGORIES_YAML,
    grey_png,
    maps_to_panoptic,
    panoptic_to_classes,
    panoptic_to_values,
    unspoken,
)
from yoso_cli.conversion.picture_files import find_files, lacking, listed
from yoso_cli.errors import DataError
from yoso_cli.panoptic import png
from yoso_cli.panoptic.photos import PHOTO_SUFFIXES
from yoso_cli.panoptic.types import Panoptic

# The first number of an instance, and how many a label may have.
_INSTANCES = 1000
_LABEL_FILE = re.compile(r"(.*)_gt(?:Fine|Coarse)_instanceIds")
_PICTURE_SUFFIX = "_leftImg8bit"


@dataclass(frozen=True)
class CityscapesReader(LabelReader):
    """Pictures with a map of instance ids each; `labels` has the path of each picture's map."""

    label_dir: Path
    labels: dict[str, str]

    @property
    def has_void_values(self) -> bool:
        """Labels that are not evaluated."""
        return True

    def read(self, picture: SourcePicture) -> tuple[Panoptic, Counter[InformationLoss]]:
        """The map as segments. Raises DataError when it is damaged or has fewer than 16 bits."""
        path = self.label_dir / self.labels[picture.image_file]
        values = png.read(path, png.Kind.GREY16).astype(np.int32)
        told_apart = values >= _INSTANCES
        classes = np.where(told_apart, values // _INSTANCES, values)
        # The first instance of a label has n = 0; here 0 is "no number".
        numbers = np.where(told_apart, values % _INSTANCES + 1, 0)
        return maps_to_panoptic(classes, numbers, self.table, path), Counter()


def open_cityscapes(table: CategoryTable, label_dir: Path, image_dir: Path | None) -> CityscapesReader:
    """The maps below `label_dir` with their pictures.

    Args:
        table: the classes; ids are labels.
        label_dir: for example `gtFine/train`.
        image_dir: by default the folder of the same name in `leftImg8bit` beside `gtFine`.

    Raises:
        UsageError: a folder is missing.
        DataError: two pictures differ in their suffix alone.
    """
    found = find_files(label_dir, {".png"}, what="maps of instance ids")
    names = {match[1]: file for stem, file in found.by_stem.items() if (match := _LABEL_FILE.fullmatch(stem))}
    folder = image_dir or label_dir.parent.parent / "leftImg8bit" / label_dir.name
    images = find_files(folder, PHOTO_SUFFIXES, what="pictures")
    by_name = {stem.removesuffix(_PICTURE_SUFFIX): file for stem, file in images.by_stem.items()}
    bare = sorted(set(by_name) - set(names)) if set(by_name) & set(names) else []
    problems = [
        *lacking([*names, *bare], by_name, f"{label_dir}: has no *_gtFine_instanceIds.png for pictures: {{}}"),
        *lacking(by_name, names, f"{folder}: has no picture for maps of instance ids: {{}}"),
    ]
    remarks = [f"{folder}: files that are no pictures: {listed(images.others)}"] if images.others else []
    remarks += [f"{folder}: pictures without labels are left out: {listed(bare)}"] if bare else []
    whole = [name for name in by_name if name in names]
    # Image ids are the names without the folder of the city, as in Cityscapes' own panoptic JSON.
    pictures = tuple(SourcePicture(name.rpartition("/")[2], by_name[name]) for name in whole)
    labels = {by_name[name]: names[name] for name in whole}
    twice = [name for name, count in Counter(picture.image_id for picture in pictures).items() if count > 1]
    if twice:
        problems.append(f"{folder}: names that stand in two folders: {listed(sorted(map(str, twice)))}")
    return CityscapesReader(table, folder, pictures, tuple(problems), tuple(remarks), label_dir, labels)


@dataclass(frozen=True)
class CityscapesWriter:
    """Writes `NAME_gtFine_instanceIds.png` and `NAME_gtFine_labelIds.png`; pictures stay where they are."""

    table: CategoryTable

    def write(self, folder: Path, picture: SourcePicture, panoptic: Panoptic) -> tuple[None, Counter[InformationLoss]]:
        """Two maps. Raises DataError for a label or a number of instances that 16 bits cannot hold."""
        things = {category.id for category in self.table.categories if category.isthing}
        void = self._void()
        values: dict[int, int] = {}
        # n counts the instances of each label from 0.
        nth: Counter[int] = Counter()
        for segment in panoptic.segments:
            values[segment.id] = segment.category_id
            if segment.category_id in things and not segment.iscrowd:
                values[segment.id] = segment.category_id * _INSTANCES + nth[segment.category_id]
                nth[segment.category_id] += 1
        self._require_room(picture, nth)
        stem = picture.stem.removesuffix(_PICTURE_SUFFIX)
        instances, classes = panoptic_to_values(panoptic, void, values), panoptic_to_classes(panoptic, void)
        for kind, ids, deep in (("instanceIds", instances, True), ("labelIds", classes, False)):
            path = folder / f"{stem}_gtFine_{kind}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(grey_png(ids, deep=deep))
        return None, unspoken(panoptic, things)

    def finish(self, folder: Path, entries: Sequence[None]) -> None:
        """Writes the table."""
        (folder / CATEGORIES_YAML).write_text(write_table(self.table), encoding="utf-8")

    def _void(self) -> int:
        value = self.table.void_value()
        if value > np.iinfo(np.uint8).max:
            raise DataError(
                "All values from 0 to 255 are classes: none is left for void.", hint="Convert to another format."
            )
        return value

    def _require_room(self, picture: SourcePicture, counts: Counter[int]) -> None:
        for category in self.table.categories:
            low, high = (1, 64) if category.isthing else (0, 255)
            if not low <= category.id <= high:
                kind = "thing" if category.isthing else "stuff"
                raise DataError(
                    f"{category.name}: has the id {category.id}, but Cityscapes' format allows only {low} to {high} "
                    f"for {kind} classes.",
                    hint="Give it another id, or convert to another format.",
                )
        crowded = [count for count in counts.values() if count > _INSTANCES]
        if crowded:
            raise DataError(f"{picture.image_file}: has {crowded[0]} instances of one class; at most 1000 are allowed.")
