"""Values of a JSON entry that came from elsewhere: taken as what they shall be, or every doubt named."""

from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, TypeVar

LARGEST_ID = 256**3 - 1

_T = TypeVar("_T")


class MalformedError(Exception):
    """What is wrong with one entry; the caller adds which entry and which file.

    Args:
        what: goes on from the entry's name: `repeats id 5`.
        code: the kind of mistake, for those who count them.
    """

    def __init__(self, what: str, code: str = "malformed-entry") -> None:
        super().__init__(what)
        self.code = code


def file_name(entry: Any) -> str:
    """The `file_name`: a path that stays inside its folder, so that a JSON never names a file of the user's."""
    name = value(entry, "file_name", str)
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    climbs = ".." in posix.parts or ".." in windows.parts
    if climbs or posix.is_absolute() or windows.anchor or not posix.name or "\0" in name:
        raise MalformedError(f"has file_name {name!r}, which does not stay inside its folder", "path-outside")
    return name


def image_id(entry: Any, key: str) -> int | str:
    """A number or a name."""
    found = get(entry, key)
    if isinstance(found, (int, str)) and not isinstance(found, bool):
        return found
    raise MalformedError(f"has {key!r} {found!r} where a number or a name is expected")


def whole(entry: Any, key: str, low: int, high: int | None = None) -> int:
    """A whole number from `low` to `high`."""
    found = get(entry, key)
    # A set has millions of these, and nearly all of them are what they should be.
    if type(found) is int and low <= found and (high is None or found <= high):
        return found
    number = integer(found)
    if number is None or number < low or (high is not None and number > high):
        limits = f"from {low} to {high}" if high is not None else f"of at least {low}"
        raise MalformedError(f"has {key!r} {found!r} where a whole number {limits} is expected")
    return number


def numbers(entry: Any, key: str, count: int) -> list[int]:
    """`count` numbers, rounded to whole ones."""
    values = list_of(entry, key)
    if len(values) == count and all(type(one) is int for one in values):
        return values
    rounded = [round(one) if isinstance(one, float) and abs(one) < LARGEST_ID else one for one in values]
    whole_ones = [number for number in map(integer, rounded) if number is not None]
    if len(values) != count or len(whole_ones) != count:
        raise MalformedError(f"has a {key!r} that is not {count} numbers")
    return whole_ones


def integer(found: Any) -> int | None:
    """A whole number, or None; some tools write `12.0` and `true` for 12 and 1."""
    if isinstance(found, float) and found.is_integer():
        return int(found)
    return int(found) if isinstance(found, int) else None


def list_of(entry: Any, key: str) -> list[Any]:
    """A list of anything."""
    return value(entry, key, list)


def value(entry: Any, key: str, kind: type[_T]) -> _T:
    """A value of one kind."""
    found = get(entry, key)
    if isinstance(found, kind):
        return found
    raise MalformedError(f"has {key!r} of type {type(found).__name__} where a {kind.__name__} is expected")


def get(entry: Any, key: str) -> Any:
    """What stands under `key`."""
    if not isinstance(entry, dict):
        raise MalformedError(f"is a {type(entry).__name__} where an object is expected")
    if key not in entry:
        raise MalformedError(f"lacks {key!r}")
    return entry[key]
