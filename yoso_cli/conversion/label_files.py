"""Files of label maps: found beside photos whatever they are called, and read in every lossless format.

PNG is what label maps are; BMP, TIFF and lossless WebP keep values as well. JPEG and lossy WebP change them, so that a
map in these is refused, however little one sees of it.
"""

# H, W height and width of the picture in pixels

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from yoso_cli.conversion.picture_files import Found, find_files
from yoso_cli.errors import DataError
from yoso_cli.panoptic import png
from yoso_cli.panoptic.photos import opened_photo
from yoso_cli.panoptic.types import LARGEST_ID

MAP_SUFFIXES = frozenset({".png", ".bmp", ".tif", ".tiff", ".webp"})
_LOSSY = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".gif"})

_MODES = {
    png.Kind.GREY8: ("L",),
    png.Kind.PALETTE: ("P",),
    png.Kind.GREY16: ("I;16", "I;16B", "I;16L", "I"),
    png.Kind.RGB: ("RGB",),
}
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp", "jpeg2000", "lerc")
_NAMES = {"1": "1-bit", "L": "8-bit grey", "P": "palette", "F": "floating-point", "RGBA": "RGB with alpha"}
_SEPARATOR = re.compile(r"[_.\- ]")
# Names that are compared to find what the names of maps end in.
_COMPARED = 64


def find_maps(folder: Path, *, what: str, ending: str = "") -> Found:
    """The maps below `folder`; one that is lossy is among them, for reading to refuse. Raises as `find_files`."""
    found = find_files(folder, MAP_SUFFIXES, what=what, ending=ending)
    lossy = {
        stem.removesuffix(ending): name
        for name in found.others
        for stem, dot, suffix in [name.rpartition(".")]
        if f"{dot}{suffix}".lower() in _LOSSY and stem.endswith(ending)
    }
    return replace(found, by_stem={**lossy, **found.by_stem})


def read_map(path: Path, *expected: png.Kind) -> png.Pixels:
    """The values of a map as they are stored, of one of the kinds `expected` (none: of any kind).

    Raises:
        DataError: missing, damaged, of another kind, or of a format that changes values.
    """
    suffix = path.suffix.lower()
    if suffix == ".png":
        return png.read(path, *expected)
    if suffix in _LOSSY:
        raise _changed(path, "JPEG" if suffix != ".gif" else "GIF")
    if not path.is_file():
        raise DataError(f"{path}: no such file.", hint="Each image needs its label map.")
    if suffix == ".webp" and _is_lossy_webp(path):
        raise _changed(path, "lossy WebP")
    with opened_photo(path, str(path)) as image:
        if image.format == "TIFF" and str(image.info.get("compression")) in _LOSSY_TIFF:
            raise _changed(path, f"TIFF with {image.info['compression']} compression")
        mode, pixels = image.mode, np.array(image)
    return _of_kind(path, mode, pixels, expected or tuple(png.Kind))


def _of_kind(path: Path, mode: str, pixels: Any, expected: Sequence[png.Kind]) -> png.Pixels:
    if mode == "RGBA" and (pixels[..., 3] == 255).all():
        mode, pixels = "RGB", pixels[..., :3]
    # WebP has no grey.
    grey = mode == "RGB" and path.suffix.lower() == ".webp" and bool((pixels == pixels[..., :1]).all())
    if grey and png.Kind.GREY8 in expected:
        mode, pixels = "L", pixels[..., 0]
    kind = next((kind for kind in expected if mode in _MODES[kind]), None)
    if kind is None:
        wanted = " or ".join(map(str, expected))
        raise DataError(
            f"{path}: is {_NAMES.get(mode, mode)} where {wanted} is expected.",
            hint="Save ids as an 8- or 16-bit grey PNG.",
        )
    if mode == "I" and (pixels.min(initial=0) < 0 or pixels.max(initial=0) > LARGEST_ID):
        raise DataError(f"{path}: has values outside 0..{LARGEST_ID}.")
    return np.ascontiguousarray(pixels)


def _is_lossy_webp(path: Path) -> bool:
    """Whether a chunk of lossy pixels is among the first ones: a RIFF file, https://developers.google.com/speed/webp."""
    with path.open("rb") as file:
        head = file.read(12)
        while head[:4] == b"RIFF" and len(chunk := file.read(8)) == 8:
            if chunk[:4] in (b"VP8 ", b"ANMF"):
                return True
            if chunk[:4] == b"VP8L":
                return False
            size = int.from_bytes(chunk[4:], "little")
            file.seek(size + size % 2, 1)
    return False


def _changed(path: Path, form: str) -> DataError:
    return DataError(
        f"{path}: is a {form}, which does not keep the values of a label map.",
        hint="Make the maps again as PNG, BMP, TIFF or lossless WebP: this file no longer has the ids.",
    )


def likely_endings(photos: Collection[str], maps: Collection[str]) -> tuple[str, str] | None:
    """What the names of photos and of maps end in, where that is all they differ in; None where it is more.

    Args:
        photos: names without suffix.
        maps: the same.
    """
    some = sorted(maps)[:_COMPARED]
    longer = Counter(stem[place:] for stem in some for place in range(1, len(stem)) if stem[:place] in photos)
    endings = [("", ending) for ending, _ in longer.most_common(1)]
    endings += [
        (ending, "") for ending in _shared(photos) if {stem.removesuffix(ending) for stem in photos} & set(some)
    ]
    endings += [(of_photos, of_maps) for of_photos in _shared(photos) for of_maps in _shared(maps)]
    for of_photos, of_maps in endings:
        names = {stem.removesuffix(of_photos) for stem in photos if stem.endswith(of_photos)}
        fitting = sum(stem.endswith(of_maps) and stem.removesuffix(of_maps) in names for stem in some)
        if 2 * fitting > len(some):
            return of_photos, of_maps
    return None


def _shared(stems: Collection[str]) -> list[str]:
    """What all names end in, from a separator on, the longest first; nothing for a single name."""
    if len(stems) < 2:
        return []
    # Of reversed names the first and the last in order have the least in common.
    turned = sorted(stem[::-1] for stem in stems)
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(turned[0], turned[-1], strict=False))
    common = "".join(one for one, _ in alike)[::-1]
    return [common[place.start() :] for place in _SEPARATOR.finditer(common)]
