"""Drawing: coloured segments over the photo, their names, a legend, and contact sheets."""

# H, W height and width of the picture in pixels

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from yoso_cli.atomic import replacing
from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic.types import VOID, Category, IdMap, Panoptic, Rgb, Segment

Color = tuple[int, int, int]
Box = tuple[int, int, int, int]

# COCO's merged stuff classes have suffixes that mean nothing to a reader.
_SUFFIXES = ("-merged", "-other", "-stuff")

_PAPER: Color = (250, 250, 248)
_INK: Color = (34, 34, 38)
_VOID_COLOR: Color = (60, 60, 64)
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
# The keyword of a PNG's text; a JPEG has a comment.
_MADE_FROM = "yoso"

# Text is legible at 12 pixels; a picture below this is enlarged by a whole factor until its labels fit.
_SMALLEST_EDGE = 512


def category_colors(count: int) -> tuple[Color, ...]:
    """`count` colours that differ from their neighbours, always the same ones."""
    golden = 0.618034
    return tuple(
        _hsv(0.03 + index * golden, (0.75, 0.5, 0.9)[index % 3], (0.92, 0.72, 0.98, 0.55)[index % 4])
        for index in range(count)
    )


def colors(categories: Sequence[Category]) -> tuple[Color, ...]:
    """The colour of each category: its own, or one by its place where its set names none."""
    fallback = category_colors(len(categories))
    return tuple(
        fallback[place] if category.color == Category.color else category.color
        for place, category in enumerate(categories)
    )


def overlay(
    image: Rgb, panoptic: Panoptic, categories: Sequence[Category], *, alpha: float = 0.5, legend: bool = True
) -> Rgb:
    """A photo with its segments in colour, their borders and names, and a legend beside or below.

    Args:
        image: uint8 (H, W, 3).
        panoptic: of the same size.
        categories: of the set.
        alpha: how much of the colour covers the photo, 0..1.
        legend: whether the panel is added.

    Returns:
        uint8 (H', W', 3). A picture of less than 512 pixels is enlarged by a whole factor, so that names are legible.

    Raises:
        DataError: photo and segments differ in size.
    """
    if image.shape[:2] != panoptic.id_map.shape:
        (high, wide), (height, width) = image.shape[:2], panoptic.id_map.shape
        raise DataError(f"The photo is {wide}x{high}, but its panoptic map is {width}x{height}.")
    scale = max(1, -(-_SMALLEST_EDGE // max(image.shape[:2])))
    id_map = np.repeat(np.repeat(panoptic.id_map, scale, axis=0), scale, axis=1)
    tints = _segment_colors(panoptic.segments, categories)
    picture = _tinted(enlarged(image, scale), id_map, panoptic, tints, alpha)
    by_id = {category.id: category for category in categories}
    _outline(picture, id_map, [one.id for one in panoptic.segments if by_id[one.category_id].isthing])
    canvas = Image.fromarray(picture)
    font = font_of(max(12, min(28, round(max(picture.shape[:2]) / 42))))
    write_names(canvas, id_map, panoptic.segments, by_id, font)
    return np.asarray(_with_legend(canvas, _entries(panoptic, categories), font) if legend else canvas)


def enlarged(image: Rgb, scale: int) -> Rgb:
    """The picture (H, W, 3), `scale` times as large."""
    if scale == 1:
        return image
    height, width = image.shape[:2]
    return np.asarray(Image.fromarray(image).resize((width * scale, height * scale), Image.Resampling.BICUBIC))


def sheet(rows: Sequence[Sequence[Rgb]], titles: Sequence[str]) -> Rgb:
    """Pictures in rows and columns under the `titles` of the columns; all are made equally wide.

    Args:
        rows: uint8 (h, w, 3) each, as many to a row as there are titles.
        titles: of the columns.
    """
    gap = 12
    width = max([_SMALLEST_EDGE // 2, *(cell.shape[1] for row in rows for cell in row)])
    fitted = [[_fitted(cell, width) for cell in row] for row in rows]
    heights = [max(cell.height for cell in row) for row in fitted]
    size = max(14, min(30, width // 20))
    font, head = font_of(size), 2 * size
    page = Image.new("RGB", ((width + gap) * len(titles) + gap, head + sum(heights) + gap * len(heights)), _PAPER)
    pen = ImageDraw.Draw(page)
    lefts = [gap + (width + gap) * place for place in range(len(titles))]
    for left, title in zip(lefts, titles, strict=True):
        pen.text((left + width // 2, head // 2), title, _INK, font, anchor="mm")
    top = head
    for row, height in zip(fitted, heights, strict=True):
        for left, cell in zip(lefts, row, strict=True):
            page.paste(cell, (left, top))
        top += height + gap
    return np.asarray(page)


def write_picture(path: Path, rgb: Rgb, *, made_from: str = "") -> None:
    """Writes uint8 (H, W, 3) to `path` in one step.

    Args:
        path: a PNG or JPEG.
        rgb: the picture.
        made_from: what it was made from, in ASCII; `read_made_from` reads it back.

    Raises:
        UsageError: its name does not end in .png, .jpg or .jpeg.
        RunError: the disk is full or the place cannot be written.
    """
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise UsageError(f"{path}: cannot be written as a picture.", hint="Use a name that ends in .png or .jpg.")
    with replacing(path) as temporary:
        text = PngInfo()
        text.add_text(_MADE_FROM, made_from)
        Image.fromarray(rgb).save(
            temporary, format=kind, quality=93, pnginfo=text if made_from else None, comment=made_from.encode()
        )


def read_made_from(path: Path) -> str:
    """What `write_picture` noted in the picture at `path`; empty for any other file."""
    try:
        with Image.open(path, formats=tuple(_FORMATS.values())) as picture:
            noted = picture.info.get(_MADE_FROM) or picture.info.get("comment", b"")
    except (OSError, ValueError, SyntaxError):
        return ""
    return noted if isinstance(noted, str) else noted.decode("ascii", "replace")


def _hsv(hue: float, saturation: float, value: float) -> Color:
    ramp = np.abs(np.mod(hue * 6 + np.array([0.0, 4.0, 2.0]), 6) - 3) - 1
    red, green, blue = (int(part) for part in 255 * value * (1 - saturation * (1 - ramp.clip(0, 1))))
    return red, green, blue


def _segment_colors(segments: Sequence[Segment], categories: Sequence[Category]) -> dict[int, Color]:
    """Segment id -> colour: its category's, lighter and darker in turn so that neighbours of one class differ."""
    base = {category.id: color for category, color in zip(categories, colors(categories), strict=True)}
    seen: Counter[int] = Counter()
    tints: dict[int, Color] = {}
    for segment in segments:
        red, green, blue = base[segment.category_id]
        toward, share = ((0, 0.0), (255, 0.35), (0, 0.3), (255, 0.15), (0, 0.15))[seen[segment.category_id] % 5]
        seen[segment.category_id] += 1
        tints[segment.id] = (
            round(red + (toward - red) * share),
            round(green + (toward - green) * share),
            round(blue + (toward - blue) * share),
        )
    return tints


def _tinted(image: Rgb, id_map: IdMap, panoptic: Panoptic, tints: dict[int, Color], alpha: float) -> Rgb:
    """The photo under the segments' colours; void is dimmed, crowds are hatched."""
    ids = np.array([VOID, *tints], np.int32)
    order = np.argsort(ids)
    # An index for each pixel's id, so that one look-up colours the whole picture.
    places = order[np.searchsorted(ids, id_map, sorter=order)]
    palette = np.array([_VOID_COLOR, *tints.values()], np.float32)
    # The photo keeps its light but little of its colour, or else a red ball under blue paint would read as purple.
    grey = image.mean(axis=2, dtype=np.float32, keepdims=True)
    faded = grey + np.float32(1 - alpha) * np.float32(0.5) * (image - grey)
    mixed = faded + np.float32(alpha) * (palette[places] - faded)
    crowds = np.isin(id_map, [segment.id for segment in panoptic.segments if segment.iscrowd])
    if crowds.any():
        height, width = id_map.shape
        mixed[crowds & ((np.arange(width) + np.arange(height)[:, None]) % 12 < 3)] = _PAPER
    tinted: Rgb = mixed.clip(0, 255).astype(np.uint8)
    return tinted


def _outline(picture: Rgb, id_map: IdMap, things: Sequence[int]) -> None:
    """Draws a light line around things and a dark one between stuffs, into `picture`."""
    thickness = max(1, round(max(id_map.shape) / 500))
    edge = np.zeros(id_map.shape, bool)
    edge[:, thickness:] |= id_map[:, thickness:] != id_map[:, :-thickness]
    edge[thickness:] |= id_map[thickness:] != id_map[:-thickness]
    edge[:, :-thickness] |= id_map[:, thickness:] != id_map[:, :-thickness]
    edge[:-thickness] |= id_map[thickness:] != id_map[:-thickness]
    is_thing = np.isin(id_map, things)
    picture[edge & ~is_thing] = picture[edge & ~is_thing] // 2
    picture[edge & is_thing] = 255


def _entries(panoptic: Panoptic, categories: Sequence[Category]) -> list[tuple[Color, str]]:
    """Colour and words of each class in the picture: stuff and things apart, the largest first."""
    areas: Counter[int] = Counter()
    counts: Counter[int] = Counter()
    for segment in panoptic.segments:
        areas[segment.category_id] += segment.area
        counts[segment.category_id] += 1
    shown = [
        (category.isthing, -areas[category.id], color, shown_name(category), counts[category.id])
        for category, color in zip(categories, colors(categories), strict=True)
        if counts[category.id]
    ]
    entries = [
        (color, f"{name} ({count})" if isthing and count > 1 else name)
        for isthing, _, color, name, count in sorted(shown, key=lambda one: (not one[0], one[1]))
    ]
    if (panoptic.id_map == VOID).any():
        entries.append((_VOID_COLOR, "unlabelled"))
    return entries


def _with_legend(
    canvas: Image.Image, entries: Sequence[tuple[Color, str]], font: ImageFont.FreeTypeFont
) -> Image.Image:
    """Adds the legend to the right of an upright or square picture, below a wide one."""
    swatch = int(font.size)
    line = round(swatch * 1.6)
    column = round(max((font.getlength(text) for _, text in entries), default=0)) + swatch * 3
    below = canvas.width > canvas.height * 1.05
    per_row = max(1, canvas.width // column) if below else -(-len(entries) * line // max(1, canvas.height - line))
    lines = -(-len(entries) // per_row)
    if below:
        left, top, size = 0, canvas.height, (canvas.width, canvas.height + lines * line + line)
    else:
        left, top, size = canvas.width, 0, (canvas.width + max(1, per_row) * column, canvas.height)
    page = Image.new("RGB", size, _PAPER)
    page.paste(canvas, (0, 0))
    pen = ImageDraw.Draw(page)
    for index, (color, text) in enumerate(entries):
        x = left + swatch + (index // lines) * column
        y = top + line // 2 + (index % lines) * line + line // 2
        pen.rounded_rectangle((x, y - swatch // 2, x + swatch, y + swatch // 2), swatch // 5, color, _INK)
        pen.text((x + swatch * 3 // 2, y), text, _INK, font, anchor="lm")
    return page


def _fitted(image: Rgb, width: int) -> Image.Image:
    picture = Image.fromarray(image)
    if picture.width == width:
        return picture
    return picture.resize((width, max(1, round(picture.height * width / picture.width))), Image.Resampling.BICUBIC)


def font_of(size: int) -> ImageFont.FreeTypeFont:
    """The font that comes with Pillow, `size` pixels high."""
    font = ImageFont.load_default(size=size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow's wheels carry FreeType"
    return font


def shown_name(category: Category) -> str:
    """The display name of `category`: `sky`, not `sky-other-merged`."""
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
