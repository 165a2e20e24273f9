"""Labels: what they say, and their boxes and lines on the picture."""

# H, W height and width of the picture in pixels

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from yoso_cli.drawing.colors import Color, ink_on
from yoso_cli.drawing.font import font_of
from yoso_cli.drawing.placement import Box, Placement
from yoso_cli.drawing.style import shown_name
from yoso_cli.panoptic.types import Category, Rgb, Segment

# Of stuff: the picture shines through.
_SHADE = (16, 16, 20, 176)
_CASING = (16, 16, 20, 200)
_PLAIN_INK: Color = (255, 255, 255)


@dataclass(frozen=True)
class Label:
    """One label.

    Attributes:
        text: its words.
        color: of its box; None for a dark box that the picture shines through.
    """

    text: str
    color: Color | None

    def box(self, size: int) -> Rgb:
        """Its box with letters of `size` pixels, uint8 (h, w, 4) with an alpha channel."""
        return _box(self, size)


def numbered(segments: Sequence[Segment], categories: Sequence[Category]) -> dict[int, int]:
    """Segment id -> number, for the things of each class that has several of them: from 1, from left to right.

    Args:
        segments: with their boxes; crowds have no number.
        categories: of the set.
    """
    things = {category.id for category in categories if category.isthing}
    countable = [one for one in segments if one.category_id in things and not one.iscrowd]
    counts = Counter(one.category_id for one in countable)
    next_number: Counter[int] = Counter()
    found = {}
    # By the middle of the box; of two above one another the upper one is first.
    for one in sorted(countable, key=lambda one: (2 * one.bbox[0] + one.bbox[2], one.bbox[1], one.id)):
        if counts[one.category_id] > 1:
            next_number[one.category_id] += 1
            found[one.id] = next_number[one.category_id]
    return found


def text_of(segment: Segment, category: Category, number: int | None, words: Sequence[str]) -> str:
    """What a label says, as in `person 2 #17 0.93`.

    Args:
        segment: what is labelled.
        category: of it.
        number: among the things of its class, if it has one.
        words: any of `style.LABELS`.
    """
    numbered = number is not None and category.isthing
    name = shown_name(category) + (" (crowd)" if segment.iscrowd else f" {number}" if numbered else "")
    parts = {"name": name, "id": f"#{segment.id}", "score": "" if segment.score is None else f"{segment.score:.2f}"}
    return " ".join(parts[word] for word in words if parts[word])


def font_sizes(height: int, width: int) -> tuple[int, ...]:
    """Sizes in pixels for labels on a picture (H, W): smaller ones for when there is no room."""
    full = max(12, min(64, round(max(height, width) / 46)))
    return tuple(dict.fromkeys((full, max(11, round(full * 0.8)), max(10, round(full * 0.6)))))


def write_labels(picture: Rgb, labels: Mapping[int, Label], placed: Mapping[int, Placement], size: int) -> None:
    """Draws labels in their places, lines first.

    Args:
        picture: uint8 (H, W, 3 or 4), drawn into; with an alpha channel, labels are opaque.
        labels: by segment.
        placed: by segment.
        size: of the font in pixels.
    """
    for key, placement in placed.items():
        if placement.anchor is not None:
            _write_line(picture, placement.box, placement.anchor, labels[key].color or _PLAIN_INK, size)
    for key, placement in placed.items():
        _write_box(picture, labels[key].box(size), placement.box)


# In a video the same labels come again in each picture.
@functools.lru_cache(maxsize=512)
def _box(label: Label, size: int) -> Rgb:
    font = font_of(size)
    width, height = round(font.getlength(label.text) + size * 0.6), round(size * 1.35)
    drawn = Image.new("RGBA", (width, height))
    pen = ImageDraw.Draw(drawn)
    pen.rounded_rectangle((0, 0, width - 1, height - 1), height // 4, label.color or _SHADE)
    ink = ink_on(label.color) if label.color else _PLAIN_INK
    pen.text((width // 2, height // 2), label.text, ink, font, anchor="mm")
    return np.asarray(drawn)


def _write_box(picture: Rgb, drawn: Rgb, box: Box) -> None:
    here = picture[box[1] : box[3], box[0] : box[2]]
    share = drawn[..., 3:].astype(np.uint16)
    here[..., :3] = (here[..., :3] * (255 - share) + drawn[..., :3] * share + 127) // 255
    if here.shape[2] == 4:
        here[..., 3][drawn[..., 3] > 0] = 255


def _write_line(picture: Rgb, box: Box, anchor: tuple[int, int], color: Color, size: int) -> None:
    """A line from the label's box to a dot on the segment."""
    thickness, dot = max(1, size // 10), max(2, size // 5)
    end = (min(max(anchor[0], box[0]), box[2] - 1), min(max(anchor[1], box[1]), box[3] - 1))
    room = dot + thickness + 2
    left, top = max(0, min(anchor[0], end[0]) - room), max(0, min(anchor[1], end[1]) - room)
    right, bottom = max(anchor[0], end[0]) + room, max(anchor[1], end[1]) + room
    patch = Image.fromarray(picture[top:bottom, left:right, :3])
    shape = Image.new("L", patch.size)
    x, y = anchor[0] - left, anchor[1] - top
    line = (x, y, end[0] - left, end[1] - top)
    pens: tuple[tuple[ImageDraw.ImageDraw, tuple[int, ...] | int, tuple[int, ...] | int], ...] = (
        (ImageDraw.Draw(patch, "RGBA"), _CASING, color),
        (ImageDraw.Draw(shape), 255, 255),
    )
    for pen, casing, inner in pens:
        pen.line(line, casing, thickness + 2)
        pen.ellipse((x - dot - 1, y - dot - 1, x + dot + 1, y + dot + 1), casing)
        pen.line(line, inner, thickness)
        pen.ellipse((x - dot, y - dot, x + dot, y + dot), inner)
    here = picture[top : top + patch.height, left : left + patch.width]
    here[..., :3] = np.asarray(patch)
    if here.shape[2] == 4:
        np.maximum(here[..., 3], np.asarray(shape), out=here[..., 3])
