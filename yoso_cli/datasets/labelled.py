"""Photos with label maps beside them, as Cityscapes, ADE20K and Mapillary ship them, and how one becomes panoptic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

from yoso_cli.datasets.coding import Coded
from yoso_cli.datasets.download import Source
from yoso_cli.datasets.spec import read_categories
from yoso_cli.datasets.split import Converted, Plan
from yoso_cli.errors import DataError
from yoso_cli.panoptic import png
from yoso_cli.panoptic.photo import photo_size
from yoso_cli.panoptic.types import ImageRecord

IMAGES = "images"
SEMANTIC = "semantic"


@dataclass(frozen=True)
class Labelled:
    """One photo with its label maps.

    Attributes:
        image_id: as the prepared set shall list it.
        image: the photo.
        image_file: its path in the set's `image_dir`.
        panoptic_file: the path of the PNG to make, in the set's `panoptic_dir`.
        maps: what its segments come from.
        semantic_file: the path of the semantic map to make, in `semantic/`; empty for none.
    """

    image_id: int | str
    image: Source
    image_file: str
    panoptic_file: str
    maps: tuple[Source, ...]
    semantic_file: str = ""


class Read(Protocol):
    """What the label maps of a photo mean; can be pickled."""

    def __call__(self, picture: Labelled, /) -> Coded:
        """Reads them. Raises DataError when they are missing or wrong."""


def plan_of(
    name: str,
    split: str,
    pictures: Sequence[Labelled],
    read: Read,
    missing: Sequence[str],
    *,
    panoptic_dir: str = "panoptic",
    notes: Mapping[str, Any] | None = None,
) -> Plan:
    """The split of the dataset `name` that `pictures` make; photos that are packed are unpacked into it.

    Args:
        name: of the dataset, and of its category table.
        split: of the dataset.
        pictures: in the order of the listing.
        read: what their maps mean.
        missing: a sentence for each file that ought to be there.
        panoptic_dir: the folder of PNGs to make.
        notes: what the manifest shall say of `read`.
    """
    packed = any(picture.image.member for picture in pictures) or not pictures
    maps = [source for picture in pictures for source in picture.maps]
    parameters = {"source_files": len(maps), "source_bytes": sum(source.size for source in maps), **(notes or {})}
    if any(picture.semantic_file for picture in pictures):
        parameters["semantic_dir"] = SEMANTIC
    return Plan(
        name,
        split,
        read_categories(name),
        pictures,
        partial(convert, read=read, panoptic_dir=panoptic_dir, unpack=packed),
        IMAGES if packed else str(_folder_of(pictures[0])),
        panoptic_dir,
        parameters,
        tuple(missing),
    )


def _folder_of(picture: Labelled) -> Path:
    """The folder that `image_file` starts from."""
    return picture.image.path.resolve().parents[len(Path(picture.image_file).parts) - 1]


def convert(picture: Labelled, *, read: Read, panoptic_dir: str, unpack: bool) -> Converted:
    """Reads a photo's maps and encodes the PNGs to make from them.

    Raises:
        DataError: a map or the photo is missing, unreadable or wrong, or they differ in size.
    """
    coded = read(picture)
    photo = picture.image.read() if unpack else None
    check_photo(picture.image, photo, coded.height, coded.width)
    files = {f"{panoptic_dir}/{picture.panoptic_file}": coded.panoptic_png()}
    semantic = coded.semantic_png()
    if semantic is not None:
        files[f"{SEMANTIC}/{picture.semantic_file}"] = semantic
    if photo is not None:
        files[f"{IMAGES}/{picture.image_file}"] = photo
    place = (picture.image_id, picture.image_file, picture.panoptic_file)
    return Converted(ImageRecord(*place, coded.height, coded.width, coded.segments), files)


def check_photo(source: Source, content: bytes | None, height: int, width: int) -> None:
    """Looks at the header of a photo, of which `content` may be read already.

    Raises:
        DataError: no picture, or of another size than its labels, (`height`, `width`).
    """
    try:
        found = photo_size(source.path.open("rb") if content is None else BytesIO(content))
    except png.UNREADABLE as error:
        raise DataError(f"{source}: is no picture that can be read ({error}).") from None
    if found != (height, width):
        raise DataError(f"{source}: is {found[1]}x{found[0]} where its labels are {width}x{height}.")


def paired(images: Mapping[str, Source], *maps: Mapping[str, Source]) -> tuple[list[str], list[str]]:
    """The keys that have a photo and all maps, and a sentence for each file whose partner is not there."""
    every = sorted(set(images).union(*maps))
    whole = [key for key in every if all(key in one for one in (images, *maps))]
    missing = []
    for key in sorted(set(every) - set(whole)):
        there = next(one[key] for one in (images, *maps) if key in one)
        lacking = "photo" if key not in images else "label map"
        missing.append(f"{there}: its {lacking} is not there.")
    return whole, missing
