"""Labels that people draw: shapes with the name of a class, one beside and over the other.

Shapes may overlap, panoptic segments never do. The rule is that of COCO's instances: stuff lies below things, and a
crowd below instances; then the smallest at a pixel has it, of two of one size the later one. Where a format says which
shape lies above, that comes first.
"""

# H, W height and width of the picture in pixels

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from yoso_cli.conversion.category_file import CategoryTable, read_table, write_table
from yoso_cli.conversion.convert import InformationLoss, LabelReader, SourcePicture
from yoso_cli.conversion.maps import CATEGORIES_YAML
from yoso_cli.conversion.rasterization import Region, union
from yoso_cli.errors import DataError, did_you_mean
from yoso_cli.panoptic.annotations import MalformedError
from yoso_cli.panoptic.types import VOID, Category, Panoptic, Segment, measured
from yoso_cli.runtime.words import counted, printable, shortened

_LONGEST_NAME = 200


@dataclass(frozen=True)
class Shape:
    """One shape of a picture.

    Attributes:
        label: the name of its class; None for pixels that are to be void.
        region: its pixels.
        group: shapes of one label and group are parts of one instance; None for an instance by itself.
        above: shapes with a higher figure cover those with a lower one.
        iscrowd: whether it is a group of things without separate instances.
        score: the model's confidence, of predictions.
    """

    label: str | None
    region: Region
    group: Hashable = None
    above: int = 0
    iscrowd: bool = False
    score: float | None = None


@dataclass(frozen=True)
class Drawing:
    """What is drawn over one picture.

    Attributes:
        height: pixels.
        width: pixels.
        shapes: in the order of the file.
        losses: what the file has and a segment cannot express.
        wrong: of each shape that cannot be read, where it is and what is wrong with it.
    """

    height: int
    width: int
    shapes: Sequence[Shape]
    losses: Counter[InformationLoss] = field(default_factory=Counter)
    wrong: Sequence[str] = ()


@dataclass(frozen=True)
class ShapesReader(LabelReader, ABC):
    """Pictures with shapes."""

    @abstractmethod
    def drawing(self, picture: SourcePicture) -> Drawing:
        """The shapes of `picture`. Raises DataError naming the file that is missing or wrong as a whole."""

    def read(self, picture: SourcePicture) -> tuple[Panoptic, Counter[InformationLoss]]:
        """The shapes as segments, numbered 1, 2, ... in their order. Raises DataError naming the one that is wrong."""
        drawing = self.drawing(picture)
        if drawing.wrong:
            more = f", and {counted(len(drawing.wrong) - 1, 'more shape')}" if len(drawing.wrong) > 1 else ""
            raise DataError(f"{drawing.wrong[0]}{more}.")
        return flattened(drawing, self.table)

    def read_repaired(self, picture: SourcePicture) -> tuple[Panoptic, Counter[InformationLoss], tuple[str, ...]]:
        """As `read`, without the shapes that are wrong, which are listed."""
        drawing = self.drawing(picture)
        return *flattened(drawing, self.table), tuple(f"dropped {one}" for one in drawing.wrong)


@dataclass(frozen=True)
class _Layer:
    """What is laid over one another: pixels with their id, whether they are an instance, and what lies above."""

    segment_id: int
    isthing: bool
    rank: tuple[int, bool, bool]
    region: Region


def flattened(drawing: Drawing, table: CategoryTable) -> tuple[Panoptic, Counter[InformationLoss]]:
    """The segments that are seen of shapes that lie one over the other, and what was lost.

    Args:
        drawing: the labels of its shapes are names of `table`.
        table: the classes.
    """
    segments, layers = _layers(drawing.shapes, {category.name: category for category in table.categories})
    id_map = np.full(drawing.height * drawing.width, VOID, np.int32)
    claimed, shared = np.zeros((2, len(id_map)), bool)
    # The sort keeps the order of what is equal.
    for layer in sorted(layers, key=lambda layer: (layer.rank, -layer.region.area)):
        pixels = layer.region.pixels()
        if layer.isthing:
            shared[pixels] |= claimed[pixels]
            claimed[pixels] = True
        id_map[pixels] = layer.segment_id
    # Regions are numbered down the columns.
    whole = np.ascontiguousarray(id_map.reshape(drawing.width, drawing.height).T)
    seen = measured(whole, segments)
    empty = sum(not segment.area for segment in segments)
    losses = {
        InformationLoss.OVERLAP: int(np.count_nonzero(shared)),
        InformationLoss.EMPTY: empty,
        InformationLoss.HIDDEN: len(segments) - len(seen) - empty,
    }
    return Panoptic(whole, seen), drawing.losses + Counter(losses)


def _layers(shapes: Sequence[Shape], known: dict[str, Category]) -> tuple[list[Segment], list[_Layer]]:
    """The segments, with the area of all that was drawn of each, and what is laid over one another."""
    parts: dict[Hashable, list[Shape]] = {}
    for place, shape in enumerate(shapes):
        category = None if shape.label is None else known[shape.label]
        of_stuff = category is not None and not category.isthing
        alone = None if of_stuff else place if shape.group is None else (shape.group,)
        parts.setdefault((shape.label, alone, shape.iscrowd), []).append(shape)
    segments: list[Segment] = []
    layers: list[_Layer] = []
    for found in parts.values():
        first = found[0]
        if first.label is None:
            layers += [_Layer(VOID, False, (one.above, True, True), one.region) for one in found]
            continue
        category = known[first.label]
        rank = (max(one.above for one in found), category.isthing, not first.iscrowd)
        region = union(one.region for one in found)
        number = len(segments) + 1
        segments.append(Segment(number, category.id, region.area, iscrowd=first.iscrowd, score=first.score))
        layers.append(_Layer(number, category.isthing, rank, region))
    return segments, layers


def class_name(found: Any) -> str:
    """A name of a class, from an untrusted file. Raises MalformedError for what is none."""
    if found is None or (isinstance(found, str) and not found.strip()):
        raise MalformedError("has no label, the name of a class")
    if not isinstance(found, str) or len(found) > _LONGEST_NAME:
        raise MalformedError(f"has the label {str(found)[:_LONGEST_NAME]!r} where the name of a class is expected")
    if any("\ud800" <= one <= "\udfff" for one in found):
        raise MalformedError(f"has the label {found!a}, which is no text")
    return found


def named_classes(
    labels: Counter[str], table: CategoryTable | None, beside: Path, where: Path, *, listed: Sequence[Category] = ()
) -> tuple[CategoryTable, str]:
    """The classes of shapes, and a remark on where they come from.

    Args:
        labels: how often each name is used.
        table: as the user gave it; None for categories.yaml in `beside`, else what is `listed`, else the names that are
            used, in sorted order, as things.
        beside: the folder that may have categories.yaml.
        where: names the labels in what is raised.
        listed: the format's own list of classes.

    Raises:
        UsageError: categories.yaml is wrong.
        DataError: a name is not in the table.
    """
    yaml = beside / CATEGORIES_YAML
    if table is None and yaml.is_file():
        table = read_table(str(yaml))
    if table is not None:
        _require_known(labels, table, where)
        return table, ""
    names = sorted(labels)
    found = tuple(listed) or tuple(Category(place, name, True) for place, name in enumerate(names, start=1))
    order = "in the order of the labels' own list" if listed else "by name"
    told = shortened([printable(category.name) for category in found], 8)
    remark = (
        f"{counted(len(found), 'class')} {order}, all taken for things: {told}. To name stuff, list all of them in a "
        "YAML with --categories"
    )
    _require_known(labels, CategoryTable.of(found), where)
    return CategoryTable.of(found), remark


def _require_known(labels: Counter[str], table: CategoryTable, where: Path) -> None:
    known = {category.name for category in table.categories}
    unknown = [(label, count) for label, count in labels.most_common() if label not in known]
    if unknown:
        some = shortened([f"'{printable(label)}' ({counted(count, 'shape')})" for label, count in unknown])
        raise DataError(
            f"{where}: has labels that the classes do not list: {some}.",
            hint=did_you_mean(unknown[0][0], known, "List them in the YAML of --categories, or correct the labels."),
        )


def write_classes(folder: Path, table: CategoryTable) -> None:
    """Writes what a drawing tool's own list of names cannot say of the classes, for `named_classes` to find.

    Raises:
        OSError: the disk is full.
    """
    (folder / CATEGORIES_YAML).write_text(write_table(table), encoding="utf-8", errors="replace")


def unlabelled(photos: Iterable[str], labelled: Iterable[str], folder: Path) -> tuple[str, ...]:
    """A remark on the photos in `folder` that have no labels, if there are any."""
    left = sorted(set(photos) - set(labelled))
    return (f"{folder}: {counted(len(left), 'photo')} without labels left out: {shortened(left)}",) if left else ()
