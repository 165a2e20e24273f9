"""Reading and writing COCO panoptic JSON (https://cocodataset.org/#format-data), with validation.

A JSON comes from elsewhere: each value is checked as it is taken. Tools write `"3"`, `3.0` and `true` for 3 and 1: a
value of another type is taken for the one that it says exactly, and counted (`counting_conversions`); anything else is
refused with its place. null is a key that is missing.
"""

import gc
import json
import math
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TypeVar

from yoso_cli.errors import DataError
from yoso_cli.panoptic.packed_segments import NUMBERS, PackedSegments, pack
from yoso_cli.panoptic.types import LARGEST_ID, MOST_PIXELS, Category, ImageRecord, PanopticSet, Segment
from yoso_cli.runtime.json_text import read_json
from yoso_cli.runtime.paths import is_possible

_T = TypeVar("_T")

LARGEST_CATEGORY = 2**31 - 1
"""The largest id of a class: classes are looked up in arrays of 32-bit numbers."""
# As they are written back: "03" and " 3" are names.
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,30})?([eE][-+]?[0-9]{1,3})?")
_PLAIN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z]+")
# No count of pixels is larger, and sums of these are exact in 64 bits.
_LARGEST_COUNT = 2**40
# The longest edge that a PNG can have.
_LONGEST_EDGE = 2**31 - 1
_USUAL = itemgetter("id", "category_id", "area", "iscrowd", "bbox")


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong in a JSON.

    Attributes:
        code: the kind of mistake, as `malformed-entry` or `unknown-category`.
        text: which entry, and what is wrong with it.
        image: the picture's file, where the mistake belongs to one.
    """

    code: str
    text: str
    image: str = ""


OnMistake = Callable[[Mistake], None]


@dataclass
class Conversions:
    """Values of another type that were taken for what they say.

    Attributes:
        count: how many.
        examples: the first ones.
    """

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, key: str, found: Any, taken: Any) -> None:
        """Takes in one."""
        self.count += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(f"{key!r} {json.dumps(found)} as {json.dumps(taken)}")

    def told(self, where: object) -> tuple[str, ...]:
        """A sentence without its full stop on those in the file `where`, if there are any."""
        if not self.count:
            return ()
        values = "1 value is" if self.count == 1 else f"{self.count:,} values are"
        return (f"{where}: {values} of another type than expected; read {', '.join(self.examples)}",)


_EXAMPLES = 3
# An argument of each reader of an entry would say nothing at all but one in a thousand files.
_CONVERSIONS: ContextVar[Conversions | None] = ContextVar("conversions", default=None)


@contextmanager
def counting_conversions() -> Iterator[Conversions]:
    """Counts conversions of values while the block runs."""
    found = Conversions()
    token = _CONVERSIONS.set(found)
    try:
        yield found
    finally:
        _CONVERSIONS.reset(token)


def converted(key: str, found: Any, taken: _T) -> _T:
    """`taken`, which was `found` under `key`; counted where somebody counts."""
    counting = _CONVERSIONS.get()
    if counting is not None:
        counting.add(key, found, taken)
    return taken


class _RefusalError(Exception):
    """The first mistake, where it is the end."""

    def __init__(self, mistake: Mistake) -> None:
        super().__init__(mistake.text)
        self.code = mistake.code


def _refuse(mistake: Mistake) -> None:
    raise _RefusalError(mistake)


# What to do about a mistake, by its code.
_HINTS = {
    "duplicate-id": "Ids must be unique: of segments within their image, of others in the whole file.",
    "annotation-without-image": 'Ids must be identical: the number 7 and the string "7" are different.',
    "unknown-category": "Use the dataset's category ids, not indices into a list of classes.",
    "path-outside": "Use a path inside the folder of the PNGs.",
    "instances": "`yoso convert JSON datasets/NAME/SPLIT --from coco-instances` makes a panoptic set of it.",
}


_Image = tuple[str, int, int, "int | str | None"]


@dataclass(frozen=True)
class _Known:
    """What annotations may refer to.

    Attributes:
        images: file, height, width and video by id.
        categories: their ids.
        by_file: whether the file itself lists the images, and not the truth in its place.
        odd: what is known of entries that were told: what follows from them is not told again.
    """

    images: dict[int | str, _Image]
    categories: set[int]
    by_file: bool
    odd: "_Odd"


@dataclass
class _Odd:
    """Entries that are wrong: the ids of those that have one, and whether others have none."""

    images: set[int | str] = field(default_factory=set)
    categories: set[int] = field(default_factory=set)
    unnamed_images: bool = False
    unnamed_categories: bool = False
    unnamed_annotations: bool = False


def read(
    path: Path,
    like: PanopticSet | None = None,
    on_mistake: OnMistake = _refuse,
    on_remark: Callable[[str], None] | None = None,
) -> tuple[tuple[Category, ...], tuple[ImageRecord, ...]]:
    """The categories and pictures of a COCO panoptic JSON.

    Args:
        path: the JSON.
        like: the truth, when `path` holds predictions. COCO's result format leaves out what the truth knows: then
            pictures and categories come from here, and a segment needs `id` and `category_id` only. What is predicted
            for other pictures is left out.
        on_mistake: takes each mistake; reading then goes on without the entry (a segment of an unknown category is
            kept). By default the first mistake is the end.
        on_remark: takes a sentence, without its full stop, on values of another type that were taken for what they say.

    Raises:
        DataError: no such file, no JSON, or an entry that lacks a key, has a wrong value or contradicts another.
    """
    with _no_collection(), counting_conversions() as conversions:
        content = read_json(path, {"images": _lean_image, "annotations": _lean_annotation})
        found = parse(content, str(path), like, on_mistake)
    for remark in conversions.told(path):
        if on_remark:
            on_remark(remark)
    return found


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pauses Python's cyclic garbage collector, which would go over all the objects made so far again and again.

    A JSON makes a hundred thousand objects and no cycle; without the pause, reading takes twice as long.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def parse(
    content: dict[str, Any], where: str, like: PanopticSet | None = None, on_mistake: OnMistake = _refuse
) -> tuple[tuple[Category, ...], tuple[ImageRecord, ...]]:
    """The same from a JSON object in memory; `where` names it in what is raised."""
    odd = _Odd()
    try:
        _require_panoptic(content)
        categories = like.categories if like and "categories" not in content else _categories(content, on_mistake, odd)
        by_file = like is None or "images" in content
        images = (
            _images(content, on_mistake, odd)
            if by_file or like is None
            else {one.image_id: (one.image_file, one.height, one.width, one.video_id) for one in like.records}
        )
        known = _Known(images, {one.id for one in categories}, by_file, odd)
        records = _records(content, known, on_mistake, strict=like is None)
    except (MalformedError, _RefusalError) as error:
        hint = _HINTS.get(error.code, "A COCO panoptic JSON is expected here.")
        raise DataError(f"{where}: {error}.", hint=hint) from None
    return categories, records


def to_json(categories: Iterable[Category], records: Iterable[ImageRecord]) -> dict[str, Any]:
    """The same as COCO's JSON has it, ready for `json.dump`."""
    return listing_to_json(categories, map(record_to_json, records))


def listing_text(categories: Iterable[Category], records: Sequence[ImageRecord]) -> Iterator[str]:
    """The text of `to_json` as `json.dumps` gives it, in parts: of a large set it would take a gigabyte at once."""

    def listed(entries: Iterable[dict[str, Any]]) -> Iterator[str]:
        for place, entry in enumerate(entries):
            yield (", " if place else "") + json.dumps(entry, ensure_ascii=False)

    yield '{"images": ['
    yield from listed(record_to_json(record)[0] for record in records)
    yield '], "annotations": ['
    yield from listed(record_to_json(record)[1] for record in records)
    yield '], "categories": ['
    yield from listed(map(category_to_json, categories))
    yield "]}"


def listing_to_json(
    categories: Iterable[Category], entries: Iterable[tuple[dict[str, Any], dict[str, Any]]]
) -> dict[str, Any]:
    """The JSON of pictures whose entries of `images` and `annotations` are made already, as `record_to_json` does."""
    images, annotations = [], []
    for image, annotation in entries:
        images.append(image)
        annotations.append(annotation)
    return {"images": images, "annotations": annotations, "categories": [category_to_json(c) for c in categories]}


def record_to_json(record: ImageRecord) -> tuple[dict[str, Any], dict[str, Any]]:
    """A picture as an entry of `images` and one of `annotations`."""
    size = {"height": record.height, "width": record.width}
    video = {} if record.video_id is None else {"video_id": record.video_id}
    image = {"id": record.image_id, "file_name": record.image_file, **size, **video}
    infos = [segment_to_json(segment) for segment in record.segments]
    return image, {"image_id": record.image_id, "file_name": record.panoptic_file, "segments_info": infos}


def category_to_json(category: Category) -> dict[str, Any]:
    """A category as an entry of COCO's JSON."""
    return {
        "id": category.id,
        "name": category.name,
        "isthing": int(category.isthing),
        "color": list(category.color),
    }


def categories_from_json(listed: Sequence[Any]) -> tuple[Category, ...]:
    """A list of COCO's category entries.

    Raises:
        DataError: an entry lacks a key or has a wrong value, or an id comes twice.
    """
    try:
        return _categories({"categories": listed}, _refuse, _Odd())
    except (MalformedError, _RefusalError) as error:
        raise DataError(f"{error}.") from None


def _require_panoptic(content: Mapping[str, Any]) -> None:
    """Raises MalformedError for COCO's other annotations, of which every entry would be called wrong."""
    annotations = content.get("annotations")
    first = annotations[0] if isinstance(annotations, list) and annotations else None
    if isinstance(first, dict) and _OF_INSTANCES & first.keys() and "segments_info" not in first:
        raise MalformedError("is COCO's instance annotations, not a panoptic JSON", "instances")


def _categories(content: Mapping[str, Any], on_mistake: OnMistake, odd: _Odd) -> tuple[Category, ...]:
    found: dict[int, Category] = {}
    for index, entry in enumerate(entry_list(content, "categories")):
        category_id = None
        try:
            category_id = entry_int(entry, "id", 0)
            category = Category(category_id, entry_name(entry), entry_flag(entry, "isthing"), _color(entry))
            if category.id in found:
                raise MalformedError(f"repeats id {category.id}", "duplicate-id")
            found[category.id] = category
        except MalformedError as error:
            odd.unnamed_categories |= category_id is None
            odd.categories |= set() if category_id is None else {category_id}
            on_mistake(Mistake(error.code, f"categories[{index}] {error}"))
    if not found and not (odd.categories or odd.unnamed_categories):
        raise MalformedError("'categories' is empty")
    return tuple(found.values())


def _images(content: Mapping[str, Any], on_mistake: OnMistake, odd: _Odd) -> dict[int | str, _Image]:
    found: dict[int | str, _Image] = {}
    for index, entry in enumerate(entry_list(content, "images")):
        image_id = None
        try:
            image_id = entry_id(entry, "id")
            if image_id in found:
                raise MalformedError(f"repeats id {image_id!r}", "duplicate-id")
            size = entry_size(entry)
            video_id = entry_id(entry, "video_id") if entry.get("video_id") is not None else None
            found[image_id] = (entry_file_name(entry), *size, video_id)
        except MalformedError as error:
            odd.unnamed_images |= image_id is None
            odd.images |= set() if image_id is None else {image_id}
            on_mistake(Mistake(error.code, f"images[{index}] {error}"))
    return found


def _records(
    content: Mapping[str, Any], known: _Known, on_mistake: OnMistake, *, strict: bool
) -> tuple[ImageRecord, ...]:
    images, odd = known.images, known.odd
    found: dict[int | str, ImageRecord] = {}
    annotated: set[int | str] = set()
    for index, entry in enumerate(entry_list(content, "annotations")):
        place, image_file, listed_id = f"annotations[{index}]", "", None
        try:
            listed_id = entry_id(entry, "image_id")
            image_id = _known_image(listed_id, known)
            if image_id is None:
                continue
            annotated.add(image_id)
            image_file, height, width, video_id = images[image_id]
            if image_id in found:
                if image_id in odd.images:
                    continue
                raise MalformedError(f"is the second one for image {image_id!r}", "duplicate-id")
            segments = _segments(entry, known, place, image_file, on_mistake, strict=strict)
            panoptic_file = entry_file_name(entry)
            found[image_id] = ImageRecord(image_id, image_file, panoptic_file, height, width, segments, video_id)
        except MalformedError as error:
            odd.unnamed_annotations |= listed_id is None
            on_mistake(Mistake(error.code, f"{place} {error}", image_file))
    # An annotation that does not say its picture may be of any of them.
    bare = [] if odd.unnamed_annotations or not strict else [one for one in images if one not in annotated]
    for image_id in bare:
        what = f"{len(bare)} of {len(images)} images have no annotation, the first is {bare[0]!r}"
        on_mistake(Mistake("image-without-annotation", what, images[image_id][0]))
    # The order of the annotations: the reference adds floats in it, and it shows in the last digit.
    return tuple(found.values())


def _known_image(image_id: int | str, known: _Known) -> int | str | None:
    """The image that an annotation is of; None for one of another set, or of one that was told to be wrong.

    Raises:
        MalformedError: the file lists the images, and this is none of them.
    """
    if image_id in known.images:
        return image_id
    twin = str(image_id) if isinstance(image_id, int) else integer(image_id)
    if twin is not None and twin in known.images:
        return converted("image_id", image_id, twin)
    if known.by_file and image_id not in known.odd.images and not known.odd.unnamed_images:
        raise MalformedError(f"belongs to image {image_id!r}, which 'images' does not list", "annotation-without-image")
    return None


def _segments(
    entry: Mapping[str, Any],
    known: _Known,
    place: str,
    image_file: str,
    on_mistake: OnMistake,
    *,
    strict: bool,
) -> PackedSegments:
    listed = entry_item(entry, "segments_info")
    usual = listed if isinstance(listed, PackedSegments) else _packed(listed)
    if usual is not None and known.categories.issuperset(usual.category_ids()):
        return usual
    found: dict[int, Segment] = {}
    for index, info in enumerate(map(segment_to_json, usual) if usual else entry_list(entry, "segments_info")):
        try:
            segment = segment_from_json(info, strict=strict)
            if segment.id in found:
                raise MalformedError(f"repeats id {segment.id}", "duplicate-id")
            found[segment.id] = segment
            if not _is_known(segment.category_id, known):
                what = f"has category_id {segment.category_id}, which is not among the categories"
                raise MalformedError(what, "unknown-category")
        except MalformedError as error:
            on_mistake(Mistake(error.code, f"{place} segments_info[{index}] {error}", image_file))
    return PackedSegments.of(found.values())


def _is_known(category_id: int, known: _Known) -> bool:
    """Whether it is a category, or may be one that was told to be wrong."""
    return category_id in known.categories or known.odd.unnamed_categories or category_id in known.odd.categories


# What is read of an entry, of which COCO's own has more.
_OF_IMAGE = ("id", "file_name", "height", "width", "video_id")
_OF_ANNOTATION = ("image_id", "file_name", "segments_info")
# Keys of instance annotations, which a panoptic annotation has not.
_OF_INSTANCES = frozenset({"segmentation", "bbox"})


def _lean_image(entry: Any) -> Any:
    """What is read of an entry of `images`."""
    return {key: entry[key] for key in _OF_IMAGE if key in entry} if isinstance(entry, dict) else entry


def _lean_annotation(entry: Any) -> Any:
    """What is read of an entry of `annotations`, its segments packed if all of them are usual ones."""
    if not isinstance(entry, dict):
        return entry
    lean = {key: entry[key] for key in _OF_ANNOTATION if key in entry}
    if "segments_info" not in entry:
        return lean | dict.fromkeys(_OF_INSTANCES & entry.keys())
    packed = _packed(lean.get("segments_info"))
    return lean if packed is None else {**lean, "segments_info": packed}


def _packed(infos: Any) -> PackedSegments | None:
    """The segments of a picture if all are written as nearly all are; None if not.

    That takes a tenth of the time of asking for each value. Predictions with scores are read in the other way.
    """
    if not isinstance(infos, list):
        return None
    numbers: list[int] = []
    try:
        for info in infos:
            segment_id, category_id, area, crowd, (x, y, width, height) = _USUAL(info)
            if "score" in info:
                return None
            numbers += (segment_id, category_id, area, x, y, width, height, crowd)
        packed = pack(numbers)
    except (KeyError, TypeError, ValueError, struct.error):
        return None
    # What is packed is whole, and a category or a box within 32 bits.
    ids, category_ids, areas, crowds = (numbers[start::NUMBERS] for start in (0, 1, 2, NUMBERS - 1))
    if not ids:
        return packed
    usual = set(map(type, numbers)) == {int} and len(set(ids)) == len(ids)
    usual = usual and min(ids) > 0 and max(ids) <= LARGEST_ID and min(category_ids) >= 0 and max(crowds) <= 1
    usual = usual and min(areas) >= 0 and max(areas) <= _LARGEST_COUNT and min(numbers) >= -_LONGEST_EDGE
    return packed if usual else None


def _color(entry: Mapping[str, Any]) -> tuple[int, int, int]:
    if "color" not in entry:
        return Category.color
    red, green, blue = entry_ints(entry, "color", 3)
    if not all(0 <= part <= 255 for part in (red, green, blue)):
        raise MalformedError("has a 'color' outside 0..255")
    return red, green, blue


def segment_to_json(segment: Segment) -> dict[str, Any]:
    """A segment as an entry of `segments_info`."""
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


def segment_from_json(info: Any, *, strict: bool) -> Segment:
    """An entry of `segments_info`; where not `strict`, one of a prediction, it needs its ids only.

    Raises:
        MalformedError: it lacks a key or has a wrong value.
    """
    segment_id, category_id = entry_int(info, "id", 1, LARGEST_ID), entry_int(info, "category_id", 0)
    area = entry_int(info, "area", 0, _LARGEST_COUNT) if strict or info.get("area") is not None else 0
    crowd = entry_flag(info, "iscrowd") if strict or info.get("iscrowd") is not None else False
    bbox = entry_ints(info, "bbox", 4) if strict or info.get("bbox") is not None else (0, 0, 0, 0)
    score = entry_number(info, "score") if info.get("score") is not None else None
    return Segment(segment_id, category_id, area, (bbox[0], bbox[1], bbox[2], bbox[3]), crowd, score)


def _near(*box: int) -> bool:
    return max(box) <= _LONGEST_EDGE and min(box) >= -_LONGEST_EDGE


class MalformedError(Exception):
    """What is wrong with one entry; the caller adds which entry and which file.

    Args:
        what: continues the entry's name: `repeats id 5`.
        code: the kind of mistake, as in `Mistake.code`.
    """

    def __init__(self, what: str, code: str = "malformed-entry") -> None:
        super().__init__(what)
        self.code = code


def entry_file_name(entry: Any) -> str:
    """The `file_name`: a path that stays inside its folder, so that a JSON never names a file of the user's."""
    name = entry_value(entry, "file_name", str)
    if not stays_inside(name) or not (_PLAIN.fullmatch(name) or PurePosixPath(name).name):
        raise MalformedError(f"has file_name {name!r}, which does not stay inside its folder", "path-outside")
    return name


def stays_inside(name: str) -> bool:
    """Whether the path `name`, from an untrusted file, stays inside its folder."""
    if _PLAIN.fullmatch(name):
        return True  # a set has thousands of these, and taking each apart twice takes a third of its reading
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    climbs = ".." in posix.parts or ".." in windows.parts
    return is_possible(name) and not (climbs or posix.is_absolute() or windows.anchor)


def entry_name(entry: Any) -> str:
    """The `name`: any text that can be written."""
    name = entry_value(entry, "name", str)
    if not name.isascii() and any("\ud800" <= one <= "\udfff" for one in name):
        raise MalformedError(f"has name {name!a}, which is no text")
    return name


def entry_size(entry: Any) -> tuple[int, int]:
    """The `height` and `width` of a picture, in pixels."""
    height, width = entry_int(entry, "height", 1, _LONGEST_EDGE), entry_int(entry, "width", 1, _LONGEST_EDGE)
    if height * width > MOST_PIXELS:
        raise MalformedError(f"has a size of {width}x{height}, more than the {MOST_PIXELS:,} pixels that are read")
    return height, width


def entry_id(entry: Any, key: str) -> int | str:
    """A number or a name."""
    found = entry_item(entry, key)
    if type(found) is int or isinstance(found, str):
        return found
    if isinstance(found, float) and (number := integer(found)) is not None:
        return converted(key, found, number)
    raise MalformedError(f"has {key!r} {found!r} where a number or a name is expected")


def entry_int(entry: Any, key: str, low: int, high: int = LARGEST_CATEGORY) -> int:
    """A whole number from `low` to `high`."""
    found = entry_item(entry, key)
    # A set has millions of these, nearly all of them valid.
    if type(found) is int and low <= found <= high:
        return found
    number = integer(found)
    if number is None or not low <= number <= high:
        limits = f"from {low} to {high}"
        if high in (LARGEST_CATEGORY, _LARGEST_COUNT):
            limits = f"of at most {high}" if number is not None and number > high else f"of at least {low}"
        raise MalformedError(f"has {key!r} {found!r} where a whole number {limits} is expected")
    return converted(key, found, number)


def entry_flag(entry: Any, key: str) -> bool:
    """1 or 0; `true` and `false` are taken for them."""
    found = entry_item(entry, key)
    if isinstance(found, bool):
        return bool(converted(key, found, int(found)))
    return bool(entry_int(entry, key, 0, 1))


def entry_number(entry: Any, key: str) -> float:
    """A finite number."""
    return number_of(entry_item(entry, key), key)


def number_of(found: Any, key: str) -> float:
    """A finite number, which is called `key` where it is none."""
    if isinstance(found, (int, float)) and not isinstance(found, bool) and math.isfinite(found):
        return float(found)
    if isinstance(found, str) and _NUMBER.fullmatch(found) and math.isfinite(float(found)):
        return converted(key, found, float(found))
    raise MalformedError(f"has {key!r} {found!r} where a number is expected")


def entry_ints(entry: Any, key: str, count: int) -> list[int]:
    """`count` numbers, rounded to whole ones."""
    values = entry_list(entry, key)
    if len(values) == count and all(type(one) is int for one in values) and _near(*values):
        return values
    try:
        numbers = [number_of(one, key) for one in values]
    except MalformedError:
        numbers = []
    rounded = [round(one) for one in numbers if abs(one) <= _LONGEST_EDGE]
    if len(values) != count or len(rounded) != count:
        raise MalformedError(f"has a {key!r} that is not {count} numbers")
    return rounded


def integer(found: Any) -> int | None:
    """The whole number that a value of any type says exactly: 12, 12.0 or "12"; None for anything else."""
    if isinstance(found, str):
        return int(found) if _WHOLE.fullmatch(found) else None
    if isinstance(found, float):
        return int(found) if found.is_integer() else None
    return found if type(found) is int else None


def entry_list(entry: Any, key: str) -> list[Any]:
    """A list of anything."""
    return entry_value(entry, key, list)


def entry_value(entry: Any, key: str, kind: type[_T]) -> _T:
    """A value of one kind."""
    found = entry_item(entry, key)
    if isinstance(found, kind):
        return found
    raise MalformedError(f"has {key!r} of type {type(found).__name__} where a {kind.__name__} is expected")


def entry_item(entry: Any, key: str) -> Any:
    """The value of `key`."""
    if not isinstance(entry, dict):
        raise MalformedError(f"is a {type(entry).__name__} where an object is expected")
    found = entry.get(key)
    if found is None:
        raise MalformedError(f"has null for {key!r}" if key in entry else f"lacks {key!r}")
    return found
