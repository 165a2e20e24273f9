"""ADE20K as converted by Mask2Former, which most published results use for training and evaluation.

It differs in two ways from what `ade20k` makes. The area and box of stuff are measured before instances are
painted over it, so they are too large, and stuff that is entirely covered is listed without a pixel. And ids are
colours: that of the class for stuff, a random one near it for an instance. That converter draws them anew each time;
here they depend on the picture's name, so that the same download gives the same set.
"""

import zlib
from collections.abc import Iterator

import numpy as np

from yoso_cli.datasets.ade20k import FIRST_INSTANCE, NAME, read_runs, things, train_ids
from yoso_cli.datasets.label_maps import VALUES, PictureLabels
from yoso_cli.datasets.spec import read_categories
from yoso_cli.datasets.split import LabelledPhoto
from yoso_cli.errors import DataError
from yoso_cli.panoptic.regions import Regions, regions_of
from yoso_cli.panoptic.types import Category, Segment

# How far an instance's colour may lie from its class's, in each channel.
_SPREAD = 30
_LARGEST = 255


def read_labels(photo: LabelledPhoto) -> PictureLabels:
    """The segments of one picture: stuff by class, then instances by number.

    Raises:
        DataError: as `ade20k.read_runs`, or one number stands for instances of two classes.
    """
    runs, instances, size = read_runs(photo)
    values = np.where(instances < FIRST_INSTANCE, runs.values, instances)
    colors = _Colors(read_categories(NAME), str(photo.image_id))
    ids = np.zeros(VALUES, np.int32)
    segments = []
    on_top = regions_of(runs._replace(values=values))
    found = (*_stuff_of(regions_of(runs), colors), *_instances_of(on_top, colors, str(photo.maps[1])))
    for value, segment in found:
        ids[value] = segment.id
        segments.append(segment)
    semantic = train_ids(runs.values) if photo.semantic_file else None
    return PictureLabels(*size, runs._replace(values=ids[values]), tuple(segments), semantic)


def _stuff_of(regions: Regions, colors: "_Colors") -> Iterator[tuple[int, Segment]]:
    for value, area, box in zip(*map(np.ndarray.tolist, regions[:3]), strict=True):
        if value and not colors.categories[value - 1].isthing:
            yield value, Segment(colors.id_of(value - 1), value - 1, area, tuple(box))


def _instances_of(regions: Regions, colors: "_Colors", where: str) -> Iterator[tuple[int, Segment]]:
    categories = things()
    numbers: set[int] = set()
    for value, area, box in zip(*map(np.ndarray.tolist, regions[:3]), strict=True):
        number, place = divmod(value, FIRST_INSTANCE)
        if not number:
            continue
        if number in numbers or not 1 <= place <= len(categories):
            raise DataError(f"{where}: has instance {number} in more than one class, or in an unknown one.")
        numbers.add(number)
        category = categories[place - 1]
        yield value, Segment(colors.id_of(category), category, area, tuple(box))


class _Colors:
    """Gives out ids as the IdGenerator of panopticapi does (https://github.com/cocodataset/panopticapi)."""

    def __init__(self, categories: tuple[Category, ...], name: str) -> None:
        self.categories = categories
        self._taken = {category.color for category in categories if not category.isthing}
        # The same random generator as the converter's, with a state of its own.
        self._random = np.random.RandomState(zlib.crc32(name.encode()))

    def id_of(self, category_id: int) -> int:
        category = self.categories[category_id]
        color = category.color
        while category.isthing and color in self._taken:
            moved = np.array(category.color) + self._random.randint(-_SPREAD, _SPREAD + 1, 3)
            red, green, blue = moved.clip(0, _LARGEST).tolist()
            color = (red, green, blue)
        self._taken.add(color)
        red, green, blue = color
        return red + 256 * green + 65536 * blue
