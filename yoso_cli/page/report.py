"""A report as one HTML file that opens offline: its sections, from the headline to how it was made."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from yoso_cli import atomic
from yoso_cli.evaluation.boundary import WIDTH
from yoso_cli.evaluation.calibration import Bin
from yoso_cli.evaluation.causes import MEANINGS, NAMES, Loss, Meeting, mistaken
from yoso_cli.evaluation.per_image import GROUPS, GroupIntervals, Interval
from yoso_cli.evaluation.quality import LIMITS, SIZES, ClassQuality, GroupQuality, PanopticQuality
from yoso_cli.evaluation.report import Report
from yoso_cli.page.charts import percent, reliability, scale, span, stack
from yoso_cli.page.document import (
    Markup,
    cells,
    choice,
    column,
    cut,
    document,
    joined,
    name_of,
    scroll,
    section,
    swatch,
    table,
    tag,
)
from yoso_cli.page.gallery import Exhibit, gallery
from yoso_cli.panoptic.draw import Color, colors
from yoso_cli.panoptic.types import Category
from yoso_cli.runtime.words import counted

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

# A matrix beyond this fits no screen; the list of what is confused most is there in any case.
_LARGEST_MATRIX = 20
_MOST_CONFUSED = 20


def write_page(path: Path, report: Report, exhibits: Iterable[Exhibit]) -> None:
    """Writes the page to `path` in one step. Raises RunError when it cannot be written."""
    atomic.write_text(path, page(report, tuple(exhibits)))


def page(report: Report, exhibits: Sequence[Exhibit]) -> str:
    """The whole document."""
    sections = {
        "headline": _headline(report),
        "causes": _causes(report),
        "classes": _classes(report),
        "measures": _measures(report),
        "sizes": _sizes(report),
        "confusion": _confusion(report),
        "calibration": _calibration(report),
        "gallery": gallery(exhibits, report.images),
        "made": _made(report),
    }
    there = {anchor: part for anchor, part in sections.items() if part is not None}
    pq = report.quality.all.pq
    title = f"PQ {percent(pq)} on {_place(report)}"
    return document(title, _banner(report), there, _CONTENTS)


def _banner(report: Report) -> Iterator[Markup]:
    subject = report.predictions if not report.weights else report.weights.path
    yield tag("p", "yoso eval", class_="brand")
    yield tag("h1", name_of(_place(report)), " · ", f"{report.images} image{'' if report.images == 1 else 's'}")
    yield tag("p", name_of(subject), class_="subject")


def _headline(report: Report) -> Markup:
    """PQ, SQ and RQ of all, things and stuff, with intervals, beside the paper's."""
    quality, sure, paper = report.quality, report.measures.confidence, report.paper
    published = (paper.pq, paper.pq_things, paper.pq_stuff) if paper else (None, None, None)
    groups = (
        ("All classes", quality.all, sure.all),
        ("Things", quality.things, sure.things),
        ("Stuff", quality.stuff, sure.stuff),
    )
    cards = (_card(name, group, one, theirs) for (name, group, one), theirs in zip(groups, published, strict=True))
    lead = (
        "Panoptic quality is PQ = SQ × RQ for each class, averaged over classes. SQ: how well found segments fit. "
        "RQ: how many are found, false ones counted against. Ranges are 95 % intervals: how far a figure moves when "
        "these images are drawn again at random."
    )
    source = tag("p", f"The paper's figures: {paper.table}.", class_="note") if paper and paper.table else None
    return section("headline", "Panoptic quality", lead, tag("div", *cards, class_="cards"), source)


def _card(name: str, group: GroupQuality, sure: GroupIntervals, paper: float | None) -> Markup:
    beside = None
    if paper is not None:
        difference = "" if group.pq is None else f" ({100 * group.pq - paper:+.1f})"
        beside = tag("p", "paper ", tag("b", f"{paper:.1f}"), difference, class_="paper")
    parts = (
        tag("div", tag("dt", word), tag("dd", percent(value), tag("small", span(interval))))
        for word, value, interval in (("SQ", group.sq, sure.sq), ("RQ", group.rq, sure.rq))
    )
    figure = tag("p", percent(group.pq), class_="figure")
    interval = tag("p", span(sure.pq) or "no interval", class_="interval")
    head = tag("h3", name, tag("small", f"{group.n} class{'' if group.n == 1 else 'es'}"))
    bar = scale(group.pq, sure.pq, paper)
    return tag("article", head, figure, interval, bar, beside, tag("dl", *parts), class_="card")


def _causes(report: Report) -> Markup | None:
    """What each cause took of the hundred."""
    losses = {kind: getattr(report.measures.losses, kind) for kind in GROUPS if getattr(report.measures.losses, kind)}
    if not losses:
        return None
    panels = (_panel(kind, getattr(report.quality, kind).pq, of_kind) for kind, of_kind in losses.items())
    lead = "Every point below 100 has one cause, so the causes add up to what is lost."
    kinds = choice("data_panel", map(str.capitalize, losses), "all", "Classes", data_panels="causes")
    return section("causes", "Where the rest was lost", lead, kinds, *panels)


def _panel(kind: str, pq: float | None, losses: Sequence[Loss]) -> Markup:
    columns = map(column, ("Cause", "PQ lost", "true", "predicted", "what it is"))
    rows = map(_cause_row, sorted(losses, key=lambda one: -one.pq))
    wide = tag("div", stack(pq, losses), class_="wide")
    causes = scroll(table(columns, rows, class_="causes"))
    return tag("div", wide, causes, data_panel_of="causes", data_panel=kind, hidden=kind != "all")


def _cause_row(one: Loss) -> Markup:
    name = tag("th", swatch(f"c-{one.cause}"), NAMES[one.cause], scope="row")
    figures = cells((percent(one.pq), str(one.true or "–"), str(one.predicted or "–")))
    return tag("tr", name, figures, tag("td", MEANINGS[one.cause]))


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


def _classes(report: Report) -> Markup:
    """Each class with its bar, to sort and to filter."""
    further = _by_class(report)
    seen = [row for row in _class_figures(report, further) if row.is_seen]
    # Where there are too many, those that most segments speak for.
    shown = sorted(seen, key=lambda row: -row.segments)[:MOST_CLASSES]
    shown.sort(key=lambda row: -(row.quality.pq if row.quality.pq is not None else _NO_FIGURE))
    columns = _COLUMNS | {name: _key(name) for name in further}
    headings = (column(word, key) for word, key in columns.items())
    rows = table(headings, map(_class_row, shown), class_="classes", id="class-table")
    lead = " ".join(_class_lead(len(report.quality.classes), len(seen), len(shown)))
    return section("classes", "Classes", lead, _controls(len(shown)), scroll(rows))


def _by_class(report: Report) -> dict[str, dict[int, float | None]]:
    """Figures beside PQ: under each heading, by category id."""
    found = report.measures
    columns: dict[str, dict[int, float | None]] = {}
    if found.semantic:
        columns["IoU"] = {one.category.id: one.iou for one in found.semantic.classes}
    if found.instances:
        columns["AP"] = {one.category.id: one.ap for one in found.instances.classes}
    if found.boundary:
        columns["boundary PQ"] = {one.category.id: one.pq for one in found.boundary.classes}
    return columns


def _class_figures(report: Report, further: dict[str, dict[int, float | None]]) -> Iterator[_Class]:
    found, sure, losses = report.quality.classes, report.measures.confidence.classes, report.measures.losses.classes
    tints = colors([one.category for one in found])
    for one, interval, lost, tint in zip(found, sure, losses, tints, strict=True):
        beside = {name: figures.get(one.category.id) for name, figures in further.items()}
        yield _Class(one, beside, interval, tuple(lost), tint)


def _controls(shown: int) -> Markup:
    options = {"things and stuff": "", "things": "thing", "stuff": "stuff"}
    kinds = (tag("option", word, value=value) for word, value in options.items())
    name = tag("label", "Class ", tag("input", type="search", id="class-filter", placeholder="part of a name"))
    kind = tag("label", "Kind ", tag("select", *kinds, id="kind-filter"))
    told = f"{shown} of {counted(shown, 'class')}"
    count = tag("output", told, id="class-count", for_="class-filter kind-filter")
    return tag("div", name, kind, count, class_="controls")


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
        tag("th", _dot(row.color), name_of(one.category.name), scope="row"),
        tag("td", kind),
        tag("td", stack(one.pq, row.losses, row.interval), class_="bar"),
        cells(figures),
        data_name=cut(one.category.name.lower()),
        data_kind=kind,
        **keys,
    )


def _dot(color: Color) -> Markup:
    """A small disc in the colour of a class."""
    red, green, blue = color
    return tag("span", class_="dot", style=f"background:rgb({red} {green} {blue})", aria_hidden="true")


def _measures(report: Report) -> Markup:
    """A card for each measure beside PQ; one that was not asked for is not there."""
    lead = "Other figures of the same panoptic maps. They answer other questions, so they may rank models differently."
    cards = (_measure_card(*one) for one in _beside_pq(report))
    return section("measures", "Beside PQ", lead, tag("div", *cards, class_="cards"))


def _beside_pq(report: Report) -> Iterator[tuple[str, float | None, str, Mapping[str, float | None]]]:
    """Name, figure, what it is, and its parts, of each measure."""
    found = report.measures
    told = (
        "PQ with stuff counted by its IoU in each image that has it: a region at an IoU of 0.49 is worth 0.49 instead "
        "of two errors."
    )
    yield "PQ†", found.dagger.all, told, {"things": found.dagger.things, "stuff": found.dagger.stuff}
    if pixels := found.semantic:
        told = (
            "Of each class, the pixels that truth and prediction share, over those that either has; the mean over "
            "classes. Instances are not told apart."
        )
        further = {"pixels right": pixels.pixel_accuracy, "class accuracy": pixels.mean_accuracy}
        yield "mIoU", pixels.miou, told, {**further, "weighted by pixels": pixels.weighted_iou}
    if mask := found.instances:
        told = (
            "Things ranked by their scores, at IoUs from 0.50 to 0.95, as COCO counts them. Panoptic maps keep no "
            "overlaps: this is not the AP of an instance segmentation."
        )
        by_size = {size: getattr(mask, size) for size in SIZES}
        yield "Mask AP", mask.ap, told, {"AP50": mask.ap50, "AP75": mask.ap75, **by_size}
    if one := found.boundary:
        within = f"within {100 * WIDTH:g} % of the image's diagonal."
        told = f"PQ whose matches must also agree along their outlines, {within}"
        yield "Boundary PQ", one.all.pq, told, {"things": one.things.pq, "stuff": one.stuff.pq}


def _measure_card(name: str, value: float | None, told: str, further: Mapping[str, float | None]) -> Markup:
    parts = (tag("div", tag("dt", word), tag("dd", percent(figure))) for word, figure in further.items())
    figure, note = tag("p", percent(value), class_="figure"), tag("p", told, class_="note")
    return tag(
        "article", tag("h3", name), figure, scale(value, None, None), note, tag("dl", *parts), class_="card small"
    )


def _sizes(report: Report) -> Markup:
    """PQ of small, medium and large segments."""
    small, large = (round(limit**0.5) for limit in LIMITS)
    limits = (f"below {small}² pixels", f"{small}² to {large}² pixels", f"{large}² pixels and more")
    found = (getattr(report.measures.sizes, name) for name in SIZES)
    columns = map(column, ("Size", "", "PQ", "things", "stuff", "found", "false", "missed"))
    rows = map(_size_row, SIZES, limits, found)
    lead = "A match and a missed segment count at the size of the true segment, a false one at its own."
    return section("sizes", "By size of segment", lead, scroll(table(columns, rows, class_="sizes")))


def _size_row(name: str, limit: str, quality: PanopticQuality) -> Markup:
    groups = (quality.all, quality.things, quality.stuff)
    counts = [sum(getattr(one, part) for one in quality.classes) for part in ("tp", "fp", "fn")]
    head = tag("th", name, tag("small", limit), scope="row")
    bar = tag("td", stack(quality.all.pq, ()), class_="bar")
    return tag("tr", head, bar, cells([*(percent(group.pq) for group in groups), *map(str, counts)]))


def _confusion(report: Report) -> Markup | None:
    """Which classes are taken for which."""
    met, wrong = report.measures.confusion, mistaken(report.measures.confusion)
    seen = [one.category for one in report.quality.classes if one.pq is not None]
    if not met:
        return None
    lead = "True and predicted segments whose masks agree (IoU above 0.5), whatever their classes."
    listed = _most_confused(wrong) if wrong else tag("p", "No segment was found under another class.", class_="note")
    matrix = _matrix(met, [*seen, None]) if len(seen) <= _LARGEST_MATRIX else None
    return section("confusion", "Confusion", lead, tag("div", matrix, listed, class_="pair"))


def _most_confused(wrong: Sequence[tuple[Category, Category, int]]) -> Markup:
    rows = (
        tag("li", tag("b", str(count)), " × ", name_of(true.name), " seen as ", name_of(guess.name))
        for true, guess, count in wrong[:_MOST_CONFUSED]
    )
    more = len(wrong) - _MOST_CONFUSED
    note = tag("p", f"{more} more kinds in report.json", class_="note") if more > 0 else None
    return tag("div", tag("h3", "Most frequent"), tag("ol", *rows, class_="confused"), note)


def _matrix(met: Sequence[Meeting], classes: Sequence[Category | None]) -> Markup:
    counts = {(one.truth, one.prediction): one.count for one in met}
    head = tag("tr", tag("td"), *(tag("th", tag("span", _class_name(one)), scope="col") for one in classes))
    rows = (
        tag("tr", tag("th", _class_name(true), scope="row"), *_matrix_row(true, classes, counts)) for true in classes
    )
    caption = tag("caption", "rows: truth; columns: prediction; shade: share of the row")
    return scroll(tag("table", caption, tag("thead", head), tag("tbody", *rows), class_="matrix"))


def _matrix_row(
    true: Category | None,
    classes: Sequence[Category | None],
    counts: Mapping[tuple[Category | None, Category | None], int],
) -> Iterator[Markup]:
    row = [counts.get((true, guess), 0) for guess in classes]
    for guess, count in zip(classes, row, strict=True):
        share = count / sum(row) if count else 0.0
        words = str(count) if count else "" if true or guess else "·"
        yield tag("td", words, class_="cell right" if true == guess else "cell", style=f"--share:{share:.3f}")


def _class_name(category: Category | None) -> Markup:
    return name_of(category.name) if category else tag("i", "nothing")


def _calibration(report: Report) -> Markup | None:
    """Whether scores mean what they say."""
    found = report.measures.calibration
    if found is None:
        return None
    lead = "Of segments predicted with a score of 0.8, 80 % should be right: then bars end on the diagonal."
    rows = map(_bin_row, found.bins)
    bins = table(map(column, ("Scores", "mean", "right, %", "segments")), rows)
    error = tag("p", "Expected calibration error: ", tag("b", percent(found.error)), " %", class_="note")
    both = tag("div", reliability(found), tag("div", bins, error), class_="pair")
    return section("calibration", "Calibration of scores", lead, both)


def _bin_row(one: Bin) -> Markup:
    figures = cells((f"{one.mean_score:.2f}", percent(one.precision), str(one.segments)))
    return tag("tr", tag("th", f"{one.low:.1f} – {one.high:.1f}", scope="row"), figures)


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
