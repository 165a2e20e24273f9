"""LabelMe: a JSON of shapes for each picture (https://github.com/wkentaro/labelme), of any version since 3.

Written, a segment is a shape of the kind `mask`, which LabelMe has read since 5.3: exact, with holes and several parts.
Read are polygons, rectangles, circles (a centre and a point on the rim) and masks. Shapes of one label with one
`group_id` are parts of one instance; `__ignore__` is void, as in LabelMe's own converters.
"""

import base64
import binascii
import contextlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

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
from yoso_cli.conversion.photo_index import PhotoIndex, UnfoundError, shown_size
from yoso_cli.conversion.rasterization import Region, box_region, ellipse_region, mask_region, number, polygon_region
from yoso_cli.errors import DataError
from yoso_cli.panoptic.annotations import MalformedError, entry_item, entry_list, entry_size, entry_value
from yoso_cli.panoptic.photos import opened_photo
from yoso_cli.panoptic.types import MOST_PIXELS, IdMap, Panoptic, Segment
from yoso_cli.runtime.json_text import read_json
from yoso_cli.runtime.progress import SILENT, Progress, tracked
from yoso_cli.runtime.words import counted, shortened

_VERSION = "5.5.0"
"""Of LabelMe, whose files these are like."""
_IGNORED = "__ignore__"
_WITHOUT_AREA = ("line", "linestrip", "point", "points")


@dataclass(frozen=True)
class LabelmeReader(ShapesReader):
    """Pictures with a JSON each; `labels` has the path of each picture's."""

    labels: dict[str, Path]

    def drawing(self, picture: SourcePicture) -> Drawing:
        """The shapes of the picture's JSON."""
        path = self.labels[picture.image_file]
        content = read_json(path)
        height, width = _size(content, path, self.image_dir / picture.image_file)
        shapes, losses, wrong = [], Counter[InformationLoss](), []
        for index, entry in enumerate(_shapes(content, path)):
            try:
                if (kind := _kind(entry)) in _WITHOUT_AREA:
                    losses[InformationLoss.WITHOUT_AREA] += 1
                    continue
                shapes.append(_read_shape(entry, kind, height, width))
            except MalformedError as error:
                label = entry.get("label") if isinstance(entry, dict) else None
                named = f" ({label!r})" if isinstance(label, str) else ""
                wrong.append(f"{path}: shapes[{index}]{named} {error}")
        return Drawing(height, width, shapes, losses, wrong)


def open_labelme(
    source: Path, image_dir: Path | None, table: CategoryTable | None, progress: Progress = SILENT
) -> LabelmeReader:
    """The JSON files below a folder, or one, with the pictures they name.

    Args:
        source: the folder, or a JSON.
        image_dir: where the pictures are looked for; by default the folder itself.
        table: the classes; by default categories.yaml in the folder, or the labels as they are.
        progress: shows how many files are read.

    Raises:
        DataError: no file of LabelMe is there, or none of their pictures.
        UsageError: a folder is missing.
    """
    folder = source if source.is_dir() else source.parent
    paths = sorted(filter(_is_shown, folder.rglob("*.json"))) if source.is_dir() else [source]
    photos = PhotoIndex.of(image_dir or folder)
    scan = _Scan(photos, folder, {}, Counter(), [], [])
    for path in tracked(paths, len(paths), "reading labels", progress, unit="file"):
        scan.take(path)
    if not scan.labels and not scan.problems:
        raise DataError(f"{source}: has no JSON of LabelMe, which has 'shapes' and 'imagePath'.")
    photos.require_some(scan.labels, source)
    used = Counter({label: count for label, count in scan.used.items() if label != _IGNORED})
    table, remark = named_classes(used, table, folder, source)
    remarks = [remark, *(unlabelled(photos.files, scan.labels, photos.folder) if source.is_dir() else ())]
    if scan.others:
        remarks.append(f"{folder}: JSON files that are not LabelMe's left out: {shortened(scan.others)}")
    pictures = tuple(SourcePicture(file.rpartition(".")[0], file) for file in sorted(scan.labels))
    told = tuple(filter(None, remarks))
    return LabelmeReader(table, photos.folder, pictures, tuple(scan.problems), told, scan.labels)


def _is_shown(path: Path) -> bool:
    """Not `._a.json`, which macOS lays beside a.json in zips."""
    return not path.name.startswith(".")


@dataclass
class _Scan:
    """What the JSON files say, each read once for its labels and its picture; they may be too large to keep."""

    photos: PhotoIndex
    folder: Path
    labels: dict[str, Path]
    used: Counter[str]
    problems: list[str]
    others: list[str]

    def take(self, path: Path) -> None:
        try:
            content = read_json(path)
            if "shapes" not in content or "imagePath" not in content:
                self.others.append(path.relative_to(self.folder).as_posix())
                return
            file = self._photo(path, entry_value(content, "imagePath", str))
            self.used.update(_labels(_shapes(content, path)))
        except (UnfoundError, MalformedError) as error:
            self.problems.append(f"{path}: {error}")
        except DataError as error:
            self.problems.append(error.message.removesuffix("."))
        else:
            if file in self.labels:
                self.problems.append(f"{path}: names the picture {file!r}, and so does {self.labels[file]}")
            self.labels[file] = path

    def _photo(self, path: Path, written: str) -> str:
        """The photo; LabelMe's path starts from the JSON, which may lie in a folder beside that of the photos."""
        beside = path.parent.relative_to(self.folder).as_posix()
        try:
            return self.photos.find(written, beside)
        except UnfoundError:
            # Renamed photos keep the name of their JSON.
            for suffix in (".jpg", ".jpeg", ".png"):
                if (file := f"{path.relative_to(self.folder).with_suffix(suffix).as_posix()}") in self.photos.files:
                    return file
            raise


def _shapes(content: Any, path: Path) -> list[Any]:
    """Raises DataError unless they are a list."""
    try:
        return entry_list(content, "shapes")
    except MalformedError as error:
        raise DataError(f"{path}: {error}.") from None


def _labels(shapes: Iterable[Any]) -> Iterator[str]:
    """Of the shapes that have an area, as far as they can be read."""
    for entry in shapes:
        with contextlib.suppress(MalformedError):
            if _kind(entry) not in _WITHOUT_AREA:
                yield _label(entry)


def _kind(entry: Any) -> Any:
    if not isinstance(entry, dict):
        raise MalformedError("is no object")
    return entry.get("shape_type") or "polygon"


def _label(entry: Any) -> str:
    return class_name(entry_item(entry, "label"))


def _size(content: Any, path: Path, photo: Path) -> tuple[int, int]:
    """Of the picture: as the JSON says; old ones do not."""
    if content.get("imageHeight") is None or content.get("imageWidth") is None:
        return shown_size(photo)
    try:
        return entry_size({"height": content["imageHeight"], "width": content["imageWidth"]})
    except MalformedError as error:
        raise DataError(f"{path}: {error}.") from None


def _read_shape(entry: Any, kind: Any, height: int, width: int) -> Shape:
    label = _label(entry)
    score = entry.get("score")
    return Shape(
        None if label == _IGNORED else label,
        _region(entry, kind, height, width),
        group=_group(entry.get("group_id")),
        iscrowd=isinstance(entry.get("flags"), dict) and entry["flags"].get("iscrowd") is True,
        score=None if score is None else number(score),
    )


def _group(found: Any) -> int | str | None:
    if found is not None and not isinstance(found, (int, str)):
        raise MalformedError(f"has 'group_id' {found!r} where a number is expected")
    return found


def _region(entry: Any, kind: Any, height: int, width: int) -> Region:
    points = [_point(point) for point in entry_list(entry, "points")]
    flat = [one for point in points for one in point]
    if kind in ("polygon", "oriented_rectangle"):
        return polygon_region(flat, height, width)
    if kind not in ("rectangle", "circle", "mask"):
        raise MalformedError(f"has the kind {kind!r}, which is none of LabelMe's")
    if len(points) != 2:
        raise MalformedError(f"is a {kind} of {counted(len(points), 'point')}, not of 2")
    (x, y), (x2, y2) = points
    if kind == "rectangle":
        return box_region(min(x, x2), min(y, y2), max(x, x2), max(y, y2), height, width)
    if kind == "circle":
        radius = math.hypot(x2 - x, y2 - y)
        return ellipse_region(x, y, radius, radius, height, width)
    mask = _mask(entry_value(entry, "mask", str))
    left, top = int(x), int(y)
    if mask.shape != (int(y2) - top + 1, int(x2) - left + 1):
        raise MalformedError(f"has a mask of {mask.shape[1]}x{mask.shape[0]} that does not fit its box")
    return mask_region(mask, left, top, height, width)


def _point(point: Any) -> tuple[float, float]:
    if not isinstance(point, list) or len(point) != 2:
        raise MalformedError(f"has the point {point!r}, which is not x, y")
    return number(point[0]), number(point[1])


def _mask(text: str) -> Any:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedError("has a mask that is not base64") from None
    try:
        with opened_photo(BytesIO(content), "has a mask that") as image:
            if image.width * image.height > MOST_PIXELS or image.format != "PNG":
                raise MalformedError("has a mask that is no PNG")
            return np.asarray(image.convert("L")) > 0
    except DataError as error:
        raise MalformedError(error.message.removesuffix(".").replace(":", "", 1)) from None


@dataclass(frozen=True)
class LabelmeWriter:
    """Writes NAME.json for each picture, which names the picture by the way to it.

    Attributes:
        table: the classes.
        image_dir: the folder of the pictures.
        final: the folder that the files come to lie in, which the way to a picture starts from.
    """

    table: CategoryTable
    image_dir: Path
    final: Path

    def write(self, folder: Path, picture: SourcePicture, panoptic: Panoptic) -> tuple[None, Counter[InformationLoss]]:
        """One JSON. A thing's shape has its number among the picture's segments as `group_id`."""
        height, width = panoptic.id_map.shape
        known = {category.id: category for category in self.table.categories}
        file = f"{picture.stem}.json"
        place = os.path.relpath(self.image_dir / picture.image_file, (self.final / file).parent)
        content = {
            "version": _VERSION,
            "flags": {},
            "shapes": [
                _shape(one, known[one.category_id].name, known[one.category_id].isthing, panoptic.id_map)
                for one in panoptic.segments
            ],
            "imagePath": place,
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
        return None, Counter()

    def finish(self, folder: Path, entries: Sequence[None]) -> None:
        """The names of the classes, as LabelMe's `--labels` reads them, and all else about them for yoso."""
        names = [category.name for category in self.table.categories]
        (folder / "labels.txt").write_text("\n".join(names) + "\n", encoding="utf-8", errors="replace")
        write_classes(folder, self.table)


def _shape(segment: Segment, name: str, isthing: bool, id_map: IdMap) -> dict[str, Any]:
    x, y, width, height = segment.bbox
    mask = id_map[y : y + height, x : x + width] == segment.id
    buffer = BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).convert("1").save(buffer, format="PNG")
    shape = {
        "label": name,
        "points": [[x, y], [x + width - 1, y + height - 1]],
        "group_id": segment.id if isthing else None,
        "description": "" if segment.score is None else f"score {segment.score:.4f}",
        "shape_type": "mask",
        "flags": {"iscrowd": True} if segment.iscrowd else {},
        "mask": base64.b64encode(buffer.getvalue()).decode("ascii"),
    }
    # LabelMe keeps what it does not know.
    return shape if segment.score is None else {**shape, "score": segment.score}
