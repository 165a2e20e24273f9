"""Parses recipes into settings, each with its line; meaning is checked elsewhere.

YAML is read as nodes, never as objects, and scalars are resolved here: PyYAML takes `1e-4` for text, `010` for eight,
`1:30` for ninety and `no` for false, and lets the last of two equal keys win without a word. A recipe may come from a
stranger, so anchors, aliases, tags, deep nesting and large files are refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

_DEEPEST = 8
# Longer ones only serve to keep a machine busy.
_INT = re.compile(r"[-+]?[0-9](_?[0-9]){0,17}")
_FLOAT = re.compile(r"[-+]?([0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})([eE][-+]?[0-9]{1,4})?")
_RECIPES_HINT = "`yoso recipe show coco` shows what a recipe can say"
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "true": True, "false": False}


@dataclass(frozen=True)
class Setting:
    """One `name: value`.

    Attributes:
        name: without its section.
        value: a number, text, bool, None, a list of such, or a `Section`.
        place: what a mistake in it is introduced with: `recipes/mine.yaml:6:` or `--set`.
        line: orders mistakes within a file.
        text: as typed, where quotes may be left out (after --set); None elsewhere.
    """

    name: str
    value: Any
    place: str
    line: int = 0
    text: str | None = None


@dataclass(frozen=True)
class Section:
    """Settings under one name."""

    settings: tuple[Setting, ...]


@dataclass(frozen=True)
class Problem:
    """One mistake: a line of the report, and its position."""

    line: int
    text: str


def read_text(text: str, source: str, hint: str = _RECIPES_HINT) -> tuple[Section, list[Problem]]:
    """The settings of a YAML text and what is wrong with its form.

    Args:
        text: the YAML.
        source: names the file in places.
        hint: the message if there are no settings.
    """
    try:
        problems = _refused(text, source)
        root = None if problems else yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        return Section(()), [_malformed(error, source)]
    if problems:
        return Section(()), problems
    if not isinstance(root, yaml.MappingNode):
        what = "is empty" if root is None else "must hold `key: value` lines"
        return Section(()), [Problem(0, f"{source}: {what}; {hint}")]
    return _section(root, source, "", problems), problems


def read_plain(plain: Mapping[str, Any], source: str) -> Section:
    """The settings of a recipe stored as plain dicts."""
    place = f"{source}:"
    return Section(
        tuple(
            Setting(str(name), read_plain(value, source) if isinstance(value, Mapping) else value, place)
            for name, value in plain.items()
        )
    )


def read_override(override: str) -> Setting | Problem:
    """The setting of one `--set a.b=v`, in its sections."""
    key, equals, text = override.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        return Problem(0, f"--set {override}: must read KEY=VALUE, as in --set train.lr=2e-4")
    value, typed = _override_value(text.strip())
    setting = Setting(names[-1], value, "--set", text=typed)
    for name in reversed(names[:-1]):
        setting = Setting(name, Section((setting,)), "--set")
    return setting


def _override_value(text: str) -> tuple[Any, str | None]:
    """The value of an override, and the text itself unless it was quoted."""
    try:
        node = None if _refused(text, "") else yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        node = None
    if isinstance(node, yaml.ScalarNode) and node.style in ("'", '"'):
        return node.value, None
    if isinstance(node, yaml.SequenceNode):
        return _value(node, "--set", []), text
    return scalar(text), text


def _refused(text: str, source: str) -> list[Problem]:
    """YAML features that a recipe never needs, and a hostile one may use."""
    depth = 0
    problems: list[Problem] = []
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            return [*problems, Problem(line, f"{source}:{line}: is nested too deeply")]
        found = _refused_mark(event)
        if found:
            problems.append(Problem(line, f"{source}:{line}: {found} are not allowed here"))
    return problems


def _refused_mark(event: yaml.Event) -> str:
    if isinstance(event, yaml.AliasEvent):
        return f"aliases (*{event.anchor})"
    if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)):
        if event.anchor:
            return f"anchors (&{event.anchor})"
        if event.tag:
            return f"tags ({event.tag})"
    return ""


def _malformed(error: yaml.YAMLError, source: str) -> Problem:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        line = error.problem_mark.line + 1
        return Problem(line, f"{source}:{line}: is not YAML: {error.problem or error.context}")
    reason = getattr(error, "reason", "") or "unreadable"
    return Problem(0, f"{source}: is not YAML: {reason}")


def _section(node: yaml.MappingNode, source: str, prefix: str, problems: list[Problem]) -> Section:
    settings: dict[str, Setting] = {}
    for key, content in node.value:
        line = key.start_mark.line + 1
        place = f"{source}:{line}:"
        if not isinstance(key, yaml.ScalarNode):
            problems.append(Problem(line, f"{place} a key must be one word"))
        elif key.value in settings:
            first = settings[key.value].line
            problems.append(Problem(line, f"{place} {prefix}{key.value}: is on line {first} already; keep one"))
        else:
            is_section = isinstance(content, yaml.MappingNode)
            inner = f"{prefix}{key.value}."
            value = _section(content, source, inner, problems) if is_section else _value(content, source, problems)
            settings[key.value] = Setting(key.value, value, place, line)
    return Section(tuple(settings.values()))


def _value(node: yaml.Node, source: str, problems: list[Problem]) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, source, problems) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        return _section(node, source, "", problems)
    assert isinstance(node, yaml.ScalarNode)
    return scalar(node.value) if node.style is None else node.value


def scalar(text: str) -> Any:
    """A word without quotes: a number where it reads like one, also `1e-4`; true, false, null; else text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
