"""YAML -> Recipe and back: packaged recipes, `extends`, `--set`, and every mistake at once, each with its place."""

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from yoso_cli.errors import RecipeError, UsageError
from yoso_cli.recipe.check import Checked, checked, conflicts, recipe_of
from yoso_cli.recipe.reader import Problem, Section, Setting, read_override, read_plain, read_text, scalar
from yoso_cli.recipe.schema import Recipe

_SUFFIXES = (".yaml", ".yml")
_MOST_BYTES = 256 * 1024
_COMMENT_COLUMN = 32
# What a terminal of 80 columns shows.
_WIDEST = 79
# Text that needs no quotes.
_PLAIN = re.compile(r"[A-Za-z_]([A-Za-z0-9_./+%()-]|[ ](?=[A-Za-z0-9_(])|,(?= ))*")


def load(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a packaged name (`coco`, `ablation/ifa`) or a file, changed by `overrides` (`train.lr=2e-4`).

    Raises:
        UsageError: there is no such recipe.
        RecipeError: with every mistake in it, in the recipe it extends and in the overrides.
    """
    return read(find(name_or_path), overrides)


def read(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of exactly this file. Raises as `load` does."""
    problems: list[Problem] = []
    layers = _layers(path, problems)
    layers.append(_override_layer(overrides, problems))
    return _resolved(layers, problems)


def from_dict(plain: Mapping[str, Any], source: str = "recipe") -> Recipe:
    """The recipe from the plain values of `Recipe.to_dict`; `source` names their origin in error messages.

    Raises:
        RecipeError: with every mistake in it.
    """
    problems: list[Problem] = []
    return _resolved([checked(read_plain(plain, source), problems)], problems)


def with_overrides(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """`recipe` changed by `overrides` (`train.lr=2e-4`). Raises RecipeError with every mistake in them."""
    problems: list[Problem] = []
    base = checked(read_plain(recipe.to_dict(), "recipe"), problems)
    return _resolved([base, _override_layer(overrides, problems)], problems)


def packaged() -> list[tuple[str, Path]]:
    """(name, file) of every packaged recipe, main ones first."""
    folder = _packaged_folder()
    found = [(path.relative_to(folder).with_suffix("").as_posix(), path) for path in folder.rglob("*.yaml")]
    return sorted(found, key=lambda pair: ("/" in pair[0], _natural(pair[0])))


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts `proposals-50` before `proposals-100`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def find(name_or_path: str) -> Path:
    """The file of a recipe: a bare name is a packaged recipe, anything else a file.

    `recipes/coco.yaml` is the packaged `coco` if there is no such file.

    Raises:
        UsageError: there is no such recipe.
    """
    path = Path(name_or_path)
    names = dict(packaged())
    if path.suffix not in _SUFFIXES and name_or_path in names:
        return names[name_or_path]
    if path.is_file():
        return path
    name = path.with_suffix("").as_posix() if path.suffix in _SUFFIXES else path.as_posix()
    name = name.removeprefix("recipes/")
    if name in names:
        return names[name]
    raise UsageError(f"{name_or_path}: there is no such recipe.", hint=_near_names(name, path, list(names)))


def _near_names(name: str, path: Path, names: list[str]) -> str:
    beside = [str(file) for file in path.parent.glob("*") if file.suffix in _SUFFIXES] if path.parent.is_dir() else []
    near = get_close_matches(name, names, n=2) + get_close_matches(str(path), beside, n=1)
    by_last_word = {packaged_name.rpartition("/")[2]: packaged_name for packaged_name in names}
    near += [by_last_word[found] for found in get_close_matches(name, list(by_last_word), n=1)]
    meant = " or ".join(f"'{one}'" for one in dict.fromkeys(near))
    return f"Did you mean {meant}?" if meant else "`yoso recipe list` lists the packaged recipes."


def _packaged_folder() -> Path:
    """In the package where it is installed, beside it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


def _layers(path: Path, problems: list[Problem]) -> list[dict[str, Checked]]:
    """The values of the recipe that `path` extends, if it does, and those of `path`."""
    section, extends, own = _contents(path)
    layers = []
    if extends is not None:
        base = _extended(path, extends, own)
        if base is not None:
            layers.append(_base_layer(base, extends, own, problems))
    layers.append(checked(section, own))
    problems += sorted(own, key=lambda problem: problem.line)
    return layers


def _base_layer(base: Path, extends: Setting, own: list[Problem], problems: list[Problem]) -> dict[str, Checked]:
    section, further, found = _contents(base)
    if further is not None:
        sentence = f"{extends.value} itself extends {further.value}; only one level is allowed"
        own.append(Problem(extends.line, f"{extends.place} extends: {sentence}"))
    values = checked(section, found)
    problems += sorted(found, key=lambda problem: problem.line)
    return values


def _contents(path: Path) -> tuple[Section, Setting | None, list[Problem]]:
    """The settings of the file at `path`, its `extends` separately, and mistakes in its syntax."""
    section, problems = read_text(_text(path), _shown(path))
    extends = next((setting for setting in section.settings if setting.name == "extends"), None)
    rest = tuple(setting for setting in section.settings if setting is not extends)
    return Section(rest), extends, problems


def _text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise RecipeError([f"{_shown(path)}: {size:,} bytes are too large for a recipe"])
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError([f"{_shown(path)}: is not UTF-8 text"]) from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}.") from error


def _shown(path: Path) -> str:
    """Relative to the current folder where possible."""
    try:
        return str(path.resolve().relative_to(Path.cwd())) if path.is_absolute() else str(path)
    except ValueError:
        return str(path)


def _extended(path: Path, extends: Setting, problems: list[Problem]) -> Path | None:
    """The file that `path` extends: relative to its folder, or a packaged name; never itself."""
    if not isinstance(extends.value, str):
        problems.append(Problem(extends.line, f"{extends.place} extends: expected the name of a recipe"))
        return None
    near = path.parent / extends.value
    candidates = [near, *(near.with_name(near.name + suffix) for suffix in _SUFFIXES)]
    for candidate in candidates:
        if candidate.is_file() and not candidate.samefile(path):
            return candidate
    try:
        found = find(extends.value.removesuffix(".yaml"))
    except UsageError as error:
        problems.append(Problem(extends.line, f"{extends.place} extends: {error}"))
        return None
    if found.samefile(path):
        problems.append(Problem(extends.line, f"{extends.place} extends: a recipe cannot extend itself"))
        return None
    return found


def _override_layer(overrides: Sequence[str], problems: list[Problem]) -> dict[str, Checked]:
    values: dict[str, Checked] = {}
    if isinstance(overrides, (str, Mapping)):
        raise UsageError("Overrides are a list, as in ['train.lr=2e-4'].")
    for override in overrides:
        setting = read_override(override)
        if isinstance(setting, Problem):
            problems.append(setting)
        else:
            values |= checked(Section((setting,)), problems)
    return values


def _resolved(layers: Sequence[Mapping[str, Checked]], problems: list[Problem]) -> Recipe:
    """Merges layers, later ones first; the paper's figures are dropped if the dataset is another one."""
    values: dict[str, Checked] = {}
    for layer in layers:
        if "data.name" in layer and "data.name" in values and layer["data.name"].value != values["data.name"].value:
            values = {key: value for key, value in values.items() if not key.startswith("paper.")}
        for key, value in layer.items():
            values.pop(key, None)  # so that the order is the order of setting, which `conflicts` uses
            values[key] = value
    problems += conflicts(values, problems)
    if problems:
        raise RecipeError([problem.text for problem in problems])
    return recipe_of(values)


def to_yaml(recipe: Recipe, *, comments: bool = False) -> str:
    """The whole recipe as YAML, which reads back as the same recipe.

    Args:
        recipe: any recipe.
        comments: adds the meaning of each value, its default if the value differs, and the value in the paper's text
            if that differs.
    """
    lines: list[str] = []
    said = recipe.paper.said()
    for field in fields(recipe):
        value = getattr(recipe, field.name)
        if is_dataclass(value):
            lines += ["", f"# {(value.__doc__ or '').splitlines()[0]}"] if comments else []
            lines.append(f"{field.name}:")
            for inner in fields(value):
                comment = _comment(value, inner, said.get(f"{field.name}.{inner.name}", "")) if comments else ""
                lines += _lines(value, inner, "  ", comment)
        else:
            lines += _lines(recipe, field, "", _comment(recipe, field, "") if comments else "")
    return "\n".join(lines) + "\n"


def _lines(owner: Any, field: Field[Any], indent: str, comment: str) -> list[str]:
    """The value with its comment beside it, or above it if the line would be too long."""
    text = f"{indent}{field.name}: {scalar_text(getattr(owner, field.name))}"
    beside = f"{text.ljust(_COMMENT_COLUMN - 2)}  # {comment}" if comment else text
    if len(beside) <= _WIDEST or not comment:
        return [beside]
    above = textwrap.wrap(comment, _WIDEST, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
    # Lists and quoted text may continue on the next line.
    deeper = f"{indent}  "
    return [*above, *textwrap.wrap(text, _WIDEST, subsequent_indent=deeper, break_long_words=False)]


def _comment(owner: Any, field: Field[Any], said: str) -> str:
    """The meaning of a value, with its default and the paper's value where they differ."""
    default = "" if getattr(owner, field.name) == field.default else f"(default {scalar_text(field.default)}) "
    # Line breaks would end the comment.
    said = "".join(character for character in said if character.isprintable())
    paper = f"(paper says {said}) " if said else ""
    choices = (*field.metadata["choices"], *field.metadata["forms"])
    return f"{default}{paper}{field.metadata['meaning']}{'; one of ' + ', '.join(choices) if choices else ''}"


def scalar_text(value: Any) -> str:
    """A value as YAML that this reader and other YAML readers read alike."""
    if isinstance(value, tuple):
        return f"[{', '.join(scalar_text(item) for item in value)}]"
    if isinstance(value, float):
        # Without the point, YAML 1.1 reads 1e-05 as text.
        return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))
    if not isinstance(value, str):
        return "null" if value is None else str(value).lower()
    if _PLAIN.fullmatch(value) and scalar(value) == yaml.safe_load(value) == value:
        return value
    return str(yaml.safe_dump(value, default_style='"', width=math.inf)).strip()
