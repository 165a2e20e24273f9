"""A dataset's classes: a YAML of categories, or the name of a published dataset.

categories:
- {id: 1, name: road, isthing: false}
- {id: 2, name: car, isthing: true, color: [0, 0, 142]}
void: [0, 255]
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yoso_cli.datasets.spec import category_tables, read_categories
from yoso_cli.errors import DataError, UsageError, did_you_mean
from yoso_cli.panoptic.types import LARGEST_ID, Category
from yoso_cli.recipe.reader import Section, Setting, read_text

EXAMPLE = "  - {id: 1, name: car, isthing: true}"

# The values of void in most label maps: unlabelled, and "ignore".
_USUAL_VOID = (0, 255)
# Cityscapes' other labels are annotated but not evaluated: https://github.com/mcordts/cityscapesScripts.
_VOID_OF = {"cityscapes": range(34), "voc": (255,), "kitti-step": (255,)}
_KEYS = {"id", "name", "isthing", "color"}


@dataclass(frozen=True)
class CategoryTable:
    """The classes of a dataset, in the order that defines `train_id`, and the values of a label map that are void."""

    categories: tuple[Category, ...]
    void: frozenset[int]

    @classmethod
    def of(cls, categories: Iterable[Category], void: Iterable[int] = _USUAL_VOID) -> "CategoryTable":
        """A class's id is never void."""
        found = tuple(categories)
        return cls(found, frozenset(void) - {category.id for category in found})

    def void_value(self) -> int:
        """The value for void in a label map of 8 bits.

        Raises:
            DataError: there is none: all of them are classes.
        """
        free = sorted(self.void) or [value for value in range(256) if value not in self.ids()]
        if not free:
            raise DataError("All values from 0 to 255 are classes: none is left for void.")
        return free[0]

    def ids(self) -> set[int]:
        """The category ids."""
        return {category.id for category in self.categories}


def read_table(named: str) -> CategoryTable:
    """The classes in the YAML file `named`, or those of the published dataset of that name.

    Raises:
        UsageError: there is neither; or mistakes in the file, all of them at once with their lines.
    """
    path = Path(named)
    if path.suffix.lower() not in (".yaml", ".yml"):
        return _published(named)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise UsageError(f"{path}: cannot be read: {reason}.", hint=f"It must list classes, as `{EXAMPLE}`.") from None
    root, problems = read_text(text, named, f"its `categories:` are lines like `{EXAMPLE}`")
    mistakes = [problem.text for problem in problems]
    table = _table(root, named, mistakes)
    if mistakes:
        raise UsageError("; ".join(mistakes) + ".", hint=f"Write a class as `{EXAMPLE}`.")
    return table


def write_table(table: CategoryTable) -> str:
    """The YAML of `table`, which `read_table` reads back."""
    lines = ["categories:"]
    for one in table.categories:
        isthing = "true" if one.isthing else "false"
        name = one.name.replace("'", "''")
        lines.append(f"  - {{id: {one.id}, name: '{name}', isthing: {isthing}, color: {list(one.color)}}}")
    return "\n".join([*lines, f"void: {sorted(table.void)}", ""])


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
    values = setting.value if isinstance(setting.value, list) else [setting.value]
    wrong = [value for value in values if not _is_id(value) or value in ids]
    if wrong:
        mistakes.append(f"{setting.place} void: {wrong[0]!r} is no free value of a label map")
    return [value for value in values if _is_id(value)]


def _category(entry: Any, place: str, mistakes: list[str]) -> Category | None:
    if not isinstance(entry, Section) or not entry.settings:
        mistakes.append(f"{place} is no `{{id: ..., name: ..., isthing: ...}}`")
        return None
    place = entry.settings[0].place
    values = {setting.name: setting.value for setting in entry.settings}
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


def _doubts(values: dict[str, Any]) -> list[tuple[str, str]]:
    """The invalid values, and why."""
    color = values.get("color", Category.color)
    colored = isinstance(color, (list, tuple)) and len(color) == 3
    named = isinstance(values["name"], str) and bool(values["name"])
    fine = {
        "id": (_is_id(values["id"]), f"where a whole number from 0 to {LARGEST_ID} is expected"),
        "name": (
            named,
            "where a name is expected; put it in quotes",
        ),
        "isthing": (values["isthing"] in (True, False), "where true or false is expected"),
        "color": (colored and all(_is_id(part) and part < 256 for part in color), "where [R, G, B] is expected"),
    }
    return [(name, doubt) for name, (is_fine, doubt) in fine.items() if not is_fine]


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_ID
