"""What several parts of the page are made of."""

from yoso_cli.page.markup import Markup, joined, tag

# Headings above words or drawings; all others stand above figures, to the right.
_WORDS = {"Class", "Kind", "PQ and what took the rest", "Cause", "what it is", "Size", "", "Scores"}


def section(anchor: str, title: str, lead: str, *content: str | None) -> Markup:
    """A part of the page under its heading, with a sentence that says how to read it."""
    head = joined(tag("h2", title, id=f"{anchor}-title"), tag("p", lead, class_="lead"))
    return tag("section", head, *content, id=anchor, aria_labelledby=f"{anchor}-title")


def heading(*words: str) -> Markup:
    """The head of a table."""
    return tag("tr", *(column(word) for word in words))


def column(word: str, key: str = "") -> Markup:
    """The heading of a column; with the `key` of its rows' data it sorts by that, and PQ is sorted by already."""
    class_ = None if word in _WORDS else "n"
    if not key:
        return tag("th", word, scope="col", class_=class_)
    direction = "descending" if key == "pq" else "none"
    button = tag("button", word, type="button", data_sort=key)
    return tag("th", button, scope="col", class_=class_, aria_sort=direction)


def swatch(class_: str) -> Markup:
    """A small square in the colour of a cause."""
    return tag("span", class_=f"swatch {class_}", aria_hidden="true")
