"""The JSON of COCO's instance annotations, entry by entry: what is wrong with it is listed, or repaired and listed."""

# H, W height and width of the picture in pixels

import json
import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from yoso_cli.conversion.category_file import CategoryTable
from yoso_cli.conversion.convert import SourcePicture
from yoso_cli.errors import DataError
from yoso_cli.panoptic.annotations import (
    MalformedError,
    Mistake,
    converted,
    counting_conversions,
    entry_file_name,
    entry_flag,
    entry_id,
    entry_int,
    entry_item,
    entry_list,
    entry_name,
    entry_number,
    entry_size,
    integer,
    number_of,
)
from yoso_cli.panoptic.types import Category
from yoso_cli.runtime.json_text import read_json

Repaired = Callable[[Any, int, int], tuple[Any, str]]
"""Gives what is left of a segmentation for a picture of this height and width, and what was done to it."""


class Annotation(NamedTuple):
    """One annotation.

    Attributes:
        id: None where it has none.
        category_id: of its class.
        segmentation: as the JSON has it: polygons or RLE.
        iscrowd: a group of things without separate instances.
        score: of predictions.
    """

    id: int | str | None
    category_id: int
    segmentation: Any
    iscrowd: bool = False
    score: float | None = None


class _FollowUpError(Exception):
    """What is wrong with an entry only because another one is, which was told."""


@dataclass
class Listing:
    """What is read of a JSON.

    Attributes:
        path: of the JSON.
        table: the classes.
        own_table: whether they are the JSON's own.
        repair: whether what can be is dropped or renumbered.
        pictures: by image id.
        sizes: height and width, by image id.
        annotations: by image id.
        mistakes: what is wrong.
        remarks: what is odd, and does not matter.
        repairs: what was done about it.
    """

    path: Path
    table: CategoryTable
    own_table: bool
    repair: bool
    pictures: dict[int | str, SourcePicture] = field(default_factory=dict)
    sizes: dict[int | str, tuple[int, int]] = field(default_factory=dict)
    annotations: dict[int | str, list[Annotation]] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    repairs: list[str] = field(default_factory=list)
    _seen: set[int | str] = field(default_factory=set)
    # Of entries that were told already.
    _odd_images: set[int | str] = field(default_factory=set)
    _odd_categories: set[int] = field(default_factory=set)
    _lacks_images: bool = False
    _lacks_categories: bool = False
    _names: dict[int, str] = field(default_factory=dict)
    _same: dict[int | str, int | str] = field(default_factory=dict)

    @property
    def problems(self) -> tuple[str, ...]:
        """The mistakes, with the JSON that they are in."""
        return tuple(f"{self.path}: {mistake.text}" for mistake in self.mistakes)

    def collect(self, key: str, entries: list[Any], take: Callable[[Any, str], None]) -> None:
        """Takes every entry of the list `key`; one that is wrong is told and left out."""
        follow_ups = 0
        for index, entry in enumerate(entries):
            place = f"{key}[{index}]"
            try:
                take(entry, place)
            except _FollowUpError:
                follow_ups += 1
            except MalformedError as error:
                if self.repair and key != "categories":
                    self.repairs.append(f"dropped {place}: it {error}")
                else:
                    self.mistakes.append(Mistake(error.code, f"{place} {error}", self._file_of(entry)))
        if follow_ups and self.repair:
            self.repairs.append(f"dropped {follow_ups} entries of '{key}' with the pictures they belong to")

    def _file_of(self, entry: Any) -> str:
        """The picture of an annotation; empty for any other entry."""
        image_id = entry.get("image_id") if isinstance(entry, dict) else None
        picture = self.pictures.get(image_id) if isinstance(image_id, (int, str)) else None
        return picture.image_file if picture else ""

    def take_categories(self, entries: list[Any], table: CategoryTable | None) -> None:
        """The JSON's own classes, which are the table where none is given.

        Raises:
            DataError: it means another class by an id than the given table.
        """
        own: dict[int, Category] = {}
        self.collect("categories", entries, lambda entry, _: self._take_category(entry, own))
        self._names = {category.id: category.name for category in own.values()}
        self.table = table or CategoryTable.of(own.values())
        known = {category.id: category.name for category in self.table.categories}
        for category in own.values():
            if known.get(category.id, category.name) != category.name:
                raise DataError(
                    f"{self.path}: its class {category.id} is {category.name!r}, in the table of classes it is "
                    f"{known[category.id]!r}.",
                    hint="Give each class of the table the id that the JSON has for it.",
                )

    def _take_category(self, entry: Any, own: dict[int, Category]) -> None:
        try:
            category_id = entry_int(entry, "id", 0)
        except MalformedError:
            self._lacks_categories = True
            raise
        try:
            isthing = entry_flag(entry, "isthing") if entry.get("isthing") is not None else True
            category = Category(category_id, entry_name(entry), isthing)
            if category_id in own:
                raise MalformedError(f"repeats id {category_id}", "duplicate-id")
        except MalformedError:
            self._odd_categories.add(category_id)
            raise
        own[category_id] = category

    def take_image(self, entry: Any, place: str) -> None:
        """An entry of `images`."""
        try:
            image_id = entry_id(entry, "id")
        except MalformedError:
            self._lacks_images = True
            raise
        try:
            size = entry_size(entry)
            video_id = entry_id(entry, "video_id") if entry.get("video_id") is not None else None
            picture = SourcePicture(image_id, entry_file_name(entry), video_id=video_id)
        except MalformedError:
            self._odd_images.add(image_id)
            raise
        if image_id in self.pictures:
            same = (self.pictures[image_id], self.sizes[image_id]) == (picture, size)
            if not (same and self.repair):
                self.mistakes.append(Mistake("duplicate-id", f"{place} repeats id {image_id!r}", picture.image_file))
                return
            raise MalformedError(f"repeats id {image_id!r}, as the same picture")
        self.sizes[image_id] = size
        self.pictures[image_id] = picture

    def join_same_pictures(self) -> None:
        """Makes entries of one file and size one picture, where repairing is asked for."""
        first: dict[str, int | str] = {}
        for image_id, picture in list(self.pictures.items()):
            other = first.setdefault(picture.image_file, image_id)
            if other == image_id:
                continue
            told = f"the image {image_id!r} is {picture.image_file!r}, and so is the image {other!r}"
            if self.repair and self.sizes[other] == self.sizes[image_id]:
                self._same[image_id] = other
                self.repairs.append(f"joined two pictures: {told}")
            else:
                self.mistakes.append(Mistake("duplicate-file", told, picture.image_file))
            del self.pictures[image_id]
            self._odd_images.add(image_id)

    def take_annotation(self, entry: Any, place: str) -> None:
        """An entry of `annotations`."""
        image_id = self._image_id(entry)
        if image_id not in self.pictures:
            if image_id in self._odd_images or self._lacks_images:
                raise _FollowUpError
            what = f"belongs to image {image_id!r}, which 'images' does not list"
            raise MalformedError(what, "annotation-without-image")
        annotation_id = self._annotation_id(entry, place)
        category_id = entry_int(entry, "category_id", 0)
        if category_id not in self.table.ids():
            if category_id in self._odd_categories or self._lacks_categories:
                raise _FollowUpError
            named = f" ({self._names[category_id]!r})" if category_id in self._names else ""
            what = f"has category_id {category_id}{named}, which is not among the classes"
            raise MalformedError(what, "unknown-category")
        annotation = Annotation(
            annotation_id,
            category_id,
            _points(_segmentation(entry)),
            entry_flag(entry, "iscrowd") if entry.get("iscrowd") is not None else False,
            entry_number(entry, "score") if entry.get("score") is not None else None,
        )
        self._add(image_id, annotation, entry, place)

    def _image_id(self, entry: Any) -> int | str:
        """Of its picture, whether it is written as a number or as text."""
        image_id = entry_id(entry, "image_id")
        if image_id in self._same or image_id in self.pictures:
            return self._same.get(image_id, image_id)
        twin = str(image_id) if isinstance(image_id, int) else integer(image_id)
        return converted("image_id", image_id, twin) if twin is not None and twin in self.pictures else image_id

    def _annotation_id(self, entry: Any, place: str) -> int | str | None:
        """Its id, or None for one that is missing or taken, where repairing is asked for: ids mean nothing here."""
        try:
            annotation_id = entry_id(entry, "id")
            if annotation_id in self._seen:
                raise MalformedError(f"repeats id {annotation_id!r}", "duplicate-id")
        except MalformedError as error:
            if not self.repair:
                raise
            self.repairs.append(f"renumbered {place}: it {error}")
            return None
        self._seen.add(annotation_id)
        return annotation_id

    def _add(self, image_id: int | str, annotation: Annotation, entry: Any, place: str) -> None:
        there = self.annotations.setdefault(image_id, [])
        if self._same and image_id in self._same.values():
            whole = json.dumps([annotation.category_id, annotation.segmentation, annotation.iscrowd])
            if any(whole == json.dumps([one.category_id, one.segmentation, one.iscrowd]) for one in there):
                raise MalformedError("is there already, of the same picture listed twice")
        there.append(annotation)

    def drop_wrong_masks(self, repaired: Repaired) -> None:
        """Repairs or drops annotations whose segmentation is wrong."""
        for image_id, several in self.annotations.items():
            height, width = self.sizes[image_id]
            kept = []
            for annotation in several:
                named = f"the annotation {annotation.id!r} of {self.pictures[image_id].image_file}"
                try:
                    segmentation, done = repaired(annotation.segmentation, height, width)
                except MalformedError as error:
                    self.repairs.append(f"dropped {named}: it {error}")
                    continue
                if done:
                    self.repairs.append(f"repaired {named}: {done}")
                kept.append(annotation._replace(segmentation=segmentation))
            several[:] = kept


def _segmentation(entry: Any) -> Any:
    if entry.get("segmentation") is None and "bbox" in entry:
        raise MalformedError("has a box and no 'segmentation'")
    return entry_item(entry, "segmentation")


def _points(segmentation: Any) -> Any:
    """Polygons whose points are texts as numbers. Whoever writes one so writes all so, and the first one tells."""
    if not isinstance(segmentation, list):
        return segmentation
    of_text = [isinstance(one, list) and bool(one) and isinstance(one[0], str) for one in segmentation]
    if not any(of_text):
        return segmentation
    pairs = zip(segmentation, of_text, strict=True)
    return [[number_of(value, "segmentation") for value in one] if texts else one for one, texts in pairs]


def read_listing(path: Path, table: CategoryTable | None, *, repair: bool = False) -> Listing:
    """The entries of an instances JSON.

    Args:
        path: of the JSON.
        table: the classes; by default the JSON's own.
        repair: drop or renumber what is wrong and can be.

    Raises:
        DataError: it is missing, of another form, or malformed as a whole.
    """
    content = read_json(path)
    if other := _other_form(content):
        raise DataError(f"{path}: is {other}, not COCO's instance annotations.", hint=_HINTS[other])
    found = Listing(path, table or CategoryTable.of(()), table is None, repair)
    try:
        categories, images, annotations = (entry_list(content, key) for key in ("categories", "images", "annotations"))
    except MalformedError as error:
        raise DataError(f"{path}: {error}.", hint="COCO's instance annotations are expected here.") from None
    with counting_conversions() as conversions:
        found.take_categories(categories, table)
        found.collect("images", images, found.take_image)
        found.join_same_pictures()
        found.collect("annotations", annotations, found.take_annotation)
    found.remarks += [*found.table.remarks, *conversions.told(path)]
    return found


def has_instances(path: Path) -> bool:
    """Whether the JSON at `path` is COCO's instance annotations, as far as its keys show it."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            keys = ("annotations", "images", "segmentation", "bbox", "segments_info")
            there = {key for key in keys if content.find(f'"{key}"'.encode()) >= 0}
    except (OSError, ValueError):  # unreadable, or empty
        return False
    return {"annotations", "images"} < there and "segments_info" not in there


_PANOPTIC, _LABELME = "a panoptic JSON", "a file of LabelMe"
_HINTS = {_PANOPTIC: "Convert it with --from coco-panoptic.", _LABELME: "It has the labels of one picture only."}


def _other_form(content: Mapping[str, Any]) -> str:
    """What a JSON is that has another form; empty where it may be an instances JSON."""
    annotations = content.get("annotations")
    first = annotations[0] if isinstance(annotations, list) and annotations else None
    if isinstance(first, dict) and "segments_info" in first:
        return _PANOPTIC
    return _LABELME if "shapes" in content and "imagePath" in content else ""
