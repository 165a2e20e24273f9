"""A dataset's classes: a YAML of categories, or the name of a published dataset.

categories:
- {id: 1, name: road, isthing: false}
- {id: 2, name: car, isthing: true, color: [0, 0, 142]}
void: [0, 255]
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from yoso_cli.datasets.spec import category_tables, read_categories
from yoso_cli.errors import DataError, UsageError, did_you_mean
from yoso_cli.panoptic.annotations import (
    LARGEST_CATEGORY,
    categories_from_json,
    converted,
    counting_conversions,
    integer,
)
from yoso_cli.panoptic.types import Category
from yoso_cli.recipe.reader import Section, Setting, read_text
from yoso_cli.runtime.json_text import read_json

EXAMPLE = "  - {id: 1, name: car, isthing: true}"

# The values of void in most label maps: unlabelled, and "ignore".
_USUAL_VOID = (0, 255)
# Cityscapes' other labels are annotated but not evaluated: https://github.com/mcordts/cityscapesScripts.
_VOID_OF = {"cityscapes": range(34), "voc": (255,), "kitti-step": (255,)}
_KEYS = {"id", "name", "isthing", "color"}
_LARGEST_VALUE = 65535
_BACKGROUND_COLOR = (64, 64, 64)


@dataclass(frozen=True)
class CategoryTable:
    """The classes of a dataset.

    Attributes:
        categories: in the order that defines `train_id`.
        void: the values of a label map that are void.
        unlabelled: values of a label map that stand for a class beside its id, with the id.
        remarks: what is odd about the file that it was read from, without full stops.
    """

    categories: tuple[Category, ...]
    void: frozenset[int]
    unlabelled: Mapping[int, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def of(cls, categories: Iterable[Category], void: Iterable[int] = _USUAL_VOID) -> "CategoryTable":
        """A class's id is never void."""
        found = tuple(categories)
        return cls(found, frozenset(void) - {category.id for category in found})

    def void_value(self) -> int:
        """The value for void in a label map, of 8 bits where one is free.

        Raises:
            DataError: there is none: all values up to 65535 are classes.
        """
        taken = self.ids()
        free = sorted(self.void) or [value for value in range(len(taken) + 1) if value not in taken]
        if free[0] > _LARGEST_VALUE:
            raise DataError("All values from 0 to 65535 are classes: none is left for void.")
        return free[0]

    def ids(self) -> set[int]:
        """The category ids."""
        return {category.id for category in self.categories}

    def with_background(self, name: str) -> tuple["CategoryTable", Category]:
        """The table in which unlabelled pixels are of the stuff class `name`, which is added unless it is there.

        Of several values for void the lowest is unlabelled, and the others stay void: 0 and 255 mean "unlabelled" and
        "ignore" in most label maps.

        Raises:
            UsageError: `name` is a thing class.
        """
        known = {category.name: category for category in self.categories}
        if name in known and known[name].isthing:
            raise UsageError(
                f"--background {name}: is a thing class, and unlabelled pixels are no instance.",
                hint="Choose another name, or the name of a stuff class.",
            )
        if not name.strip():
            raise UsageError("--background: is empty.", hint="Name the class, as in --background ground.")
        taken = self.ids() | self.void
        free = (number for number in range(max(self.ids(), default=0) + 1, LARGEST_CATEGORY) if number not in taken)
        category = known.get(name) or Category(next(free), name, False, _BACKGROUND_COLOR)
        categories = self.categories if name in known else (*self.categories, category)
        lowest = sorted(self.void)[:1]
        unlabelled = {**self.unlabelled, **dict.fromkeys(lowest, category.id)}
        return replace(self, categories=categories, void=self.void - set(lowest), unlabelled=unlabelled), category


def read_table(named: str) -> CategoryTable:
    """The classes in the YAML file `named`, in `categories` of a JSON, or of the published dataset of that name.

    Raises:
        UsageError: there is none of them; or mistakes in the file, all of them at once with their lines.
    """
    path = Path(named)
    if path.suffix.lower() == ".json":
        return _of_json(path)
    if path.suffix.lower() not in (".yaml", ".yml"):
        return _published(named)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise UsageError(f"{path}: cannot be read: {reason}.", hint=f"It must list classes, as `{EXAMPLE}`.") from None
    root, problems = read_text(text, named, f"its `categories:` are lines like `{EXAMPLE}`")
    mistakes = [problem.text for problem in problems]
    with counting_conversions() as conversions:
        table = _table(root, named, mistakes)
    if mistakes:
        raise UsageError("; ".join(mistakes) + ".", hint=f"Write a class as `{EXAMPLE}`.")
    return replace(table, remarks=conversions.told(named))


def write_table(table: CategoryTable) -> str:
    """The YAML of `table`, which `read_table` reads back."""
    lines = ["categories:"]
    for one in table.categories:
        isthing = "true" if one.isthing else "false"
        lines.append(f"  - {{id: {one.id}, name: {_quoted(one.name)}, isthing: {isthing}, color: {list(one.color)}}}")
    # The value that the maps beside it have for void, also where it is none of the usual ones.
    return "\n".join([*lines, f"void: {sorted(table.void) or [table.void_value()]}", ""])


def require_distinct_names(table: CategoryTable) -> None:
    """Raises DataError where two classes share a name, which a YAML of classes cannot have."""
    for name, count in Counter(category.name for category in table.categories).items():
        if count > 1:
            ids = [category.id for category in table.categories if category.name == name]
            raise DataError(
                f"{count} classes are called {name!r} ({', '.join(map(str, ids))}), and a YAML of classes has one of a "
                "name.",
                hint="Rename all but one in the JSON, or convert to coco-panoptic, which keeps them.",
            )


def _quoted(name: str) -> str:
    if name.isprintable():
        return "'" + name.replace("'", "''") + "'"
    plain = name.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in plain) + '"'


def _of_json(path: Path) -> CategoryTable:
    """Raises UsageError as `read_table`."""
    try:
        listed = read_json(path).get("categories")
        if not isinstance(listed, list):
            raise DataError("it has no list of 'categories'.")
        with counting_conversions() as conversions:
            table = CategoryTable.of(categories_from_json(listed))
    except DataError as error:
        why = error.message.removeprefix(f"{path}: ")
        raise UsageError(f"{path}: lists no classes: {why}", hint=f"A class is {_IN_JSON}.") from None
    return replace(table, remarks=conversions.told(path))


_IN_JSON = '{"id": 1, "name": "car", "isthing": 1}'


def _published(name: str) -> CategoryTable:
    known = category_tables()
    if name not in known:
        there = f"Name a YAML file (its name ends in .yaml), or one of: {', '.join(known)}."
        raise UsageError(f"--categories {name}: is not a published dataset.", hint=did_you_mean(name, known, there))
    return CategoryTable.of(read_categories(name), _VOID_OF.get(name, _USUAL_VOID))


def _table(root: Section, source: str, mistakes: list[str]) -> CategoryTable:
    settings = {setting.name: setting for setting in root.settings}
    for name, setting in settings.items():
        if name not in ("categories", "void"):
            mistakes.append(f"{setting.place} {name}: unknown key; there are 'categories' and 'void'")
    listed = settings["categories"].value if "categories" in settings else None
    if not mistakes and (not isinstance(listed, list) or not listed):
        mistakes.append(f"{source}: lacks a list of `categories:`")
    found: dict[int, Category] = {}
    for number, entry in enumerate(listed if isinstance(listed, list) else [], start=1):
        category = _category(entry, f"{source}: categories: number {number}", mistakes)
        if category is None:
            continue
        if category.id in found or category.name in {one.name for one in found.values()}:
            mistakes.append(
                f"{entry.settings[0].place} id {category.id} or name {category.name!r} stands there already"
            )
        found[category.id] = category
    void = settings.get("void")
    return CategoryTable.of(found.values(), _USUAL_VOID if void is None else _void(void, set(found), mistakes))


def _void(setting: Setting, ids: set[int], mistakes: list[str]) -> list[int]:
    listed = setting.value if isinstance(setting.value, list) else [setting.value]
    values = [_exact("void", value) for value in listed]
    wrong = [value for value in values if not _is_id(value) or value in ids]
    if wrong:
        mistakes.append(f"{setting.place} void: {wrong[0]!r} is no free value of a label map")
    return [value for value in values if _is_id(value)]


def _category(entry: Any, place: str, mistakes: list[str]) -> Category | None:
    if not isinstance(entry, Section) or not entry.settings:
        mistakes.append(f"{place} is no `{{id: ..., name: ..., isthing: ...}}`")
        return None
    place = entry.settings[0].place
    values = {setting.name: _exact(setting.name, setting.value) for setting in entry.settings}
    wrong = [
        *(f"unknown key {name!r}" for name in values if name not in _KEYS),
        *(f"lacks {name!r}" for name in ("id", "name", "isthing") if name not in values),
    ]
    if not wrong:
        wrong = [f"{name}: {values[name]!r} {doubt}" for name, doubt in _doubts(values)]
    mistakes.extend(f"{place} {one}" for one in wrong)
    if wrong:
        return None
    color = values.get("color", Category.color)
    return Category(values["id"], values["name"], bool(values["isthing"]), (color[0], color[1], color[2]))


def _exact(name: str, value: Any) -> Any:
    """A whole number or a truth value for what says one exactly, as in annotations' JSON; else the value itself."""
    if name == "color" and isinstance(value, list):
        return [_exact("", part) for part in value]
    number = None if name == "name" or type(value) is int else integer(value)
    if number is None:
        return value
    return converted(name, value, bool(number) if name == "isthing" and number in (0, 1) else number)


def _doubts(values: dict[str, Any]) -> list[tuple[str, str]]:
    """The invalid values, and why."""
    color = values.get("color", Category.color)
    colored = isinstance(color, (list, tuple)) and len(color) == 3
    named = isinstance(values["name"], str) and bool(values["name"])
    fine = {
        "id": (_is_id(values["id"]), f"where a whole number from 0 to {LARGEST_CATEGORY} is expected"),
        "name": (
            named,
            "where a name is expected; put it in quotes",
        ),
        "isthing": (values["isthing"] in (True, False), "where true or false is expected"),
        "color": (colored and all(_is_id(part) and part < 256 for part in color), "where [R, G, B] is expected"),
    }
    return [(name, doubt) for name, (is_fine, doubt) in fine.items() if not is_fine]


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_CATEGORY
