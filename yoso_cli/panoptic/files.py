"""A panoptic set on disk: COCO panoptic JSON and PNGs, and a manifest that marks the folder as complete.

    <root>/<name>/<split>/{panoptic.json, panoptic/*.png, images/*, manifest.json}

The PNG stores a segment's id as a colour: id = R + 256 G + 65536 B.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from yoso_cli.atomic import advice, reporting, write_bytes, write_json, write_parts
from yoso_cli.errors import DataError, RunError, UsageError
from yoso_cli.panoptic import annotations, png
from yoso_cli.panoptic.types import (
    LARGEST_ID,
    VOID,
    Category,
    IdMap,
    ImageRecord,
    Panoptic,
    PanopticSet,
    Rgb,
    present_ids,
)
from yoso_cli.runtime.checksum import file_checksum, is_damaged, with_checksum
from yoso_cli.runtime.json_text import read_json
from yoso_cli.runtime.paths import is_possible
from yoso_cli.runtime.words import shortened

FORMAT = "yoso-panoptic"
VERSION = 1
MANIFEST = "manifest.json"
LISTING = "panoptic.json"

_LISTING_CHECKSUM = "listing_crc32"
EDITED = f"Prepare the dataset again with --force; or, if it was edited, remove the checksums from {MANIFEST}."
"""What helps where a checksum differs."""


def rgb_to_id(rgb: Rgb, memory: IdMap | None = None) -> IdMap:
    """Colours, uint8 (H, W, 3), to ids, int32 (H, W).

    Args:
        rgb: the colours.
        memory: (N,) to hold the ids, where it is large enough: it is faster to use one's own again than to get new.
    """
    height, width, channels = rgb.shape
    flat = np.ascontiguousarray(rgb).reshape(-1)
    pixels = height * width
    ids = np.empty(pixels, np.int32) if memory is None or memory.size < pixels else memory[:pixels]
    if pixels:
        # Four bytes from every third one on are an id and one byte too many: three times faster than by channel, and
        # again faster with the mask apart, because numpy copies what is not aligned piece by piece.
        ids[:-1] = np.ndarray(pixels - 1, "<i4", flat, strides=(channels,))
        ids &= LARGEST_ID
        ids[-1] = int.from_bytes(flat[-3:].tobytes(), "little")
    return ids.reshape(height, width)


def id_to_rgb(id_map: IdMap) -> Rgb:
    """Ids, int32 (H, W) in 0..2^24-1, to colours, uint8 (H, W, 3)."""
    little_endian = np.ascontiguousarray(id_map, dtype="<i4").view(np.uint8).reshape(*id_map.shape, 4)
    rgb = np.empty((*id_map.shape, 3), np.uint8)
    # Plane by plane is four times faster than three bytes at a time.
    for channel in range(3):
        rgb[..., channel] = little_endian[..., channel]
    return rgb


EXCHANGED = (
    "With red and blue exchanged all ids match: the PNG was written as BGR, the order of OpenCV. An id is R + 256 G "
    "+ 65536 B."
)
"""What to say of a PNG whose ids are those of `are_exchanged`."""


def are_exchanged(stray: Iterable[int], listed: Iterable[int]) -> bool:
    """Whether the ids `stray` of a PNG, which its JSON does not list, are `listed` with red and blue exchanged."""
    turned = {(one & 0xFF) << 16 | one & 0xFF00 | one >> 16 for one in stray}
    return bool(turned) and turned <= set(listed)


def read_id_map(path: Path, memory: IdMap | None = None) -> IdMap:
    """The ids in a panoptic PNG, int32 (H, W), in `memory` as `rgb_to_id` takes it.

    Raises:
        DataError: missing, cut short, no PNG, or not 8-bit RGB.
    """
    return rgb_to_id(png.read(path, png.Kind.RGB), memory)


def check_id_map(path: Path, height: int, width: int) -> None:
    """Looks at the header of a panoptic PNG, which is a thousand times faster than reading it.

    Raises:
        DataError: missing, no PNG, not 8-bit RGB, or of another size.
    """
    found = png.read_header(path, png.Kind.RGB)
    if (found.height, found.width) != (height, width):
        raise DataError(f"{path}: is {found.width}x{found.height} where the JSON says {width}x{height}.")


def encode_id_map(id_map: IdMap) -> bytes:
    """A panoptic PNG of ids, int32 (H, W): an id is R + 256 G + 65536 B."""
    return png.encode(id_to_rgb(id_map))


def write_id_map(path: Path, id_map: IdMap) -> None:
    """Writes ids, int32 (H, W), as a panoptic PNG in one step. Raises RunError when it cannot be written."""
    write_bytes(path, encode_id_map(id_map))


def read_coco(
    json_path: Path, panoptic_dir: Path, image_dir: Path, *, name: str, split: str, like: PanopticSet | None = None
) -> PanopticSet:
    """Any COCO panoptic JSON with its folders of PNGs and of pictures.

    Args:
        json_path: the JSON.
        panoptic_dir: the folder of its PNGs.
        image_dir: the folder of its pictures.
        name: of the dataset.
        split: for example train or val.
        like: the truth, when these are predictions in COCO's result format, which leaves out what the truth knows.

    Raises:
        DataError: the JSON or the folder of PNGs is missing, or the JSON is malformed; says which entry and key.
    """
    remarks: list[str] = []
    categories, records = annotations.read(json_path, like, on_remark=remarks.append)
    if not panoptic_dir.is_dir():
        raise DataError(f"{panoptic_dir}: no such folder; the PNGs of {json_path} are expected there.")
    return PanopticSet(name, split, categories, records, image_dir, panoptic_dir, tuple(remarks))


def read_set(folder: Path) -> PanopticSet:
    """A prepared split, `<root>/<name>/<split>`.

    Raises:
        DataError: nothing was prepared there, or what is there is not whole.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        what = "is not a whole dataset: it has no manifest.json" if folder.is_dir() else "no such folder"
        hint = "`yoso prepare` makes it of a published dataset, `yoso convert` of your own labels."
        raise DataError(f"{folder}: {what}.", hint=hint)
    for key, kind in (("name", str), ("split", str), ("image_dir", str), ("panoptic_dir", str), ("images", int)):
        if not isinstance(manifest.get(key), kind):
            raise DataError(f"{folder / MANIFEST}: lacks {key!r}.", hint="Prepare the dataset again with --force.")
    if listing_changed(folder, manifest):
        raise DataError(f"{folder / LISTING}: is not as it was written: its checksum differs.", hint=EDITED)
    found = read_coco(
        folder / LISTING,
        folder / manifest["panoptic_dir"],
        folder / manifest["image_dir"],
        name=manifest["name"],
        split=manifest["split"],
    )
    if len(found.records) != manifest["images"]:
        listed = f"lists {len(found.records)} pictures where {MANIFEST} says {manifest['images']}"
        raise DataError(f"{folder / LISTING}: {listed}.", hint="Prepare the dataset again with --force.")
    return found


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of `folder`, or None if there is no complete set.

    Raises:
        DataError: the manifest is unreadable or of another format.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    manifest = read_json(path)
    if (manifest.get("format"), manifest.get("version")) != (FORMAT, VERSION):
        raise DataError(f"{path}: is not of the format {FORMAT}, version {VERSION}.", hint="Prepare it again.")
    if is_damaged(manifest):
        raise DataError(f"{path}: is not as it was written: its checksum differs.", hint=EDITED)
    if not all(is_possible(str(manifest.get(key, ""))) for key in ("image_dir", "panoptic_dir")):
        raise DataError(f"{path}: names a folder that cannot be.", hint="Prepare it again with --force.")
    return manifest


def listing_changed(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether the JSON of a prepared split has another checksum than its manifest says; an older one says none.

    Raises:
        DataError: it cannot be read.
    """
    if _LISTING_CHECKSUM not in manifest:
        return False
    try:
        return bool(manifest[_LISTING_CHECKSUM] != file_checksum(folder / LISTING))
    except FileNotFoundError:
        raise DataError(f"{folder / LISTING}: no such file.") from None
    except OSError as error:
        raise DataError(f"{folder / LISTING}: cannot be read: {error.strerror or error}.") from None


def manifest_of(name: str, split: str, *, image_dir: str, panoptic_dir: str) -> dict[str, Any]:
    """The values of a manifest, but for the number of pictures."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": name,
        "split": split,
        "image_dir": image_dir,
        "panoptic_dir": panoptic_dir,
    }


def write_manifest(folder: Path, values: Mapping[str, Any]) -> None:
    """Writes the manifest of a split whose JSON is written. Raises RunError when it cannot be written."""
    with reporting(folder):
        listing = {_LISTING_CHECKSUM: file_checksum(folder / LISTING)}
    write_json(folder / MANIFEST, with_checksum({**values, **listing}), indent=2)


def read_panoptic(panoptic_set: PanopticSet, record: ImageRecord) -> Panoptic:
    """The panoptic picture of `record`.

    Raises:
        DataError: the PNG is unreadable, of another size, or its ids are not those that the JSON lists.
    """
    path = panoptic_set.panoptic_path(record)
    check_id_map(path, record.height, record.width)
    id_map = read_id_map(path)
    present, listed = set(present_ids(id_map)) - {VOID}, {segment.id for segment in record.segments}
    if present != listed:
        where, odd = ("PNG", present - listed) if present - listed else ("JSON", listed - present)
        other = "JSON" if where == "PNG" else "PNG"
        some = shortened(sorted(odd), more=", ...")
        apart = "The PNG and the JSON do not belong together: download or write both again."
        raise DataError(
            f"{path}: {len(odd)} segment ids are in the {where} but not in the {other}: {some}.",
            hint=EXCHANGED if are_exchanged(present - listed, listed) else apart,
        )
    return Panoptic(id_map, tuple(record.segments))


class SetWriter:
    """Writes a panoptic set: PNGs as they come, the JSON at the end, the manifest last.

    Args:
        folder: the split folder; without a manifest until `finish`, so that it counts as incomplete.
        name: of the dataset.
        split: for example train or val.
        categories: in the order that defines `train_id`.
        image_dir: the folder of the pictures, relative to `folder` or absolute.
        panoptic_dir: the folder of the PNGs, relative to `folder` or absolute.
        notes: further entries of the manifest, JSON values.

    Raises:
        UsageError: `folder` holds a whole set already.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        split: str,
        categories: Sequence[Category],
        *,
        image_dir: str = "images",
        panoptic_dir: str = "panoptic",
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        if (folder / MANIFEST).exists():
            raise UsageError(f"{folder}: has a complete set already.", hint="Choose another folder or remove it.")
        self.folder = folder
        self._set = PanopticSet(name, split, tuple(categories), (), folder / image_dir, folder / panoptic_dir)
        self._records: list[ImageRecord] = []
        self._manifest = {
            **manifest_of(name, split, image_dir=image_dir, panoptic_dir=panoptic_dir),
            **(notes or {}),
        }

    @property
    def records(self) -> tuple[ImageRecord, ...]:
        """What was added so far."""
        return tuple(self._records)

    @property
    def panoptic_set(self) -> PanopticSet:
        """The set as far as it was added."""
        return replace(self._set, records=self.records)

    def add(self, record: ImageRecord, panoptic: Panoptic | None = None, image: Rgb | None = None) -> None:
        """Adds a picture; `panoptic` is None if its PNG exists already, `image` likewise for the photo.

        Raises:
            RunError: the disk is full or the place cannot be written.
        """
        if panoptic is not None:
            record = replace(record, segments=panoptic.segments)
            with _placing(self._set.panoptic_path(record)) as path:
                path.write_bytes(encode_id_map(panoptic.id_map))
        if image is not None:
            from PIL import Image

            with _placing(self._set.image_path(record)) as path:
                Image.fromarray(image).save(path, quality=95, subsampling=0)
        self._records.append(record)

    def finish(self) -> PanopticSet:
        """Writes the JSON and then the manifest. Raises RunError as `add` does."""
        write_parts(self.folder / LISTING, annotations.listing_text(self._set.categories, self._records))
        write_manifest(self.folder, {**self._manifest, "images": len(self._records)})
        return self.panoptic_set


@contextmanager
def _placing(path: Path) -> Iterator[Path]:
    """Without a rename per picture: only the manifest, written last, makes them valid."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield path
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        reason = error.strerror or str(error)
        raise RunError(f"{path}: cannot be written: {reason}.", hint=f"{advice(error)}.") from error
