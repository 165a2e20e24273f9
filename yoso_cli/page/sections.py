"""The parts of the page that hold figures."""

from collections.abc import Sequence

from yoso_cli.evaluation.causes import MEANINGS, NAMES, Loss
from yoso_cli.evaluation.per_image import GroupIntervals
from yoso_cli.evaluation.quality import LIMITS, SIZES, ClassQuality, GroupQuality
from yoso_cli.evaluation.report import Report
from yoso_cli.page.charts import percent, reliability, scale, span, stack
from yoso_cli.page.markup import Markup, each, tag
from yoso_cli.page.parts import heading, section, swatch

_KINDS = ("all", "things", "stuff")


def headline(report: Report) -> Markup:
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
    parts = each(
        tag("div", tag("dt", word), tag("dd", percent(value), tag("small", span(interval))))
        for word, value, interval in (("SQ", group.sq, sure.sq), ("RQ", group.rq, sure.rq))
    )
    figure = tag("p", percent(group.pq), class_="figure")
    interval = tag("p", span(sure.pq) or "no interval", class_="interval")
    head = tag("h3", name, tag("small", f"{group.n} class{'' if group.n == 1 else 'es'}"))
    return tag(
        "article", head, figure, interval, scale(group.pq, sure.pq, paper), beside, tag("dl", parts), class_="card"
    )


def causes(report: Report) -> Markup | None:
    """What each cause took of the hundred."""
    losses = report.measures.losses
    if not losses.all:
        return None
    buttons, panels = [], []
    for kind in _KINDS:
        of_kind: tuple[Loss, ...] = getattr(losses, kind)
        if not of_kind:
            continue
        pq = getattr(report.quality, kind).pq
        buttons.append(
            tag(
                "button",
                kind.capitalize(),
                type="button",
                data_panel=kind,
                aria_pressed="true" if kind == "all" else "false",
            )
        )
        panels.append(_panel(kind, pq, of_kind))
    lead = "Every point below 100 has one cause, so the causes add up to what is lost."
    choice = tag("div", *buttons, class_="choice", role="group", aria_label="Classes", data_panels="causes")
    return section("causes", "Where the rest was lost", lead, choice, *panels)


def _panel(kind: str, pq: float | None, losses: Sequence[Loss]) -> Markup:
    rows = each(map(_cause_row, sorted(losses, key=lambda one: -one.pq)))
    head = heading("Cause", "PQ lost", "true", "predicted", "what it is")
    table = tag("table", tag("thead", head), tag("tbody", rows), class_="causes")
    wide = tag("div", stack(pq, losses), class_="wide")
    return tag(
        "div", wide, tag("div", table, class_="scroll"), data_panel_of="causes", data_panel=kind, hidden=kind != "all"
    )


def _cause_row(one: Loss) -> Markup:
    name = tag("th", swatch(f"c-{one.cause}"), NAMES[one.cause], scope="row")
    figures = (percent(one.pq), str(one.true or "–"), str(one.predicted or "–"))
    return tag("tr", name, *(tag("td", figure, class_="n") for figure in figures), tag("td", MEANINGS[one.cause]))


def sizes(report: Report) -> Markup:
    """PQ of small, medium and large segments."""
    small, large = (round(limit**0.5) for limit in LIMITS)
    limits = (f"below {small}² pixels", f"{small}² to {large}² pixels", f"{large}² pixels and more")
    rows = each(
        _size_row(name, limit, getattr(report.measures.sizes, name)) for name, limit in zip(SIZES, limits, strict=True)
    )
    head = heading("Size", "", "PQ", "things", "stuff", "found", "false", "missed")
    table = tag("table", tag("thead", head), tag("tbody", rows), class_="sizes")
    return section(
        "sizes",
        "By size of segment",
        "A match and a missed segment count at the size of the true segment, a false one at its own.",
        tag("div", table, class_="scroll"),
    )


def _size_row(name: str, limit: str, quality: object) -> Markup:
    groups: list[GroupQuality] = [getattr(quality, kind) for kind in _KINDS]
    classes: tuple[ClassQuality, ...] = getattr(quality, "classes")  # noqa: B009
    counts = [sum(getattr(one, part) for one in classes) for part in ("tp", "fp", "fn")]
    head = tag("th", name, tag("small", limit), scope="row")
    figures = [*(percent(group.pq) for group in groups), *map(str, counts)]
    bar = tag("td", stack(groups[0].pq, ()), class_="bar")
    return tag("tr", head, bar, *(tag("td", figure, class_="n") for figure in figures))


def calibration(report: Report) -> Markup | None:
    """Whether scores mean what they say."""
    found = report.measures.calibration
    if found is None:
        return None
    lead = "Of segments predicted with a score of 0.8, 80 % should be right: then bars end on the diagonal."
    rows = each(
        tag(
            "tr",
            tag("th", f"{one.low:.1f} – {one.high:.1f}", scope="row"),
            *(
                tag("td", text, class_="n")
                for text in (f"{one.mean_score:.2f}", percent(one.precision), str(one.segments))
            ),
        )
        for one in found.bins
    )
    head = heading("Scores", "mean", "right, %", "segments")
    table = tag("table", tag("thead", head), tag("tbody", rows))
    error = tag("p", "Expected calibration error: ", tag("b", percent(found.error)), " %", class_="note")
    return section(
        "calibration",
        "Calibration of scores",
        lead,
        tag("div", reliability(found), tag("div", table, error), class_="pair"),
    )
