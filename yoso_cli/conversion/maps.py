"""Semantic and instance maps: for each picture a PNG of classes and a PNG of instance numbers.

<folder>/images/NAME.jpg
<folder>/semantic/NAME.png     a pixel's value is its category id
<folder>/instances/NAME.png    a pixel's value is its instance number; 0 is none
"""

# H, W height and width of the picture in pixels

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from yoso_cli.conversion.category_file import CategoryTable, write_table
from yoso_cli.conversion.convert import InformationLoss, LabelReader, SourcePicture
from yoso_cli.conversion.label_files import MAP_SUFFIXES, find_maps, likely_endings, read_map
from yoso_cli.conversion.number_encoding import NumberEncoding, require_plain
from yoso_cli.conversion.picture_files import Found, chosen, find_files, lacking, listed
from yoso_cli.errors import DataError, UsageError
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
    kinds = (png.Kind.GREY8, png.Kind.GREY16, png.Kind.PALETTE)
    if path.suffix.lower() == ".png" and (found := png.read_header(path)).kind not in kinds:
        raise DataError(
            f"{path}: is {found} where a semantic map is expected.",
            hint="Save category ids as the values of an 8- or 16-bit grey PNG, or as the indices of a palette.",
        )
    return read_map(path, *kinds).astype(np.int32)


def read_numbers(path: Path) -> IdMap:
    """The instance numbers in an instance map, int32 (H, W); of an RGB map, R + 256 G + 65536 B.

    Raises:
        DataError: missing, damaged, or of a kind that holds no numbers.
    """
    pixels = read_map(path, png.Kind.GREY16, png.Kind.GREY8, png.Kind.PALETTE, png.Kind.RGB)
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
    _require_one_size(classes, numbers, where)
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
    places = {category.id: place for place, category in enumerate(table.categories)}
    for value, category_id in [*((one, one) for one in places), *table.unlabelled.items()]:
        if value < _VALUES:
            look_up[value] = places[category_id] << _ID_BITS
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


def _require_one_size(classes: IdMap, numbers: IdMap, where: Path) -> None:
    if classes.shape != numbers.shape:
        raise DataError(f"{where}: is {_size(classes)} where its instance map is {_size(numbers)}.")


def _size(array: IdMap) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"


@dataclass(frozen=True)
class MapsReader(LabelReader):
    """Pictures of which each has a semantic map, and an instance map where the table has things.

    Attributes:
        semantic: the semantic map of each picture file.
        instances: the instance maps likewise; empty where the table has no things.
        encoding: how instance maps hold numbers; None for plain ones, unless they look encoded.
    """

    semantic: Mapping[str, Path]
    instances: Mapping[str, Path]
    encoding: NumberEncoding | None

    @property
    def has_void_values(self) -> bool:
        """Semantic maps have them."""
        return True

    def read(self, picture: SourcePicture) -> tuple[Panoptic, Counter[InformationLoss]]:
        """The two maps as segments.

        Raises:
            DataError: a map is damaged or of another kind; says which.
            UsageError: the instance map looks encoded, and it is not said how.
        """
        path = self.semantic[picture.image_file]
        classes = read_classes(path)
        if not self.instances:
            return maps_to_panoptic(classes, np.zeros_like(classes), self.table, path), Counter()
        number_path = self.instances[picture.image_file]
        values = read_numbers(number_path)
        _require_one_size(classes, values, path)
        if self.encoding is None:
            require_plain(values, classes, number_path)
        else:
            self.encoding.require_fit(values, classes, self.table.ids(), number_path)
        numbers = values if self.encoding is None else self.encoding.decoded(values)
        return maps_to_panoptic(classes, numbers, self.table, path), self._unused(classes, numbers)

    def _unused(self, classes: IdMap, numbers: IdMap) -> Counter[InformationLoss]:
        """Pixels with a number that means nothing, because their class has no instances."""
        things = [category.id for category in self.table.categories if category.isthing]
        odd = classes[(numbers != 0) & ~np.isin(classes, things)]
        void = int(np.count_nonzero(np.isin(odd, list(self.table.void))))
        return Counter({InformationLoss.VOID_NUMBERS: void, InformationLoss.STUFF_NUMBERS: len(odd) - void})


@dataclass(frozen=True)
class MapFiles:
    """Which files are maps, and of which pictures.

    Attributes:
        photo_ending: what the names of photos end in, before the suffix.
        semantic_ending: the same of semantic maps.
        instance_ending: the same of instance maps.
        names: the pictures to convert; None for all that have labels.
        encoding: how instance maps hold numbers; None for plain ones.
        repair: leave out pictures of which a file is missing.
    """

    photo_ending: str = ""
    semantic_ending: str = ""
    instance_ending: str = ""
    names: tuple[str, ...] | None = None
    encoding: NumberEncoding | None = None
    repair: bool = False


def open_maps(
    table: CategoryTable, image_dir: Path, semantic_dir: Path, instance_dir: Path, how: MapFiles | None = None
) -> MapsReader:
    """The pictures in `image_dir` with the maps of the same names; those without any map are left out.

    Raises:
        UsageError: a folder is missing (without things, none of instance maps is needed), or the names of maps have an
            ending that `how` does not say.
        DataError: two pictures differ in their suffix alone.
    """
    how = how or MapFiles()
    semantic = find_maps(semantic_dir, what="semantic maps", ending=how.semantic_ending)
    sides = [_Maps("semantic map", semantic_dir, semantic.by_stem)]
    if any(category.isthing for category in table.categories):
        instances = find_maps(instance_dir, what="instance maps", ending=how.instance_ending)
        sides.append(_Maps("instance map", instance_dir, instances.by_stem))
    images = _photos(image_dir, how, {semantic_dir.resolve(), instance_dir.resolve()})
    _require_known_endings(images.by_stem, sides, how)
    wanted, bare, problems = _wanted(image_dir, images.by_stem, sides, how)
    whole = wanted.intersection(images.by_stem, *(side.by_stem for side in sides))
    pictures = {stem: SourcePicture(stem, name) for stem, name in images.by_stem.items() if stem in whole}
    files = [
        {picture.image_file: side.folder / side.by_stem[stem] for stem, picture in pictures.items()} for side in sides
    ]
    remarks = [f"{image_dir}: files that are no pictures: {listed(images.others)}"] if images.others else []
    if bare:
        remarks.append(f"{image_dir}: pictures without labels are left out: {listed(bare)}")
    return MapsReader(
        table,
        image_dir,
        tuple(pictures.values()),
        () if how.repair else problems,
        tuple(remarks),
        files[0],
        files[1] if len(files) > 1 else {},
        how.encoding,
        repairs=problems if how.repair else (),
    )


@dataclass(frozen=True)
class _Maps:
    """The maps of one kind, by the names of their pictures."""

    kind: str
    folder: Path
    by_stem: Mapping[str, str]


def _photos(image_dir: Path, how: MapFiles, map_dirs: set[Path]) -> Found:
    """The photos; where maps lie among them, they are told apart by their endings or else by their suffixes."""
    if image_dir.resolve() not in map_dirs:
        return find_files(image_dir, PHOTO_SUFFIXES, what="pictures", ending=how.photo_ending)
    if not (how.semantic_ending or how.instance_ending or how.photo_ending):
        return replace(find_files(image_dir, PHOTO_SUFFIXES - MAP_SUFFIXES, what="pictures"), others=())
    found = find_files(image_dir, PHOTO_SUFFIXES, what="pictures", ending=how.photo_ending)
    endings = tuple(filter(None, (how.semantic_ending, how.instance_ending)))
    return Found({stem: name for stem, name in found.by_stem.items() if not (endings and stem.endswith(endings))}, ())


def _require_known_endings(photos: Mapping[str, str], sides: Sequence[_Maps], how: MapFiles) -> None:
    """Raises UsageError where no map is called like a picture, but for what its name ends in."""
    odd = [side for side in sides if photos and side.by_stem and not photos.keys() & side.by_stem.keys()]
    likely = {side.kind: likely_endings(photos, side.by_stem) for side in odd}
    found = {kind: endings for kind, endings in likely.items() if endings}
    if not found:
        return
    of_photos, of_maps = next(iter(found.values()))
    given = (how.semantic_ending, how.instance_ending)
    each = [found.get(side.kind, ("", known))[1] for side, known in zip(sides, given, strict=False)]
    words = f"--suffix {','.join(dict.fromkeys(each))}" if any(each) else ""
    words += f" --image-suffix {of_photos}" if of_photos else ""
    side = next(side for side in odd if side.kind in found)
    raise UsageError(
        f"{side.folder}: its files are called NAME{of_maps}, the pictures NAME{of_photos}: "
        f"{next(iter(side.by_stem.values()))}, {next(iter(photos.values()))}.",
        hint=f"Add {words.strip()}.",
    )


def _wanted(
    image_dir: Path, photos: Mapping[str, str], sides: Sequence[_Maps], how: MapFiles
) -> tuple[set[str], list[str], tuple[str, ...]]:
    """The names of the pictures to convert, those without any map, and what is missing of the others."""
    every = set(photos).union(*(side.by_stem for side in sides))
    problems: list[str] = []
    if how.names is None:
        bare = sorted(set(photos).difference(*(side.by_stem for side in sides)))
        # Where no picture has labels, that is the mistake.
        bare = bare if len(bare) < len(photos) else []
        every.difference_update(bare)
    else:
        meant, unknown = chosen(how.names, every)
        every, bare = set(meant.values()), []
        problems += [f"{image_dir}: pictures of the list are not there: {listed(unknown)}"] if unknown else []
    for side in sides:
        lacks = f"{side.folder}: has no {side.kind} for pictures: {{}}"
        problems += lacking(side.by_stem, every & photos.keys(), lacks)
        lacks = f"{image_dir}: has no picture for {side.kind}s: {{}}"
        problems += lacking(photos, every & side.by_stem.keys(), lacks)
    return every, bare, tuple(problems)


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
            write_map(folder, name, picture, values)
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
        write_map(folder, SEMANTIC, picture, panoptic_to_classes(panoptic, self.table.void_value()))
        things = {category.id for category in self.table.categories if category.isthing}
        scores = sum(one.score is not None for one in panoptic.segments)
        instances = sum(one.category_id in things for one in panoptic.segments)
        return None, Counter({InformationLoss.SCORE: scores, InformationLoss.INSTANCES: instances})

    def finish(self, folder: Path, entries: Sequence[None]) -> None:
        """Writes the table."""
        (folder / CATEGORIES_YAML).write_text(write_table(self.table), encoding="utf-8")


def write_map(folder: Path, name: str, picture: SourcePicture, values: IdMap) -> None:
    """A map in the folder `name` below `folder`. Raises DataError for values above 65535."""
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
