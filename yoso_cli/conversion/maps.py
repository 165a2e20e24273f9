"""Semantic and instance maps: for each picture a PNG of classes and a PNG of instance numbers.

<folder>/images/NAME.jpg
<folder>/semantic/NAME.png     a pixel's value is its category id
<folder>/instances/NAME.png    a pixel's value is its instance number; 0 is none
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yoso_cli.conversion import label_map
from yoso_cli.conversion.category_file import CategoryTable, write_table
from yoso_cli.conversion.form import Loss, Picture, Reading, Source
from yoso_cli.conversion.picture_files import SUFFIXES, find, lacking, listed
from yoso_cli.errors import DataError
from yoso_cli.panoptic.types import Panoptic

SEMANTIC, INSTANCES, IMAGES = "semantic", "instances", "images"
CATEGORIES = "categories.yaml"


@dataclass(frozen=True)
class MapsSource(Source):
    """Pictures of which each has a semantic map, and an instance map where the table has things."""

    semantic_dir: Path
    instance_dir: Path | None

    def read(self, picture: Picture) -> Reading:
        """The two maps as segments. Raises DataError naming the map that is damaged or of another kind."""
        path = self.semantic_dir / f"{picture.stem}.png"
        classes = label_map.read_classes(path)
        if self.instance_dir is None:
            numbers = np.zeros_like(classes)
        else:
            numbers = label_map.read_numbers(self.instance_dir / f"{picture.stem}.png")
        return Reading(label_map.to_panoptic(classes, numbers, self.table, path))


def open_maps(table: CategoryTable, image_dir: Path, semantic_dir: Path, instance_dir: Path) -> MapsSource:
    """The pictures in `image_dir` with the maps of the same names.

    Raises:
        UsageError: a folder is missing. Without things, none of instance maps is needed.
        DataError: two pictures differ in their suffix alone.
    """
    images = find(image_dir, SUFFIXES, what="pictures")
    semantic = find(semantic_dir, {".png"}, what="semantic maps")
    needs_numbers = any(category.isthing for category in table.categories)
    numbers = find(instance_dir, {".png"}, what="instance maps") if needs_numbers else None
    problems = [
        *lacking(semantic.by_stem, images.by_stem, f"{semantic_dir}: has no semantic map for pictures: {{}}"),
        *lacking(images.by_stem, semantic.by_stem, f"{image_dir}: has no picture for semantic maps: {{}}"),
    ]
    whole = images.by_stem.keys() & semantic.by_stem.keys()
    if numbers is not None:
        problems += lacking(numbers.by_stem, images.by_stem, f"{instance_dir}: has no instance map for pictures: {{}}")
        problems += lacking(images.by_stem, numbers.by_stem, f"{image_dir}: has no picture for instance maps: {{}}")
        whole &= numbers.by_stem.keys()
    remarks = [f"{image_dir}: files that are no pictures: {listed(images.others)}"] if images.others else []
    pictures = tuple(Picture(stem, name) for stem, name in images.by_stem.items() if stem in whole)
    return MapsSource(
        table, image_dir, pictures, tuple(problems), tuple(remarks), semantic_dir, instance_dir if numbers else None
    )


@dataclass(frozen=True)
class MapsTarget:
    """Writes `semantic/` and `instances/`, and the table as `categories.yaml`; pictures stay where they are."""

    table: CategoryTable

    def write(self, folder: Path, picture: Picture, panoptic: Panoptic) -> tuple[None, Counter[Loss]]:
        """Two maps, of 8 bits where that is enough. Raises DataError for more than 65535 instances or classes."""
        things = {category.id for category in self.table.categories if category.isthing}
        maps = {
            SEMANTIC: label_map.to_classes(panoptic, self.table.void_value()),
            INSTANCES: label_map.to_numbers(panoptic, things),
        }
        for name, values in maps.items():
            highest = int(values.max(initial=0))
            if highest > np.iinfo(np.uint16).max:
                raise DataError(f"{picture.image_file}: its {name} map needs {highest}, and 16 bits end at 65535.")
            path = folder / name / f"{picture.stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(label_map.encode(values, deep=highest > np.iinfo(np.uint8).max))
        return None, unspoken(panoptic, things)

    def finish(self, folder: Path, pieces: Sequence[None]) -> None:
        """Writes the table."""
        (folder / CATEGORIES).write_text(write_table(self.table), encoding="utf-8")


def unspoken(panoptic: Panoptic, things: set[int]) -> Counter[Loss]:
    """What maps of classes and of numbers cannot say about a picture."""
    crowds = Counter(one.category_id for one in panoptic.segments if one.iscrowd)
    return Counter(
        {
            Loss.SCORE: sum(one.score is not None for one in panoptic.segments),
            Loss.CROWDS: sum(count - 1 for category_id, count in crowds.items() if category_id in things),
            Loss.STUFF_CROWD: sum(count for category_id, count in crowds.items() if category_id not in things),
        }
    )
