"""Where the names of segments go in a picture, and how they are written."""

# H, W height and width of the picture in pixels

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from yoso_cli.panoptic.types import Category, IdMap, Segment

Box = tuple[int, int, int, int]

# COCO's merged stuff classes carry suffixes that tell a person nothing.
_SUFFIXES = ("-merged", "-other", "-stuff")


def font_of(size: int) -> ImageFont.FreeTypeFont:
    """The font that comes with Pillow, `size` pixels high."""
    font = ImageFont.load_default(size=size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow's wheels carry FreeType"
    return font


def shown_name(category: Category) -> str:
    """The name of `category` as a person says it: `sky`, not `sky-other-merged`."""
    name = category.name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def write_names(
    canvas: Image.Image,
    id_map: IdMap,
    segments: Sequence[Segment],
    categories: Mapping[int, Category],
    font: ImageFont.FreeTypeFont,
) -> None:
    """Writes each segment's name where it is widest, or beside it; one that finds no free place is left out.

    Args:
        canvas: RGB, drawn into.
        id_map: int32 (H, W), of the canvas' size.
        segments: of the map.
        categories: by id.
        font: of the names.
    """
    # Mode RGBA on an RGB picture blends what is drawn.
    pen = ImageDraw.Draw(canvas, "RGBA")
    taken: list[Box] = []
    for spot in sorted(_spots(id_map, segments), key=lambda spot: -spot.area):
        category = categories[spot.segment.category_id]
        text = shown_name(category) + (" (crowd)" if spot.segment.iscrowd else "")
        width, height = round(font.getlength(text) + font.size / 2), round(font.size * 1.35)
        places = _places(spot, width, height, canvas.size, category.isthing)
        box = next((place for place in places if _free(place, taken)), None)
        if box is None:
            continue
        taken.append(box)
        pen.rounded_rectangle(box, height // 4, (16, 16, 20, 176))
        pen.text(((box[0] + box[2]) // 2, (box[1] + box[3]) // 2), text, "white", font, anchor="mm")


@dataclass(frozen=True)
class _Spot:
    """The innermost point of a segment, how many pixels it is from the border there, and the segment's extent."""

    segment: Segment
    x: int
    y: int
    depth: int
    top: int
    bottom: int
    area: int


def _spots(id_map: IdMap, segments: Sequence[Segment]) -> Iterator[_Spot]:
    # The middle of a region need not be exact: a coarse map is a hundred times faster.
    step = max(1, max(id_map.shape) // 160)
    coarse = id_map[::step, ::step]
    depths = _depths(coarse)
    for segment in segments:
        rows, columns = np.nonzero(coarse == segment.id)
        if not len(rows):
            continue
        inner = depths[rows, columns]
        deepest = np.flatnonzero(inner == inner.max())
        off = (rows[deepest] - rows.mean()) ** 2 + (columns[deepest] - columns.mean()) ** 2
        best = deepest[np.argmin(off)]
        y, x, depth = int(rows[best]) * step, int(columns[best]) * step, int(inner[best]) * step
        yield _Spot(segment, x, y, depth, int(rows.min()) * step, int(rows.max()) * step, len(rows))


def _depths(id_map: IdMap) -> npt.NDArray[np.int32]:
    """For each pixel the steps to the border of its segment (H, W): all segments are peeled together."""
    padded = np.pad(id_map, 1, constant_values=-1)
    inside = np.pad(np.ones(id_map.shape, bool), 1)
    before, here, after = slice(None, -2), slice(1, -1), slice(2, None)
    middle = padded[here, here]
    sides = ((before, here), (after, here), (here, before), (here, after))
    same = np.logical_and.reduce([padded[side] == middle for side in sides])
    depths = np.zeros(id_map.shape, np.int32)
    while inside.any():
        kept = same & inside[here, here] & np.logical_and.reduce([inside[side] for side in sides])
        depths += kept
        inside[here, here] = kept
    return depths


def _places(spot: _Spot, width: int, height: int, size: tuple[int, int], isthing: bool) -> Iterator[Box]:
    """Boxes for a name: inside where there is room, else above or below a thing so that it stays visible."""
    fits = 2 * spot.depth > max(height * 0.9, width * 0.5 if isthing else 0)
    centres = [spot.y] if fits else []
    if isthing:
        centres += [spot.top - height // 2 - 2, spot.bottom + height // 2 + 4]
    for centre in centres:
        left = min(max(spot.x - width // 2, 2), size[0] - width - 2)
        top = centre - height // 2
        if left >= 0 and 0 <= top <= size[1] - height:
            yield left, top, left + width, top + height


def _free(box: Box, taken: Sequence[Box]) -> bool:
    left, top, right, bottom = box
    return all(right < one[0] or one[2] < left or bottom < one[1] or one[3] < top for one in taken)
