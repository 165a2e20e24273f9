"""The legend: the classes of a picture with their colours, beside or below it."""

# H, W height and width of the picture in pixels

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from yoso_cli.drawing.colors import Color
from yoso_cli.drawing.style import shown_name
from yoso_cli.panoptic.types import Category, Rgb, Segment

PAPER: Color = (250, 250, 248)
INK: Color = (34, 34, 38)

# Of one class: more are not told apart in a swatch.
_MOST_STRIPES = 5


@dataclass(frozen=True)
class Entry:
    """One line of the legend: the colours of its segments, the largest first, and its words."""

    colors: tuple[Color, ...]
    text: str


def entries(
    segments: Sequence[Segment],
    categories: Sequence[Category],
    colors: Mapping[int, Color],
    *,
    void: Color | None,
) -> list[Entry]:
    """The classes of the picture: stuff, then things, the largest first.

    Args:
        segments: those that are drawn.
        categories: of the set.
        colors: segment id -> colour.
        void: the colour of unlabelled pixels, if any are drawn.
    """
    largest_first = sorted(segments, key=lambda one: (-one.area, one.id))
    counts = Counter(one.category_id for one in segments)
    countable = Counter(one.category_id for one in segments if not one.iscrowd)
    areas: Counter[int] = Counter()
    for one in segments:
        areas[one.category_id] += one.area
    shown = sorted((one for one in categories if counts[one.id]), key=lambda one: (one.isthing, -areas[one.id]))
    found = []
    for category in shown:
        own = dict.fromkeys(colors[one.id] for one in largest_first if one.category_id == category.id)
        count = countable[category.id] if category.isthing else 0
        crowd = count > 0 and count < counts[category.id]
        how_many = f" ({count} + crowd)" if crowd else f" ({count})" if count > 1 else ""
        found.append(Entry(tuple(own)[:_MOST_STRIPES], shown_name(category) + how_many))
    return [*found, Entry((void,), "unlabelled")] if void else found


def legend(listed: Sequence[Entry], font: ImageFont.FreeTypeFont, height: int, width: int) -> tuple[Rgb, bool]:
    """The legend of a picture of this size, uint8 (H', W', 3), and whether it belongs below it.

    It is as wide as a wide picture, below which it belongs, and as high as another one, at whose right it belongs; or
    larger where it does not fit.
    """
    swatch = int(font.size)
    line = round(swatch * 1.6)
    column = round(max((font.getlength(entry.text) for entry in listed), default=0)) + swatch * 3
    below = width > height * 1.05
    if below:
        per_row = max(1, width // column)
        lines = -(-len(listed) // per_row)
    else:
        lines = max(1, min(len(listed), (height - line) // line))
        per_row = max(1, -(-len(listed) // lines))
    high, wide = lines * line + line, per_row * column
    page = Image.new("RGB", (max(wide, width if below else 0), max(high, 0 if below else height)), PAPER)
    pen = ImageDraw.Draw(page)
    for index, entry in enumerate(listed):
        x = swatch + (index // lines) * column
        y = line + (index % lines) * line
        _swatch(page, entry.colors, (x, y - swatch // 2), swatch)
        pen.text((x + swatch * 3 // 2, y), entry.text, INK, font, anchor="lm")
    return np.asarray(page), below


def _swatch(page: Image.Image, colors: Sequence[Color], corner: tuple[int, int], size: int) -> None:
    """A rounded square in stripes of these colours."""
    filled = Image.new("RGB", (size + 1, size + 1))
    pen = ImageDraw.Draw(filled)
    for place, color in enumerate(colors):
        pen.rectangle((place * size // len(colors), 0, size, size), color)
    shape = Image.new("L", filled.size)
    box, corners = (0, 0, size, size), size // 5
    ImageDraw.Draw(shape).rounded_rectangle(box, corners, 255)
    pen.rounded_rectangle(box, corners, outline=INK)
    page.paste(filled, corner, shape)
