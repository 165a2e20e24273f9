"""The font of labels, legends and titles."""

from PIL import ImageFont


def font_of(size: int) -> ImageFont.FreeTypeFont:
    """The font that comes with Pillow, `size` pixels high."""
    font = ImageFont.load_default(size=size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow's wheels carry FreeType"
    return font
