"""Words that many rooms say: a count with its noun."""


def counted(count: int, noun: str) -> str:
    """`1 image`, `5,000 images`, `2 classes`."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"
