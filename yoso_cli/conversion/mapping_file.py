"""The YAML of `--mapping`: what becomes of each class.

classes:
  auto: car                                # renamed, or joined with the class car
  van: car
  sky: null                                # dropped: void
  crowd: {name: people, isthing: true}     # stuff becomes a crowd of things; also id and color
rest: keep                                 # what is not named: keep or void
"""

from pathlib import Path
from typing import Any

from yoso_cli.datasets.class_mapping import ClassMapping, Target
from yoso_cli.errors import UsageError
from yoso_cli.panoptic.types import LARGEST_ID
from yoso_cli.recipe.reader import Section, Setting, read_text

EXAMPLE = "classes: {van: car, sky: null}"

_REST = ("keep", "void")
_KEYS = ("name", "isthing", "id", "color")


def read_mapping(path: Path) -> ClassMapping:
    """The mapping in the file `path`.

    Raises:
        UsageError: it cannot be read, or has mistakes: all of them at once with their lines.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise UsageError(f"{path}: cannot be read: {reason}.", hint=f"It must be like `{EXAMPLE}`.") from None
    root, problems = read_text(text, str(path), f"write it as `{EXAMPLE}`")
    mistakes = [problem.text for problem in problems]
    mapping = _mapping(root, str(path), mistakes)
    if mistakes:
        raise UsageError("; ".join(mistakes) + ".", hint=f"Write it as `{EXAMPLE}`.")
    return mapping


def _mapping(root: Section, source: str, mistakes: list[str]) -> ClassMapping:
    settings = {setting.name: setting for setting in root.settings}
    for name, setting in settings.items():
        if name not in ("classes", "rest"):
            mistakes.append(f"{setting.place} {name}: unknown key; there are 'classes' and 'rest'")
    classes = settings["classes"].value if "classes" in settings else Section(())
    rest = settings["rest"].value if "rest" in settings else _REST[0]
    if rest not in _REST:
        mistakes.append(f"{settings['rest'].place} rest: {rest!r} is neither keep nor void")
    if not isinstance(classes, Section) or (not classes.settings and rest == _REST[0]):
        if not mistakes:
            mistakes.append(f"{source}: `classes:` says nothing of any class")
        return ClassMapping({})
    targets = {one.name: _target(one, mistakes) for one in classes.settings}
    return ClassMapping(targets, rest != "void")


def _target(setting: Setting, mistakes: list[str]) -> Target | None:
    """What a class becomes; None is void, or a mistake."""
    value = setting.value
    if value is None:
        return None
    if isinstance(value, Section):
        values = {one.name: one.value for one in value.settings}
        wrong = [f"unknown key {key!r}" for key in values if key not in _KEYS]
        values.setdefault("name", setting.name)
        wrong += [f"{key}: {values[key]!r} where {doubt} is expected" for key, doubt in _doubts(values)]
    else:
        # A name may look like a number: 1 is the class "1".
        values = {"name": value if isinstance(value, str) else None}
        wrong = [] if isinstance(value, str) and value else [f"{value!r} where a class or null is expected; use quotes"]
    mistakes += [f"{setting.place} {setting.name}: {one}" for one in wrong]
    if wrong:
        return None
    color = values.get("color")
    return Target(
        values["name"], values.get("isthing"), values.get("id"), (color[0], color[1], color[2]) if color else None
    )


def _doubts(values: dict[str, Any]) -> list[tuple[str, str]]:
    """The keys with invalid values, and what is expected of them."""
    color = values.get("color", [0, 0, 0])
    fine = {
        "name": (isinstance(values["name"], str) and bool(values["name"]), "a name"),
        "isthing": (isinstance(values.get("isthing", True), bool), "true or false"),
        "id": (_is_whole(values.get("id", 0), LARGEST_ID), "a whole number"),
        "color": (
            isinstance(color, list) and len(color) == 3 and all(_is_whole(part, 255) for part in color),
            "[R, G, B]",
        ),
    }
    return [(key, doubt) for key, (is_fine, doubt) in fine.items() if not is_fine]


def _is_whole(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
