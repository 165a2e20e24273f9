"""The checks of `yoso check`: each kind of finding with its code, layer and sentence.

Codes are stable: programs may rely on them.
"""

from dataclasses import dataclass
from enum import Enum


class Layer(Enum):
    """The layer of a finding; each layer presumes that the ones before it are fine."""

    STRUCTURE = "structure"
    QUALITY = "quality"
    DISTRIBUTION = "distribution"
    COMPATIBILITY = "compatibility"


class Severity(Enum):
    """An error makes training or evaluation fail or give wrong results; a warning is for the user to judge."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Rule:
    """One kind of finding.

    Attributes:
        layer: its layer.
        severity: error or warning.
        sentence: the message.
    """

    layer: Layer
    severity: Severity
    sentence: str


_STRUCTURE, _QUALITY, _DISTRIBUTION, _COMPATIBILITY = Layer
_ERROR, _WARNING = Severity

RULES = {
    "listing-unreadable": Rule(_STRUCTURE, _ERROR, "The JSON or the manifest cannot be read."),
    "listing-changed": Rule(_STRUCTURE, _ERROR, "The JSON is damaged or was edited: it differs from its checksum."),
    "manifest-count": Rule(_STRUCTURE, _ERROR, "The manifest's number of pictures differs from the JSON's."),
    "malformed-entry": Rule(_STRUCTURE, _ERROR, "Entries of the JSON lack a key or have a wrong value."),
    "path-outside": Rule(_STRUCTURE, _ERROR, "File names do not stay inside their folder."),
    "duplicate-id": Rule(_STRUCTURE, _ERROR, "Ids are repeated in the JSON."),
    "duplicate-file": Rule(_STRUCTURE, _ERROR, "Files are listed for two pictures."),
    "unknown-category": Rule(_STRUCTURE, _ERROR, "Segments are of a category that the JSON does not list."),
    "annotation-without-image": Rule(_STRUCTURE, _ERROR, "Annotations are of a picture that is not listed."),
    "image-without-annotation": Rule(_STRUCTURE, _ERROR, "Pictures have no annotation."),
    "image-missing": Rule(_STRUCTURE, _ERROR, "Pictures are missing."),
    "image-unreadable": Rule(_STRUCTURE, _ERROR, "Pictures are damaged, truncated or not pictures."),
    "image-size": Rule(_STRUCTURE, _ERROR, "Pictures are of another size than the JSON says."),
    "png-missing": Rule(_STRUCTURE, _ERROR, "Panoptic PNGs are missing."),
    "png-unreadable": Rule(_STRUCTURE, _ERROR, "Panoptic PNGs are not 8-bit RGB PNGs."),
    "png-damaged": Rule(_STRUCTURE, _ERROR, "Panoptic PNGs are damaged or truncated: a checksum differs."),
    "png-size": Rule(_STRUCTURE, _ERROR, "Panoptic PNGs are of another size than the JSON says."),
    "id-not-in-json": Rule(_STRUCTURE, _ERROR, "Pictures have segment ids in the PNG that the JSON does not list."),
    "id-not-in-png": Rule(_STRUCTURE, _ERROR, "Pictures have segment ids in the JSON that are not in the PNG."),
    "exchanged-channels": Rule(
        _STRUCTURE, _ERROR, "Panoptic PNGs have red and blue exchanged, as OpenCV writes RGB: then all ids match."
    ),
    "unlisted-png": Rule(_STRUCTURE, _WARNING, "PNGs in the panoptic folder belong to no picture."),
    "unlisted-image": Rule(_STRUCTURE, _WARNING, "Pictures have no labels and are not used."),
    "wrong-area": Rule(_QUALITY, _ERROR, "Pictures have areas in the JSON that differ from the PNG."),
    "wrong-bbox": Rule(_QUALITY, _ERROR, "Pictures have boxes in the JSON that differ from the PNG."),
    "zero-area": Rule(_QUALITY, _ERROR, "Pictures have segments without a pixel."),
    "exif-orientation": Rule(
        _QUALITY, _ERROR, "Pictures are rotated by their EXIF orientation, but their labels are not."
    ),
    "exif-ambiguous": Rule(
        _QUALITY, _WARNING, "Pictures have an EXIF orientation; whether it applies to their labels is unclear."
    ),
    "overlapping-instances": Rule(
        _QUALITY, _WARNING, "Pictures have pixels of several instances; the smallest instance gets them."
    ),
    "hidden-instances": Rule(
        _QUALITY,
        _WARNING,
        "Pictures have instances without a pixel, or fully hidden by smaller ones, that are left out.",
    ),
    "no-segments": Rule(_QUALITY, _WARNING, "Pictures have no segment: they are entirely void."),
    "mostly-void": Rule(_QUALITY, _WARNING, "Pictures are more than 90 % void."),
    "image-count": Rule(_DISTRIBUTION, _WARNING, "The split has fewer or more pictures than the published one."),
    "things-only": Rule(
        _DISTRIBUTION,
        _WARNING,
        "Only things are labelled: false detections in the rest, which is void, do not count in PQ.",
    ),
    "thing-without-instances": Rule(_DISTRIBUTION, _WARNING, "Thing classes have no instance."),
    "stuff-without-segments": Rule(_DISTRIBUTION, _WARNING, "Stuff classes have no segment."),
    "class-not-in-train": Rule(
        _DISTRIBUTION, _WARNING, "Classes are in the validation split but not in the training split."
    ),
    "leak": Rule(_DISTRIBUTION, _ERROR, "Pictures are also in another split: the same file content."),
    "duplicate-image": Rule(_DISTRIBUTION, _WARNING, "Pictures are in the split twice: the same file content."),
    "other-version": Rule(_COMPATIBILITY, _ERROR, "The classes are not those of the published dataset of that name."),
    "categories-differ": Rule(_COMPATIBILITY, _ERROR, "The splits do not have the same classes in the same order."),
    "no-manifest": Rule(_COMPATIBILITY, _WARNING, "There is no manifest: only `yoso eval --truth` can read it."),
    "not-panoptic": Rule(
        _COMPATIBILITY, _WARNING, "These are COCO's instance annotations; `yoso convert` makes a panoptic set of them."
    ),
    "converted-values": Rule(
        _COMPATIBILITY, _WARNING, "Values of the JSON are of another type and were taken for what they say."
    ),
    "image-mode": Rule(_COMPATIBILITY, _WARNING, "Pictures are neither 8-bit RGB nor grey and will be converted."),
    "many-segments": Rule(
        _COMPATIBILITY, _WARNING, "Pictures have more segments than the recipe's proposals can find."
    ),
    "stuff-crowd": Rule(_COMPATIBILITY, _WARNING, "Pictures have crowds of a stuff class, which count as void."),
}
"""Code -> rule, in the order in which findings are reported."""

PROPOSALS = 100
"""Of the paper's network: the most segments that it finds in a picture."""


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        code: a key of RULES.
        split: the split.
        image: the picture's file, or the class; empty for the whole split.
        detail: details as text.
    """

    code: str
    split: str
    image: str = ""
    detail: str = ""
