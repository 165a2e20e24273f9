"""A census as one picture: classes, sizes, segments per picture and the shares of all pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log2, log10

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from yoso_cli.inspection.census import Census
from yoso_cli.panoptic.draw import Color, colors, font_of, shown_name
from yoso_cli.panoptic.types import Category, Rgb
from yoso_cli.runtime.words import counted

_PAPER: Color = (250, 250, 248)
_INK: Color = (34, 34, 38)
_FAINT: Color = (140, 140, 146)
_RULE: Color = (224, 224, 222)
_THINGS: Color = (56, 108, 176)
_STUFF: Color = (240, 158, 64)
_SHARES: dict[str, Color] = {"things": _THINGS, "stuff": _STUFF, "crowd": (150, 110, 180), "void": (178, 178, 182)}

# Everything is drawn twice as large and halved, which smooths it. Lengths below are of the halved picture.
_SCALE = 2
_MARGIN, _GAP = 40, 56
_ROW, _ROWS, _COLUMN = 20, 48, 400
_PANEL, _PLOT_HEIGHT = 540, 200
_HEAD = 84


@dataclass(frozen=True)
class _Bar:
    """One bar of a plot: what stands below it and how high its parts are, side by side."""

    label: str
    heights: tuple[int, ...]


class _Page:
    """A page to draw on, in units of the halved picture."""

    def __init__(self, width: int, height: int) -> None:
        self._canvas = Image.new("RGB", (width * _SCALE, height * _SCALE), _PAPER)
        self._pen = ImageDraw.Draw(self._canvas)
        self._fonts: dict[int, ImageFont.FreeTypeFont] = {}

    def text(self, x: float, y: float, text: str, size: int = 13, color: Color = _INK, anchor: str = "lm") -> None:
        self._pen.text((x * _SCALE, y * _SCALE), text, color, self._font(size), anchor=anchor)

    def box(self, left: float, top: float, right: float, bottom: float, color: Color) -> None:
        """Nothing where it would have no extent; what has one is seen, however thin it is."""
        if right > left and bottom > top:
            x, y = round(left * _SCALE), round(top * _SCALE)
            end = max(x, round(right * _SCALE) - 1), max(y, round(bottom * _SCALE) - 1)
            self._pen.rectangle(((x, y), end), color)

    def fitted(self, text: str, width: float, size: int = 13) -> str:
        """As much of `text` as fits."""
        if self.width_of(text, size) <= width:
            return text
        while text and self.width_of(f"{text}…", size) > width:
            text = text[:-1]
        return f"{text}…"

    def width_of(self, text: str, size: int = 13) -> float:
        return self._font(size).getlength(text) / _SCALE

    def pixels(self) -> Rgb:
        width, height = self._canvas.size
        halved = self._canvas.resize((width // _SCALE, height // _SCALE), Image.Resampling.LANCZOS)
        return np.asarray(halved)

    def _font(self, size: int) -> ImageFont.FreeTypeFont:
        return self._fonts.setdefault(size, font_of(size * _SCALE))


def chart(census: Census) -> Rgb:
    """The picture of a split, uint8 (H, W, 3); wider for more classes."""
    lines: list[Category | str] = []
    for title, isthing in (("things", True), ("stuff", False)):
        classes = [category for category in census.categories if category.isthing is isthing]
        if classes:
            gap = [""] if lines else []
            classes.sort(key=lambda category: -len(census.areas[category.id]))
            lines += [*gap, f"{title} ({len(classes)})", *classes]
    columns = max(1, ceil(len(lines) / _ROWS))
    rows = ceil(len(lines) / columns)
    panels = _HEAD + 150 + 2 * (_PLOT_HEIGHT + 60) + 110
    page = _Page(2 * _MARGIN + columns * (_COLUMN + _GAP) + _PANEL, max(_HEAD + 48 + rows * _ROW + _MARGIN, panels))
    page.text(_MARGIN, 42, f"{census.name} {census.split}", 24)
    counts = (census.statistics.images, "image"), (sum(census.per_image), "segment"), (len(census.categories), "class")
    told = " · ".join(counted(count, noun) for count, noun in counts)
    page.text(_MARGIN + page.width_of(f"{census.name} {census.split}", 24) + 20, 45, told, 14, _FAINT)
    _draw_classes(page, census, lines, rows)
    left = _MARGIN + columns * (_COLUMN + _GAP)
    _draw_shares(page, census, left, _HEAD)
    top = _HEAD + 150
    sizes = "segments by size: edge of a square of the same area, pixels"
    _draw_plot(page, left, top, sizes, _by_size(census), {"things": _THINGS, "stuff": _STUFF})
    top += _PLOT_HEIGHT + 110
    _draw_plot(page, left, top, "images by number of segments", _by_number(census.per_image), {"": _THINGS})
    return page.pixels()


def _draw_classes(page: _Page, census: Census, lines: Sequence[Category | str], rows: int) -> None:
    """Columns of classes with a bar each, as long as the logarithm of its segments."""
    ids = [category.id for category in census.categories]
    tint = dict(zip(ids, colors(census.categories), strict=True))
    most = max((len(areas) for areas in census.areas.values()), default=0)
    page.text(_MARGIN, _HEAD + 8, "segments of each class (bars are logarithmic)", 14)
    name_width, bar_width = 130, _COLUMN - 130 - 64
    for index, line in enumerate(lines):
        left = _MARGIN + (index // rows) * (_COLUMN + _GAP)
        y = _HEAD + 40 + (index % rows) * _ROW
        if isinstance(line, str):
            page.text(left, y, line, 13, _FAINT)
            continue
        page.text(left + name_width, y, page.fitted(shown_name(line), name_width), anchor="rm")
        start = left + name_width + 10
        page.box(start, y - 7, start + bar_width, y + 7, (240, 240, 238))
        count = len(census.areas[line.id])
        page.box(start, y - 7, start + bar_width * log10(1 + count) / log10(1 + max(most, 1)), y + 7, tint[line.id])
        page.text(start + bar_width + 8, y, f"{count:,}", 12, _INK if count else _FAINT)


def _draw_shares(page: _Page, census: Census, left: float, top: float) -> None:
    """One bar of all pixels."""
    page.text(left, top + 8, "share of all pixels", 14)
    x: float = left
    shares = census.shares()
    for name, share in shares.items():
        page.box(x, top + 28, x + share * _PANEL, top + 56, _SHARES[name])
        x += share * _PANEL
    x = left
    for name, share in shares.items():
        page.box(x, top + 72, x + 12, top + 84, _SHARES[name])
        text = f"{name} {share:.1%}"
        page.text(x + 18, top + 78, text)
        x += 18 + page.width_of(text) + 22


def _draw_plot(page: _Page, left: float, top: float, title: str, bars: Sequence[_Bar], parts: dict[str, Color]) -> None:
    """Bars of counts side by side, their highest count on a rule, and what the colours mean."""
    page.text(left, top + 8, title, 14)
    x: float = left
    for name, color in parts.items():
        if name:
            page.box(x, top + 28, x + 12, top + 40, color)
            page.text(x + 18, top + 34, name)
            x += 18 + page.width_of(name) + 22
    floor, room = top + 60 + _PLOT_HEIGHT, _PLOT_HEIGHT
    most = max((height for bar in bars for height in bar.heights), default=0)
    for mark in _marks(most):
        y = floor - room * mark / max(most, 1)
        page.box(left + 48, y, left + _PANEL, y + 0.5, _RULE)
        page.text(left + 40, y, f"{mark:,}", 11, _FAINT, "rm")
    slot = (_PANEL - 56) / max(len(bars), 1)
    # Labels that would run into each other are left out evenly.
    widest = max((page.width_of(bar.label, 11) for bar in bars), default=0) + 6
    every = max(1, ceil(widest / slot))
    for index, bar in enumerate(bars):
        start = left + 52 + index * slot
        width = slot * 0.82 / len(bar.heights)
        for place, (height, color) in enumerate(zip(bar.heights, parts.values(), strict=True)):
            page.box(
                start + place * width, floor - room * height / max(most, 1), start + (place + 1) * width, floor, color
            )
        if index % every == 0:
            page.text(start + slot * 0.41, floor + 12, bar.label, 11, _FAINT, "mm")
    page.box(left + 48, floor, left + _PANEL, floor + 1, _INK)


def _marks(most: int) -> list[int]:
    """Round counts up to `most`, two to five of them."""
    if most < 1:
        return []
    step = 10 ** int(log10(most))
    step = next(one for one in (step // 5, step // 2, step, 2 * step) if one and most / one <= 5)
    return list(range(step, most + 1, step))


def _by_size(census: Census) -> list[_Bar]:
    """Segments by powers of two of the edge of a square of their area."""
    counts = [[0] * 14, [0] * 14]
    for kind, areas in enumerate((census.areas_of(things=True), census.areas_of(things=False))):
        for area in areas:
            counts[kind][min(13, max(0, int(log2(max(area, 1)) / 2)))] += 1
    used = [place for place in range(14) if counts[0][place] or counts[1][place]]
    if not used:
        return []
    return [
        _Bar(f"{2**place}-{2 ** (place + 1)}", (counts[0][place], counts[1][place]))
        for place in range(used[0], used[-1] + 1)
    ]


def _by_number(per_image: Sequence[int]) -> list[_Bar]:
    """Pictures by how many segments they have, in at most 24 steps of one width."""
    if not per_image:
        return []
    width = max(1, ceil((max(per_image) + 1) / 24))
    counts = np.bincount(np.array(per_image) // width)
    bars = []
    for place in range(min(per_image) // width, len(counts)):
        first, last = place * width, (place + 1) * width - 1
        bars.append(_Bar(str(first) if first == last else f"{first}-{last}", (int(counts[place]),)))
    return bars
