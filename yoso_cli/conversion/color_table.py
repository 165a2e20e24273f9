"""Tables of colours: the classes of maps that hold a colour for each class.

road:128,64,128::          labelmap.txt of CVAT and Datumaro: name, colour, parts, actions
road,128,64,128            CSV with a line of headings, as class_dict.csv
128 64 128 road            label_colors.txt of CamVid; or the name first, or a number before the name
"""

import re
from pathlib import Path

from yoso_cli.conversion.category_file import CategoryTable, read_table
from yoso_cli.conversion.source_files import read_text
from yoso_cli.errors import DataError
from yoso_cli.panoptic.types import Category

Color = tuple[int, int, int]

TABLES = ("labelmap.txt", "class_dict.csv", "label_colors.txt")
"""What they are called, beside maps."""

_SUFFIXES = (".txt", ".csv", ".tsv")
_BETWEEN = re.compile(r"[\s,;:]+")
# Names that mean no class.
_VOID = ("void", "unlabelled", "unlabeled", "ignore", "ignored", "__ignore__")
_MOST = 1000


def read_classes(named: str) -> CategoryTable:
    """The classes in a YAML or a table of colours, or of a published dataset.

    Raises:
        UsageError: as `read_table`.
        DataError: as `read_color_table`.
    """
    path = Path(named)
    return read_color_table(path) if path.suffix.lower() in _SUFFIXES else read_table(named)


def read_color_table(path: Path, *, things: bool = False) -> CategoryTable:
    """The classes of a table of colours, numbered from 1 in its order.

    A class called void, unlabelled or the like with a grey is none, and its grey void.

    Args:
        path: the table.
        things: whether the classes are: a table says nothing of it. `background` is stuff in any case.

    Raises:
        DataError: it cannot be read, a line is none of a colour, or two are alike.
    """
    found: list[Category] = []
    void = {0, 255}
    for place, line in enumerate(read_text(path).splitlines(), start=1):
        name, color = _parsed(line)
        if not line.strip() or line.lstrip().startswith("#") or (color is None and place == 1):  # or headings
            continue
        if color is None or max(color) > 255 or len(found) == _MOST:
            raise DataError(f"{path}:{place}: is no name with the three numbers of a colour: {line.strip()[:60]!r}.")
        if name.lower() in _VOID and len(set(color)) == 1:
            void.add(color[0])
            continue
        if name in {one.name for one in found} or color in {one.color for one in found}:
            raise DataError(f"{path}:{place}: repeats the name or the colour of an earlier line.")
        found.append(Category(len(found) + 1, name, things and name.lower() != "background", color))
    if not found:
        raise DataError(f"{path}: has no colour.")
    return CategoryTable.of(found, void)


def class_colors(table: CategoryTable) -> dict[Color, int]:
    """The category id of each colour; a value that is void stands for the grey (v, v, v), whose id it is.

    Raises:
        DataError: two classes have one colour, as all have whose colour is not named.
    """
    found: dict[Color, int] = {(value, value, value): value for value in table.void if value < 256}
    classes: dict[Color, str] = {}
    for one in table.categories:
        if one.color in classes:
            raise DataError(
                f"The classes {classes[one.color]!r} and {one.name!r} have the same colour, {one.color}.",
                hint="Give each class its `color: [R, G, B]` in the YAML of --categories, or name a table of colours.",
            )
        classes[one.color] = one.name
        found[one.color] = one.id
    return found


def _parsed(line: str) -> tuple[str, Color | None]:
    """The name and the colour of a line; no colour where it has no three numbers in a row beside a name."""
    words = [word.strip('"') for word in _BETWEEN.split(line.strip()) if word]
    isnumber = [word.isdecimal() and len(word) < 4 for word in words]
    first = 1 if isnumber[:1] == [True] and isnumber[1:2] == [False] else 0  # a number before the name
    start = next((place for place in range(first, len(words)) if all(isnumber[place : place + 3])), len(words))
    if start + 3 > len(words):
        return "", None
    if start > first:
        name = " ".join(words[first:start])
    else:
        end = next((place for place in range(start, len(words)) if not isnumber[place]), len(words))
        start, name = end - 3, " ".join(words[end:])
    if not name:
        return "", None
    red, green, blue = map(int, words[start : start + 3])
    return name, (red, green, blue)
