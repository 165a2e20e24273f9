"""COCO's instance annotations, with a semantic map for the stuff where there is one.

Source: https://cocodataset.org/#format-data. Polygons become pixels as pycocotools does it. Run lengths are decoded
here: its C code trusts them to be well-formed.

Instances may overlap in this form and never in panoptic labels. The rule here: crowds lie lowest, then the instances
from large to small, so that the smallest at a pixel has it; of two of one size the later one in the JSON. Annotations
of a stuff class are one segment below all of them.
"""

# H, W height and width of the picture in pixels

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from yoso_cli.atomic import write_json
from yoso_cli.conversion.category_file import CategoryTable, read_table, write_table
from yoso_cli.conversion.convert import InformationLoss, LabelReader, SourcePicture
from yoso_cli.conversion.instances_listing import Annotation, Listing, read_listing
from yoso_cli.conversion.label_files import find_maps
from yoso_cli.conversion.maps import (
    CATEGORIES_YAML,
    SEMANTIC,
    maps_to_panoptic,
    panoptic_to_classes,
    read_classes,
    write_map,
)
from yoso_cli.conversion.picture_files import lacking
from yoso_cli.conversion.rasterization import FARTHEST, uncompressed
from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic.annotations import MalformedError, category_to_json, entry_ints, entry_item
from yoso_cli.panoptic.layout import Photos, find_photos
from yoso_cli.panoptic.types import VOID, Panoptic, Segment, measured
from yoso_cli.runtime.words import counted

INSTANCES_JSON = "instances.json"
_OTHER_NAMES = ("_annotations.coco.json", "annotations/instances_*.json", "*.json")
_REPAIR = "Add --repair to leave out what is wrong and have it listed."

Mask = npt.NDArray[np.bool_]
"""(H, W)."""

_NUMBERS = (int, float)


class _Layer(NamedTuple):
    """What is laid over one another: a segment with the area of its whole mask, and whether it is an instance."""

    segment: Segment
    mask: Mask
    isthing: bool


@dataclass(frozen=True)
class InstancesReader(LabelReader):
    """Pictures with their annotations as the JSON has them: decoded one picture at a time, they fit into memory.

    Attributes:
        listing: the JSON.
        semantic: the semantic map of each picture file; none where there are none.
        sizes: height and width of each picture.
        annotations: of each picture.
    """

    listing: Path
    semantic: Mapping[str, Path]
    sizes: Mapping[int | str, tuple[int, int]]
    annotations: Mapping[int | str, Sequence[Annotation]]

    @property
    def has_void_values(self) -> bool:
        """The semantic maps have them."""
        return bool(self.semantic)

    def read(self, picture: SourcePicture) -> tuple[Panoptic, Counter[InformationLoss]]:
        """The instances over the stuff. Raises DataError naming what is wrong."""
        size = self.sizes[picture.image_id]
        losses: Counter[InformationLoss] = Counter()
        layers = self._layers(picture, size, losses)
        segments = [layer.segment for layer in layers]
        id_map, claimed, shared = np.zeros(size, np.int32), np.zeros(size, bool), np.zeros(size, bool)
        for layer in sorted(layers, key=lambda one: (one.isthing, not one.segment.iscrowd, -one.segment.area)):
            if layer.isthing:
                shared |= claimed & layer.mask
                claimed |= layer.mask
            id_map[layer.mask] = layer.segment.id
        losses[InformationLoss.OVERLAP] = int(np.count_nonzero(shared))
        losses[InformationLoss.EMPTY] = sum(not segment.area for segment in segments)
        if self.semantic:
            if picture.image_file not in self.semantic:
                raise DataError(f"{self.listing}: the picture {picture.image_file} has no semantic map.")
            self._lay_stuff(self.semantic[picture.image_file], id_map, segments, losses)
        seen = measured(id_map, segments)
        losses[InformationLoss.HIDDEN] = len(segments) - len(seen) - losses[InformationLoss.EMPTY]
        return Panoptic(id_map, seen), losses

    def _layers(self, picture: SourcePicture, size: tuple[int, int], losses: Counter[InformationLoss]) -> list[_Layer]:
        """The segments of the annotations, numbered in their order; those of a stuff class are one."""
        things = {category.id for category in self.table.categories if category.isthing}
        layers: list[_Layer] = []
        place_of: dict[int, int] = {}
        for annotation in self.annotations.get(picture.image_id, []):
            try:
                mask = mask_of(annotation.segmentation, *size)
            except MalformedError as error:
                what = f"the annotation {annotation.id!r} of {picture.image_file} {error}"
                raise DataError(f"{self.listing}: {what}.", hint=_REPAIR) from None
            category_id, isthing = annotation.category_id, annotation.category_id in things
            losses[InformationLoss.STUFF_CROWD] += annotation.iscrowd and not isthing
            place = len(layers)
            if not isthing:
                place = place_of.setdefault(category_id, place)
                mask = mask | layers[place].mask if place < len(layers) else mask
            crowd = annotation.iscrowd and isthing
            area = int(np.count_nonzero(mask))
            segment = Segment(place + 1, category_id, area, iscrowd=crowd, score=annotation.score)
            layers[place : place + 1] = [_Layer(segment, mask, isthing)]
        return layers

    def _lay_stuff(self, path: Path, id_map: Any, segments: list[Segment], losses: Counter[InformationLoss]) -> None:
        """Fills what no annotation covers with the stuff of the semantic map, into `id_map` and `segments`."""
        classes = read_classes(path)
        if classes.shape != id_map.shape:
            raise DataError(f"{path}: is not of the size {id_map.shape[1]}x{id_map.shape[0]} that the JSON says.")
        stuff = maps_to_panoptic(classes, np.zeros_like(classes), self.table, path)
        free = id_map == VOID
        own = {segment.category_id: segment.id for segment in segments}
        for segment in stuff.segments:
            region = free & (stuff.id_map == segment.id)
            if segment.iscrowd:
                losses[InformationLoss.UNCLAIMED] += int(np.count_nonzero(region))
            elif region.any():
                if segment.category_id not in own:
                    own[segment.category_id] = len(segments) + 1
                    segments.append(Segment(len(segments) + 1, segment.category_id, segment.area))
                id_map[region] = own[segment.category_id]


def open_instances(
    listing: Path,
    image_dir: Path | None,
    semantic_dir: Path | None,
    table: CategoryTable | None,
    *,
    repair: bool = False,
) -> InstancesReader:
    """An instances JSON with its pictures.

    Args:
        listing: the JSON, or a folder that holds it.
        image_dir: by default where `layout` finds the pictures.
        semantic_dir: a map of category ids for each picture; by default `semantic/` beside the JSON if it is there.
        table: the classes; by default categories.yaml beside the JSON, else the JSON's own, things unless it says
            otherwise.
        repair: drop or renumber what is wrong, and list it.

    Raises:
        DataError: the JSON is missing or malformed as a whole, or none of its pictures is found.
        UsageError: there is a semantic map and no table that names the stuff.
    """
    found = read_beside(_listing_in(listing), table, repair=repair)
    photos = photos_of(found, image_dir)
    if photos.looked:
        count = counted(len(found.pictures), "picture")
        raise DataError(f"{found.path}: lists {count}, of which none was found.", hint=photos.hint())
    return reader_of(found, photos.folder, semantic_dir)


def photos_of(found: Listing, image_dir: Path | None = None) -> Photos:
    """Where the photos of a JSON lie; `found` has their names there from now on."""
    photos = find_photos(found.path, [picture.image_file for picture in found.pictures.values()], image_dir)
    for image_id, picture in found.pictures.items():
        found.pictures[image_id] = replace(picture, image_file=photos.named(picture.image_file))
    return photos


def read_beside(listing: Path, table: CategoryTable | None = None, *, repair: bool = False) -> Listing:
    """The entries of an instances JSON, with the classes of categories.yaml beside it unless a table is given.

    Raises:
        DataError: the JSON is missing or malformed as a whole.
        UsageError: there is a mistake in categories.yaml.
    """
    yaml = listing.parent / CATEGORIES_YAML
    table = table or (read_table(str(yaml)) if yaml.is_file() else None)
    found = read_listing(listing, table, repair=repair)
    if repair:
        found.drop_wrong_masks(_repaired)
    return found


def reader_of(found: Listing, image_dir: Path, semantic_dir: Path | None = None) -> InstancesReader:
    """What reads the pictures of a JSON in `image_dir`; arguments and errors are those of `open_instances`."""
    beside = found.path.parent / SEMANTIC
    semantic_dir = semantic_dir or (beside if beside.is_dir() else None)
    if semantic_dir and found.own_table and all(category.isthing for category in found.table.categories):
        yaml = found.path.parent / CATEGORIES_YAML
        raise UsageError(
            f"{semantic_dir}: has semantic maps, and no class is stuff.",
            hint=f"Name the classes with --categories FILE or in {yaml}; or move the maps away.",
        )
    pictures = tuple(found.pictures.values())
    semantic, problems = _semantic_maps(semantic_dir, pictures)
    repairs = found.repairs
    if found.repair:
        pictures = tuple(one for one in pictures if semantic_dir is None or one.image_file in semantic)
        repairs, problems = [*repairs, *(f"left out: {problem}" for problem in problems)], ()
    return InstancesReader(
        found.table,
        image_dir,
        pictures,
        (*found.problems, *problems),
        tuple(found.remarks),
        found.path,
        semantic,
        found.sizes,
        found.annotations,
        repairs=tuple(repairs),
    )


def _listing_in(path: Path) -> Path:
    """The JSON at `path`: itself, or that of a folder under one of the usual names."""
    if not path.is_dir() or (path / INSTANCES_JSON).is_file():
        return path / INSTANCES_JSON if path.is_dir() else path
    for pattern in _OTHER_NAMES:
        found = sorted(path.glob(pattern))
        if len(found) > 1:
            names = ", ".join(one.name for one in found[:5])
            raise UsageError(f"{path}: has {len(found)} JSON files.", hint=f"Name one of them: {names}.")
        if found:
            return found[0]
    return path / INSTANCES_JSON


def _semantic_maps(folder: Path | None, pictures: Sequence[SourcePicture]) -> tuple[dict[str, Path], tuple[str, ...]]:
    """The semantic map of each picture file, and what is missing."""
    if folder is None:
        return {}, ()
    maps = find_maps(folder, what="semantic maps").by_stem
    found = {one.image_file: folder / maps[one.stem] for one in pictures if one.stem in maps}
    stems = [picture.stem for picture in pictures]
    return found, lacking(maps, stems, f"{folder}: has no semantic map for pictures: {{}}")


@dataclass(frozen=True)
class InstancesWriter:
    """Writes instances.json and `semantic/`, and the table as `categories.yaml`; pictures stay where they are."""

    table: CategoryTable

    def write(
        self, folder: Path, picture: SourcePicture, panoptic: Panoptic
    ) -> tuple[tuple[dict[str, Any], list[dict[str, Any]]], Counter[InformationLoss]]:
        """The semantic map of a picture; for the JSON its image entry and its instances."""
        write_map(folder, SEMANTIC, picture, panoptic_to_classes(panoptic, self.table.void_value()))
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
        image |= {} if picture.video_id is None else {"video_id": picture.video_id}
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
    return mask_of(entry_item(annotation, "segmentation"), height, width)


def mask_of(segmentation: Any, height: int, width: int) -> Mask:
    """Polygons or RLE as bool (H, W). Raises MalformedError when it is neither."""
    if isinstance(segmentation, dict):
        return _to_mask(_run_lengths(segmentation, height, width), height, width)
    polygons = _polygons(segmentation, height, width)
    if not polygons:
        return np.zeros((height, width), bool)
    merged = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    return _to_mask(uncompressed(merged["counts"].decode("ascii")), height, width)


def _repaired(segmentation: Any, height: int, width: int) -> tuple[Any, str]:
    """A segmentation without the polygons that are none, and what was done; raises MalformedError if none is left."""
    if isinstance(segmentation, dict):
        _run_lengths(segmentation, height, width)
        return segmentation, ""
    if isinstance(segmentation, list) and segmentation and not any(isinstance(one, list) for one in segmentation):
        return _polygons([segmentation], height, width), "its points are not in a list of polygons; taken for one"
    kept, first = [], ""
    for polygon in segmentation if isinstance(segmentation, list) else _polygons(segmentation, height, width):
        try:
            kept += _polygons([polygon], height, width)
        except MalformedError as error:
            first = first or str(error)
    if first and not kept:
        raise MalformedError(first)
    dropped = len(segmentation) - len(kept)
    return kept, f"it {first}; {dropped} of {len(segmentation)} polygons dropped" if first else ""


def to_run_lengths(mask: Mask) -> dict[str, Any]:
    """A mask (H, W) as COCO's compressed run lengths."""
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode("ascii")}


def _polygons(polygons: Any, height: int, width: int) -> list[list[float]]:
    """Polygons of x, y, x, y, .... Raises MalformedError for what is none."""
    if not isinstance(polygons, list):
        raise MalformedError("has a 'segmentation' that is neither polygons nor RLE")
    limit = FARTHEST * max(height, width)
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise MalformedError("has a polygon that is not three or more points x, y")
        if not all(type(one) in _NUMBERS and abs(one) <= limit for one in polygon):
            raise MalformedError(f"has a polygon far outside the picture of {width}x{height}, or not of numbers")
    return polygons


def _run_lengths(found: dict[str, Any], height: int, width: int) -> list[int]:
    if entry_ints(found, "size", 2) != [height, width]:
        raise MalformedError(f"has RLE of size {found['size']} where the picture is {[height, width]}")
    counts = entry_item(found, "counts")
    lengths = uncompressed(counts) if isinstance(counts, str) else counts
    if not isinstance(lengths, list) or not all(isinstance(one, int) and one >= 0 for one in lengths):
        raise MalformedError("has RLE whose counts are not a list")
    if sum(lengths) != height * width:
        raise MalformedError(f"has RLE of {sum(lengths)} pixels where the picture has {height * width}")
    return lengths


def _to_mask(lengths: list[int], height: int, width: int) -> Mask:
    values = np.arange(len(lengths)) % 2 == 1
    # Runs go down the columns.
    mask: Mask = np.repeat(values, lengths).reshape(width, height).T
    return mask
