"""CVAT for images 1.1: one XML of all pictures (https://docs.cvat.ai/docs/other/xml_format).

Written, a segment is a mask. Read are polygons, ellipses and masks; of overlapping shapes the one with the higher
`z_order` lies above, and shapes of one label and one `group_id` are parts of one instance. An XML is untrusted: one
with a document type, without which there are no entities, is refused.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

import numpy as np

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
from yoso_cli.conversion.rasterization import Region, ellipse_region, mask_region, polygon_region, row_lengths_mask
from yoso_cli.conversion.source_files import one_file
from yoso_cli.conversion.split_choice import SplitChoice
from yoso_cli.drawing.colors import colors
from yoso_cli.errors import DataError
from yoso_cli.panoptic.annotations import MalformedError, entry_size
from yoso_cli.panoptic.types import Category, Panoptic
from yoso_cli.runtime.words import counted

ANNOTATIONS_XML = "annotations.xml"

_SHAPES = ("polygon", "mask", "ellipse", "box", "polyline", "points", "cuboid", "skeleton")
_BOXES = ("box", "cuboid")
# Types of labels that no segment has.
_WITHOUT_AREA = ("polyline", "points", "tag", "skeleton", "cuboid", "rectangle")
_DEEPEST = 20

_Attributes = dict[str, str]


@dataclass(frozen=True)
class CvatReader(ShapesReader):
    """Pictures with their shapes as the XML has them: those of one picture are decoded at a time."""

    listing: Path
    entries: dict[str, "_Picture"]

    def drawing(self, picture: SourcePicture) -> Drawing:
        """The shapes of a picture."""
        entry = self.entries[picture.image_file]
        shapes, losses, wrong = [], Counter[InformationLoss](), []
        try:
            height, width = entry_size({side: _integer(entry.attributes, side) for side in ("height", "width")})
        except MalformedError as error:
            raise DataError(f"{self.listing}: the picture {picture.image_file} {error}.") from None
        for number, (kind, attributes) in enumerate(entry.shapes, start=1):
            if kind not in _REGIONS:
                losses[InformationLoss.BOXES if kind in _BOXES else InformationLoss.WITHOUT_AREA] += 1
                continue
            try:
                region = _REGIONS[kind](attributes, height, width)
                above, group = _integer(attributes, "z_order", 0), _integer(attributes, "group_id", 0)
                shapes.append(Shape(_label(attributes), region, group or None, above))
            except MalformedError as error:
                wrong.append(f"{self.listing}: shape {number} (a {kind}) of {picture.image_file} {error}")
        return Drawing(height, width, shapes, losses, wrong)


def open_cvat(source: Path, split: SplitChoice, image_dir: Path | None, table: CategoryTable | None) -> CvatReader:
    """The pictures of an XML with their shapes.

    Args:
        source: the XML, or a folder with annotations.xml.
        split: which one, where pictures have a `subset`.
        image_dir: where the pictures are looked for; by default `images/` beside the XML, or its folder.
        table: the classes; by default categories.yaml beside, or the labels of the XML, as things.

    Raises:
        DataError: the XML is missing, malformed or of CVAT for video.
        UsageError: a folder is missing, or there are several subsets and none is named.
    """
    listing = source / ANNOTATIONS_XML
    listing = listing if listing.is_file() else one_file(source, "*.xml", "CVAT's annotations.xml")
    parsed = _parsed(listing)
    folder = listing.parent
    photos = PhotoIndex.of(image_dir or (folder / "images" if (folder / "images").is_dir() else folder))
    subsets = list(dict.fromkeys(filter(None, (entry.attributes.get("subset") for entry in parsed.pictures))))
    chosen, remark = split.of(subsets, listing) if subsets else (None, "")
    entries: dict[str, _Picture] = {}
    problems = []
    for entry in parsed.pictures:
        if chosen in (None, entry.attributes.get("subset")):
            try:
                file = photos.find(entry.attributes.get("name", ""))
            except UnfoundError as error:
                problems.append(f"{listing}: {error}")
                continue
            if file in entries:
                problems.append(f"{listing}: two pictures are {file!r}")
            entries[file] = entry
    photos.require_some(entries, listing)
    used = Counter(_used_labels(entries.values()))
    listed = _listed_classes(parsed.labels, used, listing)
    table, named = named_classes(used, table, folder, listing, listed=listed)
    empty = sum(not entry.shapes for entry in entries.values())
    bare = f"{listing}: {counted(empty, 'picture')} without a shape: all of them void" if empty else ""
    remarks = (remark, named, bare, *(() if chosen else unlabelled(photos.files, entries, photos.folder)))
    pictures = tuple(SourcePicture(file.rpartition(".")[0], file) for file in sorted(entries))
    return CvatReader(table, photos.folder, pictures, tuple(problems), tuple(filter(None, remarks)), listing, entries)


@dataclass
class _Picture:
    """An `image` element: its attributes, and its shapes by their kind."""

    attributes: _Attributes
    shapes: list[tuple[str, _Attributes]] = field(default_factory=list)


@dataclass
class _Parsed:
    """What is read of an XML so far."""

    pictures: list[_Picture] = field(default_factory=list)
    labels: list[_Attributes] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def start(self, tag: str, attributes: _Attributes) -> None:
        if not self.open and tag != "annotations":
            raise MalformedError(f"is an XML of {tag!r}, not CVAT's")
        if tag == "track":
            raise MalformedError("is CVAT for video: export `CVAT for images 1.1`, which has the shapes of each frame")
        if len(self.open) >= _DEEPEST:
            raise MalformedError("is nested too deeply")
        above = self.open[-1] if self.open else ""
        self.open.append(tag)
        if tag == "image":
            self.pictures.append(_Picture(attributes))
        elif tag in _SHAPES and above == "image":
            self.pictures[-1].shapes.append((tag, attributes))
        elif tag == "label" and above == "labels":
            self.labels.append({})

    def text(self, text: str) -> None:
        # Of a label: its name, colour, type, and of a part of a skeleton its parent.
        if self.open[-2:-1] == ["label"] and self.labels:
            label = self.labels[-1]
            label[self.open[-1]] = label.get(self.open[-1], "") + text

    def end(self, _: str) -> None:
        self.open.pop()


def _parsed(path: Path) -> _Parsed:
    """Raises DataError."""
    found = _Parsed()
    parser = expat.ParserCreate("utf-8")  # whatever it declares
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = found.start, found.end
    parser.CharacterDataHandler = found.text
    parser.StartDoctypeDeclHandler = _refuse_document_type
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from None
    except expat.ExpatError as error:
        raise DataError(f"{path}: is not valid XML: {error}.", hint="It may be truncated: export it again.") from None
    except MalformedError as error:
        raise DataError(f"{path}: {error}.") from None
    return found


def _refuse_document_type(*_: object) -> None:
    raise MalformedError("has a document type, which CVAT's files do not have")


def _label(attributes: _Attributes) -> str:
    return class_name(attributes.get("label"))


def _used_labels(pictures: Iterable[_Picture]) -> Iterator[str]:
    """Of the shapes that have an area, as far as they can be read."""
    for kind, attributes in chain.from_iterable(entry.shapes for entry in pictures):
        with contextlib.suppress(MalformedError):
            if kind in _REGIONS:
                yield _label(attributes)


def _listed_classes(labels: Sequence[_Attributes], used: Counter[str], listing: Path) -> tuple[Category, ...]:
    """The labels that the XML lists, in its order, those for lines and points left out unless they are used."""
    found: dict[str, Category] = {}
    try:
        for label in labels:
            name = class_name(label.get("name"))
            if "parent" not in label and (label.get("type") not in _WITHOUT_AREA or name in used):
                found[name] = Category(len(found) + 1, name, True, _color(label.get("color", "")))
    except MalformedError as error:
        raise DataError(f"{listing}: its list of labels {error}.") from None
    return tuple(found.values())


def _color(text: str) -> tuple[int, int, int]:
    try:
        red, green, blue = bytes.fromhex(text.strip().removeprefix("#"))
    except ValueError:
        return Category.color
    return red, green, blue


def _number(attributes: _Attributes, name: str, default: float | None = None) -> float:
    try:
        return float(attributes[name] if default is None or name in attributes else default)
    except KeyError:
        raise MalformedError(f"lacks {name!r}") from None
    except ValueError:
        raise MalformedError(f"has {name!r} {attributes[name]!r} where a number is expected") from None


def _integer(attributes: _Attributes, name: str, default: int | None = None) -> int:
    found = _number(attributes, name, default)
    if not found.is_integer():
        raise MalformedError(f"has {name!r} {attributes[name]!r} where a whole number is expected")
    return int(found)


def _polygon(attributes: _Attributes, height: int, width: int) -> Region:
    text = attributes.get("points", "")
    try:
        points = [float(one) for point in text.split(";") for one in point.split(",")]
    except ValueError:
        raise MalformedError(f"has points {text[:40]!r}, which are not `x,y;x,y;...`") from None
    return polygon_region(points, height, width)


def _ellipse(attributes: _Attributes, height: int, width: int) -> Region:
    x, y, radius_x, radius_y = (_number(attributes, name) for name in ("cx", "cy", "rx", "ry"))
    turn = _number(attributes, "rotation", 0.0)
    return ellipse_region(x, y, radius_x, radius_y, height, width, degrees=turn)


def _mask_of_runs(attributes: _Attributes, height: int, width: int) -> Region:
    left, top, wide, high = (_integer(attributes, name) for name in ("left", "top", "width", "height"))
    try:
        lengths = [int(one) for one in attributes.get("rle", "").split(",")]
    except ValueError:
        raise MalformedError("has an 'rle' that is not whole numbers") from None
    return mask_region(row_lengths_mask(lengths, high, wide), left, top, height, width)


_REGIONS: dict[str, Callable[[_Attributes, int, int], Region]] = {
    "polygon": _polygon,
    "ellipse": _ellipse,
    "mask": _mask_of_runs,
}


@dataclass(frozen=True)
class CvatWriter:
    """Writes annotations.xml, and the classes for yoso."""

    table: CategoryTable

    def write(
        self, folder: Path, picture: SourcePicture, panoptic: Panoptic
    ) -> tuple[dict[str, Any], Counter[InformationLoss]]:
        """The picture's entry: its masks as the lengths of runs, along the rows of the segment's box."""
        del folder
        names = {category.id: category.name for category in self.table.categories}
        height, width = panoptic.id_map.shape
        masks = []
        for segment in panoptic.segments:
            x, y, wide, high = segment.bbox
            rle = _run_lengths(panoptic.id_map[y : y + high, x : x + wide] == segment.id)
            box = {"left": x, "top": y, "width": wide, "height": high}
            masks.append({"label": names[segment.category_id], "rle": rle, **box})
        losses = Counter(
            {
                InformationLoss.SCORE: sum(one.score is not None for one in panoptic.segments),
                InformationLoss.CROWD_FLAG: sum(one.iscrowd for one in panoptic.segments),
            }
        )
        return {"name": picture.image_file, "width": width, "height": height, "masks": masks}, losses

    def finish(self, folder: Path, entries: Sequence[dict[str, Any]]) -> None:
        """The XML, written picture by picture."""
        with (folder / ANNOTATIONS_XML).open("w", encoding="utf-8") as file:
            file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n')
            file.write(f"  <meta><task><size>{len(entries)}</size><labels>\n{self._labels()}")
            file.write("  </labels></task></meta>\n")
            for number, entry in enumerate(entries):
                file.write(_image(number, entry))
            file.write("</annotations>\n")
        write_classes(folder, self.table)

    def _labels(self) -> str:
        tints = ("#{:02x}{:02x}{:02x}".format(*color) for color in colors(self.table.categories))
        return "".join(
            f"    <label><name>{_text(category.name)}</name><color>{tint}</color><type>mask</type></label>\n"
            for category, tint in zip(self.table.categories, tints, strict=True)
        )


def _image(number: int, entry: dict[str, Any]) -> str:
    head = (
        f'  <image id="{number}" name={_quoted(entry["name"])} width="{entry["width"]}" height="{entry["height"]}">\n'
    )
    return head + "".join(map(_mask, entry["masks"])) + "  </image>\n"


def _mask(mask: dict[str, Any]) -> str:
    box = " ".join(f'{side}="{mask[side]}"' for side in ("left", "top", "width", "height"))
    return (
        f'    <mask label={_quoted(mask["label"])} source="auto" occluded="0" rle="{mask["rle"]}" {box} z_order="0">'
        "</mask>\n"
    )


def _run_lengths(mask: Any) -> str:
    """Of a mask (H, W): how many zeros, ones, zeros, ... follow each other, row by row."""
    flat = np.concatenate([[False], mask.reshape(-1)])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    ends = np.append(changes, mask.size)
    return ", ".join(map(str, np.diff(ends, prepend=0).tolist()))


def _text(words: str) -> str:
    return escape(_without_controls(words))


def _quoted(words: str) -> str:
    return quoteattr(_without_controls(words))


def _without_controls(words: str) -> str:
    """XML 1.0 has no way to write most control characters, nor lone surrogates."""
    return "".join(one if one.isprintable() or one in "\t\n" else "\N{REPLACEMENT CHARACTER}" for one in words)
