"""Cityscapes as published (https://www.cityscapes-dataset.com/dataset-overview/), made panoptic.

DIR/gtFine/val/frankfurt/frankfurt_000000_000294_gtFine_instanceIds.png     unpacked, or in gtFine_trainvaltest.zip
DIR/leftImg8bit/val/frankfurt/frankfurt_000000_000294_leftImg8bit.png       unpacked, or in leftImg8bit_trainvaltest.zip

The result is that of `cityscapesscripts.preparation.createPanopticImgs`: the same PNGs under the same names, and its
JSON beside ours. The two differ only in the paths of photos: those in its JSON do not exist.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from yoso_cli.atomic import write_text
from yoso_cli.datasets.archives import StoredFile, stored_files
from yoso_cli.datasets.label_maps import LabelTable, PictureLabels, paired, read_instance_map, split_plan
from yoso_cli.datasets.spec import Archive, DatasetSpec, Skipped, read_categories
from yoso_cli.datasets.split import LabelledPhoto, SplitPlan, plan_splits
from yoso_cli.panoptic.annotations import to_json
from yoso_cli.panoptic.types import PanopticSet

NAME = "cityscapes"
CITYSCAPES = DatasetSpec(
    name=NAME,
    title="Cityscapes",
    splits=("train", "val"),
    home="https://www.cityscapes-dataset.com/downloads/",
    archives=(
        Archive("gtFine_trainvaltest.zip", "241 MB", "gives gtFine/"),
        Archive("leftImg8bit_trainvaltest.zip", "11 GB", "gives leftImg8bit/"),
    ),
    licence="They ask you to register and to agree to https://www.cityscapes-dataset.com/license/.",
    images={"train": 2975, "val": 500, "test": 1525},
)

_MAPS = re.compile(r"gtFine/(?P<split>[^/]+)/[^/]+/(?P<stem>[^/]+)_gtFine_instanceIds\.png")
_IMAGES = re.compile(r"leftImg8bit/(?P<split>[^/]+)/[^/]+/(?P<stem>[^/]+)_leftImg8bit\.png")

# An instance map holds label*1000+n for the n-th thing, and the label itself for stuff and for groups of things.
_INSTANCES = 1000
_LABELS = 34


def plans(root: Path, splits: Sequence[str] = (), *, semantic: bool = False) -> tuple[list[SplitPlan], list[Skipped]]:
    """What can be made of a download; without `splits`, of train and val what is there.

    Args:
        root: the folder with gtFine/ and leftImg8bit/, or with their zips.
        splits: the ones asked for; `test` has dummy labels only.
        semantic: make labelTrainIds maps as well.

    Raises:
        DataError: no such folder, a split asked for is not there, or none is; says which file comes from where.
    """
    found = stored_files(root, ("gtFine", "leftImg8bit"))
    maps, images = _by_split(found, _MAPS), _by_split(found, _IMAGES)

    def plan(split: str) -> SplitPlan | str:
        lacking = [
            pattern
            for there, pattern in (
                (maps, f"gtFine/{split}/*/*_gtFine_instanceIds.png"),
                (images, f"leftImg8bit/{split}/*/*_leftImg8bit.png"),
            )
            if split not in there
        ]
        return " and ".join(lacking) or _plan(split, maps[split], images[split], semantic)

    return plan_splits(CITYSCAPES, root, splits, CITYSCAPES.splits, plan)


def _by_split(found: dict[str, StoredFile], pattern: re.Pattern[str]) -> dict[str, dict[str, StoredFile]]:
    """Split -> city/stem -> file."""
    there: dict[str, dict[str, StoredFile]] = {}
    for name, file in found.items():
        match = pattern.fullmatch(name)
        if match:
            city = name.split("/")[2]
            there.setdefault(match["split"], {})[f"{city}/{match['stem']}"] = file
    return there


def _plan(split: str, maps: dict[str, StoredFile], images: dict[str, StoredFile], semantic: bool) -> SplitPlan:
    photos, missing = paired(images, maps, semantic=semantic, named=_named)
    plan = split_plan(NAME, split, photos, read_labels, missing, panoptic_dir=f"cityscapes_panoptic_{split}")
    return replace(plan, finish=write_official_json)


def _named(key: str) -> tuple[str, str, str, str]:
    name = Path(key).name
    return name, f"{key}_leftImg8bit.png", f"{name}_gtFine_panoptic.png", f"{name}_gtFine_labelTrainIds.png"


def read_labels(photo: LabelledPhoto) -> PictureLabels:
    """The segments of one picture, from its instanceIds map."""
    return read_instance_map(photo, label_table())


@cache
def label_table() -> LabelTable:
    """What the values of an instanceIds map mean."""
    table = LabelTable("Cityscapes")
    # Labels that are ignored in evaluation are void, but they occur.
    table.known[:_LABELS] = table.known[_INSTANCES : _LABELS * _INSTANCES] = True
    for train_id, category in enumerate(read_categories(NAME)):
        for values in (
            slice(category.id, category.id + 1),
            slice(category.id * _INSTANCES, (category.id + 1) * _INSTANCES),
        ):
            table.segment_ids[values] = range(values.start, values.stop)
            table.category_ids[values] = category.id
            table.train_ids[values] = train_id
        table.crowds[category.id] = category.isthing
    return table


def write_official_json(folder: Path, made: PanopticSet) -> None:
    """Writes `cityscapes_panoptic_<split>.json`, byte for byte what the official script writes."""
    content = official_json(made)
    write_text(folder / f"cityscapes_panoptic_{made.split}.json", json.dumps(content, sort_keys=True, indent=4))


def official_json(made: PanopticSet) -> dict[str, Any]:
    """The listing as createPanopticImgs writes it: with names of photos that do not exist, and supercategories."""
    from cityscapesscripts.helpers.labels import name2label

    content = to_json(made.categories, made.records)
    for category in content["categories"]:
        category["supercategory"] = name2label[category["name"]].category
    for image in content["images"]:
        image["file_name"] = f"{image['id']}_gtFine_leftImg8bit.png"
    return content
