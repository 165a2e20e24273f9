"""Text files of labels and of names, a line each."""

from pathlib import Path

from yoso_cli.errors import DataError


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
