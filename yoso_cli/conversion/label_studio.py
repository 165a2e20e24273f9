"""Label Studio's JSON export: a list of tasks, each a picture with annotations (https://labelstud.io/guide/export).

Of several annotations of a picture the one marked as ground truth counts, else the first that was not cancelled. Read
are polygons, ellipses and brushes. A brush is run lengths of bits, as https://github.com/thi-ng/umbrella packs them:

    32 bits   count of values: 4 (red, green, blue, alpha) of each pixel, row by row
    5 bits    bits of a value, less 1
    4x 4 bits the four sizes of run lengths in bits, each less 1
    then      1 bit whether one value repeats, 2 bits which size, a run length less 1, and one value or as many
"""

import contextlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from yoso_cli.conversion.category_file import CategoryTable
from yoso_cli.conversion.convert import InformationLoss, SourcePicture
from yoso_cli.conversion.drawn_shapes import Drawing, Shape, ShapesReader, class_name, named_classes, unlabelled
from yoso_cli.conversion.photo_index import PhotoIndex, UnfoundError, shown_size
from yoso_cli.conversion.rasterization import Mask, Region, ellipse_region, mask_region, number, polygon_region
from yoso_cli.conversion.source_files import one_file
from yoso_cli.errors import DataError
from yoso_cli.panoptic.annotations import MalformedError, entry_item, entry_list, entry_size, entry_value
from yoso_cli.panoptic.photos import PHOTO_SUFFIXES
from yoso_cli.runtime.json_text import read_json_list
from yoso_cli.runtime.words import counted

# Before the name of an uploaded file.
_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")
_KINDS = (
    "polygonlabels",
    "brushlabels",
    "ellipselabels",
    "rectanglelabels",
    "keypointlabels",
    "vectorlabels",
    "labels",
)


@dataclass(frozen=True)
class LabelStudioReader(ShapesReader):
    """Pictures with the regions of one annotation each."""

    listing: Path
    results: dict[str, list[Any]]

    def drawing(self, picture: SourcePicture) -> Drawing:
        """The regions of a picture."""
        shapes: list[Shape] = []
        losses, wrong = Counter[InformationLoss](), []
        sizes = set()
        for index, entry in enumerate(self.results[picture.image_file]):
            try:
                size = _size(entry)
                sizes.add(size)
                region = _region(entry_value(entry, "value", dict), *size)
                if isinstance(region, InformationLoss):
                    losses[region] += 1
                else:
                    shapes.append(Shape(_label(entry), region))
            except MalformedError as error:
                wrong.append(f"{self.listing}: the region {entry.get('id', index)!r} of {picture.image_file} {error}")
        if len(sizes) > 1:
            raise DataError(f"{self.listing}: the regions of {picture.image_file} are of {len(sizes)} sizes of it.")
        height, width = sizes.pop() if sizes else shown_size(self.image_dir / picture.image_file)
        return Drawing(height, width, shapes, losses, wrong)


def open_label_studio(source: Path, image_dir: Path | None, table: CategoryTable | None) -> LabelStudioReader:
    """The pictures of an export with their regions.

    Args:
        source: the JSON.
        image_dir: where the pictures are looked for; by default the folder of the JSON.
        table: the classes; by default categories.yaml beside, or the labels as they are.

    Raises:
        DataError: the JSON is missing or not an export, or no task has regions.
        UsageError: there is no such folder of pictures.
    """
    source = one_file(source, "*.json", "Label Studio's JSON")
    photos = PhotoIndex.of(image_dir or source.parent)
    results: dict[str, list[Any]] = {}
    problems: list[str] = []
    left: Counter[str] = Counter()
    for index, task in enumerate(read_json_list(source)):
        try:
            regions = _regions(task, left)
            if regions is None:
                continue
            file = _photo(task, photos)
            if file in results:
                problems.append(f"{source}: two tasks are of the picture {file!r}")
            results[file] = regions
        except (MalformedError, UnfoundError) as error:
            problems.append(f"{source}: task {task.get('id', index) if isinstance(task, dict) else index} {error}")
    photos.require_some(results, source)
    used = Counter(_used_labels(results))
    table, named = named_classes(used, table, source.parent, source)
    remarks = [f"{source}: {counted(count, 'task')} {what} left out" for what, count in left.items()]
    if bare := sum(not found for found in results.values()):
        remarks.append(f"{source}: {counted(bare, 'picture')} without a region: all of them void")
    told = tuple(filter(None, (named, *remarks, *unlabelled(photos.files, results, photos.folder))))
    pictures = tuple(SourcePicture(file.rpartition(".")[0], file) for file in sorted(results))
    return LabelStudioReader(table, photos.folder, pictures, tuple(problems), told, source, results)


def _regions(task: Any, left: Counter[str]) -> list[Any] | None:
    """The regions of the annotation that counts; None, counted in `left`, where the task has none."""
    # Until 2021 it was called so.
    key = "completions" if isinstance(task, dict) and "completions" in task else "annotations"
    if isinstance(task, dict) and key not in task:
        raise MalformedError("has no 'annotations': export JSON, not JSON-MIN")
    done = entry_list(task, key)
    kept = [one for one in done if isinstance(one, dict) and not one.get("was_cancelled")]
    if not kept:
        left["that were skipped" if done else "without an annotation"] += 1
        return None
    chosen = next((one for one in kept if one.get("ground_truth") is True), kept[0])
    if len(kept) > 1:
        left["with several annotations: all but one of each are"] += 1
    # Of a region whose label stands apart from it both entries are listed: the one with the label has all.
    return [one for one in entry_list(chosen, "result") if isinstance(one, dict) and one.get("type") in _KINDS]


def _photo(task: Any, photos: PhotoIndex) -> str:
    """The picture of a task: of its data the first that is the path of one."""
    data = entry_value(task, "data", dict)
    texts = [_path(one) for one in data.values() if isinstance(one, str)]
    named = [text for text in texts if Path(text).suffix.lower() in PHOTO_SUFFIXES]
    if not named:
        raise MalformedError("has no picture in its 'data'")
    try:
        return photos.find(named[0])
    except UnfoundError:
        folder, slash, name = named[0].rpartition("/")
        return photos.find(f"{folder}{slash}{_UPLOADED.sub('', name, count=1)}")


def _path(text: str) -> str:
    """The path in an address: `/data/local-files/?d=photos/a.jpg`, `s3://bucket/photos/a.jpg`, or a plain path."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return text
    if wanted := parse_qs(parts.query).get("d"):
        return wanted[0]
    return unquote(parts.path) if parts.scheme or parts.query or text.startswith("/data/") else text


def _used_labels(results: dict[str, list[Any]]) -> Iterator[str]:
    """Of the regions that have an area, as far as they can be read."""
    for entry in chain.from_iterable(results.values()):
        value = entry.get("value")
        with contextlib.suppress(MalformedError):
            if isinstance(value, dict) and _kind(value) in ("polygon", "brush", "ellipse"):
                yield _label(entry)


def _label(entry: Any) -> str:
    labels = entry_value(entry, "value", dict).get(entry["type"])
    if not isinstance(labels, list) or len(labels) != 1:
        raise MalformedError(f"has {labels!r} as its label, where one is expected")
    return class_name(labels[0])


def _size(entry: Any) -> tuple[int, int]:
    """Height and width of the picture."""
    if entry.get("image_rotation"):
        raise MalformedError(f"is of the picture turned by {entry['image_rotation']} degrees, which is not read")
    sides = {side: entry_item(entry, f"original_{side}") for side in ("height", "width")}
    return entry_size(sides)


def _kind(value: dict[str, Any]) -> str:
    """By what a region is drawn with, as regions whose labels stand apart have no other sign of it."""
    signs = {"points": "polygon", "rle": "brush", "radiusX": "ellipse", "height": "box"}
    return next((kind for key, kind in signs.items() if key in value), "")


def _region(value: dict[str, Any], height: int, width: int) -> Region | InformationLoss:
    """The pixels; what is lost where a region has none."""
    kind = _kind(value)
    if kind == "box":
        return InformationLoss.BOXES
    if kind == "polygon":
        points = [_pair(point) for point in entry_list(value, "points")]
        flat = [share * side / 100 for point in points for share, side in zip(point, (width, height), strict=True)]
        return polygon_region(flat, height, width)
    if kind == "ellipse":
        x, y, radius_x, radius_y = (number(entry_item(value, key)) for key in ("x", "y", "radiusX", "radiusY"))
        across, down = width / 100, height / 100
        turn = number(value.get("rotation", 0))
        return ellipse_region(x * across, y * down, radius_x * across, radius_y * down, height, width, degrees=turn)
    if kind == "brush":
        if value.get("format", "rle") != "rle":
            raise MalformedError(f"has a brush in the format {value['format']!r}, which is not rle")
        return mask_region(decode_brush(entry_list(value, "rle"), height, width), 0, 0, height, width)
    return InformationLoss.WITHOUT_AREA


def _pair(point: Any) -> tuple[float, float]:
    if not isinstance(point, list) or len(point) != 2:
        raise MalformedError(f"has the point {point!r}, which is not x, y")
    return number(point[0]), number(point[1])


def decode_brush(packed: Sequence[Any], height: int, width: int) -> Mask:
    """The pixels of a brush that are not transparent, bool (height, width).

    Raises:
        MalformedError: the bytes are none, end too early, or are of another size.
    """
    try:
        bits = _Bits(bytes(packed))
    except (TypeError, ValueError):
        raise MalformedError("has an 'rle' that is not a list of bytes") from None
    count, word = bits.take(32), bits.take(5) + 1
    sizes = [bits.take(4) + 1 for _ in range(4)]
    if count != 4 * height * width or word > 8:
        raise MalformedError(f"has a brush of {count // 4} pixels where the picture has {height * width}")
    values = np.zeros(count, np.uint8)
    place = 0
    while place < count:
        repeats, size = bits.take(1), sizes[bits.take(2)]
        end = place + 1 + bits.take(size)
        if end > count:
            raise MalformedError("has a brush with more pixels than the picture")
        if repeats:
            values[place:end] = bits.take(word)
        else:
            values[place:end] = [bits.take(word) for _ in range(end - place)]
        place = end
    mask: Mask = values[3::4].reshape(height, width) > 0
    return mask


class _Bits:
    """Reads numbers of some bits each, the highest bit first."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = 0

    def take(self, count: int) -> int:
        """The next `count` bits. Raises MalformedError behind the end."""
        first, last = self._place // 8, (self._place + count + 7) // 8
        if last > len(self._content):
            raise MalformedError("has a brush that is cut short")
        self._place += count
        whole = int.from_bytes(self._content[first:last], "big") >> (last * 8 - self._place)
        return whole & ((1 << count) - 1)
