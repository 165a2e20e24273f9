"""Contact sheets: pictures in rows and columns under titles."""

# h, w height and width of a picture in pixels

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from yoso_cli.drawing.font import font_of
from yoso_cli.drawing.legend import INK, PAPER
from yoso_cli.panoptic.types import Rgb

_NARROWEST = 256
# Of a cell, in pixels: larger pictures show no more on a sheet, and a dozen of them would fill the memory.
_LONGEST = 2048
# A column of pixels, made as wide as the others, would be gigabytes high.
_TALLEST = 3  # widths


def bounded(picture: Rgb) -> Rgb:
    """The picture (h, w, 3), shrunk where an edge is longer than a cell of a sheet may be."""
    height, width = picture.shape[:2]
    scale = _LONGEST / max(height, width)
    if scale >= 1:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0))


def sheet(rows: Sequence[Sequence[Rgb]], titles: Sequence[str]) -> Rgb:
    """Pictures in rows and columns under the `titles` of the columns; all are made equally wide, large ones smaller.

    Args:
        rows: uint8 (h, w, 3) each, as many to a row as there are titles.
        titles: of the columns.
    """
    gap = 12
    rows = [[bounded(cell) for cell in row] for row in rows]
    width = max([_NARROWEST, *(cell.shape[1] for row in rows for cell in row)])
    fitted = [[_fitted(cell, width) for cell in row] for row in rows]
    heights = [max(cell.height for cell in row) for row in fitted]
    size = max(14, min(30, width // 20))
    font, head = font_of(size), 2 * size
    page = Image.new("RGB", ((width + gap) * len(titles) + gap, head + sum(heights) + gap * len(heights)), PAPER)
    pen = ImageDraw.Draw(page)
    lefts = [gap + (width + gap) * place for place in range(len(titles))]
    for left, title in zip(lefts, titles, strict=True):
        pen.text((left + width // 2, head // 2), title, INK, font, anchor="mm")
    top = head
    for row, height in zip(fitted, heights, strict=True):
        for left, cell in zip(lefts, row, strict=True):
            page.paste(cell, (left + (width - cell.width) // 2, top))
        top += height + gap
    return np.asarray(page)


def _fitted(image: Rgb, width: int) -> Image.Image:
    picture = Image.fromarray(image)
    scale = min(width / picture.width, _TALLEST * width / picture.height)
    if scale == 1:
        return picture
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.BICUBIC)
