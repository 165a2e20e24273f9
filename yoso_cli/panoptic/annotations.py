"""The COCO panoptic JSON (https://cocodataset.org/#format-data), read with every doubt named and written back."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TypeVar

from yoso_cli.errors import DataError
from yoso_cli.panoptic.types import Category, ImageRecord, PanopticSet, Segment

LARGEST_ID = 256**3 - 1

_T = TypeVar("_T")


class _MalformedError(Exception):
    """What is wrong with one entry; the caller adds which entry and which file."""


def read(path: Path, like: PanopticSet | None = None) -> tuple[tuple[Category, ...], tuple[ImageRecord, ...]]:
    """The categories and pictures of a COCO panoptic JSON.

    Args:
        path: the JSON.
        like: the truth, when `path` holds predictions. COCO's result format leaves out what the truth knows: then
            pictures and categories come from here, and a segment needs `id` and `category_id` only.

    Raises:
        DataError: no such file, no JSON, or an entry that lacks a key, has a wrong value or contradicts another.
    """
    content = read_json(path)
    try:
        categories = like.categories if like and "categories" not in content else _categories(content)
        images = _images_like(like) if like and "images" not in content else _images(content)
        records = _records(content, images, {category.id for category in categories}, strict=like is None)
    except _MalformedError as error:
        raise DataError(f"{path}: {error}.", hint="A COCO panoptic JSON is expected here.") from None
    return categories, records


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in the file `path`. Raises DataError when it is missing, unreadable or no object."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text, so no JSON.", hint="Fetch or write it again.") from None
    except json.JSONDecodeError as error:
        message = f"{path}: is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        raise DataError(message, hint="It may be cut short: fetch or write it again.") from None
    except RecursionError:
        raise DataError(f"{path}: is not a JSON that this can be: it nests too deep.") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__} where a JSON object is expected.")
    return content


def to_json(categories: Iterable[Category], records: Iterable[ImageRecord]) -> dict[str, Any]:
    """The same as COCO spells it, ready for `json.dump`."""
    images, annotations = [], []
    for record in records:
        images.append(
            {"id": record.image_id, "file_name": record.image_file, "height": record.height, "width": record.width}
        )
        infos = [_segment_to_json(segment) for segment in record.segments]
        annotations.append({"image_id": record.image_id, "file_name": record.panoptic_file, "segments_info": infos})
    return {"images": images, "annotations": annotations, "categories": [category_to_json(c) for c in categories]}


def category_to_json(category: Category) -> dict[str, Any]:
    """A category as COCO spells it."""
    return {
        "id": category.id,
        "name": category.name,
        "isthing": int(category.isthing),
        "color": list(category.color),
    }


def categories_from_json(entries: Sequence[Any]) -> tuple[Category, ...]:
    """A list of COCO's category entries.

    Raises:
        DataError: an entry lacks a key or has a wrong value, or an id comes twice.
    """
    try:
        return _categories({"categories": entries})
    except _MalformedError as error:
        raise DataError(f"{error}.") from None


def _segment_to_json(segment: Segment) -> dict[str, Any]:
    info: dict[str, Any] = {
        "id": segment.id,
        "category_id": segment.category_id,
        "area": segment.area,
        "bbox": list(segment.bbox),
        "iscrowd": int(segment.iscrowd),
    }
    if segment.score is not None:
        info["score"] = segment.score
    return info


def _categories(content: Mapping[str, Any]) -> tuple[Category, ...]:
    found: dict[int, Category] = {}
    for index, entry in enumerate(_list(content, "categories")):
        try:
            category = Category(
                _whole(entry, "id", 0), _value(entry, "name", str), bool(_whole(entry, "isthing", 0, 1)), _color(entry)
            )
            if category.id in found:
                raise _MalformedError(f"repeats id {category.id}")
        except _MalformedError as error:
            raise _MalformedError(f"categories[{index}] {error}") from None
        found[category.id] = category
    if not found:
        raise _MalformedError("'categories' is empty")
    return tuple(found.values())


def _images_like(like: PanopticSet) -> dict[int | str, tuple[str, int, int]]:
    return {record.image_id: (record.image_file, record.height, record.width) for record in like.records}


def _images(content: Mapping[str, Any]) -> dict[int | str, tuple[str, int, int]]:
    found: dict[int | str, tuple[str, int, int]] = {}
    for index, entry in enumerate(_list(content, "images")):
        try:
            image_id = _image_id(entry, "id")
            if image_id in found:
                raise _MalformedError(f"repeats id {image_id!r}")
            found[image_id] = (_file_name(entry), _whole(entry, "height", 1), _whole(entry, "width", 1))
        except _MalformedError as error:
            raise _MalformedError(f"images[{index}] {error}") from None
    return found


def _records(
    content: Mapping[str, Any],
    images: dict[int | str, tuple[str, int, int]],
    category_ids: set[int],
    *,
    strict: bool,
) -> tuple[ImageRecord, ...]:
    found: dict[int | str, ImageRecord] = {}
    for index, entry in enumerate(_list(content, "annotations")):
        try:
            image_id = _image_id(entry, "image_id")
            if image_id not in images:
                raise _MalformedError(f"belongs to image {image_id!r}, which 'images' does not list")
            if image_id in found:
                raise _MalformedError(f"is the second one for image {image_id!r}")
            image_file, height, width = images[image_id]
            segments = _segments(entry, category_ids, strict=strict)
            found[image_id] = ImageRecord(image_id, image_file, _file_name(entry), height, width, segments)
        except _MalformedError as error:
            raise _MalformedError(f"annotations[{index}] {error}") from None
    bare = [image_id for image_id in images if image_id not in found]
    if strict and bare:
        raise _MalformedError(f"{len(bare)} of {len(images)} images have no annotation, the first is {bare[0]!r}")
    # The order of the annotations: the reference adds floats in it, and it shows in the last digit.
    return tuple(found.values())


def _segments(entry: Mapping[str, Any], category_ids: set[int], *, strict: bool) -> tuple[Segment, ...]:
    found: dict[int, Segment] = {}
    for index, info in enumerate(_list(entry, "segments_info")):
        try:
            segment = _segment(info, strict=strict)
            if segment.id in found:
                raise _MalformedError(f"repeats id {segment.id}")
            if segment.category_id not in category_ids:
                raise _MalformedError(f"has category_id {segment.category_id}, which 'categories' does not list")
        except _MalformedError as error:
            raise _MalformedError(f"segments_info[{index}] {error}") from None
        found[segment.id] = segment
    return tuple(found.values())


def _segment(info: Any, *, strict: bool) -> Segment:
    segment_id, category_id = _whole(info, "id", 1, LARGEST_ID), _whole(info, "category_id", 0)
    area = _whole(info, "area", 0) if strict or "area" in info else 0
    crowd = _whole(info, "iscrowd", 0, 1) if strict or "iscrowd" in info else 0
    bbox = _numbers(info, "bbox", 4) if strict or "bbox" in info else (0, 0, 0, 0)
    score = _number(info["score"]) if info.get("score") is not None else None
    return Segment(segment_id, category_id, area, (bbox[0], bbox[1], bbox[2], bbox[3]), bool(crowd), score)


def _color(entry: Mapping[str, Any]) -> tuple[int, int, int]:
    if "color" not in entry:
        return Category.color
    red, green, blue = _numbers(entry, "color", 3)
    if not all(0 <= part <= 255 for part in (red, green, blue)):
        raise _MalformedError("has a 'color' outside 0..255")
    return red, green, blue


def _file_name(entry: Any) -> str:
    """A relative path that stays inside its folder: a JSON from elsewhere never names a file of the user's."""
    name = _value(entry, "file_name", str)
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    climbs = ".." in posix.parts or ".." in windows.parts
    if climbs or posix.is_absolute() or windows.anchor or not posix.name or "\0" in name:
        raise _MalformedError(f"has file_name {name!r}, which does not stay inside its folder")
    return name


def _image_id(entry: Any, key: str) -> int | str:
    value = _get(entry, key)
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        return value
    raise _MalformedError(f"has {key!r} {value!r} where a number or a name is expected")


def _whole(entry: Any, key: str, low: int, high: int | None = None) -> int:
    value = _get(entry, key)
    number = _integer(value)
    if number is None or number < low or (high is not None and number > high):
        limits = f"from {low} to {high}" if high is not None else f"of at least {low}"
        raise _MalformedError(f"has {key!r} {value!r} where a whole number {limits} is expected")
    return number


def _numbers(entry: Any, key: str, count: int) -> list[int]:
    values = _list(entry, key)
    numbers = [round(value) if isinstance(value, float) and abs(value) < LARGEST_ID else value for value in values]
    whole = [number for number in map(_integer, numbers) if number is not None]
    if len(values) != count or len(whole) != count:
        raise _MalformedError(f"has a {key!r} that is not {count} numbers")
    return whole


def _integer(value: Any) -> int | None:
    """Some tools write `12.0` and `true` for 12 and 1."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(value) if isinstance(value, int) else None


def _number(value: Any) -> float:
    if isinstance(value, (int, float)):
        return float(value)
    raise _MalformedError(f"has 'score' {value!r} where a number is expected")


def _list(entry: Any, key: str) -> list[Any]:
    return _value(entry, key, list)


def _value(entry: Any, key: str, kind: type[_T]) -> _T:
    value = _get(entry, key)
    if isinstance(value, kind):
        return value
    raise _MalformedError(f"has {key!r} of type {type(value).__name__} where a {kind.__name__} is expected")


def _get(entry: Any, key: str) -> Any:
    if not isinstance(entry, dict):
        raise _MalformedError(f"is a {type(entry).__name__} where an object is expected")
    if key not in entry:
        raise _MalformedError(f"lacks {key!r}")
    return entry[key]
