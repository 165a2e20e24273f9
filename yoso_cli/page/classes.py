"""The table of classes, with their bars, to sort and to filter."""

from collections.abc import Iterator
from dataclasses import dataclass

from yoso_cli.evaluation.causes import Loss
from yoso_cli.evaluation.per_image import Interval
from yoso_cli.evaluation.quality import ClassQuality
from yoso_cli.evaluation.report import Report
from yoso_cli.page.charts import percent, span, stack
from yoso_cli.page.markup import Markup, cut, each, name_of, tag
from yoso_cli.page.measures import by_class
from yoso_cli.page.parts import column, section
from yoso_cli.panoptic.draw import Color, colors
from yoso_cli.runtime.words import counted

# The columns of the table of classes, and what each one sorts by.
_COLUMNS = {
    "Class": "name",
    "Kind": "kind",
    "PQ and what took the rest": "",
    "PQ": "pq",
    "95 % interval": "",
    "SQ": "sq",
    "RQ": "rq",
    "found": "tp",
    "false": "fp",
    "missed": "fn",
}

MOST_CLASSES = 1000
"""Rows of the table of classes: more take longer to open than anybody reads."""

# What a class without a figure sorts as: below all others.
_NO_FIGURE = -1


@dataclass(frozen=True)
class _Class:
    """One class: its quality, what was measured beside it by heading, and how it is drawn."""

    quality: ClassQuality
    further: dict[str, float | None]
    interval: Interval | None
    losses: tuple[Loss, ...]
    color: Color

    @property
    def is_seen(self) -> bool:
        """Whether anything was measured of it: a class of crowds alone has an IoU, and no PQ."""
        return any(figure is not None for figure in (self.quality.pq, *self.further.values()))

    @property
    def segments(self) -> int:
        """Found, false and missed ones."""
        return self.quality.tp + self.quality.fp + self.quality.fn


def classes(report: Report) -> Markup:
    """Each class with its bar, to sort and to filter."""
    further = by_class(report)
    seen = [row for row in _classes(report, further) if row.is_seen]
    # Where there are too many, those that most segments speak for.
    shown = sorted(seen, key=lambda row: -row.segments)[:MOST_CLASSES]
    shown.sort(key=lambda row: -(row.quality.pq if row.quality.pq is not None else _NO_FIGURE))
    columns = _COLUMNS | {name: _key(name) for name in further}
    head = tag("tr", *(column(word, key) for word, key in columns.items()))
    body = tag("tbody", *map(_class_row, shown))
    table = tag("table", tag("thead", head), body, class_="classes", id="class-table")
    lead = " ".join(_class_lead(len(report.quality.classes), len(seen), len(shown)))
    return section("classes", "Classes", lead, _controls(len(shown)), tag("div", table, class_="scroll"))


def _classes(report: Report, further: dict[str, dict[int, float | None]]) -> Iterator[_Class]:
    found, sure, losses = report.quality.classes, report.measures.confidence.classes, report.measures.losses.classes
    tints = colors([one.category for one in found])
    for one, interval, lost, tint in zip(found, sure, losses, tints, strict=True):
        beside = {name: figures.get(one.category.id) for name, figures in further.items()}
        yield _Class(one, beside, interval, tuple(lost), tint)


def _controls(shown: int) -> Markup:
    kinds = each(
        tag("option", word, value=value)
        for word, value in (("things and stuff", ""), ("things", "thing"), ("stuff", "stuff"))
    )
    return tag(
        "div",
        tag("label", "Class ", tag("input", type="search", id="class-filter", placeholder="part of a name")),
        tag("label", "Kind ", tag("select", kinds, id="kind-filter")),
        tag("output", f"{shown} of {counted(shown, 'class')}", id="class-count", for_="class-filter kind-filter"),
        class_="controls",
    )


def _class_lead(known: int, seen: int, shown: int) -> Iterator[str]:
    yield "Press a heading to sort."
    if known > seen:
        yield f"{known - seen} of {known} classes are in neither truth nor prediction and not listed."
    if seen > shown:
        yield f"The {shown} classes with most segments are listed; report.json has all {seen}."


def _key(heading: str) -> str:
    return heading.split()[0].lower()


def _class_row(row: _Class) -> Markup:
    one = row.quality
    kind = "thing" if one.category.isthing else "stuff"
    sorted_by = {"pq": one.pq, "sq": one.sq, "rq": one.rq, "tp": one.tp, "fp": one.fp, "fn": one.fn}
    sorted_by |= {_key(name): figure for name, figure in row.further.items()}
    keys = {f"data_{key}": _NO_FIGURE if figure is None else round(figure, 6) for key, figure in sorted_by.items()}
    figures = [percent(one.pq), span(row.interval), percent(one.sq), percent(one.rq)]
    figures += [*map(str, (one.tp, one.fp, one.fn)), *map(percent, row.further.values())]
    return tag(
        "tr",
        tag("th", dot(row.color), name_of(one.category.name), scope="row"),
        tag("td", kind),
        tag("td", stack(one.pq, row.losses, row.interval), class_="bar"),
        *(tag("td", figure, class_="n") for figure in figures),
        data_name=cut(one.category.name.lower()),
        data_kind=kind,
        **keys,
    )


def dot(color: Color) -> Markup:
    """A small disc in the colour of a class."""
    red, green, blue = color
    return tag("span", class_="dot", style=f"background:rgb({red} {green} {blue})", aria_hidden="true")
