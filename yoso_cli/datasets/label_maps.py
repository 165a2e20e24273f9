"""Photos with label maps, as Cityscapes, ADE20K and Mapillary publish them, and their conversion to panoptic maps.

A table says what each of the 65,536 values of a 16-bit map means: which segment, of which category.
"""

# H, W height and width of the map in pixels

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from yoso_cli.datasets.archives import StoredFile
from yoso_cli.datasets.spec import read_categories
from yoso_cli.datasets.split import LabelledPhoto, SplitPlan
from yoso_cli.errors import DataError
from yoso_cli.panoptic import png
from yoso_cli.panoptic.photos import photo_size
from yoso_cli.panoptic.regions import LabelMap, Runs, painted, regions_of, runs_of
from yoso_cli.panoptic.types import VOID, ImageRecord, Segment
from yoso_cli.runtime.words import shortened

IMAGES = "images"
SEMANTIC = "semantic"
VALUES = 1 << 16
NO_TRAIN_ID = 255
"""Void in a semantic map."""


@dataclass(frozen=True)
class LabelTable:
    """What the values of a label map mean; each array is indexed by value. At first no value is known.

    Attributes:
        name: of the dataset, for what is raised.
        segment_ids: int32 (65536): the segment's id; 0 void; values with the same id are one segment.
        category_ids: int32 (65536): the published category; any number where void.
        train_ids: uint8 (65536): for a semantic map; 255 void.
        crowds: bool (65536): whether it is a crowd: a group of things without separate instances.
        known: bool (65536): False for a value that the dataset does not use.
    """

    name: str
    segment_ids: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros(VALUES, np.int32))
    category_ids: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros(VALUES, np.int32))
    train_ids: npt.NDArray[np.uint8] = field(default_factory=lambda: np.full(VALUES, NO_TRAIN_ID, np.uint8))
    crowds: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(VALUES, bool))
    known: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(VALUES, bool))


@dataclass(frozen=True)
class PictureLabels:
    """A picture's labels, read.

    Attributes:
        height: pixels.
        width: pixels.
        runs: their values are segment ids, 0 void.
        segments: of the picture.
        train_ids: uint8, of each run; None where no semantic map is asked for.
    """

    height: int
    width: int
    runs: Runs
    segments: tuple[Segment, ...]
    train_ids: npt.NDArray[np.uint8] | None = None

    def panoptic_png(self) -> bytes:
        """The PNG of the ids as colours, encoded from the runs: the id map itself is never built."""
        ids = self.runs.values
        largest = int(ids.max(initial=0))
        planes = [partial(self._painted, ids >> shift) if largest >> shift else None for shift in (0, 8, 16)]
        return png.encode_rgb(planes, self.height, self.width)

    def semantic_png(self) -> bytes | None:
        """The PNG of train ids, where it is asked for."""
        return None if self.train_ids is None else png.encode(self._painted(self.train_ids))

    def _painted(self, values: LabelMap) -> LabelMap:
        return painted(self.runs, values.astype(np.uint8))


def labels_from_runs(
    runs: Runs, table: LabelTable, size: tuple[int, int], where: str, *, semantic: bool = False
) -> PictureLabels:
    """The segments of a map's runs, ascending by id.

    Args:
        runs: of the values as published.
        table: what they mean.
        size: height and width of the map.
        where: names the file in what is raised.
        semantic: give the train ids as well.

    Raises:
        DataError: values that the dataset does not use; the first five are named.
    """
    known = table.known[np.minimum(runs.values, VALUES - 1)] & (runs.values < VALUES)
    if not known.all():
        raise _foreign(np.unique(runs.values[~known]).tolist(), table.name, where)
    by_id = runs._replace(values=table.segment_ids[runs.values])
    regions = regions_of(by_id)
    first = runs.values[regions.first]
    columns = (regions.values, table.category_ids[first], regions.areas, regions.boxes, table.crowds[first])
    segments = tuple(
        Segment(segment_id, category_id, area, (box[0], box[1], box[2], box[3]), iscrowd)
        for segment_id, category_id, area, box, iscrowd in zip(*(one.tolist() for one in columns), strict=True)
        if segment_id != VOID
    )
    return PictureLabels(*size, by_id, segments, table.train_ids[runs.values] if semantic else None)


def read_instance_map(photo: LabelledPhoto, table: LabelTable) -> PictureLabels:
    """The segments of a photo with one 16-bit map. Raises DataError when it is unreadable or of another dataset."""
    (file,) = photo.maps
    pixels = png.decode(file.read(), str(file), png.Kind.GREY16)
    return labels_from_runs(runs_of(pixels), table, pixels.shape, str(file), semantic=bool(photo.semantic_file))


def _foreign(values: list[int], name: str, where: str) -> DataError:
    return DataError(
        f"{where}: has values that {name} does not use: {shortened(values, more=', ...')}.",
        hint="The map is of another dataset or version, or was changed by a tool.",
    )


ReadLabels = Callable[[LabelledPhoto], PictureLabels]
"""What the label maps of a photo mean. It can be pickled, and raises DataError when they are missing or wrong."""


def split_plan(
    name: str,
    split: str,
    photos: Sequence[LabelledPhoto],
    read: ReadLabels,
    missing: Sequence[str],
    *,
    panoptic_dir: str = "panoptic",
    notes: Mapping[str, Any] | None = None,
) -> SplitPlan:
    """The split of the dataset `name` that `photos` make; those that are packed are unpacked into it.

    Args:
        name: of the dataset, and of its category table.
        split: of the dataset.
        photos: in the order of the listing.
        read: what their maps mean.
        missing: a sentence for each file that ought to be there.
        panoptic_dir: the folder of PNGs to make.
        notes: what the manifest says of `read`.
    """
    image_dir = unpacked_dir([photo.image for photo in photos], [photo.image_file for photo in photos])
    maps = [file for photo in photos for file in photo.maps]
    parameters = {"source_files": len(maps), "source_bytes": sum(file.size for file in maps), **(notes or {})}
    if any(photo.semantic_file for photo in photos):
        parameters["semantic_dir"] = SEMANTIC
    return SplitPlan(
        name,
        split,
        read_categories(name),
        photos,
        partial(picture_from_maps, read=read, panoptic_dir=panoptic_dir, unpack=image_dir is None),
        image_dir or IMAGES,
        panoptic_dir,
        parameters,
        tuple(missing),
    )


def unpacked_dir(files: Sequence[StoredFile], names: Sequence[str]) -> str | None:
    """The folder that has `files` under their `names`; None if one is in an archive, or there is none."""
    if not files or any(file.member for file in files):
        return None
    return str(files[0].path.resolve().parents[len(Path(names[0]).parts) - 1])


def picture_from_maps(
    photo: LabelledPhoto, *, read: ReadLabels, panoptic_dir: str, unpack: bool
) -> tuple[ImageRecord, dict[str, bytes]]:
    """The record of a photo, and the PNGs made from its label maps; with `unpack` the photo as well.

    Raises:
        DataError: a map or the photo is missing, unreadable or wrong, or they differ in size.
    """
    labels = read(photo)
    content = photo.image.read() if unpack else None
    check_photo(photo.image, content, labels.height, labels.width)
    files = {f"{panoptic_dir}/{photo.panoptic_file}": labels.panoptic_png()}
    semantic = labels.semantic_png()
    if semantic is not None:
        files[f"{SEMANTIC}/{photo.semantic_file}"] = semantic
    if content is not None:
        files[f"{IMAGES}/{photo.image_file}"] = content
    place = (photo.image_id, photo.image_file, photo.panoptic_file)
    return ImageRecord(*place, labels.height, labels.width, labels.segments), files


def check_photo(photo: StoredFile, content: bytes | None, height: int, width: int) -> None:
    """Looks at the header of a photo, of which `content` may be read already.

    Raises:
        DataError: no picture, or of another size than its labels, (`height`, `width`).
    """
    try:
        file = photo.path.open("rb") if content is None else BytesIO(content)
    except OSError as error:
        raise DataError(f"{photo}: cannot be read: {error.strerror or error}.") from None
    found = photo_size(file, str(photo))
    if found != (height, width):
        raise DataError(f"{photo}: is {found[1]}x{found[0]} where its labels are {width}x{height}.")


def named_plainly(key: str) -> tuple[str, str, str, str]:
    """A picture's id and the files of its photo, panoptic PNG and semantic map, where all are called by its key."""
    return key, f"{key}.jpg", f"{key}.png", f"{key}.png"


def paired(
    images: Mapping[str, StoredFile],
    *maps: Mapping[str, StoredFile],
    semantic: bool,
    named: Callable[[str], tuple[str, str, str, str]] = named_plainly,
) -> tuple[list[LabelledPhoto], list[str]]:
    """The photos that have all maps, and a sentence for each file without a counterpart.

    Args:
        images: the photos by key.
        maps: the label maps of each kind, by the same keys.
        semantic: make semantic maps as well.
        named: the names that belong to a key, as `named_plainly` has them.
    """
    photos, missing = [], []
    for key in sorted(set(images).union(*maps)):
        there = [files[key] for files in (images, *maps) if key in files]
        if len(there) > len(maps):
            image_id, image_file, panoptic_file, semantic_file = named(key)
            files = (there[0], image_file, panoptic_file, tuple(there[1:]))
            photos.append(LabelledPhoto(image_id, *files, semantic_file if semantic else ""))
        else:
            missing.append(f"{there[0]}: its {'label map' if key in images else 'photo'} is not there.")
    return photos, missing
