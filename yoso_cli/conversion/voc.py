"""PASCAL VOC's segmentation (http://host.robots.ox.ac.uk/pascal/VOC/voc2012), which many tools write.

    JPEGImages/NAME.jpg
    SegmentationClass/NAME.png      palette: the index is the class, 0 background, 255 void
    SegmentationObject/NAME.png     palette: the index is the instance, 0 none, 255 void
    ImageSets/Segmentation/train.txt, val.txt, ...     names of pictures
    labelmap.txt                    names and colours, of CVAT and Datumaro, which write maps of colours as well

Background is a class of stuff here, as it is in VOC: void are the borders of objects alone.
"""

# H, W height and width of the picture in pixels

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from yoso_cli.conversion.category_file import CategoryTable, read_table
from yoso_cli.conversion.coded_maps import CodedMapsReader, read_rgb
from yoso_cli.conversion.color_table import Color, class_colors
from yoso_cli.conversion.convert import InformationLoss, SourcePicture
from yoso_cli.conversion.drawn_shapes import write_classes
from yoso_cli.conversion.maps import (
    CATEGORIES_YAML,
    MapFiles,
    open_maps,
    panoptic_to_classes,
    panoptic_to_numbers,
    unspoken,
)
from yoso_cli.conversion.picture_files import read_names
from yoso_cli.conversion.rgb_maps import color_classes, decoded_by, find_color_table
from yoso_cli.conversion.source_files import first_folder, require_folder
from yoso_cli.conversion.split_choice import SplitChoice
from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic import png
from yoso_cli.panoptic.files import rgb_to_id
from yoso_cli.panoptic.types import Category, IdMap, Panoptic

CLASSES, OBJECTS, PHOTOS, LISTS = "SegmentationClass", "SegmentationObject", "JPEGImages", "ImageSets/Segmentation"
_VOID = 255
_BACKGROUND = "background"
_NAMES = "class_names.txt"
_LABELMAP = "labelmap.txt"


def voc_color(value: int) -> Color:
    """The colour of an index in VOC's palette: its bits, three at a time, are the high bits of red, green and blue."""
    red = green = blue = 0
    for place in range(8):
        bits = value >> 3 * place
        red, green, blue = (part | (bits >> bit & 1) << 7 - place for bit, part in enumerate((red, green, blue)))
    return red, green, blue


_PALETTE: tuple[int, ...] = tuple(part for value in range(256) for part in voc_color(value))


@dataclass(frozen=True)
class VocDecoder:
    """Reads the two maps of a picture, each as indices or as the colours of indices.

    Attributes:
        ids: the category id or void of each colour.
    """

    ids: dict[Color, int]

    def __call__(self, _: CategoryTable, paths: Sequence[Path]) -> tuple[IdMap, IdMap]:
        """Raises DataError for a colour that no class has."""
        kind = png.read_header(paths[0]).kind
        if kind in (png.Kind.PALETTE, png.Kind.GREY8):
            classes = png.read(paths[0], kind).astype(np.int32)
        else:
            classes = color_classes(read_rgb(paths[0]), self.ids, paths[0])
        if len(paths) == 1:
            return classes, np.zeros_like(classes)
        numbers, border = _numbers(paths[1])
        if numbers.shape != classes.shape:
            raise DataError(f"{paths[1]}: is of another size than {paths[0]}.")
        return np.where(border, np.int32(_VOID), classes), numbers


def _numbers(path: Path) -> tuple[IdMap, IdMap]:
    """The instances of a map and where their borders are."""
    kind = png.read_header(path).kind
    if kind in (png.Kind.PALETTE, png.Kind.GREY8):
        values = png.read(path, kind).astype(np.int32)
        return values, values == _VOID
    if kind is png.Kind.GREY16:
        return png.read(path, kind).astype(np.int32), np.zeros((1, 1), bool)
    codes = rgb_to_id(read_rgb(path))
    border = rgb_to_id(np.array([[voc_color(_VOID)]], np.uint8))
    return codes, codes == border


def open_voc(
    source: Path,
    split: SplitChoice,
    image_dir: Path | None,
    table: CategoryTable | None,
    how: MapFiles | None = None,
) -> CodedMapsReader:
    """The pictures with maps of classes and instances, those of one list if there are lists.

    Args:
        source: the folder of SegmentationClass, or VOCdevkit above it.
        split: which list of ImageSets/Segmentation.
        image_dir: by default JPEGImages.
        table: by default categories.yaml, labelmap.txt or class_names.txt in the folder, or VOC's 20 classes.
        how: which files are maps, and of which pictures instead of a list's.

    Raises:
        UsageError: a folder is missing; there are several lists and none is named; things have no instances; or names
            of maps have an ending that `how` does not say.
        DataError: a list cannot be read, or a table is malformed.
    """
    root = _root(source)
    objects = first_folder(root / OBJECTS, root / f"{OBJECTS}PNG")
    table, named = (table, "") if table else _classes(root, has_objects=objects.is_dir())
    how = how or MapFiles()
    # Lists of one class have its name in theirs: cat_train.txt.
    lists = {path.stem: path for path in sorted((root / LISTS).glob("*.txt")) if "_" not in path.stem}
    chosen, remark = split.of(list(lists), root / LISTS) if lists and how.names is None else ("", "")
    names = read_names(lists[chosen]) if chosen else how.names
    photos = image_dir or first_folder(root / PHOTOS, root / "images", root)
    folders = (photos, first_folder(root / f"{CLASSES}PNG", root / CLASSES), objects)
    found = open_maps(table, *folders, replace(how, names=names))
    remarks = tuple(filter(None, (named, remark, *found.remarks)))
    ids = {**class_colors(_colored(table)), voc_color(_VOID): _VOID}
    return decoded_by(VocDecoder(ids), replace(found, remarks=remarks))


def _colored(table: CategoryTable) -> CategoryTable:
    """With VOC's colours, where the classes have none of their own."""
    categories = (
        replace(one, color=voc_color(one.id)) if one.color == Category.color else one for one in table.categories
    )
    return CategoryTable(tuple(categories), frozenset({_VOID}))


def _root(source: Path) -> Path:
    below = sorted(source.glob("*")) if source.is_dir() else []
    folders = [source, *below, *(source / "VOCdevkit").glob("*")]
    found = [folder for folder in folders if (folder / CLASSES).is_dir() or (folder / f"{CLASSES}PNG").is_dir()]
    if len(found) > 1:
        raise UsageError(
            f"{source}: has several sets: {', '.join(str(one) for one in found)}.", hint="Name one as SRC."
        )
    return require_folder(found[0] if found else None, source, "VOC: JPEGImages and SegmentationClass")


def _classes(root: Path, *, has_objects: bool) -> tuple[CategoryTable, str]:
    """The classes of a folder, and a remark on where they come from."""
    if (root / CATEGORIES_YAML).is_file():
        return read_table(str(root / CATEGORIES_YAML)), ""
    kind = "things" if has_objects else "stuff, as there is no SegmentationObject"
    found = find_color_table(root, things=has_objects)
    if found is not None:
        # The first line is index 0.
        classes = (replace(one, id=place) for place, one in enumerate(found.categories))
        return CategoryTable.of(classes, {_VOID}), f"{root}: classes of its table of colours, all taken for {kind}"
    if (root / _NAMES).is_file():
        return _named_classes(root / _NAMES, has_objects), f"{root}: classes of {_NAMES}, all taken for {kind}"
    voc = read_table("voc").categories
    classes = (replace(one, isthing=one.isthing and has_objects) for one in voc)
    return CategoryTable.of(classes, {_VOID}), f"{root}: VOC's own 20 classes, all taken for {kind}"


def _named_classes(path: Path, things: bool) -> CategoryTable:
    """Of labelme2voc: a name on each line, `__ignore__` and `_background_` first."""
    names = [name for name in read_names(path) if name != "__ignore__"]
    classes = [
        Category(place, name, things and name != "_background_", voc_color(place)) for place, name in enumerate(names)
    ]
    return CategoryTable.of(classes, {_VOID})


@dataclass(frozen=True)
class VocWriter:
    """Writes SegmentationClass, SegmentationObject, a list of the pictures, and the classes; pictures stay.

    Attributes:
        table: the classes. Their ids are the indices, unless one is above 254 or is 0 and not `background`: then they
            are numbered from 1 anew.
        split: what the list is called.
    """

    table: CategoryTable
    split: str

    def write(self, folder: Path, picture: SourcePicture, panoptic: Panoptic) -> tuple[str, Counter[InformationLoss]]:
        """Two maps. Raises DataError for more classes or instances than eight bits hold."""
        places = self._places()
        things = {category.id for category in self.table.categories if category.isthing}
        ids = panoptic_to_classes(panoptic, -1)
        classes = np.full(ids.shape, _VOID, np.int32)
        for category_id, place in places.items():
            classes[ids == category_id] = place
        numbers = panoptic_to_numbers(panoptic, things)
        most = max(max(places.values(), default=0), int(numbers.max(initial=0)))
        if most >= _VOID:
            raise DataError(f"{picture.image_file}: needs index {most}, but VOC's maps hold 0 to 254.")
        for name, values in ((CLASSES, classes), (OBJECTS, np.where(ids < 0, np.int32(_VOID), numbers))):
            path = folder / name / f"{picture.stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(values.astype(np.uint8))
            image.putpalette(_PALETTE)
            image.save(path)
        return picture.stem, unspoken(panoptic, things)

    def finish(self, folder: Path, entries: Sequence[str]) -> None:
        """The list, and the classes: as tools read them, and all about them for yoso."""
        lists = folder / LISTS
        lists.mkdir(parents=True)
        (lists / f"{self.split}.txt").write_text("".join(f"{stem}\n" for stem in entries), encoding="utf-8")
        names = {category.id: category.name for category in self.table.categories}
        rows = {place: names[category_id] for category_id, place in self._places().items()}
        rows.setdefault(0, _BACKGROUND)
        lines = [f"{rows[place]}:{','.join(map(str, voc_color(place)))}::" for place in sorted(rows)]
        text = "\n".join(["# label:color_rgb:parts:actions", *lines, ""])
        (folder / _LABELMAP).write_text(text, encoding="utf-8", errors="replace")
        write_classes(folder, CategoryTable.of(self._indexed(), {_VOID}))

    def _places(self) -> dict[int, int]:
        """The index of each category id."""
        ids = {one.id: one.name for one in self.table.categories}
        if max(ids, default=0) < _VOID and ids.get(0, _BACKGROUND) == _BACKGROUND:
            return {one: one for one in ids}
        others = [one for one, name in ids.items() if name != _BACKGROUND]
        background = {one: 0 for one, name in ids.items() if name == _BACKGROUND}
        return {**background, **{one: place for place, one in enumerate(others, start=1)}}

    def _indexed(self) -> list[Category]:
        places = self._places()
        return [replace(one, id=places[one.id]) for one in self.table.categories]
