"""COCO panoptic as published (https://cocodataset.org/#download): found, checked and listed.

DIR/annotations/panoptic_val2017.json     unpacked, or in panoptic_annotations_trainval2017.zip
DIR/annotations/panoptic_val2017/*.png    or DIR/panoptic_val2017/*.png, or in panoptic_val2017.zip, also in that zip
DIR/val2017/*.jpg                         or DIR/images/val2017/*.jpg, or in val2017.zip

What is unpacked stays where it is and is not copied; what is packed is unpacked into the prepared folder.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from yoso_cli.datasets.archives import StoredFile, stored_files
from yoso_cli.datasets.label_maps import IMAGES, NO_TRAIN_ID, SEMANTIC, check_photo, unpacked_dir
from yoso_cli.datasets.spec import Archive, DatasetSpec, Skipped, read_categories
from yoso_cli.datasets.split import LabelledPhoto, SplitPlan, plan_splits
from yoso_cli.errors import DataError
from yoso_cli.panoptic import annotations, png
from yoso_cli.panoptic.files import rgb_to_id
from yoso_cli.panoptic.regions import painted, runs_of
from yoso_cli.panoptic.types import VOID, IdMap, ImageRecord
from yoso_cli.runtime.json_text import parse_json
from yoso_cli.runtime.words import shortened

COCO = DatasetSpec(
    name="coco",
    title="COCO panoptic 2017",
    splits=("train2017", "val2017"),
    home="https://cocodataset.org/#download",
    archives=(
        Archive("panoptic_annotations_trainval2017.zip", "821 MB", "gives annotations/"),
        Archive("train2017.zip", "18 GB", "gives train2017/"),
        Archive("val2017.zip", "1 GB", "gives val2017/"),
    ),
    licence="Terms of use: https://cocodataset.org/#termsofuse.",
    images={"train2017": 118_287, "val2017": 5000},
)

PANOPTIC = "panoptic"


def plans(root: Path, splits: Sequence[str] = (), *, semantic: bool = False) -> tuple[list[SplitPlan], list[Skipped]]:
    """The splits that a download allows; without `splits`, every complete one.

    Args:
        root: the folder with annotations/ and the pictures' folders, or with their zips.
        splits: the ones asked for; a listing annotations/panoptic_NAME.json makes the split NAME.
        semantic: make semantic maps of train ids as well.

    Raises:
        DataError: no such folder, a split asked for is not there, none is, or a listing is malformed.
    """
    listings = {
        match[1]: file
        for name, file in stored_files(root, ("annotations",)).items()
        if (match := re.fullmatch(r"annotations/panoptic_([^/]+)\.json", name))
    }

    def plan(split: str) -> SplitPlan | str:
        found = stored_files(root, ("annotations", split, f"panoptic_{split}"))
        images = _below(found, rf"(?:images/)?{re.escape(split)}/")
        pngs = _below(found, rf"(?:annotations/)?(?:panoptic_{re.escape(split)}/)+")
        lacking = [] if split in listings else [f"annotations/panoptic_{split}.json"]
        lacking += [] if pngs else [f"annotations/panoptic_{split}/*.png"]
        lacking += [] if images else [f"{split}/*.jpg"]
        return ", ".join(lacking) or _plan(split, listings[split], images, pngs, semantic=semantic)

    return plan_splits(COCO, root, splits, listings or COCO.splits, plan)


def _below(found: Mapping[str, StoredFile], folder: str) -> dict[str, StoredFile]:
    """The pictures in a folder, by path from it; `folder` is a regular expression."""
    pattern = re.compile(folder + r"(.+\.(?:jpe?g|png))", re.IGNORECASE)
    return {match[1]: file for name, file in found.items() if (match := pattern.fullmatch(name))}


def _plan(
    split: str, listing: StoredFile, images: Mapping[str, StoredFile], pngs: Mapping[str, StoredFile], *, semantic: bool
) -> SplitPlan:
    photos, missing = [], []
    for record in _records(listing):
        image, panoptic = images.get(record.image_file), pngs.get(record.panoptic_file)
        if image and panoptic:
            files = (image, record.image_file, record.panoptic_file, (panoptic,))
            photos.append(LabelledPhoto(record.image_id, *files, record.panoptic_file if semantic else "", record))
        missing += [] if image else [f"{split}/{record.image_file}: no such file."]
        missing += [] if panoptic else [f"panoptic_{split}/{record.panoptic_file}: no such file."]
    image_dir = unpacked_dir([photo.image for photo in photos], [photo.image_file for photo in photos])
    panoptic_dir = unpacked_dir([photo.maps[0] for photo in photos], [photo.panoptic_file for photo in photos])
    categories = read_categories(COCO.name)
    train_ids = {category.id: train_id for train_id, category in enumerate(categories)}
    return SplitPlan(
        COCO.name,
        split,
        categories,
        photos,
        partial(
            picture_as_listed, unpack_image=image_dir is None, unpack_panoptic=panoptic_dir is None, train_ids=train_ids
        ),
        image_dir or IMAGES,
        panoptic_dir or PANOPTIC,
        {"source": str(listing), "source_bytes": listing.size, **({"semantic_dir": SEMANTIC} if semantic else {})},
        tuple(missing),
    )


def _records(listing: StoredFile) -> tuple[ImageRecord, ...]:
    """The pictures of a listing. Raises DataError when it is malformed or has categories that COCO has not."""
    where = str(listing)
    categories, records = annotations.parse(parse_json(listing.read(), where), where)
    known = {(category.id, category.name, category.isthing) for category in read_categories(COCO.name)}
    foreign = [one.name for one in categories if (one.id, one.name, one.isthing) not in known]
    if foreign:
        raise DataError(f"{where}: has categories that are not in COCO ({len(foreign)}): {shortened(foreign)}.")
    return records


def picture_as_listed(
    photo: LabelledPhoto, *, unpack_image: bool, unpack_panoptic: bool, train_ids: Mapping[int, int]
) -> tuple[ImageRecord, dict[str, bytes]]:
    """Checks a picture's files against its listing; gives those that are packed, and the semantic map to make.

    Raises:
        DataError: a file is unreadable, of another kind or size than listed, or its ids are not those of the listing.
    """
    record, (panoptic,) = photo.listed, photo.maps
    assert record is not None, "COCO lists its pictures"
    where = str(panoptic)
    files: dict[str, bytes] = {}
    content = panoptic.read() if unpack_panoptic or photo.semantic_file else None
    header = png.read_header(panoptic.path, png.Kind.RGB) if content is None else png.header(content, where)
    if (header.height, header.width) != (record.height, record.width):
        size, listed = f"{header.width}x{header.height}", f"{record.width}x{record.height}"
        raise DataError(f"{where}: is {size} where the JSON says {listed}.")
    if content is not None and unpack_panoptic:
        files[f"{PANOPTIC}/{record.panoptic_file}"] = content
    if content is not None and photo.semantic_file:
        id_map = rgb_to_id(png.decode(content, where, png.Kind.RGB))
        files[f"{SEMANTIC}/{photo.semantic_file}"] = png.encode(semantic_map(id_map, record, train_ids, where))
    image = photo.image.read() if unpack_image else None
    check_photo(photo.image, image, record.height, record.width)
    if image is not None:
        files[f"{IMAGES}/{record.image_file}"] = image
    return record, files


def semantic_map(id_map: IdMap, record: ImageRecord, train_ids: Mapping[int, int], where: str) -> npt.NDArray[np.uint8]:
    """The train id of each pixel, uint8 (H, W), 255 for void.

    Args:
        id_map: int32 (H, W).
        record: its segments.
        train_ids: by published category.
        where: names the file in what is raised.

    Raises:
        DataError: the map holds ids that `record` does not list.
    """
    runs = runs_of(id_map)
    listed = sorted([(VOID, NO_TRAIN_ID), *((one.id, train_ids[one.category_id]) for one in record.segments)])
    ids, values = np.array(listed).T
    places = np.searchsorted(ids, runs.values).clip(max=len(ids) - 1)
    foreign = np.unique(runs.values[ids[places] != runs.values]).tolist()
    if foreign:
        some = shortened(foreign, more=", ...")
        raise DataError(f"{where}: {len(foreign)} segment ids are in the PNG but not in the JSON: {some}.")
    return painted(runs, values.astype(np.uint8)[places])
