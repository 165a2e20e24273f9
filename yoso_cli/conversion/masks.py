"""A PNG for each segment, 255 where it is.

Written, masks.json says what each one is. Read are that, and the layouts of other tools, in which the class is part of
the file's name, or there is one class, `object`:

    masks.json, NAME/001-person.png              as written here
    ID/images/ID.png, ID/masks/*.png             the Data Science Bowl 2018 of Kaggle
    images/NAME.jpg, masks/NAME/person_1.png     or 001-person.png, person.png, or a number or hash alone
    images/NAME.jpg, masks/NAME_person_1.png
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from yoso_cli.atomic import write_json
from yoso_cli.conversion.category_file import CategoryTable
from yoso_cli.conversion.convert import InformationLoss, SourcePicture
from yoso_cli.conversion.drawn_shapes import (
    Drawing,
    Shape,
    ShapesReader,
    class_name,
    named_classes,
    unlabelled,
    write_classes,
)
from yoso_cli.conversion.photo_index import PhotoIndex, UnfoundError
from yoso_cli.conversion.picture_files import find_files, listed
from yoso_cli.conversion.rasterization import Mask, mask_region, number
from yoso_cli.errors import DataError
from yoso_cli.panoptic import png
from yoso_cli.panoptic.annotations import (
    MalformedError,
    entry_int,
    entry_list,
    entry_size,
    entry_value,
    segment_to_json,
    stays_inside,
)
from yoso_cli.panoptic.photos import opened_photo, require_checksums
from yoso_cli.panoptic.types import MOST_PIXELS, Category, Panoptic
from yoso_cli.runtime.json_text import read_json

MASKS_JSON = "masks.json"
MASKS, IMAGES = "masks", "images"
_ONLY_CLASS = "object"
# `001-person`, `person_1`, or a number or hash that says nothing.
_NUMBER_FIRST, _NUMBER_LAST = re.compile(r"\d+[-_ ]+(.*\D.*)"), re.compile(r"(.*[^\d_-].*?)[-_ ]+\d+")
_NAMELESS = re.compile(r"[\d\W_]*|[0-9a-f]{8,}")


@dataclass(frozen=True)
class MaskFile:
    """A mask, and what it is of.

    Attributes:
        path: of the picture file.
        label: the name of its class.
        iscrowd: whether it is a group of things without separate instances.
        score: the model's confidence, of predictions.
    """

    path: Path
    label: str
    iscrowd: bool = False
    score: float | None = None


@dataclass(frozen=True)
class MasksReader(ShapesReader):
    """Pictures with a file for each of their segments.

    Attributes:
        masks: of each picture file.
        sizes: height and width of pictures, where they are listed.
    """

    masks: dict[str, list[MaskFile]]
    sizes: dict[str, tuple[int, int]]

    def drawing(self, picture: SourcePicture) -> Drawing:
        """The masks of a picture. Raises DataError naming the file that is none, or is of another size."""
        size = self.sizes.get(picture.image_file)
        shapes = []
        for file in self.masks[picture.image_file]:
            mask = read_mask_file(file.path, size)
            size = size or mask.shape
            region = mask_region(mask, 0, 0, *size)
            shapes.append(Shape(file.label, region, iscrowd=file.iscrowd, score=file.score))
        if size is None:
            raise DataError(f"{self.image_dir / picture.image_file}: has no mask, and its size is not listed.")
        return Drawing(*size, shapes)


def read_mask_file(path: Path, size: tuple[int, ...] | None = None) -> Mask:
    """A picture of two values, one of them 0, as bool (H, W).

    Args:
        path: of the file.
        size: height and width of other masks of its picture.

    Raises:
        DataError: missing, damaged, of another size, or of more than two values, as a mask that was smoothed or saved
            as JPEG has.
    """
    with opened_photo(path, str(path)) as image:
        found = (image.height, image.width)
        if size is not None and found != size:
            raise DataError(f"{path}: is {_size(found)} where other masks of its picture are {_size(size)}.")
        if image.width * image.height > MOST_PIXELS:
            raise DataError(f"{path}: has more pixels than are read.")
        require_checksums(image)
        if image.mode in ("1", "L"):
            # Without the four copies that follow.
            return _two_values(np.asarray(image), path)
        opaque = image.convert("RGBA") if image.mode in ("RGBA", "LA", "PA") else image.convert("RGB")
        pixels = np.asarray(opaque)[..., :3].max(axis=2) if image.mode != "I;16" else np.asarray(image)
    return _two_values(pixels, path)


def _two_values(pixels: npt.NDArray[Any], path: Path) -> Mask:
    mask: Mask = pixels != 0
    if mask.any() and (pixels[mask] != pixels.max()).any():
        raise DataError(
            f"{path}: has more than two values, 0 and another one, which a mask has.",
            hint="Save masks as PNG, without smoothing.",
        )
    return mask


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"


def open_masks(source: Path, image_dir: Path | None, table: CategoryTable | None) -> MasksReader:
    """The pictures of a folder with their masks.

    Args:
        source: the folder.
        image_dir: where the pictures are looked for; by default in `images/`, or in the folder itself.
        table: the classes; by default categories.yaml or masks.json in the folder, or the names of files, as things.

    Raises:
        DataError: masks.json is malformed, or there are no masks.
        UsageError: there is no such folder of pictures.
    """
    inside = source / IMAGES if (source / IMAGES).is_dir() else source
    photos = PhotoIndex.of(image_dir or inside, leave_out=() if image_dir else (MASKS,))
    found = _Found({}, {}, {}, [], [])
    if (source / MASKS_JSON).is_file():
        found.take_listing(source / MASKS_JSON, photos)
    else:
        found.take_files(source, photos)
    if not found.masks and not found.problems:
        raise DataError(f"{source}: has no masks of its {len(photos.files)} pictures.")
    photos.require_some(found.masks, source)
    used = Counter(file.label for files in found.masks.values() for file in files)
    listed_classes = sorted(found.classes.values(), key=lambda one: one.id)
    table, named = named_classes(used, table, source, source, listed=listed_classes)
    named = "" if found.classes else named
    remarks = (named, *found.remarks, *unlabelled(photos.files, found.masks, photos.folder))
    pictures = tuple(SourcePicture(file.rpartition(".")[0], file) for file in sorted(found.masks))
    told = tuple(filter(None, remarks))
    return MasksReader(table, photos.folder, pictures, tuple(found.problems), told, found.masks, found.sizes)


@dataclass
class _Found:
    """The masks that were found so far, by picture file."""

    masks: dict[str, list[MaskFile]]
    sizes: dict[str, tuple[int, int]]
    classes: dict[int, Category]
    problems: list[str]
    remarks: list[str]

    def take_listing(self, path: Path, photos: PhotoIndex) -> None:
        """What masks.json lists. Raises DataError where it is malformed as a whole."""
        try:
            images = entry_list(read_json(path), "images")
        except MalformedError as error:
            raise DataError(f"{path}: {error}.") from None
        for index, entry in enumerate(images):
            try:
                file = photos.find(entry_value(entry, "file_name", str))
                self.sizes[file] = entry_size(entry)
                self.masks[file] = [self._listed(one, path.parent) for one in entry_list(entry, "masks")]
            except (MalformedError, UnfoundError) as error:
                self.problems.append(f"{path}: images[{index}] {error}")

    def _listed(self, entry: Any, folder: Path) -> MaskFile:
        file, name = entry_value(entry, "file", str), class_name(entry_value(entry, "name", str))
        if not stays_inside(file):
            raise MalformedError(f"has the file {file!r}, which does not stay inside its folder")
        category = Category(entry_int(entry, "category_id", 0), name, entry_value(entry, "isthing", bool))
        if self.classes.setdefault(category.id, category) != category:
            raise MalformedError(f"has another class of the id {category.id} than before")
        score = entry.get("score")
        crowd = bool(entry_int(entry, "iscrowd", 0, 1)) if "iscrowd" in entry else False
        return MaskFile(folder / file, name, crowd, None if score is None else number(score))

    def take_files(self, source: Path, photos: PhotoIndex) -> None:
        """The masks that lie where their names say of which picture they are."""
        stems = {file.rpartition(".")[0]: file for file in photos.files}
        folder = source / MASKS if (source / MASKS).is_dir() else source
        left = []
        for stem, name in find_files(folder, {".png", ".bmp"}, what="masks").by_stem.items():
            if photos.folder == folder and name in photos.files and f"/{MASKS}/" not in f"/{name}":
                continue
            file, label = _owner(stem, stems)
            if file:
                self.masks.setdefault(file, []).append(MaskFile(folder / name, label))
            else:
                left.append(name)
        if left:
            self.remarks.append(f"{folder}: masks of no picture are left out: {listed(left)}")


def _owner(stem: str, photos: dict[str, str]) -> tuple[str, str]:
    """The picture file of a mask, and its class; "" where it is of none."""
    folder, _, name = stem.rpartition("/")
    sample = folder.removesuffix(f"/{MASKS}")
    own = photos.get(folder) or photos.get(f"{sample}/{IMAGES}/{sample.rpartition('/')[2]}")
    if own:
        return own, _class_of(name)
    # The longest name of a photo that the mask's begins with.
    ends = [place for place, letter in enumerate(stem) if letter in "_-" and stem[:place] in photos]
    return (photos[stem[: ends[-1]]], _class_of(stem[ends[-1] + 1 :])) if ends else ("", "")


def _class_of(name: str) -> str:
    for pattern in (_NUMBER_FIRST, _NUMBER_LAST):
        if match := pattern.fullmatch(name):
            name = match[1]
            break
    return _ONLY_CLASS if _NAMELESS.fullmatch(name) else name


@dataclass(frozen=True)
class MasksWriter:
    """Writes NAME/001-person.png, ..., and masks.json."""

    table: CategoryTable

    def write(
        self, folder: Path, picture: SourcePicture, panoptic: Panoptic
    ) -> tuple[dict[str, Any], Counter[InformationLoss]]:
        """The PNGs of one picture, and its entry: each file with the class, score and box of its segment."""
        known = {category.id: category for category in self.table.categories}
        masks = []
        for place, segment in enumerate(panoptic.segments, start=1):
            category = known[segment.category_id]
            word = re.sub(r"[^\w]+", "-", category.name).strip("-")
            file = f"{picture.stem}/{place:03d}-{word or category.id}.png"
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png.encode((panoptic.id_map == segment.id).astype(np.uint8) * 255))
            named = {"name": category.name, "isthing": category.isthing}
            masks.append({"file": file, **named, **segment_to_json(segment)})
        height, width = panoptic.id_map.shape
        entry = {"image_id": picture.image_id, "file_name": picture.image_file, "height": height, "width": width}
        return {**entry, "masks": masks}, Counter()

    def finish(self, folder: Path, entries: Sequence[dict[str, Any]]) -> None:
        """The JSON, and all about the classes."""
        write_json(folder / MASKS_JSON, {"images": list(entries)})
        write_classes(folder, self.table)
