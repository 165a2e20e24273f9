"""Wording that many rooms share: a count with its noun, the first of many names."""

from collections.abc import Sequence


def counted(count: int, noun: str) -> str:
    """`1 image`, `5,000 images`, `2 classes`."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def shortened(items: Sequence[object], most: int = 5, *, more: str = " and {} more") -> str:
    """`a, b, c`: of many items the first `most`, and then `more`, in which `{}` stands for how many are left."""
    rest = more.format(len(items) - most) if len(items) > most else ""
    return ", ".join(map(str, items[:most])) + rest
