"""Checks of paths given by the user."""

import os
from pathlib import Path

from yoso_cli.errors import UsageError, did_you_mean


def require_there(*typed: Path | None) -> None:
    """Raises UsageError for the first path that does not exist."""
    for path in typed:
        if path is not None and not is_there(path):
            raise UsageError(f"{path}: there is no such file or folder.", hint=did_you_mean(str(path), beside(path)))


def is_there(path: Path) -> bool:
    """Whether `path` exists; False as well for a name that no file could have, for which Path.exists raises."""
    return os.path.exists(path)  # noqa: PTH110


def is_possible(path: str) -> bool:
    """Whether a file could have this path: one of an untrusted file may hold NUL, or half of a surrogate pair."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def beside(path: Path) -> list[str]:
    """The files beside `path`, written like it, for suggestions."""
    try:
        return [str(path.parent / one.name) for one in path.parent.iterdir()]
    except (OSError, ValueError):
        return []
