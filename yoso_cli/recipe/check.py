"""Validates settings against the schema: unknown keys, wrong types, values out of range."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from types import NoneType
from typing import Any, get_args, get_type_hints

from yoso_cli.recipe.reader import Problem, Section, Setting
from yoso_cli.recipe.schema import Recipe

_EXPECTED = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


@dataclass(frozen=True)
class Checked:
    """A valid value, and where it was set."""

    value: Any
    place: str
    line: int = 0


class _WrongError(Exception):
    """Why a value is invalid; used only in this module."""


def checked(section: Section, problems: list[Problem]) -> dict[str, Checked]:
    """The valid values of `section` by dotted key; mistakes are added to `problems`."""
    return dict(_checked(section, Recipe, "", problems))


def _checked(section: Section, kind: type, prefix: str, problems: list[Problem]) -> Iterator[tuple[str, Checked]]:
    kinds = get_type_hints(kind)
    limits = {field.name: field.metadata for field in fields(kind)}
    for setting in section.settings:
        key = prefix + setting.name
        inner = kinds.get(setting.name)
        try:
            if inner is None:
                raise _WrongError(f"unknown key{_near_miss(setting.name, prefix)}")
            if not is_dataclass(inner):
                yield key, Checked(_fitting(setting, inner, limits[setting.name]), setting.place, setting.line)
            elif isinstance(setting.value, Section):
                yield from _checked(setting.value, inner, f"{key}.", problems)  # type: ignore[arg-type]
            elif setting.value is not None:  # an empty section is fine
                raise _WrongError(f"is a section; its keys go beneath it, not {_shown(setting.value)}")
        except _WrongError as wrong:
            problems.append(Problem(setting.line, f"{setting.place} {key}: {wrong}"))


def recipe_of(values: Mapping[str, Checked]) -> Recipe:
    """The recipe with `values` (by dotted key) and the defaults for the rest."""
    recipe = _built(Recipe, "", values)
    assert isinstance(recipe, Recipe)
    return recipe


def _built(kind: type, prefix: str, values: Mapping[str, Checked]) -> Any:
    given = {}
    for name, inner in get_type_hints(kind).items():
        key = prefix + name
        if is_dataclass(inner):
            given[name] = _built(inner, f"{key}.", values)  # type: ignore[arg-type]
        elif key in values:
            given[name] = values[key].value
    return kind(**given)


def conflicts(values: Mapping[str, Checked], problems: list[Problem]) -> list[Problem]:
    """Values that contradict each other, reported at the line of the last one.

    Sections with other mistakes are skipped: their invalid values were replaced by defaults.
    """
    found = []
    for conflict in recipe_of(values).conflicts():
        section = conflict.key.rpartition(".")[0]
        if any(f" {section}." in problem.text for problem in problems):
            continue
        # Reported at the value that was set last.
        parts = [values[key] for key in values if key in (conflict.key, conflict.other)]
        place, line = (parts[-1].place, parts[-1].line) if parts else ("", 0)
        found.append(Problem(line, f"{place} {conflict.key}: {conflict.sentence}".strip()))
    return found


def all_keys() -> list[str]:
    """Every dotted key of the schema."""
    return list(_keys(Recipe, ""))


def _keys(kind: type, prefix: str) -> Iterator[str]:
    for name, inner in get_type_hints(kind).items():
        if is_dataclass(inner):
            yield from _keys(inner, f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            yield prefix + name


def _near_miss(name: str, prefix: str) -> str:
    """`; did you mean 'train.lr'?`: searches the same section, then the others."""
    if prefix + name in all_keys():
        section, _, word = name.partition(".")
        return f"; write '{word}' beneath '{section}:'"
    kind: Any = get_type_hints(Recipe)[prefix[:-1]] if prefix else Recipe
    near = get_close_matches(name, list(get_type_hints(kind)), n=1)
    if not near:
        by_word = {key.rpartition(".")[2]: key for key in reversed(all_keys())}
        near = [by_word[word] for word in get_close_matches(name.rpartition(".")[2], list(by_word), n=1, cutoff=0.8)]
    return f"; did you mean '{near[0]}'?" if near else ""


def _fitting(setting: Setting, kind: Any, limits: Mapping[str, Any]) -> Any:
    options = get_args(kind)
    if options and options[-1] is Ellipsis:
        if not isinstance(setting.value, (list, tuple)):
            raise _WrongError(f"expected a list such as [1, 2], found {_shown(setting.value)}")
        return tuple(_one(item, options[0], limits) for item in setting.value)
    if NoneType in options:
        kind = next(option for option in options if option is not NoneType)
        if setting.value is None:
            return None
    typed = setting.text is not None and kind is str
    return _one(setting.text if typed else setting.value, kind, limits)


def _one(value: Any, kind: type, limits: Mapping[str, Any]) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    # In Python, bool is an int.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        quotes = (
            f'; in quotes it is text: "{_shown(value)}"'
            if kind is str and isinstance(value, (bool, int, float))
            else ""
        )
        raise _WrongError(f"expected {_EXPECTED[kind]}, found {_shown(value)}{quotes}")
    if isinstance(value, float) and not math.isfinite(value):
        raise _WrongError("must be a finite number")
    _check_limits(value, limits)
    return value


def _check_limits(value: Any, limits: Mapping[str, Any]) -> None:
    choices, forms = limits["choices"], limits["forms"]
    if choices and value not in choices and not any(_has_form(value, form) for form in forms):
        near = get_close_matches(value, choices, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise _WrongError(f"must be one of {', '.join((*choices, *forms))}, not {_shown(value)}{hint}")
    if limits["at_least"] is not None and value < limits["at_least"]:
        raise _WrongError(f"must be at least {limits['at_least']}, not {value}")
    if limits["above"] is not None and value <= limits["above"]:
        raise _WrongError(f"must be above {limits['above']}, not {value}")
    if limits["at_most"] is not None and value > limits["at_most"]:
        raise _WrongError(f"must be at most {limits['at_most']}, not {value}")


def _has_form(value: str, form: str) -> bool:
    """Whether `value` is such as `timm:NAME`: the same to the colon, then something printable."""
    kind, _, rest = value.partition(":")
    return kind == form.partition(":")[0] and bool(rest.strip()) and rest.isprintable()


def _shown(value: Any) -> str:
    if isinstance(value, Section):
        return "a section"
    if isinstance(value, (list, tuple)):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
