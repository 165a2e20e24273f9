"""Pictures as files, with a note of what they were made from."""

from pathlib import Path

from PIL import Image

from yoso_cli.atomic import replacing
from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic import png
from yoso_cli.panoptic.types import Rgb

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
# Of libjpeg.
_LONGEST_JPEG = 65_500
# The keyword of a PNG's text; a JPEG has a comment.
_MADE_FROM = "yoso"


def require_format(path: Path, *, transparent: bool = False) -> str:
    """PNG or JPEG, by the name.

    Args:
        path: of the picture.
        transparent: whether the picture has an alpha channel.

    Raises:
        UsageError: the name does not end in .png, .jpg or .jpeg, or ends in that of JPEG, which has no transparency.
    """
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise UsageError(f"{path}: cannot be written as a picture.", hint="Use a name that ends in .png or .jpg.")
    if transparent and kind != "PNG":
        raise UsageError(f"{path}: a JPEG cannot be transparent.", hint="Use a name that ends in .png.")
    return kind


def write_picture(path: Path, picture: Rgb, *, made_from: str = "") -> None:
    """Writes uint8 (H, W, 3), or (H, W, 4) with an alpha channel, to `path` in one step.

    Args:
        path: a PNG or JPEG.
        picture: the pixels.
        made_from: what it was made from, in ASCII; `read_made_from` reads it back.

    Raises:
        UsageError: as `require_format`.
        DataError: an edge is longer than a JPEG can have.
        RunError: the disk is full or the place cannot be written.
    """
    kind = require_format(path, transparent=picture.shape[2] == 4)
    if kind == "JPEG" and max(picture.shape) > _LONGEST_JPEG:
        size = f"{picture.shape[1]}x{picture.shape[0]}"
        raise DataError(
            f"{path}: a picture of {size} pixels is no JPEG, whose edges have at most {_LONGEST_JPEG:,}.",
            hint="Use a name that ends in .png.",
        )
    with replacing(path) as temporary:
        if kind == "PNG":
            # A quarter of the time that Pillow takes, at the same size.
            temporary.write_bytes(png.encode(picture, text={_MADE_FROM: made_from} if made_from else {}))
        else:
            Image.fromarray(picture).save(temporary, format=kind, quality=93, comment=made_from.encode())


def read_made_from(path: Path) -> str:
    """What `write_picture` noted in the picture at `path`; empty for any other file."""
    try:
        with Image.open(path, formats=tuple(_FORMATS.values())) as picture:
            noted = picture.info.get(_MADE_FROM) or picture.info.get("comment", b"")
    except (OSError, ValueError, SyntaxError):
        return ""
    return noted if isinstance(noted, str) else noted.decode("ascii", "replace")
