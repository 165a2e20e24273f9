"""The drawings of the page, as SVG that takes its colours from the style sheet."""

from collections.abc import Sequence

from yoso_cli.evaluation.calibration import Bin, Calibration
from yoso_cli.evaluation.causes import CAUSES, NAMES, Loss
from yoso_cli.evaluation.per_image import Interval
from yoso_cli.page.document import Markup, joined, tag

_SIDE = 260
_LEFT, _BOTTOM = 44, 40


def percent(fraction: float | None) -> str:
    """A figure as people read it."""
    return "–" if fraction is None else f"{100 * fraction:.1f}"


def span(interval: Interval | None) -> str:
    """An interval as people read it."""
    return "" if interval is None else f"{100 * interval.low:.1f} – {100 * interval.high:.1f}"


def scale(value: float | None, interval: Interval | None, paper: float | None) -> Markup:
    """A figure on a line from 0 to 100, with its interval and the paper's figure (percent) beside it."""
    marks = []
    if interval is not None:
        marks.append(_range(interval, "scale-interval"))
    if paper is not None:
        marks.append(tag("span", class_="scale-paper", style=f"left:{paper:.2f}%", title=f"the paper's {paper:.1f}"))
    if value is not None:
        marks.append(tag("span", class_="scale-value", style=f"left:{100 * value:.2f}%"))
    return tag("div", *marks, class_="scale", aria_hidden="true")


def stack(pq: float | None, losses: Sequence[Loss], interval: Interval | None = None) -> Markup:
    """A bar of 100: PQ, and behind it what each cause took; with the interval of PQ."""
    if pq is None:
        return tag("div", class_="stack", aria_hidden="true")
    parts = [_part("pq", "PQ", pq)]
    ordered = sorted(losses, key=lambda one: CAUSES.index(one.cause))
    parts += [_part(one.cause, f"lost: {NAMES[one.cause]}", one.pq) for one in ordered if one.pq > 0]
    if interval is not None:
        parts.append(_range(interval, "whisker"))
    return tag("div", *parts, class_="stack", aria_hidden="true")


def _range(interval: Interval, class_: str) -> Markup:
    low, high = 100 * interval.low, 100 * interval.high
    return tag("span", class_=class_, style=f"left:{low:.2f}%;width:{high - low:.2f}%")


def _part(kind: str, name: str, fraction: float) -> Markup:
    width = 100 * fraction
    return tag("span", class_=f"part c-{kind}", style=f"width:{width:.3f}%", title=f"{name} {width:.1f}")


def reliability(calibration: Calibration) -> Markup:
    """Precision over score: bars on the diagonal are what they say."""
    diagonal = tag("line", x1=_x(0), y1=_y(0), x2=_x(1), y2=_y(1), class_="diagonal")
    middle = _SIDE / 2
    turned = f"translate(12 {middle + 8}) rotate(-90)"
    names = (
        tag("text", "score", x=_LEFT + middle, y=_SIDE + _BOTTOM + 6, text_anchor="middle", class_="axis"),
        tag("text", "right, %", transform=turned, text_anchor="middle", class_="axis"),
    )
    drawn = (*map(_grid_line, (0, 0.25, 0.5, 0.75, 1)), *map(_bar, calibration.bins), diagonal, *names)
    told = "; ".join(f"score {one.mean_score:.2f}, {100 * one.precision:.0f} % right" for one in calibration.bins)
    label, box = f"Reliability of scores: {told}", f"0 0 {_SIDE + _LEFT + 14} {_SIDE + _BOTTOM + 14}"
    return tag("svg", *drawn, viewBox=box, role="img", aria_label=label, class_="reliability")


def _grid_line(at: float) -> Markup:
    return joined(
        tag("line", x1=_x(0), y1=_y(at), x2=_x(1), y2=_y(at), class_="grid"),
        tag("text", f"{100 * at:.0f}", x=_x(0) - 8, y=_y(at) + 4, text_anchor="end"),
        tag("text", f"{at:g}", x=_x(at), y=_y(0) + 18, text_anchor="middle"),
    )


def _bar(one: Bin) -> Markup:
    told = f"score {one.mean_score:.2f}: {100 * one.precision:.0f} % right of {one.segments} segments"
    size = {"width": f"{_SIDE * (one.high - one.low) - 3:.1f}", "height": f"{_SIDE * one.precision:.1f}"}
    bar = tag("rect", x=_x(one.low) + 1.5, y=_y(one.precision), **size, rx=2, class_="bar")
    return tag(
        "g", tag("title", told), bar, tag("circle", cx=_x(one.mean_score), cy=_y(one.precision), r=4, class_="dot")
    )


def _x(value: float) -> float:
    return round(_LEFT + _SIDE * value, 2)


def _y(value: float) -> float:
    return round(8 + _SIDE * (1 - value), 2)
