"""Label maps that hold classes and instances by a code of their own: photos with their maps, and a decoder."""

# H, W height and width of the picture in pixels

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from yoso_cli.conversion.category_file import CategoryTable
from yoso_cli.conversion.convert import InformationLoss, LabelReader, SourcePicture
from yoso_cli.conversion.maps import maps_to_panoptic
from yoso_cli.conversion.picture_files import find_files, lacking, listed
from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic import png
from yoso_cli.panoptic.photos import PHOTO_SUFFIXES, opened_photo
from yoso_cli.panoptic.types import MOST_PIXELS, IdMap, Panoptic, Rgb

Decoder = Callable[[CategoryTable, Sequence[Path]], tuple[IdMap, IdMap]]
"""Reads a picture's maps: its category ids, and its instance numbers with 0 for none; int32 (H, W) both.

It can be pickled. Raises DataError naming the map that is damaged or of another kind.
"""


@dataclass(frozen=True)
class CodedMapsReader(LabelReader):
    """Pictures with one or more maps each.

    Attributes:
        maps: of each picture file.
        decode: reads them.
        stride: of a video, how far the ids of two classes lie apart, so that an instance has one id in all its frames;
            0 to number the segments of each picture from 1.
    """

    maps: Mapping[str, tuple[Path, ...]]
    decode: Decoder
    stride: int = 0

    def read(self, picture: SourcePicture) -> tuple[Panoptic, Counter[InformationLoss]]:
        """The maps as segments: of a thing class, pixels without an instance are a crowd."""
        paths = self.maps[picture.image_file]
        classes, numbers = self.decode(self.table, paths)
        found = maps_to_panoptic(classes, numbers, self.table, paths[0])
        return (self._persistent(found, numbers) if self.stride else found), Counter()

    def _persistent(self, found: Panoptic, numbers: IdMap) -> Panoptic:
        """With ids made of the class and the number."""
        places = {category.id: place for place, category in enumerate(self.table.categories, start=1)}
        things = {category.id for category in self.table.categories if category.isthing}
        look_up = np.zeros(len(found.segments) + 1, np.int32)
        for segment in found.segments:
            number = 0
            if segment.category_id in things:
                x, y, width, height = segment.bbox
                inside = found.id_map[y : y + height, x : x + width] == segment.id
                number = int(numbers[y : y + height, x : x + width][inside][0])
            look_up[segment.id] = places[segment.category_id] * self.stride + number
        segments = tuple(replace(one, id=int(look_up[one.id])) for one in found.segments)
        return Panoptic(look_up[found.id_map], segments)


@dataclass(frozen=True)
class MapFolder:
    """Where the maps of one kind lie.

    Attributes:
        folder: the folder.
        what: names them in what is raised.
        ending: of their names, which those of photos do not have.
    """

    folder: Path
    what: str
    ending: str = ""


@dataclass(frozen=True)
class Pairs:
    """Photos with their maps, and what is missing of others."""

    image_dir: Path
    maps: Mapping[str, tuple[Path, ...]]
    problems: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def pictures(self) -> tuple[SourcePicture, ...]:
        """Those with all maps."""
        return tuple(SourcePicture(file.rpartition(".")[0], file) for file in self.maps)


def paired(
    image_dir: Path, folders: Sequence[MapFolder], *, photo_ending: str = "", names: Sequence[str] | None = None
) -> Pairs:
    """The photos below `image_dir` with the maps of the same names.

    Args:
        image_dir: the photos.
        folders: the maps, one kind each.
        photo_ending: of the names of photos, which those of maps do not have.
        names: the pictures that are wanted; None for all that have any map.

    Raises:
        UsageError: a folder is missing.
        DataError: two files differ in their suffix alone.
    """
    photos = _named(image_dir, PHOTO_SUFFIXES, "pictures", photo_ending)
    kinds = [_named(one.folder, {".png", ".bmp"}, one.what, one.ending) for one in folders]
    labelled = set[str]().union(*kinds) if names is None else set(names)
    problems: list[str] = []
    for folder, found in zip(folders, kinds, strict=True):
        problems += lacking(found, labelled, f"{folder.folder}: has no {folder.what} for pictures: {{}}")
    problems += lacking(photos, labelled, f"{image_dir}: has no picture for labels: {{}}")
    whole = sorted(labelled.intersection(photos, *kinds))
    maps = {
        photos[stem]: tuple(one.folder / found[stem] for one, found in zip(folders, kinds, strict=True))
        for stem in whole
    }
    bare = sorted(set(photos) - labelled) if names is None else []
    remarks = (f"{image_dir}: pictures without labels are left out: {listed(bare)}",) if bare else ()
    return Pairs(image_dir, maps, tuple(problems), remarks)


def _named(folder: Path, suffixes: frozenset[str] | set[str], what: str, ending: str) -> dict[str, str]:
    """The files of a folder by their names without suffix and `ending`; those without the ending are left out."""
    found = find_files(folder, suffixes, what=what).by_stem
    return {stem.removesuffix(ending): file for stem, file in found.items() if stem.endswith(ending)}


def first_folder(*folders: Path) -> Path:
    """The first of some usual places that is there, or else the first, for what is raised to name it."""
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def require_folder(found: Path | None, source: Path, what: str) -> Path:
    """`found`. Raises UsageError where it is None: `source` is no folder of `what`."""
    if found is None:
        raise UsageError(f"{source}: has not the folders of {what}.", hint="Name the folder that has them as SRC.")
    return found


def read_rgb(path: Path) -> Rgb:
    """The colours of a map, uint8 (H, W, 3), whether a PNG or BMP holds them as such or as a palette.

    Raises:
        DataError: missing, damaged, in a format that changes colours, or transparent somewhere.
    """
    if path.suffix.lower() == ".png" and png.read_header(path).kind is png.Kind.RGB:
        return png.read(path, png.Kind.RGB)
    with opened_photo(path, str(path)) as image:
        if image.format not in ("PNG", "BMP"):
            hint = "Make the maps again as PNG: this file no longer has the colours."
            raise DataError(f"{path}: is a {image.format}, which may not keep the colours of a label map.", hint=hint)
        if image.width * image.height > MOST_PIXELS:
            raise DataError(f"{path}: has more pixels than are read.")
        pixels = np.asarray(image.convert("RGBA"))
    if not (pixels[..., 3] == 255).all():
        raise DataError(f"{path}: is transparent somewhere, where a map of colours is expected.")
    return np.ascontiguousarray(pixels[..., :3])
