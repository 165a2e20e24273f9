"""HTML in which text cannot become markup, and the one file that it fills: no framework, no network, never large.

Whatever comes from data (names of classes and of files, paths) is escaped where it enters, and a content security
policy lets nothing run or load but this package's own script and style and the pictures inside the file. Names are cut,
lists have an end and pictures a budget, so that no dataset makes a page of more than MOST_BYTES.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape
from importlib import resources

MOST_BYTES = 8_000_000
"""No page is larger: it can be sent by mail and opens at once. Pictures take 5 MB of it, the table of classes 2 MB."""

# The longest class of the published datasets has 57 letters.
_LONGEST_NAME = 80

_VOID_TAGS = {"br", "img", "input", "meta"}

# Headings above words or drawings; all others stand above figures, to the right.
_WORDS = {"Class", "Kind", "PQ and what took the rest", "Cause", "what it is", "Size", "", "Scores"}


class Markup(str):
    """HTML that is finished. Only this file makes it from other text."""

    __slots__ = ()


def tag(name: str, /, *children: str | None, **attributes: object) -> Markup:
    """An element, of HTML or SVG.

    Args:
        name: as it is written.
        children: text, which is escaped, or Markup, which is not; None is left out.
        attributes: a trailing underscore is dropped (`class_`) and others become dashes (`aria_label`). None and False
            leave one out, True writes its bare name.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID_TAGS:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{joined(*children)}</{name}>")


def joined(*children: str | None) -> Markup:
    """Children one after another, without an element around them."""
    return Markup("".join(_escaped(child) for child in children if child is not None))


def trusted(text: str) -> Markup:
    """Text of this package's own files, which is markup already (or a script or style)."""
    return Markup(text)


def name_of(text: str, most: int = _LONGEST_NAME) -> Markup:
    """A name that somebody else chose, cut if it is long; letters that turn the direction of writing stay inside it."""
    return tag("bdi", cut(text, most))


def cut(text: str, most: int = _LONGEST_NAME) -> str:
    """The same text, or its two ends where it is longer than `most` letters."""
    half = most // 2
    return text if len(text) <= most else f"{text[: most - half - 1]}…{text[-half:]}"


def document(title: str, banner: Iterable[Markup], sections: Mapping[str, Markup], contents: Mapping[str, str]) -> str:
    """The whole file.

    Args:
        title: of the window.
        banner: what stands at the top.
        sections: by their anchors, in order.
        contents: what to call each anchor in the list of contents.
    """
    style, script = _own_file("page.css"), _own_file("page.js")
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src '{_digest(script)}'"
    links = (tag("a", contents[anchor], href=f"#{anchor}") for anchor in sections)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", trusted(style)),
    )
    body = tag(
        "body",
        tag("header", tag("div", *banner, class_="banner"), tag("nav", *links, aria_label="Contents")),
        tag("main", *sections.values()),
        tag("script", trusted(script)),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def section(anchor: str, title: str, lead: str, *content: str | None) -> Markup:
    """A part of the page under its heading, with a sentence that says how to read it."""
    head = joined(tag("h2", title, id=f"{anchor}-title"), tag("p", lead, class_="lead"))
    return tag("section", head, *content, id=anchor, aria_labelledby=f"{anchor}-title")


def column(word: str, key: str = "") -> Markup:
    """The heading of a column; with the `key` of its rows' data it sorts by that, and PQ is sorted by already."""
    class_ = None if word in _WORDS else "n"
    if not key:
        return tag("th", word, scope="col", class_=class_)
    direction = "descending" if key == "pq" else "none"
    button = tag("button", word, type="button", data_sort=key)
    return tag("th", button, scope="col", class_=class_, aria_sort=direction)


def table(columns: Iterable[Markup], rows: Iterable[Markup], **attributes: object) -> Markup:
    """A table under its row of headings (see `column`)."""
    return tag("table", tag("thead", tag("tr", *columns)), tag("tbody", *rows), **attributes)


def scroll(wide: Markup) -> Markup:
    """A box that scrolls where the screen is narrower than what it holds."""
    return tag("div", wide, class_="scroll")


def cells(figures: Iterable[str]) -> Markup:
    """Figures of a row, to the right."""
    return joined(*(tag("td", figure, class_="n") for figure in figures))


def choice(key: str, words: Iterable[str], pressed: str, label: str, **attributes: object) -> Markup:
    """A group of buttons of which one is pressed; the data called `key` tells the script which one it is."""
    buttons = (
        tag("button", word, type="button", **{key: name}, aria_pressed="true" if name == pressed else "false")
        for word, name in ((word, word.lower()) for word in words)
    )
    return tag("div", *buttons, **{"class_": "choice", "role": "group", "aria_label": label, **attributes})


def swatch(class_: str) -> Markup:
    """A small square in the colour of a cause."""
    return tag("span", class_=f"swatch {class_}", aria_hidden="true")


def _escaped(child: str) -> str:
    return child if isinstance(child, Markup) else escape(child, quote=True)


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    spelled = key.rstrip("_").replace("_", "-")
    return f" {spelled}" if value is True else f' {spelled}="{escape(str(value), quote=True)}"'


def _own_file(name: str) -> str:
    return (resources.files("yoso_cli.page") / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
