"""What `yoso check` knows to look for: each kind of finding with its code, its layer and its sentence.

Codes are stable: programs may rely on them.
"""

from dataclasses import dataclass
from enum import Enum


class Layer(Enum):
    """Where a finding belongs; each layer makes sense only when the ones before it hold."""

    STRUCTURE = "structure"
    QUALITY = "quality"
    DISTRIBUTION = "distribution"
    COMPATIBILITY = "compatibility"


class Severity(Enum):
    """An error makes training or evaluation fail or lie; a warning is for a person to judge."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Rule:
    """One kind of finding.

    Attributes:
        layer: where it belongs.
        severity: how bad it is.
        sentence: what it says.
    """

    layer: Layer
    severity: Severity
    sentence: str


_STRUCTURE, _QUALITY, _DISTRIBUTION, _COMPATIBILITY = Layer
_ERROR, _WARNING = Severity

RULES = {
    "listing-unreadable": Rule(_STRUCTURE, _ERROR, "The JSON or the manifest cannot be read."),
    "manifest-count": Rule(_STRUCTURE, _ERROR, "The manifest counts other pictures than the JSON lists."),
    "malformed-entry": Rule(_STRUCTURE, _ERROR, "Entries of the JSON lack a key or have a wrong value."),
    "path-outside": Rule(_STRUCTURE, _ERROR, "File names do not stay inside their folder."),
    "duplicate-id": Rule(_STRUCTURE, _ERROR, "Ids stand twice in the JSON."),
    "duplicate-file": Rule(_STRUCTURE, _ERROR, "Files are listed for two pictures."),
    "unknown-category": Rule(_STRUCTURE, _ERROR, "Segments are of a category that the JSON does not list."),
    "annotation-without-image": Rule(_STRUCTURE, _ERROR, "Annotations are of a picture that is not listed."),
    "image-without-annotation": Rule(_STRUCTURE, _ERROR, "Pictures have no annotation."),
    "image-missing": Rule(_STRUCTURE, _ERROR, "Pictures are missing."),
    "image-unreadable": Rule(_STRUCTURE, _ERROR, "Pictures are damaged, cut short or no pictures."),
    "image-size": Rule(_STRUCTURE, _ERROR, "Pictures are of another size than the JSON says."),
    "png-missing": Rule(_STRUCTURE, _ERROR, "Panoptic PNGs are missing."),
    "png-unreadable": Rule(_STRUCTURE, _ERROR, "Panoptic PNGs are damaged, cut short or no 8-bit RGB PNGs."),
    "png-size": Rule(_STRUCTURE, _ERROR, "Panoptic PNGs are of another size than the JSON says."),
    "id-not-in-json": Rule(_STRUCTURE, _ERROR, "Pictures have segment ids in the PNG that the JSON does not list."),
    "id-not-in-png": Rule(_STRUCTURE, _ERROR, "Pictures have segment ids in the JSON that the PNG does not hold."),
    "unlisted-png": Rule(_STRUCTURE, _WARNING, "PNGs lie among the panoptic ones and belong to no picture."),
    "unlisted-image": Rule(_STRUCTURE, _WARNING, "Pictures have no labels and are never used."),
    "wrong-area": Rule(_QUALITY, _ERROR, "Pictures have areas in the JSON that the PNG contradicts."),
    "wrong-bbox": Rule(_QUALITY, _ERROR, "Pictures have boxes in the JSON that the PNG contradicts."),
    "zero-area": Rule(_QUALITY, _ERROR, "Pictures list segments without a pixel."),
    "exif-orientation": Rule(
        _QUALITY, _ERROR, "Pictures are turned by their EXIF orientation, and their labels are not."
    ),
    "exif-ambiguous": Rule(
        _QUALITY, _WARNING, "Pictures have an EXIF orientation whose labels may be drawn either way."
    ),
    "no-segments": Rule(_QUALITY, _WARNING, "Pictures have no segment: all of them is void."),
    "mostly-void": Rule(_QUALITY, _WARNING, "Pictures are void for more than nine tenths."),
    "image-count": Rule(_DISTRIBUTION, _WARNING, "The split has not as many pictures as the published one."),
    "thing-without-instances": Rule(_DISTRIBUTION, _WARNING, "Thing classes have no instance."),
    "stuff-without-segments": Rule(_DISTRIBUTION, _WARNING, "Stuff classes have no segment."),
    "class-not-in-train": Rule(_DISTRIBUTION, _WARNING, "Classes are evaluated and never trained."),
    "leak": Rule(_DISTRIBUTION, _ERROR, "Pictures are in another split, too: the same file content."),
    "duplicate-image": Rule(_DISTRIBUTION, _WARNING, "Pictures are in the split twice: the same file content."),
    "other-version": Rule(_COMPATIBILITY, _ERROR, "The classes are not those of the published dataset of that name."),
    "categories-differ": Rule(_COMPATIBILITY, _ERROR, "The splits do not have the same classes in the same order."),
    "no-manifest": Rule(_COMPATIBILITY, _WARNING, "There is no manifest: only `yoso eval --truth` reads it so."),
    "image-mode": Rule(_COMPATIBILITY, _WARNING, "Pictures are neither 8-bit RGB nor grey and will be converted."),
    "many-segments": Rule(_COMPATIBILITY, _WARNING, "Pictures have more segments than YOSO's 100 proposals can find."),
    "stuff-crowd": Rule(_COMPATIBILITY, _WARNING, "Pictures have crowds of a stuff class, which count as void."),
}
"""Code -> rule, in the order in which findings are reported."""

MOST_SEGMENTS = 100


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Attributes:
        code: a key of RULES.
        split: where.
        image: the picture's file, or the class; empty where it is the whole split.
        detail: what exactly, for a person.
    """

    code: str
    split: str
    image: str = ""
    detail: str = ""
