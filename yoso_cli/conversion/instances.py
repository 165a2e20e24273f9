"""COCO's instance annotations, with a semantic map for the stuff where there is one.

Instances may overlap in this form and never in panoptic labels. The rule here: crowds lie lowest, then the instances
from large to small, so that the smallest at a pixel has it; of two of one size the later one in the JSON.
"""

# H, W height and width of the picture in pixels

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yoso_cli.atomic import write_json
from yoso_cli.conversion import label_map
from yoso_cli.conversion.category_file import CategoryTable, write_table
from yoso_cli.conversion.form import Loss, Picture, Reading, Source
from yoso_cli.conversion.maps import CATEGORIES, SEMANTIC
from yoso_cli.conversion.masks import Mask, read_mask, to_run_lengths
from yoso_cli.conversion.picture_files import find, lacking
from yoso_cli.errors import DataError
from yoso_cli.panoptic import entries
from yoso_cli.panoptic.annotations import category_to_json, read_json
from yoso_cli.panoptic.entries import MalformedError
from yoso_cli.panoptic.types import VOID, Category, Panoptic, Segment, measured

INSTANCES_JSON = "instances.json"


@dataclass(frozen=True)
class _Size:
    height: int
    width: int


@dataclass(frozen=True)
class InstancesSource(Source):
    """Pictures with their annotations as the JSON has them: decoded one picture at a time, they fit into memory."""

    listing: Path
    semantic_dir: Path | None
    sizes: dict[int | str, _Size]
    annotations: dict[int | str, list[Any]]

    def read(self, picture: Picture) -> Reading:
        """The instances over the stuff of the semantic map. Raises DataError naming what is wrong."""
        size = self.sizes[picture.image_id]
        losses: Counter[Loss] = Counter()
        segments, masks = self._instances(picture, size)
        id_map = np.zeros((size.height, size.width), np.int32)
        order = sorted(range(len(masks)), key=lambda place: (not segments[place].iscrowd, -segments[place].area))
        for place in order:
            losses[Loss.OVERLAP] += int(np.count_nonzero(id_map[masks[place]]))
            id_map[masks[place]] = segments[place].id
        losses[Loss.EMPTY] = sum(not segment.area for segment in segments)
        if self.semantic_dir is not None:
            self._lay_stuff(self.semantic_dir / f"{picture.stem}.png", id_map, segments, losses)
        seen = measured(id_map, segments)
        losses[Loss.HIDDEN] = len(segments) - len(seen) - losses[Loss.EMPTY]
        return Reading(Panoptic(id_map, seen), losses)

    def _instances(self, picture: Picture, size: _Size) -> tuple[list[Segment], list[Mask]]:
        """The instances of a picture with the area of their whole masks."""
        segments, masks = [], []
        for annotation in self.annotations.get(picture.image_id, []):
            try:
                mask = read_mask(annotation, size.height, size.width)
            except MalformedError as error:
                raise DataError(
                    f"{self.listing}: the annotation {annotation.get('id')!r} of {picture.image_file} {error}."
                ) from None
            crowd = bool(annotation.get("iscrowd", 0))
            masks.append(mask)
            segments.append(Segment(len(masks), annotation["category_id"], int(np.count_nonzero(mask)), iscrowd=crowd))
        return segments, masks

    def _lay_stuff(self, path: Path, id_map: Any, segments: list[Segment], losses: Counter[Loss]) -> None:
        """Fills what no instance covers with the stuff of the semantic map, into `id_map` and `segments`."""
        classes = label_map.read_classes(path)
        if classes.shape != id_map.shape:
            raise DataError(f"{path}: is not of the size {id_map.shape[1]}x{id_map.shape[0]} that the JSON says.")
        stuff = label_map.to_panoptic(classes, np.zeros_like(classes), self.table, path)
        free = id_map == VOID
        for segment in stuff.segments:
            region = free & (stuff.id_map == segment.id)
            if segment.iscrowd:
                losses[Loss.UNCLAIMED] += int(np.count_nonzero(region))
                continue
            segments.append(Segment(len(segments) + 1, segment.category_id, segment.area))
            id_map[region] = len(segments)


def open_instances(
    listing: Path, image_dir: Path | None, semantic_dir: Path | None, table: CategoryTable | None
) -> InstancesSource:
    """An instances JSON with its pictures.

    Args:
        listing: the JSON, or a folder that holds instances.json.
        image_dir: by default `images/` beside the JSON.
        semantic_dir: a PNG of category ids for each picture; by default `semantic/` beside the JSON if it is there.
        table: the classes; by default the JSON's own, all of them things.

    Raises:
        DataError: the JSON is missing or malformed as a whole.
        UsageError: there is a semantic map and no table that names the stuff.
    """
    listing = listing / INSTANCES_JSON if listing.is_dir() else listing
    content = read_json(listing)
    beside = listing.parent / SEMANTIC
    semantic_dir = semantic_dir or (beside if beside.is_dir() else None)
    problems: list[str] = []

    def collected(key: str, take: Callable[[Any], None]) -> None:
        for index, entry in enumerate(entries.list_of(content, key)):
            try:
                take(entry)
            except MalformedError as error:
                problems.append(f"{listing}: {key}[{index}] {error}")

    reading = _Listing({}, {}, {}, {}, set())
    try:
        collected("categories", reading.take_category)
        collected("images", reading.take_image)
        table = table or CategoryTable.of(reading.categories.values())
        reading.categories = _checked(reading.categories.values(), table)
        collected("annotations", reading.take_annotation)
    except MalformedError as error:
        raise DataError(f"{listing}: {error}.", hint="COCO's instance annotations are expected here.") from None
    pictures = tuple(reading.pictures.values())
    if semantic_dir is not None:
        maps = find(semantic_dir, {".png"}, what="semantic maps").by_stem
        stems = [picture.stem for picture in pictures]
        problems += lacking(maps, stems, f"{semantic_dir}: has no semantic map for pictures: {{}}")
    folder = image_dir or listing.parent / "images"
    return InstancesSource(
        table, folder, pictures, tuple(problems), (), listing, semantic_dir, reading.sizes, reading.annotations
    )


@dataclass
class _Listing:
    """What is read of a JSON so far."""

    categories: dict[int, Category]
    pictures: dict[int | str, Picture]
    sizes: dict[int | str, _Size]
    annotations: dict[int | str, list[Any]]
    seen: set[int | str]

    def take_category(self, entry: Any) -> None:
        category = Category(entries.whole(entry, "id", 0), entries.value(entry, "name", str), True)
        if category.id in self.categories:
            raise MalformedError(f"repeats id {category.id}")
        self.categories[category.id] = category

    def take_image(self, entry: Any) -> None:
        picture = Picture(entries.image_id(entry, "id"), entries.file_name(entry))
        if picture.image_id in self.pictures:
            raise MalformedError(f"repeats id {picture.image_id!r}")
        self.sizes[picture.image_id] = _Size(entries.whole(entry, "height", 1), entries.whole(entry, "width", 1))
        self.pictures[picture.image_id] = picture

    def take_annotation(self, entry: Any) -> None:
        image_id, annotation_id = entries.image_id(entry, "image_id"), entries.image_id(entry, "id")
        if image_id not in self.pictures:
            raise MalformedError(f"belongs to image {image_id!r}, which 'images' does not list")
        if annotation_id in self.seen:
            raise MalformedError(f"repeats id {annotation_id!r}")
        category_id = entries.whole(entry, "category_id", 0)
        if category_id not in self.categories:
            raise MalformedError(f"has category_id {category_id}, which is no class of things")
        self.seen.add(annotation_id)
        self.annotations.setdefault(image_id, []).append(entry)


def _checked(own: Iterable[Category], table: CategoryTable) -> dict[int, Category]:
    """The things of the table. Raises MalformedError where the JSON means another class by an id."""
    things = {category.id: category for category in table.categories if category.isthing}
    for category in own:
        if category.id not in things or things[category.id].name != category.name:
            raise MalformedError(
                f"has the class {category.id} {category.name!r}, which is no thing of that id and name in the table"
            )
    return things


@dataclass(frozen=True)
class InstancesTarget:
    """Writes instances.json and `semantic/`, and the table as `categories.yaml`; pictures stay where they are."""

    table: CategoryTable

    def write(self, folder: Path, picture: Picture, panoptic: Panoptic) -> tuple["_Piece", Counter[Loss]]:
        """The semantic map of a picture; its instances are for the JSON."""
        classes = label_map.to_classes(panoptic, self.table.void_value())
        path = folder / SEMANTIC / f"{picture.stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(label_map.encode(classes, deep=int(classes.max(initial=0)) > np.iinfo(np.uint8).max))
        things = {category.id for category in self.table.categories if category.isthing}
        instances = [one for one in panoptic.segments if one.category_id in things]
        lost = Counter(
            {
                Loss.SCORE: sum(one.score is not None for one in panoptic.segments if one not in instances),
                Loss.STUFF_CROWD: sum(one.iscrowd for one in panoptic.segments if one not in instances),
            }
        )
        listed = tuple(_annotation(one, picture.image_id, panoptic.id_map == one.id) for one in instances)
        height, width = panoptic.id_map.shape
        return _Piece(picture, height, width, listed), lost

    def finish(self, folder: Path, pieces: Sequence["_Piece"]) -> None:
        """Writes the JSON and the table."""
        annotations = [annotation for piece in pieces for annotation in piece.annotations]
        for number, annotation in enumerate(annotations, start=1):
            annotation["id"] = number
        images = [
            {
                "id": piece.picture.image_id,
                "file_name": piece.picture.image_file,
                "height": piece.height,
                "width": piece.width,
            }
            for piece in pieces
        ]
        things = [category_to_json(category) for category in self.table.categories if category.isthing]
        write_json(folder / INSTANCES_JSON, {"images": images, "annotations": annotations, "categories": things})
        (folder / CATEGORIES).write_text(write_table(self.table), encoding="utf-8")


@dataclass(frozen=True)
class _Piece:
    """What a picture leaves for the JSON."""

    picture: Picture
    height: int
    width: int
    annotations: tuple[dict[str, Any], ...]


def _annotation(segment: Segment, image_id: int | str, mask: Mask) -> dict[str, Any]:
    found = {
        "image_id": image_id,
        "category_id": segment.category_id,
        "segmentation": to_run_lengths(mask),
        "area": segment.area,
        "bbox": list(segment.bbox),
        "iscrowd": int(segment.iscrowd),
    }
    return found if segment.score is None else {**found, "score": segment.score}
