"""YOLO's segmentation labels: a text file for each picture, a polygon for each segment, and data.yaml with the names.

Source: https://docs.ultralytics.com/datasets/segment. A line is a class, from 0 in the order of the names, and x y of
each point as shares of the picture's width and height. The labels of `images/a/b.jpg` are `labels/a/b.txt`: the last
folder `images` of the path becomes `labels`; where there is none they lie beside the picture.
"""

import math
import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import yaml

from yoso_cli.conversion.category_file import CategoryTable
from yoso_cli.conversion.contours import Outline, joined, outlines
from yoso_cli.conversion.convert import InformationLoss, SourcePicture
from yoso_cli.conversion.drawn_shapes import Drawing, Shape, ShapesReader, class_name, named_classes, write_classes
from yoso_cli.conversion.maps import CATEGORIES_YAML
from yoso_cli.conversion.photo_index import PhotoIndex, UnfoundError, common_folder, shown_size
from yoso_cli.conversion.rasterization import polygon_region
from yoso_cli.conversion.source_files import read_lines, read_text
from yoso_cli.conversion.split_choice import SplitChoice
from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic.annotations import MalformedError
from yoso_cli.panoptic.types import Category, Panoptic
from yoso_cli.recipe.reader import Section
from yoso_cli.recipe.reader import read_text as parse_yaml
from yoso_cli.runtime.words import counted, shortened

IMAGES, LABELS = "images", "labels"
DATA_YAML = "data.yaml"
_NAMES = ("classes.txt", "obj.names")
"""Of lists of the classes alone, as labelling tools write them."""
_SPLITS = ("train", "val", "test")
# A share beyond these is no share but a pixel.
_LEAST, _MOST = -0.5, 1.5
_BOX = (4, 5)
"""Figures of a box, without and with a confidence."""
_FEWEST_POINTS = 3


@dataclass(frozen=True)
class YoloReader(ShapesReader):
    """Pictures with a text file each; `labels` has the path of each picture's."""

    labels: dict[str, Path]
    names: tuple[str, ...]

    def drawing(self, picture: SourcePicture) -> Drawing:
        """The polygons of the picture's text file."""
        path = self.labels[picture.image_file]
        height, width = shown_size(self.image_dir / picture.image_file)
        shapes, losses, wrong = [], Counter[InformationLoss](), []
        for place, line in enumerate(read_lines(path), start=1):
            try:
                found, figures = _numbers(line, len(self.names))
                if len(figures) in _BOX:
                    losses[InformationLoss.BOXES] += 1
                    continue
                if len(figures) % 2:
                    losses[InformationLoss.SCORE] += 1
                    figures.pop()
                points = [share * (height if axis % 2 else width) for axis, share in enumerate(figures)]
                shapes.append(Shape(self.names[found], polygon_region(points, height, width)))
            except MalformedError as error:
                wrong.append(f"{path}:{place}: {error}")
        return Drawing(height, width, shapes, losses, wrong)


def open_yolo(source: Path, split: SplitChoice, image_dir: Path | None, table: CategoryTable | None) -> YoloReader:
    """The pictures of one split of a data.yaml, or of a folder, with their text files.

    Args:
        source: data.yaml or classes.txt, or the folder that has it.
        split: which one.
        image_dir: the folder of the pictures, where it is not as data.yaml says.
        table: the classes; by default categories.yaml beside, or the names in data.yaml, as things.

    Raises:
        UsageError: there is no data.yaml, or no such split, or several and none is named.
        DataError: data.yaml is malformed, or no picture has labels.
    """
    listing = find_listing(source)
    settings = {"names": read_lines(listing)} if listing.suffix in (".txt", ".names") else read_data_yaml(listing)
    root = listing.parent
    names = _names(settings, listing)
    photos = PhotoIndex.of(image_dir or root)
    entries, chosen = ([], "") if image_dir else _entries(settings, listing, split)
    files = sorted(photos.files) if image_dir else _files_of(entries, listing, photos, settings)
    found = {file: _label_file(file, root, photos.folder) for file in files}
    there = {file: path for file, path in found.items() if path is not None}
    if not there:
        hint = f"The labels of {IMAGES}/a.jpg are {LABELS}/a.txt. Name the folder of the pictures with --images."
        raise DataError(f"{listing}: none of its {counted(len(files), 'picture')} has a text file.", hint=hint)
    folder = common_folder(photos.folder, there)
    labels = {posixpath.relpath(file, folder or "."): path for file, path in there.items()}
    listed = [Category(place, name, True) for place, name in enumerate(names)]
    table, remark = named_classes(Counter(names), table, root, listing, listed=listed)
    missing = sorted(set(found) - set(there))
    told = [f"{counted(len(missing), 'picture')} without a text file left out: {shortened(missing)}"] if missing else []
    pictures = tuple(SourcePicture(file.rpartition(".")[0], file) for file in sorted(labels))
    remarks = tuple(filter(None, (chosen, remark, *told)))
    return YoloReader(table, photos.folder / folder, pictures, (), remarks, labels, names)


def find_listing(source: Path) -> Path:
    """data.yaml in the folder `source`, the only YAML there, or else classes.txt, a name a line; or `source` itself.

    Raises:
        UsageError: there is none, or there are several.
    """
    if not source.is_dir():
        return source
    yamls = [path for path in sorted(source.glob("*.y*ml")) if path.name != CATEGORIES_YAML]
    found = [source / DATA_YAML] if source / DATA_YAML in yamls else yamls
    found = found or [path for name in _NAMES if (path := source / name).is_file()][:1]
    if len(found) != 1:
        what = f"has {len(found)} YAML files" if found else f"has neither {DATA_YAML} nor {_NAMES[0]}"
        raise UsageError(f"{source}: {what}, in which YOLO has the names of the classes.", hint="Name it as SRC.")
    return found[0]


def read_data_yaml(path: Path) -> dict[str, Any]:
    """The settings of a data.yaml: numbers, text, lists, and of a mapping its pairs.

    Raises:
        DataError: missing, or no YAML of `key: value`.
    """
    root, problems = parse_yaml(read_text(path), str(path), "YOLO's data.yaml has `names:` and `train:`")
    if problems:
        raise DataError("; ".join(problem.text for problem in problems) + ".")
    return _plain(root)


def _plain(section: Section) -> dict[str, Any]:
    values = {setting.name: setting.value for setting in section.settings}
    return {name: _plain(value) if isinstance(value, Section) else value for name, value in values.items()}


def _names(settings: dict[str, Any], path: Path) -> tuple[str, ...]:
    """By place. Raises DataError."""
    found = settings.get("names")
    if "kpt_shape" in settings:
        raise DataError(f"{path}: is of YOLO's key points (`kpt_shape`), which have no masks.")
    if isinstance(found, dict):
        try:
            numbered = {int(place): name for place, name in found.items()}
        except ValueError:
            numbered = {}
        found = [numbered[place] for place in sorted(numbered)] if sorted(numbered) == [*range(len(numbered))] else None
    if not isinstance(found, list) or not found:
        raise DataError(f"{path}: lacks `names`, a list of classes or a mapping from 0, 1, 2, ... to them.")
    try:
        names = tuple(class_name(str(name) if isinstance(name, (int, float)) else name) for name in found)
    except MalformedError as error:
        raise DataError(f"{path}: names {error}.") from None
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{path}: names has {twice[0]!r} twice.")
    return names


def _entries(settings: dict[str, Any], path: Path, split: SplitChoice) -> tuple[list[str], str]:
    """The folders and lists of a split, and a remark; without any split in data.yaml, the folder `images`.

    Raises:
        UsageError: there is no such split, or several and none is named.
        DataError: it is no folder or list.
    """
    there = [name for name in _SPLITS if settings.get(name)]
    if not there:
        return [IMAGES], ""
    chosen, remark = split.of(there, path)
    value = settings[chosen]
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in found):
        raise DataError(f"{path}: {chosen}: is no folder, list of pictures, or several of them.")
    return found, remark


def _files_of(entries: list[str], listing: Path, photos: PhotoIndex, settings: dict[str, Any]) -> list[str]:
    """The pictures of a split: of its folders, and as its lists say. Raises DataError."""
    root, base = listing.parent, settings.get("path")
    files: dict[str, None] = {}
    for entry in entries:
        inside = _inside(entry, base if isinstance(base, str) else "", root)
        if inside is None:
            hint = "Name the folder of the pictures with --images."
            raise DataError(f"{listing}: {entry}: is not in the folder of {listing.name}.", hint=hint)
        if inside.endswith(".txt"):
            files |= dict.fromkeys(_listed(root / inside, photos))
        else:
            files |= {file: None for file in sorted(photos.files) if inside == "." or file.startswith(f"{inside}/")}
    return list(files)


def _inside(entry: str, base: str, root: Path) -> str | None:
    """The path of a folder or list from `root`; None where nothing inside of it is meant.

    Exporters write paths of another computer, and `../train/images` for what lies beside data.yaml: of such a path the
    longest end that is there counts.
    """
    path, below = PureWindowsPath(entry).as_posix(), PureWindowsPath(base).as_posix() if base else ""
    for whole in (posixpath.normpath(posixpath.join(below, path)), posixpath.normpath(path)):
        parts = [part for part in whole.split("/") if part not in ("", "..")]
        for start in range(len(parts)):
            inside = posixpath.normpath("/".join(parts[start:]))
            if ":" not in parts[start] and (root / inside).exists():
                return inside
    return None


def _listed(path: Path, photos: PhotoIndex) -> list[str]:
    beside = path.parent.relative_to(photos.folder).as_posix()
    try:
        return [photos.find(line, beside) for line in map(str.strip, read_lines(path)) if line]
    except UnfoundError as error:
        raise DataError(f"{path}: {error}.") from None


def _label_file(file: str, root: Path, folder: Path) -> Path | None:
    """The text file of a photo, if it is there: beside it in `labels/`, in `labels/` of data.yaml, or beside itself."""
    stem = file.rpartition(".")[0]
    head, found, tail = f"/{stem}".rpartition(f"/{IMAGES}/")
    exchanged = f"{head}/{LABELS}/{tail}".lstrip("/") if found else stem
    places = (folder / f"{exchanged}.txt", root / LABELS / f"{tail if found else stem}.txt", folder / f"{stem}.txt")
    return next((place for place in places if place.is_file()), None)


def _numbers(line: str, classes: int) -> tuple[int, list[float]]:
    """The class of a line, and its figures. Raises MalformedError."""
    try:
        found, *figures = map(float, line.split())
    except ValueError:
        raise MalformedError("is not `class x y x y x y ...`") from None
    if not found.is_integer() or not 0 <= found < classes:
        raise MalformedError(f"has the class {line.split()[0]}; `names` has 0 to {classes - 1}")
    if len(figures) < min(_BOX):
        raise MalformedError(f"has {counted(len(figures), 'figure')} after its class, not three or more points")
    shares = figures[:-1] if len(figures) % 2 else figures
    beyond = [share for share in shares if not _LEAST <= share <= _MOST]
    if beyond or not math.isfinite(figures[-1]):
        raise MalformedError(f"has {beyond[0] if beyond else figures[-1]:g}, but coordinates are shares from 0 to 1")
    return int(found), figures


@dataclass(frozen=True)
class YoloWriter:
    """Writes `labels/NAME.txt` and data.yaml; pictures stay where they are.

    Attributes:
        table: the classes, stuff included.
    """

    table: CategoryTable

    def write(self, folder: Path, picture: SourcePicture, panoptic: Panoptic) -> tuple[None, Counter[InformationLoss]]:
        """One text file; counts segments that one polygon cannot express exactly."""
        places = {category.id: place for place, category in enumerate(self.table.categories)}
        losses: Counter[InformationLoss] = Counter()
        lines = []
        for segment in panoptic.segments:
            x, y, width, height = segment.bbox
            parts = outlines(panoptic.id_map[y : y + height, x : x + width] == segment.id)
            losses[InformationLoss.PARTS] += len(parts) > 1
            losses[InformationLoss.SCORE] += segment.score is not None
            losses[InformationLoss.CROWD_FLAG] += segment.iscrowd
            lines.append(_line(places[segment.category_id], joined(parts) + np.array([x, y]), panoptic.id_map.shape))
        path = folder / LABELS / f"{picture.stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines), encoding="ascii")
        return None, losses

    def finish(self, folder: Path, entries: Sequence[None]) -> None:
        """The names, and all else about the classes for yoso."""
        names = {place: category.name for place, category in enumerate(self.table.categories)}
        content = {"path": ".", "train": IMAGES, "val": IMAGES, "names": names}
        told = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        (folder / DATA_YAML).write_text(told, encoding="utf-8")
        write_classes(folder, self.table)


def _line(place: int, outline: Outline, size: tuple[int, ...]) -> str:
    height, width = size
    points = [*outline.tolist(), *[outline[-1].tolist()] * max(0, _FEWEST_POINTS - len(outline))]
    shares = " ".join(f"{x / width:.9g} {y / height:.9g}" for x, y in points)
    return f"{place} {shares}\n"
