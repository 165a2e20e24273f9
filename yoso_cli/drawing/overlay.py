"""A photo with its segments: colours, outlines, labels, a legend, in one style."""

# H, W height and width of the picture in pixels

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from yoso_cli.drawing import labels as lettering
from yoso_cli.drawing.colors import Color, segment_colors, void_color
from yoso_cli.drawing.font import font_of
from yoso_cli.drawing.legend import PAPER, Entry, entries, legend
from yoso_cli.drawing.placement import Placement, Spot, placements
from yoso_cli.drawing.style import Style
from yoso_cli.drawing.tint import FIRST, HIDDEN, UNLABELLED, Palette, tint
from yoso_cli.errors import DataError
from yoso_cli.panoptic.regions import Regions, Runs, painted, regions_of, runs_of
from yoso_cli.panoptic.types import VOID, Category, IdMap, Panoptic, Rgb, Segment
from yoso_cli.runtime.machine import usable_cores

# Text is legible at 12 pixels; a picture below this is enlarged by a whole factor until its labels fit.
_SMALLEST_EDGE = 512
# More threads than this wait for memory.
_MOST_THREADS = 4
_DEFAULT = Style()
# Of the blurred background: its finest detail as a share of the longer edge.
_BLUR = 60


def overlay(
    image: Rgb,
    panoptic: Panoptic,
    categories: Sequence[Category],
    style: Style = _DEFAULT,
    *,
    numbers: Mapping[int, int] | None = None,
) -> Rgb:
    """A photo with its segments in colour, their outlines and labels, and a legend beside or below.

    Args:
        image: uint8 (H, W, 3).
        panoptic: of the same size.
        categories: of the set.
        style: of the picture.
        numbers: segment id -> number, where things keep their numbers from picture to picture, as in a video; their
            colours then depend on class and number alone. Otherwise things are numbered from left to right.

    Returns:
        uint8 (H', W', 3), or (H', W', 4) with a transparent background.

    Raises:
        DataError: photo and segments differ in size.
        UsageError: the style names a class that is not among the categories.
    """
    if image.shape[:2] != panoptic.id_map.shape:
        (high, wide), (height, width) = image.shape[:2], panoptic.id_map.shape
        raise DataError(f"The photo is {wide}x{high}, but its panoptic map is {width}x{height}.")
    scale = style.scale or max(1, -(-_SMALLEST_EDGE // max(image.shape[:2])))
    scene = _Scene.of(_repeated(panoptic.id_map, scale), panoptic.segments, categories, style, numbers)
    photo = enlarged(image, scale)
    page, drawn = _page(photo, scene.entries() if style.has_legend else None, style)
    ground = _ground(photo, style)
    threads = min(_MOST_THREADS, usable_cores())
    tint(photo, scene.runs, scene.palette(), drawn, alpha=style.opacity, ground=ground, threads=threads)
    if style.words:
        scene.write_labels(drawn)
    return page


def enlarged(image: Rgb, scale: int) -> Rgb:
    """The picture (H, W, 3), `scale` times as large."""
    if scale == 1:
        return image
    height, width = image.shape[:2]
    return np.asarray(Image.fromarray(image).resize((width * scale, height * scale), Image.Resampling.BICUBIC))


def _repeated(id_map: IdMap, scale: int) -> IdMap:
    return id_map if scale == 1 else np.repeat(np.repeat(id_map, scale, axis=0), scale, axis=1)


@dataclass(frozen=True)
class _Scene:
    """What is drawn of a picture: its segments by their places in the palette, and how each looks."""

    segments: tuple[Segment, ...]
    categories: Sequence[Category]
    style: Style
    numbers: Mapping[int, int]
    colors: dict[int, Color]
    runs: Runs
    regions: Regions

    @classmethod
    def of(
        cls,
        id_map: IdMap,
        segments: Sequence[Segment],
        categories: Sequence[Category],
        style: Style,
        numbers: Mapping[int, int] | None,
    ) -> "_Scene":
        shown = style.shown(categories)
        drawn = tuple(one for one in segments if one.category_id in shown)
        runs = runs_of(np.ascontiguousarray(id_map))
        void = HIDDEN if style.only or style.background else UNLABELLED
        hidden = dict.fromkeys((one.id for one in segments), HIDDEN)
        places = {**hidden, **{one.id: place for place, one in enumerate(drawn, FIRST)}}
        found = Runs(_looked_up(runs.values, places, void), runs.starts, runs.shape)
        return cls(
            drawn,
            categories,
            style,
            lettering.numbered(drawn, categories) if numbers is None else numbers,
            segment_colors(drawn, categories, by_instance=style.color == "instance", numbers=numbers),
            found,
            regions_of(found),
        )

    def palette(self) -> Palette:
        """The looks of the places."""
        things = {category.id for category in self.categories if category.isthing}
        colors = [(0, 0, 0), void_color(self.categories), *(self.colors[one.id] for one in self.segments)]
        return Palette(
            np.array(colors, np.uint8),
            np.array([False, False, *(one.category_id in things for one in self.segments)]),
            np.array([False, False, *(one.iscrowd for one in self.segments)]),
            self._outlines(),
        )

    def _outlines(self) -> npt.NDArray[np.int64]:
        """Thickness of each place's outline (P,): thin around narrow segments, none where it would cover them."""
        full = max(1, round(max(self.runs.shape) / 750))
        found = np.full(len(self.segments) + FIRST, full, np.int64)
        sides = self.regions.boxes[:, 2:].max(axis=1, initial=1)
        breadth = self.regions.areas / sides
        found[self.regions.values] = np.where(breadth < 4, 0, np.where(breadth < 10 * full, min(full, 1), full))
        if self.style.background:
            found[:] = 0  # an outline would cover the rim of what is cut out
        return found

    def entries(self) -> list[Entry]:
        """The lines of the legend."""
        void = void_color(self.categories) if (self.regions.values == UNLABELLED).any() else None
        return entries(self.segments, self.categories, self.colors, void=void)

    def write_labels(self, picture: Rgb) -> None:
        """Draws the labels, in the largest size in which all find a place."""
        by_id = {category.id: category for category in self.categories}
        labels: dict[int, lettering.Label] = {}
        for place, one in enumerate(self.segments, FIRST):
            category = by_id[one.category_id]
            text = lettering.text_of(one, category, self.numbers.get(one.id), self.style.words)
            if text:
                labels[place] = lettering.Label(text, self.colors[one.id] if category.isthing else None)
        places = painted(self.runs, self.runs.values)
        placed: dict[int, Placement] = {}
        for size in lettering.font_sizes(*self.runs.shape):
            spots = self._spots(labels, size)
            found = placements(places, spots)
            if len(found) >= len(placed):
                placed, chosen = found, size
            if len(found) == len(spots):
                break
        lettering.write_labels(picture, labels, placed, chosen)

    def _spots(self, labels: Mapping[int, lettering.Label], size: int) -> list[Spot]:
        found = []
        for index, place in enumerate(self.regions.values.tolist()):
            if place in labels:
                left, top, width, height = self.regions.boxes[index].tolist()
                y, x = divmod(int(self.runs.starts[self.regions.first[index]]), self.runs.shape[1])
                box = (left, top, left + width, top + height)
                isthing = labels[place].color is not None
                area = int(self.regions.areas[index])
                high, wide = labels[place].box(size).shape[:2]
                found.append(Spot(place, (wide, high), isthing, box, (x, y), area))
        return found


def _looked_up(values: IdMap, places: Mapping[int, int], other: int) -> npt.NDArray[np.unsignedinteger]:
    """The places of ids (R,): of 8 bits where they suffice; `other` for void and ids that no segment has."""
    kind = np.uint8 if len(places) + FIRST <= 256 else np.uint16
    ids = np.array([VOID, *places], np.int64)
    order = np.argsort(ids)
    found = order[np.searchsorted(ids, values, sorter=order).clip(max=len(ids) - 1)]
    return np.where(ids[found] == values, np.array([other, *places.values()])[found], other).astype(kind)


def _page(photo: Rgb, listed: list[Entry] | None, style: Style) -> tuple[Rgb, Rgb]:
    """The whole picture with its legend and, side by side, its photo; and the part of it that is to be drawn."""
    height, width = photo.shape[:2]
    gap = max(4, width // 100) if style.side_by_side else 0
    start = width + gap if style.side_by_side else 0
    size = [height, start + width]
    font = font_of(lettering.font_sizes(height, width)[0])
    panel, below = legend(listed, font, *size) if listed else (None, False)
    channels = 4 if style.is_transparent else 3
    if panel is None:
        page = np.empty((*size, channels), np.uint8)
    elif below:
        page = np.full((height + panel.shape[0], max(size[1], panel.shape[1]), channels), 255, np.uint8)
        page[height:, : panel.shape[1], :3] = panel
    else:
        page = np.full((max(height, panel.shape[0]), size[1] + panel.shape[1], channels), 255, np.uint8)
        page[: panel.shape[0], size[1] :, :3] = panel
    if style.side_by_side:
        page[:height, :width, :3] = photo
        page[:height, width:start, :3] = PAPER
        page[:height, :start, 3:] = 255
    return page, page[:height, start : start + width]


def _ground(photo: Rgb, style: Style) -> Rgb | None:
    """What shows where nothing is drawn, (H, W, 3); None is the photo itself."""
    if style.background == "blur":
        return _blurred(photo)
    if style.background is None:
        return None
    # Where the picture is transparent, nothing of the photo is kept.
    return np.broadcast_to(np.uint8(255 if style.background == "white" else 0), photo.shape)


def _blurred(photo: Rgb) -> Rgb:
    """The photo out of focus; blurring a small copy is twenty times faster."""
    whole = Image.fromarray(photo)
    radius = max(2.0, max(whole.size) / _BLUR)
    factor = max(1, int(radius / 3))
    small = whole.reduce(factor).filter(ImageFilter.GaussianBlur(radius / factor))
    return np.asarray(small.resize(whole.size, Image.Resampling.BICUBIC))
