"""The page: a template in which no text from data is markup, its style and its script; served, or as one file."""

import base64
from collections.abc import Sequence
from typing import Any

from yoso_cli.page.document import own_file, render
from yoso_cli.runtime.progress import SILENT, Progress, tracked
from yoso_cli.view.content import Content, compact_json

# What a picture of a file is shown at, pixels of its long edge.
EDGE = 640
MOST_BYTES = 25_000_000
"""Of a file: it can be opened at once by any browser, and put on a web server."""


ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path fill="#0b6e75" d="M0 0h16v9H0z"/>'
    '<path fill="#e69f00" d="M0 9h16v7H0z"/><circle cx="6" cy="8" r="4" fill="#d55e00"/></svg>'
)


def served_page(content: Content) -> str:
    """The page that asks a server for everything else."""
    return render("view.html", {"title": content.title, "data": None}, style="", package=__package__)


def style() -> str:
    """That of the report and what this page has besides."""
    return own_file("page.css") + own_file("view.css", __package__)


def script() -> str:
    """What runs in the page."""
    return own_file("view.js", __package__)


def single_file(content: Content, chosen: Sequence[int], progress: Progress = SILENT) -> tuple[str, int]:
    """The page with as many of the `chosen` pictures inside as MOST_BYTES hold, and how many that are."""
    pictures: list[dict[str, Any]] = []
    size = 0
    for place in tracked(chosen, len(chosen), "drawing", progress):
        photo = "data:image/webp;base64," + base64.b64encode(content.photo(place, EDGE)).decode()
        maps = content.maps(place, EDGE)
        size += len(photo) + len(compact_json(maps))
        if size > MOST_BYTES:
            break
        pictures.append({"photo": photo, "maps": maps})
    index = {**content.index(chosen[: len(pictures)]), "total": len(content), "pictures": pictures}
    icon = "data:image/svg+xml;base64," + base64.b64encode(ICON.encode()).decode()
    values = {"title": content.title, "data": index, "icon": icon}
    text = render("view.html", values, style=style(), script=script(), package=__package__)
    return text, len(pictures)
