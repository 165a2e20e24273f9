"""Formatting of text: counts with nouns, shortened lists, wrapping."""

import re
import textwrap
import unicodedata
from collections.abc import Sequence


def counted(count: int, noun: str) -> str:
    """`1 image`, `5,000 images`, `2 classes`."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def shortened(items: Sequence[object], most: int = 5, *, more: str = " and {} more") -> str:
    """`a, b, c`: of many items the first `most`, and then `more`, in which `{}` stands for how many are left."""
    rest = more.format(len(items) - most) if len(items) > most else ""
    return ", ".join(map(str, items[:most])) + rest


def printable(text: str, *, lines: bool = False) -> str:
    """`text` with whatever no terminal should be sent escaped as in Python: control characters and half surrogates.

    Args:
        text: with names of files and classes, which may hold anything.
        lines: keep line breaks.
    """
    if text.isprintable():
        return text
    return "".join(one if _is_shown(one) or (lines and one == "\n") else _escaped(one) for one in text)


def _is_shown(one: str) -> bool:
    # The wide spaces of other scripts are not printable to Python.
    return one.isprintable() or unicodedata.category(one) == "Zs"


def _escaped(one: str) -> str:
    return one.encode("unicode_escape").decode("ascii")


def paragraph(text: str, width: int) -> str:
    """`text` wrapped at `width`; a word and a `quoted command` are never broken, so that they can be copied."""
    whole = re.sub(r"`[^`]*`", lambda quoted: quoted[0].replace(" ", "\0"), text)
    # Otherwise a long path would leave a word alone on its line.
    whole = re.sub(r"^Error: ", "Error:\0", whole)
    return textwrap.fill(whole, width, break_long_words=False, break_on_hyphens=False).replace("\0", " ")
