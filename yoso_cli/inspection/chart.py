"""A census as one picture: classes, sizes, segments per picture and the shares of all pixels."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from yoso_cli.drawing.colors import colors
from yoso_cli.drawing.style import shown_name
from yoso_cli.inspection.census import Census
from yoso_cli.panoptic.types import Category
from yoso_cli.runtime.plots import COLORS, FAINT, drawing, whole_numbers
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHARES = {"things": COLORS[0], "stuff": COLORS[4], "crowd": COLORS[3], "void": "#b2b2b6"}

# Pixels of the picture; classes stand in columns of so many rows.
_ROW, _ROWS, _COLUMN, _PANEL = 20, 48, 440, 600
_HEAD, _FEWEST_ROWS = 100, 36
_LONGEST_NAME = 24
_MOST_BARS = 24


def draw_chart(path: Path, census: Census) -> None:
    """Writes the picture of a split to `path`, wider for more classes. Raises RunError when it cannot be written."""
    rows = _rows(census)
    columns = max(1, ceil(len(rows) / _ROWS))
    length = max(_FEWEST_ROWS, ceil(len(rows) / columns))
    counts = (census.statistics.images, "image"), (sum(census.per_image), "segment"), (len(census.categories), "class")
    told = " · ".join(counted(count, noun) for count, noun in counts)
    with drawing(path, columns * _COLUMN + _PANEL, _HEAD + length * _ROW) as figure:
        figure.suptitle(f"{census.name} {census.split} · {told}", x=0.01, ha="left", fontsize=15)
        widths = [*[_COLUMN] * columns, _PANEL]
        *lists, panels = figure.subfigures(1, len(widths), width_ratios=widths, squeeze=False)[0]
        for column, part in enumerate(lists):
            _draw_classes(part.subplots(), census, rows[column * length : (column + 1) * length], length)
        shares, sizes, numbers = panels.subplots(3, 1, height_ratios=[1, 6, 6])
        _draw_shares(shares, census)
        _draw_sizes(sizes, census)
        draw_numbers(numbers, census.per_image)


def _rows(census: Census) -> list[Category | str]:
    """Things and stuff under their headings, the most frequent class first."""
    rows: list[Category | str] = []
    for title, isthing in (("things", True), ("stuff", False)):
        classes = [category for category in census.categories if category.isthing is isthing]
        if classes:
            rows += [f"{title} ({len(classes)})", *sorted(classes, key=lambda one: -len(census.areas[one.id]))]
    return rows


def _draw_classes(axes: "Axes", census: Census, rows: Sequence[Category | str], length: int) -> None:
    """A bar for each class on a logarithmic axis, its number of segments beside it."""
    from matplotlib.ticker import StrMethodFormatter

    tints = dict(zip((one.id for one in census.categories), colors(census.categories), strict=True))
    most = max((len(areas) for areas in census.areas.values()), default=0)
    axes.set_title("segments of each class")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.minorticks_off()
    axes.tick_params(axis="x", top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines["bottom"].set_visible(False)
    # A bar of one segment begins at a half, so that it has a length.
    axes.set_xlim(0.5, max(10, 1.2 * most))
    axes.set_ylim(length - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_yticks(range(len(rows)), [_label(row) for row in rows])
    for place, (row, label) in enumerate(zip(rows, axes.get_yticklabels(), strict=True)):
        if isinstance(row, str):
            label.set_color(FAINT)
            continue
        count = len(census.areas[row.id])
        tint = tuple(part / 255 for part in tints[row.id])
        # The edge shows a bar in the colour of the paper.
        axes.barh(place, max(0, count - 0.5), 0.72, 0.5, color=tint, edgecolor=FAINT, linewidth=0.8)
        axes.annotate(
            f"{count:,}", (1, place), (4, 0), ("axes fraction", "data"), "offset points", va="center", fontsize=9
        )


def _label(row: Category | str) -> str:
    name = row if isinstance(row, str) else shown_name(row)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _draw_shares(axes: "Axes", census: Census) -> None:
    """One bar of all pixels."""
    axes.set_title("share of all pixels")
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    left = 0.0
    for name, share in census.shares().items():
        axes.barh(0, share, 1, left, color=_SHARES[name], label=f"{name} {share:.1%}")
        left += share
    axes.legend(ncols=len(_SHARES), loc="upper left", bbox_to_anchor=(0, 0), borderaxespad=0, handlelength=1)


def _draw_sizes(axes: "Axes", census: Census) -> None:
    """Segments by powers of two of the edge of a square of their area."""
    axes.set_title("segments by size")
    axes.set_xlabel("edge of a square of the same area, pixels")
    areas = {kind: census.areas_of(things=kind == "things") for kind in ("things", "stuff")}
    places = {kind: (np.log2(np.maximum(found, 1)) / 2).astype(np.int64) for kind, found in areas.items()}
    every = np.concatenate(list(places.values()))
    if not len(every):
        return _draw_nothing(axes)
    first, last = int(every.min()), int(every.max())
    for kind, shift in (("things", -0.2), ("stuff", 0.2)):
        heights = np.bincount(places[kind], minlength=last + 1)[first:]
        axes.bar(np.arange(first, last + 1) + shift, heights, 0.4, color=_SHARES[kind], label=kind)
    edges = np.arange(first, last + 2)
    axes.set_xticks(edges - 0.5, [f"{2**edge:,}" for edge in edges.tolist()])
    axes.set_xlim(first - 1, last + 1)
    axes.grid(visible=False, axis="x")
    whole_numbers(axes, "y")
    axes.legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    return None


def draw_numbers(axes: "Axes", per_image: Sequence[int]) -> None:
    """Pictures by how many segments they have, in bars of one whole width."""
    axes.set_title("images by number of segments")
    if not per_image:
        return _draw_nothing(axes)
    low, high = min(per_image), max(per_image)
    width = ceil((high - low + 1) / _MOST_BARS)
    edges = np.arange(low, high + width + 1, width) - 0.5
    axes.hist(per_image, edges.tolist(), rwidth=0.85, color=_SHARES["things"])
    # A single number stands in the middle of others.
    axes.set_xlim(max(-0.75, min(low - 2.5, edges[0] - width)), max(high + 2.5, edges[-1] + width))
    axes.grid(visible=False, axis="x")
    whole_numbers(axes, "x")
    whole_numbers(axes, "y")
    return None


def _draw_nothing(axes: "Axes") -> None:
    axes.text(0.5, 0.5, "no segments", transform=axes.transAxes, ha="center", va="center", color=FAINT)
    axes.set_axis_off()
