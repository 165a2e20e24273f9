"""A report as one HTML file that opens offline: no framework, no network, nothing but itself, and never large.

Whatever comes from data (names of classes and of files, paths) is escaped where it enters, and a content security
policy lets nothing run or load but this package's own script and style and the pictures inside the file. Names are cut,
lists have an end and pictures a budget, so that no dataset makes a page of more than MOST_BYTES.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path

from yoso_cli import atomic
from yoso_cli.evaluation.report import Report
from yoso_cli.page import sections
from yoso_cli.page.classes import classes
from yoso_cli.page.confusion import confusion
from yoso_cli.page.exhibits import Exhibit
from yoso_cli.page.gallery import gallery
from yoso_cli.page.markup import Markup, cut, joined, name_of, tag, trusted
from yoso_cli.page.measures import measures
from yoso_cli.page.parts import section

MOST_BYTES = 8_000_000
"""No page is larger: it can be sent by mail and opens at once. Pictures take 5 MB of it, the table of classes 2 MB."""

# A command or a path in full, but for one that somebody made to be long.
_LONGEST_VALUE = 1000

_CONTENTS = {
    "headline": "Quality",
    "causes": "Causes",
    "classes": "Classes",
    "measures": "Beside PQ",
    "sizes": "Sizes",
    "confusion": "Confusion",
    "calibration": "Calibration",
    "gallery": "Worst images",
    "made": "How it was made",
}


def write_page(path: Path, report: Report, exhibits: Iterable[Exhibit]) -> None:
    """Writes the page to `path` in one step. Raises RunError when it cannot be written."""
    atomic.write_text(path, page(report, tuple(exhibits)))


def page(report: Report, exhibits: Sequence[Exhibit]) -> str:
    """The whole document."""
    style, script = _own_file("page.css"), _own_file("page.js")
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src '{_digest(script)}'"
    title = f"PQ {_percent(report)} on {_place(report)}"
    parts = {
        "headline": sections.headline(report),
        "causes": sections.causes(report),
        "classes": classes(report),
        "measures": measures(report),
        "sizes": sections.sizes(report),
        "confusion": confusion(report),
        "calibration": sections.calibration(report),
        "gallery": gallery(exhibits, report.images),
        "made": _made(report),
    }
    shown = {anchor: part for anchor, part in parts.items() if part is not None}
    links = (tag("a", _CONTENTS[anchor], href=f"#{anchor}") for anchor in shown)
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
        tag("header", tag("div", *_banner(report), class_="banner"), tag("nav", *links, aria_label="Contents")),
        tag("main", *shown.values()),
        tag("script", trusted(script)),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _banner(report: Report) -> Iterator[Markup]:
    subject = report.predictions if not report.weights else report.weights.path
    yield tag("p", "yoso eval", class_="brand")
    yield tag("h1", name_of(_place(report)), " · ", f"{report.images} image{'' if report.images == 1 else 's'}")
    yield tag("p", name_of(subject), class_="subject")


def _made(report: Report) -> Markup:
    """Everything that made the number, for those who want to make it again."""
    rows: list[tuple[str, str]] = [("Command", report.command), ("Recipe", report.recipe)]
    if report.weights:
        rows += [("Weights", report.weights.path), ("SHA-256 of the weights", report.weights.sha256)]
    if report.settings:
        one = report.settings
        rows += [("Input size", f"short edge {one.short_edge}, long edge at most {one.long_edge} pixels")]
        rows += [("Thresholds", f"score {one.score_threshold:g}, overlap {one.overlap_threshold:g}")]
        rows += [("Views of each image", ", ".join(one.views)), ("Merge", one.merge)]
        rows += [("Device", one.device), ("Switches", one.switches)]
    rows += [("Truth", report.truth), ("Predictions", report.predictions)]
    rows += [("Versions", ", ".join(f"{name} {version}" for name, version in report.versions.items()))]
    rows += [("Machine", ", ".join(f"{key} {value}" for key, value in report.machine.items()))]
    told = (joined(tag("dt", name), tag("dd", name_of(value, _LONGEST_VALUE))) for name, value in rows if value)
    lead = "report.json beside this file, or yoso eval --json, holds all of it for programs."
    return section("made", "How it was made", lead, tag("dl", *told, class_="made"))


def _place(report: Report) -> str:
    return cut(f"{report.dataset} {report.split}".strip())


def _percent(report: Report) -> str:
    return "–" if report.quality.all.pq is None else f"{100 * report.quality.all.pq:.1f}"


def _own_file(name: str) -> str:
    return (resources.files("yoso_cli.page") / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
