"""Mapillary Vistas v1.2 and v2.0 as published (https://www.mapillary.com/dataset/vistas), made panoptic.

DIR/training/images/KEY.jpg             in a folder or in a zip, with the label maps of one version or of both:
DIR/training/instances/KEY.png          v1.2 by itself
DIR/training/v1.2/instances/KEY.png     both in one download
DIR/training/v2.0/instances/KEY.png

An instance map holds label*256+n in 16 bits, labels from 0 on, also for stuff, so that it alone is needed; the label
maps beside it, 8 bits with a palette, say the same without n. Published categories are the labels plus one.
"""

from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path

from yoso_cli.datasets.archives import StoredFile, by_stem, stored_files
from yoso_cli.datasets.label_maps import LabelTable, PictureLabels, paired, read_instance_map, split_plan
from yoso_cli.datasets.spec import Archive, DatasetSpec, Skipped, read_categories
from yoso_cli.datasets.split import LabelledPhoto, SplitPlan, plan_splits

MAPILLARY = DatasetSpec(
    name="mapillary",
    title="Mapillary Vistas",
    splits=("train", "val"),
    home="https://www.mapillary.com/dataset/vistas",
    archives=(
        Archive(
            "mapillary-vistas-dataset_public_v1.1.zip or the one of v2.0, whatever its name",
            "about 25 GB",
            "gives training/ and validation/",
        ),
    ),
    licence="They ask you to register; the licence lies in the zip.",
    images={"train": 18_000, "val": 2000},
)

FOLDERS = {"train": "training", "val": "validation"}
LABELS = {"v1.2": 66, "v2.0": 124}
"""Versions, and how many labels each has; those that are not evaluated are void."""
# The only version that was published with its maps beside the images.
_FLAT = "v1.2"
_INSTANCES = 256


def dataset_name(version: str) -> str:
    """The dataset's name: the versions are different datasets."""
    return f"{MAPILLARY.name}-{version}"


def plans(
    root: Path, splits: Sequence[str] = (), *, version: str = "", semantic: bool = False
) -> tuple[list[SplitPlan], list[Skipped]]:
    """What can be made of a download; without `splits`, what is there.

    Args:
        root: the folder with training/ and validation/, or with the zip.
        splits: the ones asked for.
        version: v1.2 or v2.0; without, v1.2 where it is there, because published results are on it.
        semantic: make semantic maps of train ids as well.

    Raises:
        DataError: no such folder, a split asked for is not there, or none is; says which file comes from where.
    """
    found = stored_files(root, tuple(FOLDERS.values()))
    version = version or _version_in(found)

    def plan(split: str) -> SplitPlan | str:
        folder = FOLDERS.get(split, split)
        images, maps = by_stem(found, f"{folder}/images/*.jpg"), _maps(found, folder, version)
        patterns = ((images, "images/*.jpg"), (maps, f"{version}/instances/*.png"))
        lacking = [f"{folder}/{pattern}" for there, pattern in patterns if not there]
        if lacking:
            return " and ".join(lacking)
        photos, missing = paired(images, maps, semantic=semantic)
        return split_plan(dataset_name(version), split, photos, partial(read_labels, version=version), missing)

    return plan_splits(MAPILLARY, root, splits, MAPILLARY.splits, plan)


def _version_in(found: Mapping[str, StoredFile]) -> str:
    present = (version for version in LABELS if any(_maps(found, folder, version) for folder in FOLDERS.values()))
    return next(present, _FLAT)


def _maps(found: Mapping[str, StoredFile], folder: str, version: str) -> dict[str, StoredFile]:
    maps = by_stem(found, f"{folder}/{version}/instances/*.png")
    return maps or (by_stem(found, f"{folder}/instances/*.png") if version == _FLAT else {})


def read_labels(photo: LabelledPhoto, *, version: str) -> PictureLabels:
    """The segments of one picture: a thing's id is category*256+n, a stuff's category*256, whatever its n."""
    return read_instance_map(photo, label_table(version))


@cache
def label_table(version: str) -> LabelTable:
    """What the values of an instance map mean."""
    table = LabelTable(f"Mapillary Vistas {version}")
    table.known[: LABELS[version] * _INSTANCES] = True
    for train_id, category in enumerate(read_categories(dataset_name(version))):
        values = slice((category.id - 1) * _INSTANCES, category.id * _INSTANCES)
        first = category.id * _INSTANCES
        table.segment_ids[values] = range(first, first + _INSTANCES) if category.isthing else first
        table.category_ids[values] = category.id
        table.train_ids[values] = train_id
    return table
