"""VGG Image Annotator 2 (https://www.robots.ox.ac.uk/~vgg/software/via): regions of pictures in one JSON.

A project has the pictures under `_via_img_metadata`, an export of annotations alone on top. The class of a region is
one of its attributes, and which one is not written anywhere: if regions have one attribute it is that one. Without any
attribute all regions are of one class, `object`.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from yoso_cli.conversion.category_file import CategoryTable
from yoso_cli.conversion.convert import InformationLoss, SourcePicture
from yoso_cli.conversion.drawn_shapes import Drawing, Shape, ShapesReader, class_name, named_classes, unlabelled
from yoso_cli.conversion.photo_index import PhotoIndex, UnfoundError, shown_size
from yoso_cli.conversion.rasterization import Region, box_region, ellipse_region, number, polygon_region
from yoso_cli.conversion.source_files import one_file
from yoso_cli.errors import DataError, UsageError, did_you_mean
from yoso_cli.panoptic.annotations import MalformedError, entry_item, entry_list, entry_value
from yoso_cli.runtime.json_text import read_json

PROJECT = "_via_img_metadata"
_WITHOUT_AREA = ("polyline", "line", "point")
_ONLY_CLASS = "object"


@dataclass(frozen=True)
class ViaReader(ShapesReader):
    """Pictures with their regions; the class of each stands under `attribute`, "" where they have none."""

    listing: Path
    regions: dict[str, list[Any]]
    attribute: str

    def drawing(self, picture: SourcePicture) -> Drawing:
        """The regions of a picture."""
        height, width = shown_size(self.image_dir / picture.image_file)
        shapes, losses, wrong = [], Counter[InformationLoss](), []
        for index, entry in enumerate(self.regions[picture.image_file]):
            try:
                if _is_flat(entry):
                    losses[InformationLoss.WITHOUT_AREA] += 1
                    continue
                shapes.append(Shape(_label(entry, self.attribute), _region(_drawn(entry), height, width)))
            except MalformedError as error:
                wrong.append(f"{self.listing}: region {index} of {picture.image_file} {error}")
        return Drawing(height, width, shapes, losses, wrong)


def open_via(source: Path, image_dir: Path | None, table: CategoryTable | None, attribute: str | None) -> ViaReader:
    """The pictures of a JSON with their regions.

    Args:
        source: the JSON, a project or an export of its annotations.
        image_dir: where the pictures are looked for; by default the folder of the JSON.
        table: the classes; by default categories.yaml beside, or the labels as they are.
        attribute: which attribute of a region is its class; by default the only one.

    Raises:
        DataError: the JSON is missing or none of VIA 2.
        UsageError: there is no such folder of pictures; or regions have several attributes and none is named.
    """
    source = one_file(source, "*.json", "VIA's JSON")
    content = read_json(source)
    photos = PhotoIndex.of(image_dir or source.parent)
    problems: list[str] = []
    regions: dict[str, list[Any]] = {}
    listed = content.get(PROJECT, content)
    for key, entry in listed.items() if isinstance(listed, dict) else ():
        try:
            found = _regions(entry)
            file = photos.find(entry_value(entry, "filename", str))
            if file in regions:
                problems.append(f"{source}: two pictures are {file!r}")
            regions[file] = found
        except (MalformedError, UnfoundError) as error:
            problems.append(f"{source}: {key!r} {error}")
    if not regions and not problems:
        raise DataError(f"{source}: lists no picture of VIA 2, which has 'filename' and 'regions'.")
    photos.require_some(regions, source)
    chosen = _class_attribute(regions, attribute, source)
    used = Counter(_labels(regions, chosen))
    table, named = named_classes(used, table, source.parent, source)
    told = tuple(filter(None, (named, *unlabelled(photos.files, regions, photos.folder))))
    pictures = tuple(SourcePicture(file.rpartition(".")[0], file) for file in sorted(regions))
    return ViaReader(table, photos.folder, pictures, tuple(problems), told, source, regions, chosen)


def _regions(entry: Any) -> list[Any]:
    """A list in VIA 2, a mapping from numbers in VIA 1."""
    found = entry_item(entry, "regions")
    return list(found.values()) if isinstance(found, dict) else entry_list(entry, "regions")


def _attributes(entry: Any) -> dict[str, Any]:
    found = entry.get("region_attributes") if isinstance(entry, dict) else None
    return found if isinstance(found, dict) else {}


def _class_attribute(regions: dict[str, list[Any]], asked: str | None, source: Path) -> str:
    """The attribute that is the class. Raises UsageError when that is unclear."""
    there = Counter(
        name for found in regions.values() for entry in found for name, value in _attributes(entry).items() if value
    )
    if asked is not None:
        if asked not in there:
            known = ", ".join(there) or "none"
            hint = did_you_mean(asked, there)
            raise UsageError(f"{source}: no region has the attribute {asked!r}, but {known}.", hint=hint)
        return asked
    if len(there) > 1:
        raise UsageError(
            f"{source}: regions have several attributes: {', '.join(there)}.",
            hint="Name the one that is the class with --class-attribute.",
        )
    return next(iter(there), "")


def _label(entry: Any, attribute: str) -> str:
    """A text, or of boxes to tick the one that is ticked."""
    if not attribute:
        return _ONLY_CLASS
    value = _attributes(entry).get(attribute)
    if isinstance(value, dict):
        ticked = [name for name, is_ticked in value.items() if is_ticked]
        value = ticked[0] if len(ticked) == 1 else None
    if value in (None, ""):
        raise MalformedError(f"has no single value of {attribute!r}")
    return class_name(value)


def _labels(regions: dict[str, list[Any]], attribute: str) -> Iterator[str]:
    """Of the regions that have an area, as far as they can be read."""
    for entry in chain.from_iterable(regions.values()):
        with contextlib.suppress(MalformedError):
            if not _is_flat(entry):
                yield _label(entry, attribute)


def _drawn(entry: Any) -> dict[str, Any]:
    return entry_value(entry, "shape_attributes", dict)


def _is_flat(entry: Any) -> bool:
    return _drawn(entry).get("name") in _WITHOUT_AREA


def _region(drawn: dict[str, Any], height: int, width: int) -> Region:
    def figures(*names: str) -> list[float]:
        return [number(entry_item(drawn, name)) for name in names]

    kind = drawn.get("name")
    if kind == "polygon":
        across, down = (entry_list(drawn, name) for name in ("all_points_x", "all_points_y"))
        if len(across) != len(down):
            raise MalformedError(f"has {len(across)} x and {len(down)} y")
        return polygon_region([number(one) for point in zip(across, down, strict=True) for one in point], height, width)
    if kind == "rect":
        x, y, wide, high = figures("x", "y", "width", "height")
        return box_region(x, y, x + wide, y + high, height, width)
    if kind == "circle":
        x, y, radius = figures("cx", "cy", "r")
        return ellipse_region(x, y, radius, radius, height, width)
    if kind == "ellipse":
        x, y, radius_x, radius_y = figures("cx", "cy", "rx", "ry")
        turn = math.degrees(number(drawn.get("theta", 0)))
        return ellipse_region(x, y, radius_x, radius_y, height, width, degrees=turn)
    raise MalformedError(f"has the shape {kind!r}, which is none of VIA's")
