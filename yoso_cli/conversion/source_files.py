"""Files and folders of a source: which are meant, and the lines of those that are text."""

from pathlib import Path

from yoso_cli.errors import DataError, UsageError
from yoso_cli.runtime.words import shortened


def read_text(path: Path) -> str:
    """The text in `path`. Raises DataError when it is missing or no UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise DataError(f"{path}: cannot be read: {reason}.") from None


def read_lines(path: Path) -> list[str]:
    """Its lines, without those of spaces alone. Raises DataError as `read_text`."""
    return [line for line in read_text(path).splitlines() if line.strip()]


def one_file(source: Path, pattern: str, what: str) -> Path:
    """`source`, or the only file in it that is called like `pattern`. Raises UsageError for none or several."""
    if not source.is_dir():
        return source
    found = sorted(path for path in source.glob(pattern) if not path.name.startswith("."))
    if len(found) != 1:
        told = f"has several files {pattern}: {shortened([path.name for path in found])}" if found else "has none"
        raise UsageError(f"{source}: {told}; {what} is expected.", hint="Name it as SRC.")
    return found[0]


def first_folder(*folders: Path) -> Path:
    """The first of some usual places that is there, or else the first, for what is raised to name it."""
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def require_folder(found: Path | None, source: Path, what: str) -> Path:
    """`found`. Raises UsageError where it is None: `source` is no folder of `what`."""
    if found is None:
        raise UsageError(f"{source}: lacks the folders of {what}.", hint="Name the folder that has them as SRC.")
    return found
