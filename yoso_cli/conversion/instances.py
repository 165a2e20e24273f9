"""COCO's instance annotations, with a semantic map for the stuff where there is one.

Source: https://cocodataset.org/#format-data. Polygons become pixels as pycocotools does it. Run lengths are decoded
here: its C code trusts them to be well-formed.

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
import numpy.typing as npt
from pycocotools import mask as coco_mask

from yoso_cli.atomic import write_json
from yoso_cli.conversion.category_file import CategoryTable, write_table
from yoso_cli.conversion.convert import InformationLoss, LabelReader, SourcePicture
from yoso_cli.conversion.maps import (
    CATEGORIES_YAML,
    SEMANTIC,
    grey_png,
    maps_to_panoptic,
    panoptic_to_classes,
    read_classes,
)
from yoso_cli.conversion.picture_files import find_files, lacking
from yoso_cli.errors import DataError
from yoso_cli.panoptic.annotations import (
    MalformedError,
    category_to_json,
    entry_file_name,
    entry_id,
    entry_int,
    entry_ints,
    entry_item,
    entry_list,
    entry_name,
    entry_size,
)
from yoso_cli.panoptic.types import VOID, Category, Panoptic, Segment, measured
from yoso_cli.runtime.json_text import read_json

INSTANCES_JSON = "instances.json"

Mask = npt.NDArray[np.bool_]
"""(H, W)."""

# Beyond this many pictures' widths a coordinate is a mistake that would only fill the memory.
_FARTHEST = 4


@dataclass(frozen=True)
class InstancesReader(LabelReader):
    """Pictures with their annotations as the JSON has them: decoded one picture at a time, they fit into memory."""

    listing: Path
    semantic_dir: Path | None
    sizes: dict[int | str, tuple[int, int]]
    annotations: dict[int | str, list[Any]]

    def read(self, picture: SourcePicture) -> tuple[Panoptic, Counter[InformationLoss]]:
        """The instances over the stuff of the semantic map. Raises DataError naming what is wrong."""
        size = self.sizes[picture.image_id]
        losses: Counter[InformationLoss] = Counter()
        segments, masks = self._instances(picture, size)
        id_map = np.zeros(size, np.int32)
        order = sorted(range(len(masks)), key=lambda place: (not segments[place].iscrowd, -segments[place].area))
        for place in order:
            losses[InformationLoss.OVERLAP] += int(np.count_nonzero(id_map[masks[place]]))
            id_map[masks[place]] = segments[place].id
        losses[InformationLoss.EMPTY] = sum(not segment.area for segment in segments)
        if self.semantic_dir is not None:
            self._lay_stuff(self.semantic_dir / f"{picture.stem}.png", id_map, segments, losses)
        seen = measured(id_map, segments)
        losses[InformationLoss.HIDDEN] = len(segments) - len(seen) - losses[InformationLoss.EMPTY]
        return Panoptic(id_map, seen), losses

    def _instances(self, picture: SourcePicture, size: tuple[int, int]) -> tuple[list[Segment], list[Mask]]:
        """The instances of a picture with the area of their whole masks."""
        segments, masks = [], []
        for annotation in self.annotations.get(picture.image_id, []):
            try:
                mask = read_mask(annotation, *size)
            except MalformedError as error:
                raise DataError(
                    f"{self.listing}: the annotation {annotation.get('id')!r} of {picture.image_file} {error}."
                ) from None
            crowd = bool(annotation.get("iscrowd", 0))
            masks.append(mask)
            segments.append(Segment(len(masks), annotation["category_id"], int(np.count_nonzero(mask)), iscrowd=crowd))
        return segments, masks

    def _lay_stuff(self, path: Path, id_map: Any, segments: list[Segment], losses: Counter[InformationLoss]) -> None:
        """Fills what no instance covers with the stuff of the semantic map, into `id_map` and `segments`."""
        classes = read_classes(path)
        if classes.shape != id_map.shape:
            raise DataError(f"{path}: is not of the size {id_map.shape[1]}x{id_map.shape[0]} that the JSON says.")
        stuff = maps_to_panoptic(classes, np.zeros_like(classes), self.table, path)
        free = id_map == VOID
        for segment in stuff.segments:
            region = free & (stuff.id_map == segment.id)
            if segment.iscrowd:
                losses[InformationLoss.UNCLAIMED] += int(np.count_nonzero(region))
                continue
            segments.append(Segment(len(segments) + 1, segment.category_id, segment.area))
            id_map[region] = len(segments)


def open_instances(
    listing: Path, image_dir: Path | None, semantic_dir: Path | None, table: CategoryTable | None
) -> InstancesReader:
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
        for index, entry in enumerate(entry_list(content, key)):
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
        maps = find_files(semantic_dir, {".png"}, what="semantic maps").by_stem
        stems = [picture.stem for picture in pictures]
        problems += lacking(maps, stems, f"{semantic_dir}: has no semantic map for pictures: {{}}")
    folder = image_dir or listing.parent / "images"
    return InstancesReader(
        table, folder, pictures, tuple(problems), (), listing, semantic_dir, reading.sizes, reading.annotations
    )


@dataclass
class _Listing:
    """What is read of a JSON so far."""

    categories: dict[int, Category]
    pictures: dict[int | str, SourcePicture]
    sizes: dict[int | str, tuple[int, int]]
    annotations: dict[int | str, list[Any]]
    seen: set[int | str]

    def take_category(self, entry: Any) -> None:
        category = Category(entry_int(entry, "id", 0), entry_name(entry), True)
        if category.id in self.categories:
            raise MalformedError(f"repeats id {category.id}")
        self.categories[category.id] = category

    def take_image(self, entry: Any) -> None:
        picture = SourcePicture(entry_id(entry, "id"), entry_file_name(entry))
        if picture.image_id in self.pictures:
            raise MalformedError(f"repeats id {picture.image_id!r}")
        self.sizes[picture.image_id] = entry_size(entry)
        self.pictures[picture.image_id] = picture

    def take_annotation(self, entry: Any) -> None:
        image_id, annotation_id = entry_id(entry, "image_id"), entry_id(entry, "id")
        if image_id not in self.pictures:
            raise MalformedError(f"belongs to image {image_id!r}, which 'images' does not list")
        if annotation_id in self.seen:
            raise MalformedError(f"repeats id {annotation_id!r}")
        category_id = entry_int(entry, "category_id", 0)
        if category_id not in self.categories:
            raise MalformedError(f"has category_id {category_id}, which is not a thing class")
        self.seen.add(annotation_id)
        self.annotations.setdefault(image_id, []).append(entry)


def _checked(own: Iterable[Category], table: CategoryTable) -> dict[int, Category]:
    """The things of the table. Raises MalformedError where the JSON means another class by an id."""
    things = {category.id: category for category in table.categories if category.isthing}
    for category in own:
        if category.id not in things or things[category.id].name != category.name:
            raise MalformedError(
                f"has the class {category.id} {category.name!r}, which is not a thing of that id and name in the table"
            )
    return things


@dataclass(frozen=True)
class InstancesWriter:
    """Writes instances.json and `semantic/`, and the table as `categories.yaml`; pictures stay where they are."""

    table: CategoryTable

    def write(
        self, folder: Path, picture: SourcePicture, panoptic: Panoptic
    ) -> tuple[tuple[dict[str, Any], list[dict[str, Any]]], Counter[InformationLoss]]:
        """The semantic map of a picture; for the JSON its image entry and its instances."""
        classes = panoptic_to_classes(panoptic, self.table.void_value())
        path = folder / SEMANTIC / f"{picture.stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(grey_png(classes, deep=int(classes.max(initial=0)) > np.iinfo(np.uint8).max))
        things = {category.id for category in self.table.categories if category.isthing}
        stuff = [one for one in panoptic.segments if one.category_id not in things]
        lost = Counter(
            {
                InformationLoss.SCORE: sum(one.score is not None for one in stuff),
                InformationLoss.STUFF_CROWD: sum(one.iscrowd for one in stuff),
            }
        )
        height, width = panoptic.id_map.shape
        image = {"id": picture.image_id, "file_name": picture.image_file, "height": height, "width": width}
        instances = (one for one in panoptic.segments if one.category_id in things)
        return (image, [_annotation(one, picture.image_id, panoptic.id_map == one.id) for one in instances]), lost

    def finish(self, folder: Path, entries: Sequence[tuple[dict[str, Any], list[dict[str, Any]]]]) -> None:
        """Writes the JSON and the table."""
        annotations = [annotation for _, instances in entries for annotation in instances]
        for number, annotation in enumerate(annotations, start=1):
            annotation["id"] = number
        images = [image for image, _ in entries]
        things = [category_to_json(category) for category in self.table.categories if category.isthing]
        write_json(folder / INSTANCES_JSON, {"images": images, "annotations": annotations, "categories": things})
        (folder / CATEGORIES_YAML).write_text(write_table(self.table), encoding="utf-8")


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


def read_mask(annotation: Any, height: int, width: int) -> Mask:
    """The `segmentation` of an annotation as bool (H, W). Raises MalformedError when it is none."""
    found = entry_item(annotation, "segmentation")
    if isinstance(found, dict):
        return _from_run_lengths(found, height, width)
    if isinstance(found, list):
        return _from_polygons(found, height, width)
    raise MalformedError("has a 'segmentation' that is neither polygons nor RLE")


def to_run_lengths(mask: Mask) -> dict[str, Any]:
    """A mask (H, W) as COCO's compressed run lengths."""
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode("ascii")}


def _from_polygons(polygons: Sequence[Any], height: int, width: int) -> Mask:
    if not polygons:
        return np.zeros((height, width), bool)
    limit = _FARTHEST * max(height, width)
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise MalformedError("has a polygon that is not three or more points x, y")
        if not all(isinstance(one, (int, float)) and abs(one) <= limit for one in polygon):
            raise MalformedError(f"has a polygon far outside the picture of {width}x{height}")
    merged = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    return _to_mask(_uncompressed(merged["counts"].decode("ascii")), height, width)


def _from_run_lengths(found: dict[str, Any], height: int, width: int) -> Mask:
    if entry_ints(found, "size", 2) != [height, width]:
        raise MalformedError(f"has RLE of size {found['size']} where the picture is {[height, width]}")
    counts = entry_item(found, "counts")
    lengths = _uncompressed(counts) if isinstance(counts, str) else counts
    if not isinstance(lengths, list) or not all(isinstance(one, int) and one >= 0 for one in lengths):
        raise MalformedError("has RLE whose counts are not a list")
    if sum(lengths) != height * width:
        raise MalformedError(f"has RLE of {sum(lengths)} pixels where the picture has {height * width}")
    return _to_mask(lengths, height, width)


def _to_mask(lengths: list[int], height: int, width: int) -> Mask:
    values = np.arange(len(lengths)) % 2 == 1
    # Runs go down the columns.
    mask: Mask = np.repeat(values, lengths).reshape(width, height).T
    return mask


def _uncompressed(text: str) -> list[int]:
    """COCO's compressed counts: six bits a letter, low ones first; from the third on, differences to two before."""
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise MalformedError("has compressed RLE that is damaged")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise MalformedError("has compressed RLE that is truncated")
    return counts
