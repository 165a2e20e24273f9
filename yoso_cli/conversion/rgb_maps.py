"""Maps of colours: a PNG in which each class has its colour, and another one in which each instance has its own.

    images/NAME.jpg
    semantic/NAME.png      a pixel has the colour of its class
    instances/NAME.png     a pixel has a colour that its instance has alone, black is none; for things

Colours come from the YAML of classes (`color: [R, G, B]`) or from a table of colours.
"""

# H, W height and width of the picture in pixels

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yoso_cli.conversion.category_file import CategoryTable
from yoso_cli.conversion.coded_maps import CodedMapsReader, Decoder, read_rgb
from yoso_cli.conversion.color_table import TABLES, Color, class_colors, read_color_table
from yoso_cli.conversion.maps import IMAGES, INSTANCES, SEMANTIC, MapFiles, MapsReader, open_maps
from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic.files import id_to_rgb, rgb_to_id
from yoso_cli.panoptic.regions import painted, runs_of
from yoso_cli.panoptic.types import IdMap, Rgb
from yoso_cli.runtime.words import shortened


@dataclass(frozen=True)
class ColorDecoder:
    """Reads a map of class colours, and a map of instance colours if there is one.

    Attributes:
        ids: the category id or void value of each colour.
    """

    ids: Mapping[Color, int]

    def __call__(self, _: CategoryTable, paths: Sequence[Path]) -> tuple[IdMap, IdMap]:
        """Raises DataError for a colour that no class has."""
        classes = color_classes(read_rgb(paths[0]), self.ids, paths[0])
        return classes, rgb_to_id(read_rgb(paths[1])) if len(paths) > 1 else np.zeros_like(classes)


def color_classes(pixels: Rgb, ids: Mapping[Color, int], where: Path) -> IdMap:
    """The category ids of colours, int32 (H, W).

    Args:
        pixels: uint8 (H, W, 3).
        ids: of each colour.
        where: names the map in what is raised.

    Raises:
        DataError: a colour is not in `ids`: a map that was saved as JPEG or resized has such ones between its classes.
    """
    runs = runs_of(rgb_to_id(pixels))
    codes, inverse = np.unique(runs.values, return_inverse=True)
    colors: list[Color] = [(int(r), int(g), int(b)) for r, g, b in id_to_rgb(codes[None]).reshape(-1, 3)]
    unknown = [place for place, color in enumerate(colors) if color not in ids]
    if unknown:
        areas = np.bincount(inverse.reshape(-1), weights=runs.lengths, minlength=len(codes)).astype(int)
        counts = Counter({colors[place]: int(areas[place]) for place in unknown})
        some = shortened([f"{color} ({count} pixels)" for color, count in counts.most_common()], 4)
        hint = "Add them to the classes, or save the maps again without smoothing: resizing and JPEG make new colours."
        raise DataError(f"{where}: has {len(unknown)} colours that no class has: {some}.", hint=hint)
    values = np.array([ids[color] for color in colors], np.int32)
    found: IdMap = painted(runs, values[inverse.reshape(-1)])
    return found


def find_color_table(folder: Path, *, things: bool) -> CategoryTable | None:
    """The classes of a table of colours in `folder`, if there is one. Raises DataError if it is malformed."""
    path = next((folder / name for name in TABLES if (folder / name).is_file()), None)
    return None if path is None else read_color_table(path, things=things)


def open_rgb(
    source: Path,
    image_dir: Path | None,
    semantic_dir: Path | None,
    instance_dir: Path | None,
    table: CategoryTable | None,
    how: MapFiles | None = None,
) -> CodedMapsReader:
    """The pictures of a folder with their maps of colours.

    Args:
        source: the folder.
        image_dir: by default `images/`.
        semantic_dir: by default `semantic/`.
        instance_dir: by default `instances/`, if it is there.
        table: by default a table of colours in the folder, whose classes are things where there are instances.
        how: which files are maps, and of which pictures.

    Raises:
        UsageError: a folder or the table is missing, things have no instances, or names of maps have an ending that
            `how` does not say.
        DataError: two classes have one colour.
    """
    instances = instance_dir or (source / INSTANCES if (source / INSTANCES).is_dir() else None)
    table = table or find_color_table(source, things=instances is not None)
    if table is None:
        raise UsageError(
            f"{source}: the colours of the classes are missing.",
            hint=f"Name a YAML or a table of colours with --categories; {TABLES[0]} in the folder is found.",
        )
    folders = (image_dir or source / IMAGES, semantic_dir or source / SEMANTIC, instances or source / INSTANCES)
    found = open_maps(table, *folders, how)
    return decoded_by(ColorDecoder(class_colors(table)), found)


def decoded_by(decode: Decoder, found: MapsReader) -> CodedMapsReader:
    """The pairs of photos and maps that `found` has, read by another decoder."""
    maps = {
        one.image_file: (found.semantic[one.image_file], *filter(None, (found.instances.get(one.image_file),)))
        for one in found.pictures
    }
    parts = (found.table, found.image_dir, found.pictures, found.problems, found.remarks, maps)
    return CodedMapsReader(*parts, decode, repairs=found.repairs)
