"""Label maps that hold classes and instances by a code of their own: photos with their maps, and a decoder."""

# H, W height and width of the picture in pixels

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from yoso_cli.conversion.category_file import CategoryTable
from yoso_cli.conversion.convert import InformationLoss, LabelReader, SourcePicture
from yoso_cli.conversion.label_files import read_map
from yoso_cli.conversion.maps import maps_to_panoptic
from yoso_cli.conversion.picture_files import find_files, lacking, listed
from yoso_cli.errors import DataError
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

    @property
    def frames(self) -> tuple[SourcePicture, ...]:
        """The same, each a frame of the video that its folder is called like."""
        return tuple(replace(one, video_id=one.image_file.rpartition("/")[0]) for one in self.pictures)


def paired(image_dir: Path, map_dir: Path, what: str) -> Pairs:
    """The photos below `image_dir` with the maps of the same names below `map_dir`.

    Raises:
        UsageError: a folder is missing.
        DataError: two files differ in their suffix alone.
    """
    photos = find_files(image_dir, PHOTO_SUFFIXES, what="pictures").by_stem
    found = find_files(map_dir, {".png"}, what=what).by_stem
    problems = lacking(photos, found, f"{image_dir}: has no picture for {what}: {{}}")
    maps = {photos[stem]: (map_dir / file,) for stem, file in found.items() if stem in photos}
    bare = sorted(set(photos) - set(found))
    remarks = (f"{image_dir}: pictures without labels are left out: {listed(bare)}",) if bare else ()
    return Pairs(image_dir, maps, problems, remarks)


def read_rgb(path: Path) -> Rgb:
    """The colours of a map, uint8 (H, W, 3), whether a file holds them as such or a PNG as a palette.

    Raises:
        DataError: missing, damaged, in a format that changes colours, or transparent somewhere.
    """
    if path.suffix.lower() != ".png" or png.read_header(path).kind is png.Kind.RGB:
        return read_map(path, png.Kind.RGB)
    with opened_photo(path, str(path)) as image:
        if image.width * image.height > MOST_PIXELS:
            raise DataError(f"{path}: has more pixels than are read.")
        pixels = np.asarray(image.convert("RGBA"))
    if not (pixels[..., 3] == 255).all():
        raise DataError(f"{path}: is transparent somewhere, where a map of colours is expected.")
    return np.ascontiguousarray(pixels[..., :3])
