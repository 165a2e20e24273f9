"""COCO panoptic as published (https://cocodataset.org/#download): found, checked and listed.

DIR/annotations/panoptic_val2017.json     unpacked, or in panoptic_annotations_trainval2017.zip
DIR/annotations/panoptic_val2017/*.png    or DIR/panoptic_val2017/*.png, or in panoptic_val2017.zip, also in that zip
DIR/val2017/*.jpg                         or DIR/images/val2017/*.jpg, or in val2017.zip

What is unpacked stays where it is and is not copied; what is packed is unpacked into the prepared folder.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from yoso_cli.datasets.coding import NO_TRAIN_ID
from yoso_cli.datasets.download import Source, sources
from yoso_cli.datasets.labelled import IMAGES, SEMANTIC, check_photo
from yoso_cli.datasets.spec import Archive, DatasetSpec, Skipped, read_categories, refuse_if_lacking
from yoso_cli.datasets.split import Converted, Plan
from yoso_cli.errors import DataError
from yoso_cli.panoptic import annotations, png
from yoso_cli.panoptic.files import rgb_to_id
from yoso_cli.panoptic.regions import painted, runs_of
from yoso_cli.panoptic.types import VOID, IdMap, ImageRecord

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
_NAMED = 5


@dataclass(frozen=True)
class Listed:
    """A picture of a listing, and its two files."""

    record: ImageRecord
    image: Source
    panoptic: Source

    @property
    def image_id(self) -> int | str:
        """As listed."""
        return self.record.image_id


def plans(root: Path, splits: Sequence[str] = (), *, semantic: bool = False) -> tuple[list[Plan], list[Skipped]]:
    """What can be made of a download; without `splits`, of every listing what is whole.

    Args:
        root: the folder with annotations/ and the pictures' folders, or with their zips.
        splits: the ones asked for; a listing annotations/panoptic_NAME.json makes the split NAME.
        semantic: make semantic maps of train ids as well.

    Raises:
        DataError: no such folder, a split asked for is not there, none is, or a listing is malformed.
    """
    listings = {
        match[1]: source
        for name, source in sources(root, ("annotations",)).items()
        if (match := re.fullmatch(r"annotations/panoptic_([^/]+)\.json", name))
    }
    ready, skipped = [], []
    for split in splits or listings or COCO.splits:
        found = sources(root, ("annotations", split, f"panoptic_{split}"))
        images = _below(found, rf"(?:images/)?{re.escape(split)}/")
        pngs = _below(found, rf"(?:annotations/)?(?:panoptic_{re.escape(split)}/)+")
        lacking = [] if split in listings else [f"annotations/panoptic_{split}.json"]
        lacking += [] if pngs else [f"annotations/panoptic_{split}/*.png"]
        lacking += [] if images else [f"{split}/*.jpg"]
        if lacking:
            skipped.append(Skipped(split, ", ".join(lacking)))
        else:
            ready.append(_plan(split, listings[split], images, pngs, semantic=semantic))
    refuse_if_lacking(root, COCO, skipped, may_skip=bool(ready) and not splits)
    return ready, skipped


def _below(found: Mapping[str, Source], folder: str) -> dict[str, Source]:
    """The pictures in a folder, by path from it; `folder` is a regular expression."""
    pattern = re.compile(folder + r"(.+\.(?:jpe?g|png))", re.IGNORECASE)
    return {match[1]: source for name, source in found.items() if (match := pattern.fullmatch(name))}


def _plan(
    split: str, listing: Source, images: Mapping[str, Source], pngs: Mapping[str, Source], *, semantic: bool
) -> Plan:
    records = _records(listing)
    pictures, missing = [], []
    for record in records:
        image, panoptic = images.get(record.image_file), pngs.get(record.panoptic_file)
        if image and panoptic:
            pictures.append(Listed(record, image, panoptic))
        missing += [] if image else [f"{split}/{record.image_file}: no such file."]
        missing += [] if panoptic else [f"panoptic_{split}/{record.panoptic_file}: no such file."]
    packed_images = any(picture.image.member for picture in pictures) or not pictures
    packed_pngs = any(picture.panoptic.member for picture in pictures) or not pictures
    categories = read_categories(COCO.name)
    train_ids = {category.id: train_id for train_id, category in enumerate(categories)} if semantic else None
    return Plan(
        COCO.name,
        split,
        categories,
        pictures,
        partial(convert, unpack_image=packed_images, unpack_panoptic=packed_pngs, train_ids=train_ids),
        IMAGES if packed_images else str(_folder_of(pictures[0].image, pictures[0].record.image_file)),
        PANOPTIC if packed_pngs else str(_folder_of(pictures[0].panoptic, pictures[0].record.panoptic_file)),
        {
            "source": str(listing),
            "source_bytes": listing.size,
            **({"semantic_dir": SEMANTIC} if semantic else {}),
        },
        tuple(missing),
    )


def _folder_of(source: Source, name: str) -> Path:
    return source.path.resolve().parents[len(Path(name).parts) - 1]


def _records(listing: Source) -> tuple[ImageRecord, ...]:
    """The pictures of a listing. Raises DataError when it is malformed or has categories that COCO has not."""
    where = str(listing)
    categories, records = annotations.parse(annotations.parse_json(listing.read(), where), where)
    known = {(category.id, category.name, category.isthing) for category in read_categories(COCO.name)}
    foreign = [one.name for one in categories if (one.id, one.name, one.isthing) not in known]
    if foreign:
        more = f" and {len(foreign) - _NAMED} more" if len(foreign) > _NAMED else ""
        some = ", ".join(foreign[:_NAMED])
        raise DataError(f"{where}: has categories that COCO has not ({len(foreign)}): {some}{more}.")
    return records


def convert(
    picture: Listed, *, unpack_image: bool, unpack_panoptic: bool, train_ids: Mapping[int, int] | None
) -> Converted:
    """Looks at a picture's files, and reads what is packed or to be made semantic.

    Raises:
        DataError: a file is unreadable, of another kind or size than listed, or its ids are not those of the listing.
    """
    record, where = picture.record, str(picture.panoptic)
    files: dict[str, bytes] = {}
    content = picture.panoptic.read() if unpack_panoptic or train_ids is not None else None
    header = png.read_header(picture.panoptic.path, png.Kind.RGB) if content is None else png.header(content, where)
    if (header.height, header.width) != (record.height, record.width):
        size, listed = f"{header.width}x{header.height}", f"{record.width}x{record.height}"
        raise DataError(f"{where}: is {size} where the JSON says {listed}.")
    if content is not None and unpack_panoptic:
        files[f"{PANOPTIC}/{record.panoptic_file}"] = content
    if content is not None and train_ids is not None:
        id_map = rgb_to_id(png.decode(content, where, png.Kind.RGB))
        files[f"{SEMANTIC}/{record.panoptic_file}"] = png.encode(semantic_map(id_map, record, train_ids, where))
    photo = picture.image.read() if unpack_image else None
    check_photo(picture.image, photo, record.height, record.width)
    if photo is not None:
        files[f"{IMAGES}/{record.image_file}"] = photo
    return Converted(record, files)


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
        some = ", ".join(map(str, foreign[:_NAMED])) + (", ..." if len(foreign) > _NAMED else "")
        raise DataError(f"{where}: {len(foreign)} segment ids stand in the PNG but not in the JSON: {some}.")
    return painted(runs, values.astype(np.uint8)[places])
