"""Semantic and instance maps: for each picture a PNG of classes and a PNG of instance numbers.

<folder>/images/NAME.jpg
<folder>/semantic/NAME.png     a pixel's value is its category id
<folder>/instances/NAME.png    a pixel's value is its instance number; 0 is none
"""

# H, W height and width of the picture in pixels

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from yoso_cli.conversion.category_file import CategoryTable, write_table
from yoso_cli.conversion.convert import InformationLoss, LabelReader, SourcePicture
from yoso_cli.conversion.picture_files import find_files, lacking, listed
from yoso_cli.errors import DataError
from yoso_cli.panoptic import png
from yoso_cli.panoptic.files import rgb_to_id
from yoso_cli.panoptic.photos import PHOTO_SUFFIXES
from yoso_cli.panoptic.regions import Runs, painted, runs_of
from yoso_cli.panoptic.types import LARGEST_ID, VOID, IdMap, Panoptic, Segment, measured
from yoso_cli.runtime.words import shortened

SEMANTIC, INSTANCES, IMAGES = "semantic", "instances", "images"
CATEGORIES_YAML = "categories.yaml"

_ID_BITS = 24
_VOID_KEY, _UNKNOWN_KEY = -1, -2
# As many as a pixel of 16 bits can hold.
_VALUES = 1 << 16


def read_classes(path: Path) -> IdMap:
    """The category ids in a semantic map, int32 (H, W): the values of a grey PNG, the indices of a palette.

    Raises:
        DataError: missing, damaged, or coloured: colours say nothing about ids.
    """
    found = png.read_header(path)
    if found.kind not in (png.Kind.GREY8, png.Kind.GREY16, png.Kind.PALETTE):
        raise DataError(
            f"{path}: is {found} where a semantic map is expected.",
            hint="Save category ids as the values of an 8- or 16-bit grey PNG, or as the indices of a palette.",
        )
    return png.read(path).astype(np.int32)


def read_numbers(path: Path) -> IdMap:
    """The instance numbers in an instance map, int32 (H, W); of an RGB map, R + 256 G + 65536 B.

    Raises:
        DataError: missing, damaged, or of a kind that holds no numbers.
    """
    pixels = png.read(path, png.Kind.GREY16, png.Kind.GREY8, png.Kind.PALETTE, png.Kind.RGB)
    return rgb_to_id(pixels) if pixels.ndim == 3 else pixels.astype(np.int32)


def maps_to_panoptic(classes: IdMap, numbers: IdMap, table: CategoryTable, where: Path) -> Panoptic:
    """A semantic map and an instance map to segments, numbered 1, 2, ... by class and then by instance number.

    A stuff class is one segment, whatever its numbers. Of a thing class each number is a segment, and pixels without a
    number (0) are one crowd, as in Cityscapes.

    Args:
        classes: int32 (H, W), category ids and void values.
        numbers: int32 (H, W), 0 for none.
        table: the classes.
        where: the semantic map, for what is raised.

    Raises:
        DataError: the maps differ in size, or `classes` holds a value that `table` does not know.
    """
    if classes.shape != numbers.shape:
        raise DataError(f"{where}: is {_size(classes)} where its instance map is {_size(numbers)}.")
    runs = runs_of(classes, numbers)
    run_keys = _keys(runs, numbers.reshape(-1)[runs.starts], table, where)
    keys, inverse = np.unique(run_keys, return_inverse=True)
    ids = np.zeros(len(keys), np.int32)
    segments: list[Segment] = []
    for index, key in enumerate(keys.tolist()):
        if key == _VOID_KEY:
            continue
        category = table.categories[key >> _ID_BITS]
        ids[index] = len(segments) + 1
        crowd = category.isthing and not key & LARGEST_ID
        segments.append(Segment(len(segments) + 1, category.id, 0, iscrowd=crowd))
    id_map: IdMap = painted(runs, ids[inverse])
    return Panoptic(id_map, measured(id_map, segments))


def _keys(runs: Runs, numbers: IdMap, table: CategoryTable, where: Path) -> npt.NDArray[np.int64]:
    """For each run a number that identifies its segment: the place of its class, then its instance; void has its own.

    Args:
        runs: of the category ids.
        numbers: int32 (R), the instance number of each run.
        table: the classes.
        where: names the file in what is raised.
    """
    look_up = np.full(_VALUES, _UNKNOWN_KEY)
    look_up[[value for value in table.void if value < _VALUES]] = _VOID_KEY
    for place, category in enumerate(table.categories):
        if category.id < _VALUES:
            look_up[category.id] = place << _ID_BITS
    keys: npt.NDArray[np.int64] = look_up[runs.values]
    unknown = keys == _UNKNOWN_KEY
    if unknown.any():
        counts: Counter[int] = Counter()
        for value, length in zip(runs.values[unknown].tolist(), runs.lengths[unknown].tolist(), strict=True):
            counts[value] += length
        raise _unknown(counts, table, where)
    is_thing = np.array([category.isthing for category in table.categories])
    counted = (keys != _VOID_KEY) & is_thing[keys >> _ID_BITS]
    keys[counted] |= numbers[counted]
    return keys


def _unknown(counts: Counter[int], table: CategoryTable, where: Path) -> DataError:
    some = shortened([f"{value} ({count} pixels)" for value, count in counts.most_common()])
    void = ", ".join(map(str, sorted(table.void))) or "none"
    return DataError(
        f"{where}: has category ids that the table does not list: {some}.",
        hint=f"Add the class, or list the value under `void:` in the YAML of categories (now: {void}).",
    )


def panoptic_to_classes(panoptic: Panoptic, void: int) -> IdMap:
    """The category id of each pixel, int32 (H, W)."""
    return panoptic_to_values(panoptic, void, {segment.id: segment.category_id for segment in panoptic.segments})


def panoptic_to_numbers(panoptic: Panoptic, things: set[int]) -> IdMap:
    """A number from 1 for each instance of the thing classes, int32 (H, W); 0 for stuff, crowds and void."""
    instances = [one.id for one in panoptic.segments if one.category_id in things and not one.iscrowd]
    return panoptic_to_values(panoptic, 0, {segment_id: number for number, segment_id in enumerate(instances, start=1)})


def panoptic_to_values(panoptic: Panoptic, background: int, values: Mapping[int, int]) -> IdMap:
    """The value of each pixel's segment id, int32 (H, W); `background` for void and for segments without a value."""
    ids = np.array([VOID, *sorted(segment.id for segment in panoptic.segments)], np.int32)
    look_up = np.array([values.get(segment_id, background) for segment_id in ids.tolist()], np.int32)
    values_of: IdMap = look_up[np.searchsorted(ids, panoptic.id_map)]
    return values_of


def grey_png(values: IdMap, *, deep: bool) -> bytes:
    """A grey PNG of `values`, of 16 bits if `deep`, else of 8."""
    return png.encode(values.astype(np.uint16 if deep else np.uint8))


def _size(array: IdMap) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"


@dataclass(frozen=True)
class MapsReader(LabelReader):
    """Pictures of which each has a semantic map, and an instance map where the table has things."""

    semantic_dir: Path
    instance_dir: Path | None

    def read(self, picture: SourcePicture) -> tuple[Panoptic, Counter[InformationLoss]]:
        """The two maps as segments. Raises DataError naming the map that is damaged or of another kind."""
        path = self.semantic_dir / f"{picture.stem}.png"
        classes = read_classes(path)
        if self.instance_dir is None:
            numbers = np.zeros_like(classes)
        else:
            numbers = read_numbers(self.instance_dir / f"{picture.stem}.png")
        return maps_to_panoptic(classes, numbers, self.table, path), Counter()


def open_maps(table: CategoryTable, image_dir: Path, semantic_dir: Path, instance_dir: Path) -> MapsReader:
    """The pictures in `image_dir` with the maps of the same names.

    Raises:
        UsageError: a folder is missing. Without things, none of instance maps is needed.
        DataError: two pictures differ in their suffix alone.
    """
    images = find_files(image_dir, PHOTO_SUFFIXES, what="pictures")
    semantic = find_files(semantic_dir, {".png"}, what="semantic maps")
    needs_numbers = any(category.isthing for category in table.categories)
    numbers = find_files(instance_dir, {".png"}, what="instance maps") if needs_numbers else None
    problems = [
        *lacking(semantic.by_stem, images.by_stem, f"{semantic_dir}: has no semantic map for pictures: {{}}"),
        *lacking(images.by_stem, semantic.by_stem, f"{image_dir}: has no picture for semantic maps: {{}}"),
    ]
    whole = images.by_stem.keys() & semantic.by_stem.keys()
    if numbers is not None:
        problems += lacking(numbers.by_stem, images.by_stem, f"{instance_dir}: has no instance map for pictures: {{}}")
        problems += lacking(images.by_stem, numbers.by_stem, f"{image_dir}: has no picture for instance maps: {{}}")
        whole &= numbers.by_stem.keys()
    remarks = [f"{image_dir}: files that are no pictures: {listed(images.others)}"] if images.others else []
    pictures = tuple(SourcePicture(stem, name) for stem, name in images.by_stem.items() if stem in whole)
    return MapsReader(
        table, image_dir, pictures, tuple(problems), tuple(remarks), semantic_dir, instance_dir if numbers else None
    )


@dataclass(frozen=True)
class MapsWriter:
    """Writes `semantic/` and `instances/`, and the table as `categories.yaml`; pictures stay where they are."""

    table: CategoryTable

    def write(self, folder: Path, picture: SourcePicture, panoptic: Panoptic) -> tuple[None, Counter[InformationLoss]]:
        """Two maps, of 8 bits where that is enough. Raises DataError for more than 65535 instances or classes."""
        things = {category.id for category in self.table.categories if category.isthing}
        maps = {
            SEMANTIC: panoptic_to_classes(panoptic, self.table.void_value()),
            INSTANCES: panoptic_to_numbers(panoptic, things),
        }
        for name, values in maps.items():
            _write_map(folder, name, picture, values)
        return None, unspoken(panoptic, things)

    def finish(self, folder: Path, entries: Sequence[None]) -> None:
        """Writes the table."""
        (folder / CATEGORIES_YAML).write_text(write_table(self.table), encoding="utf-8")


@dataclass(frozen=True)
class SemanticMapsWriter:
    """Writes `semantic/` and the table as `categories.yaml`."""

    table: CategoryTable

    def write(self, folder: Path, picture: SourcePicture, panoptic: Panoptic) -> tuple[None, Counter[InformationLoss]]:
        """One map, of 8 bits where that is enough. Raises DataError for a class id above 65535."""
        _write_map(folder, SEMANTIC, picture, panoptic_to_classes(panoptic, self.table.void_value()))
        things = {category.id for category in self.table.categories if category.isthing}
        scores = sum(one.score is not None for one in panoptic.segments)
        instances = sum(one.category_id in things for one in panoptic.segments)
        return None, Counter({InformationLoss.SCORE: scores, InformationLoss.INSTANCES: instances})

    def finish(self, folder: Path, entries: Sequence[None]) -> None:
        """Writes the table."""
        (folder / CATEGORIES_YAML).write_text(write_table(self.table), encoding="utf-8")


def _write_map(folder: Path, name: str, picture: SourcePicture, values: IdMap) -> None:
    highest = int(values.max(initial=0))
    if highest > np.iinfo(np.uint16).max:
        raise DataError(f"{picture.image_file}: its {name} map needs {highest}, which exceeds 16 bits (65535).")
    path = folder / name / f"{picture.stem}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(grey_png(values, deep=highest > np.iinfo(np.uint8).max))


def unspoken(panoptic: Panoptic, things: set[int]) -> Counter[InformationLoss]:
    """What these maps cannot express of a picture."""
    crowds = Counter(one.category_id for one in panoptic.segments if one.iscrowd)
    return Counter(
        {
            InformationLoss.SCORE: sum(one.score is not None for one in panoptic.segments),
            InformationLoss.CROWDS: sum(count - 1 for category_id, count in crowds.items() if category_id in things),
            InformationLoss.STUFF_CROWD: sum(
                count for category_id, count in crowds.items() if category_id not in things
            ),
        }
    )
