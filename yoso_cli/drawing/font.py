"""The font of labels, legends and titles."""

import functools

from PIL import ImageFont


@functools.lru_cache(maxsize=32)
def font_of(size: int) -> ImageFont.FreeTypeFont:
    """The font that comes with Pillow, `size` pixels high."""
    font = ImageFont.load_default(size=size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow's wheels carry FreeType"
    return font
