"""The figures of a run as a table for programs and as curves for people."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from yoso_cli.atomic import write_text
from yoso_cli.panoptic.draw import category_colors, font_of, write_picture

Line = Mapping[str, Any]
Points = Sequence[tuple[float, float]]

_PANEL = (640, 360)
_MARGIN = 56
_PAPER, _INK, _GRID = (250, 250, 248), (34, 34, 38), (222, 222, 218)
# More points than pixels across only cost time.
_MOST_POINTS = 600


def write_results(path: Path, lines: Sequence[Line]) -> None:
    """One row of results.csv for each evaluation: its PQ, and the figures of training just before it.

    Args:
        path: of the table.
        lines: of metrics.jsonl.
    """
    rows: list[dict[str, Any]] = []
    last: dict[str, Any] = {}
    for line in lines:
        if "pq" in line:
            rows.append({**last, **line})
        else:
            last = dict(line)
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_curves(path: Path, lines: Sequence[Line]) -> None:
    """Loss, its parts, learning rate and PQ over the iterations, as one picture.

    Args:
        path: of the picture.
        lines: of metrics.jsonl.
    """
    terms = sorted({name for line in lines for name in line if "." in name})
    panels = [("loss", ["loss"]), ("parts of the loss", terms), ("learning rate", ["lr"])]
    panels.append(("PQ, 0 to 1", ["pq", "pq_things", "pq_stuff"]))
    page = Image.new("RGB", (2 * _PANEL[0], 2 * _PANEL[1]), _PAPER)
    for place, (title, names) in enumerate(panels):
        curves = {name: points for name in names if (points := _points(lines, name))}
        panel = _panel(title, curves)
        page.paste(panel, (place % 2 * _PANEL[0], place // 2 * _PANEL[1]))
    write_picture(path, np.asarray(page))


def _points(lines: Sequence[Line], name: str) -> Points:
    found = [(float(line["iteration"]), float(line[name])) for line in lines if line.get(name) is not None]
    return found[:: -(-len(found) // _MOST_POINTS) or 1]


def _panel(title: str, curves: Mapping[str, Points]) -> Image.Image:
    panel = Image.new("RGB", _PANEL, _PAPER)
    pen, font = ImageDraw.Draw(panel), font_of(14)
    pen.text((_MARGIN, 10), title, _INK, font_of(17))
    values = [point for points in curves.values() for point in points]
    if not values:
        pen.text((_PANEL[0] // 2, _PANEL[1] // 2), "not measured yet", _INK, font, anchor="mm")
        return panel
    (left, low), (right, high) = np.min(values, axis=0), np.max(values, axis=0)
    low = min(0.0, float(low))
    high = high if high > low else low + 1.0
    right = right if right > left else left + 1.0
    width, height = _PANEL[0] - 2 * _MARGIN, _PANEL[1] - 2 * _MARGIN + 20

    def place(x: float, y: float) -> tuple[float, float]:
        return _MARGIN + (x - left) / (right - left) * width, 40 + (1 - (y - low) / (high - low)) * height

    for share in (0, 0.25, 0.5, 0.75, 1):
        value = low + share * (high - low)
        _, y = place(left, value)
        pen.line((_MARGIN, y, _MARGIN + width, y), _GRID)
        pen.text((_MARGIN - 6, y), _short(value), _INK, font_of(12), anchor="rm")
    for value in (left, right):
        pen.text((place(value, low)[0], 46 + height), f"{value:.0f}", _INK, font_of(12), anchor="mt")
    for index, (name, color) in enumerate(zip(curves, category_colors(len(curves)), strict=True)):
        pen.line([place(*point) for point in curves[name]], color, 2)
        if len(curves[name]) == 1:
            x, y = place(*curves[name][0])
            pen.ellipse((x - 3, y - 3, x + 3, y + 3), color)
        if len(curves) > 1:
            pen.text((_MARGIN + width, 40 + 16 * index), name, color, font, anchor="rt")
    return panel


def _short(value: float) -> str:
    return f"{value:.3g}" if value == 0 or abs(math.log10(abs(value))) < 4 else f"{value:.0e}"
