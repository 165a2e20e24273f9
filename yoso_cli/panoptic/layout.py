"""Where the photos and the PNGs of a JSON lie: the layouts that people and tools make.

images/ beside the JSON                                 this program's, CVAT's, Label Studio's
annotations/instances_val2017.json beside val2017/      COCO's
train/_annotations.coco.json among its photos           Roboflow's
gtFine/cityscapes_panoptic_val.json, leftImg8bit/val/   Cityscapes', whose JSON names photos that do not exist
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from yoso_cli.panoptic.files import LISTING
from yoso_cli.panoptic.types import ImageRecord

_PREFIX = re.compile(r"(cityscapes_panoptic|panoptic|instances|stuff|person_keypoints|captions)_")
# Of the usual folders, those that hold nothing but photos.
_LIKELY = 3
# Files that are looked for in each folder.
_PROBED = 16
# In the JSON that Cityscapes' own script writes; the photo is CITY/CITY_..._leftImg8bit.png.
_CITYSCAPES = re.compile(r"(?:.*/)?(([^/_]+)_[^/]*)_gtFine_leftImg8bit\.png")


@dataclass(frozen=True)
class Photos:
    """The photos of a JSON.

    Attributes:
        folder: where they are, or would usually be.
        named: gives the file in `folder` of what the JSON calls a photo.
        looked: the folders that were looked into, where no photo was found; else none.
    """

    folder: Path
    named: Callable[[str], str]
    looked: tuple[Path, ...] = ()

    def renamed(self, records: Sequence[ImageRecord]) -> tuple[ImageRecord, ...]:
        """`records` with the photos' names in `folder`."""
        if self.named is _as_listed:
            return tuple(records)
        return tuple(replace(record, image_file=self.named(record.image_file)) for record in records)

    def hint(self) -> str:
        """What to do where no photo was found."""
        return f"Name their folder with --images. Looked in {', '.join(map(str, self.looked))}."


def above(folder: Path) -> Path:
    """The folder that holds `folder`, also of `.` and `..`."""
    return folder / ".." if folder.name in ("", "..") else folder.parent


def split_of(listing: Path) -> str:
    """What a JSON is of, by its name: `val2017` of `annotations/instances_val2017.json`."""
    return _PREFIX.sub("", listing.stem, count=1)


def find_photos(listing: Path, files: Sequence[str], given: Path | None = None) -> Photos:
    """Where the photos of a JSON lie: in the first folder of the usual ones that has the most of some of them.

    Args:
        listing: the JSON.
        files: the names that it has for them.
        given: the folder as the user gave it; no other is looked into then.
    """
    usual = (given,) if given else _usual(listing)
    probed = files[:: max(1, len(files) // _PROBED)]
    renamed = [_cityscapes(file) for file in probed]
    found: list[tuple[int, Callable[[str], str], Path]]
    found = [(_hits(folder, probed), _as_listed, folder) for folder in usual]
    if any("\\" in file for file in probed):
        slashed = [_slashed(file) for file in probed]
        found += [(_hits(folder, slashed), _slashed, folder) for folder in usual]
    if probed and all(renamed):
        own = (given,) if given else _leftimg8bit(listing)
        found += [(_hits(folder, renamed), _cityscapes, folder) for folder in own]
    hits, named, folder = max(found, key=lambda one: one[0])
    if hits or not files:
        return Photos(folder, named)
    looked = dict.fromkeys(folder for _, _, folder in found)
    return Photos(next((one for one in usual[:_LIKELY] if one.is_dir()), usual[0]), _as_listed, tuple(looked))


def _usual(listing: Path) -> tuple[Path, ...]:
    beside, root, split = listing.parent, above(listing.parent), split_of(listing)
    folders = (
        *(beside / "images", root / split, root / "images" / split, beside / "images" / split, beside / split),
        *(root / "images", beside, root),
    )
    return tuple(dict.fromkeys(folders))


def _leftimg8bit(listing: Path) -> tuple[Path, ...]:
    split = split_of(listing)
    root = above(listing.parent)
    return tuple(folder / "leftImg8bit" / split for folder in (listing.parent, root, above(root)))


def _hits(folder: Path, files: Sequence[str]) -> int:
    return sum((folder / file).is_file() for file in files) if folder.is_dir() else 0


def _as_listed(file: str) -> str:
    return file


def _slashed(file: str) -> str:
    """As a tool on Windows meant it."""
    return file.replace("\\", "/")


def _cityscapes(file: str) -> str:
    """The photo that Cityscapes' JSON means; empty where it is no name of that JSON."""
    match = _CITYSCAPES.fullmatch(file)
    return f"{match[2]}/{match[1]}_leftImg8bit.png" if match else ""


def find_listing(path: Path) -> Path:
    """The JSON of a panoptic set at `path`.

    Args:
        path: the JSON itself, a folder that holds panoptic.json, or the folder of its PNGs, beside which it lies under
            the folder's name.
    """
    if not path.is_dir() or (path / LISTING).exists():
        return path / LISTING if path.is_dir() else path
    beside = path.absolute().parent / f"{path.absolute().name}.json"
    own = [one for one in sorted(path.glob("*.json")) if one.with_suffix("").is_dir()]
    if beside.is_file():
        return path.parent / beside.name if path.name else beside
    return own[0] if len(own) == 1 else path / LISTING


def find_pngs(listing: Path, files: Sequence[str]) -> Path:
    """The folder of the panoptic PNGs of a JSON: of its name beside it, unless they lie elsewhere.

    Args:
        listing: the JSON.
        files: the names that it has for them.
    """
    named = listing.with_suffix("")
    # What unpacking COCO's own zip of PNGs gives; detectron2's layout; all in one folder.
    others = (named / named.name, listing.parent / "panoptic", above(listing.parent) / named.name, listing.parent)
    probed = files[:: max(1, len(files) // _PROBED)]
    hits = [(_hits(folder, probed), folder) for folder in (named, *others)]
    most, folder = max(hits, key=lambda one: one[0])
    return folder if most else named
