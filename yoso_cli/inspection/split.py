"""Finds the splits of a dataset in any supported layout, and reads them even where they are damaged."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from yoso_cli.errors import DataError, UsageError, did_you_mean
from yoso_cli.inspection.rules import Finding
from yoso_cli.panoptic import annotations
from yoso_cli.panoptic.annotations import Mistake
from yoso_cli.panoptic.files import LISTING, MANIFEST, listing_changed, read_manifest
from yoso_cli.panoptic.layout import above, find_listing, find_photos, find_pngs, split_of
from yoso_cli.panoptic.types import PanopticSet


@dataclass(frozen=True)
class Split:
    """The paths of a split.

    Attributes:
        dataset: the name of its set.
        name: for example train or val.
        folder: that of the manifest; None for a JSON that has none.
        listing: the JSON.
        panoptic_dir: the PNGs, unless a manifest has another path.
        image_dir: the pictures, likewise.
    """

    dataset: str
    name: str
    folder: Path | None
    listing: Path
    panoptic_dir: Path
    image_dir: Path


@dataclass(frozen=True)
class Listed:
    """What could be read of a split's JSON, and what is wrong with it.

    Attributes:
        panoptic_set: the entries that make sense.
        findings: what is wrong with the others.
        doubtful: pictures whose entries are incomplete, so that nothing more can be said about their segments.
        complete: whether every entry makes sense and folders are the split's own, so that a file that none of them
            names belongs to none.
    """

    panoptic_set: PanopticSet
    findings: tuple[Finding, ...]
    doubtful: frozenset[str]
    complete: bool
    certain: bool


def find_splits(named: str, root: Path) -> list[Split]:
    """The splits of the prepared dataset `named` below `root`, or those at the path `named`.

    A path is a prepared split, a folder of such, a folder in COCO's layout (annotations/panoptic_*.json), or a COCO
    panoptic JSON.

    Raises:
        UsageError: it is none of these.
    """
    prepared = root / named
    path = prepared if prepared.is_dir() else Path(named)
    found = list(_splits_at(path))
    if not found:
        what = "holds no panoptic dataset" if path.exists() else "is neither a prepared dataset nor a path"
        folders = [folder.name for folder in root.iterdir() if folder.is_dir()] if root.is_dir() else []
        there = f"Name a folder below {root}, a prepared split, a folder with annotations/panoptic_*.json, or a JSON."
        raise UsageError(f"{named}: {what}.", hint=did_you_mean(named, folders, there))
    return found


def _splits_at(path: Path) -> Iterator[Split]:
    beside = find_listing(path) if path.exists() else path
    if path.is_file():
        yield _of_listing(path)
    elif beside.is_file() and beside.name != LISTING:
        yield _of_listing(beside)
    elif (path / MANIFEST).exists() or (path / LISTING).exists():
        yield _of_folder(path)
    elif path.is_dir():
        for folder in sorted(path.iterdir()):
            visible = not folder.name.startswith(".")
            if visible and ((folder / MANIFEST).exists() or (folder / LISTING).exists()):
                yield _of_folder(folder)
        for listing in sorted((path / "annotations").glob("panoptic_*.json")):
            yield _of_listing(listing)


def _of_folder(folder: Path) -> Split:
    whole = folder.resolve()
    return Split(whole.parent.name, whole.name, folder, folder / LISTING, folder / "panoptic", folder / "images")


def _of_listing(listing: Path) -> Split:
    """Where its photos and PNGs lie is only known once it is read."""
    split, root = split_of(listing), above(listing.parent)
    dataset = "coco" if split in ("train2017", "val2017") else root.resolve().name
    return Split(dataset, split, None, listing, find_pngs(listing, ()), find_photos(listing, ()).folder)


def read_split(split: Split) -> Listed | Finding:
    """The JSON of `split` with all that is wrong with it, or why there is nothing to look at."""
    mistakes: list[Mistake] = []
    remarks: list[str] = []
    try:
        manifest = read_manifest(split.folder) if split.folder else None
        categories, records = annotations.read(split.listing, None, mistakes.append, remarks.append)
    except DataError as error:
        return Finding("listing-unreadable", split.name, detail=f"{error.message} {error.hint}".strip())
    image_dir, panoptic_dir = split.image_dir, split.panoptic_dir
    findings = [Finding(mistake.code, split.name, mistake.image, mistake.text) for mistake in mistakes]
    findings += [Finding("converted-values", split.name, detail=remark) for remark in remarks]
    if manifest is not None and split.folder:
        image_dir = split.folder / str(manifest.get("image_dir", image_dir))
        panoptic_dir = split.folder / str(manifest.get("panoptic_dir", panoptic_dir))
        counted = manifest.get("images")
        if counted != len(records) and not mistakes:
            text = f"{counted} in {MANIFEST}, {len(records)} in {LISTING}"
            findings.append(Finding("manifest-count", split.name, detail=text))
        if listing_changed(split.folder, manifest):
            findings.append(Finding("listing-changed", split.name, detail=LISTING))
    else:
        photos = find_photos(split.listing, [record.image_file for record in records])
        image_dir, records = photos.folder, photos.renamed(records)
        panoptic_dir = find_pngs(split.listing, [record.panoptic_file for record in records])
        findings += [Finding("no-manifest", split.name, detail=str(split.folder))] if split.folder else []
    found = PanopticSet(split.dataset, split.name, categories, records, image_dir, panoptic_dir)
    shared = list(_shared_files(found))
    doubtful = frozenset(mistake.image for mistake in mistakes if mistake.code in _INCOMPLETE)
    # A set that was made of others shares their folders, in which other pictures are.
    own = manifest is None or "made_from" not in manifest
    return Listed(found, (*findings, *shared), doubtful, own and not mistakes and not shared, not mistakes)


# After these, entries are missing that the PNG may well have.
_INCOMPLETE = ("malformed-entry", "duplicate-id")


def _shared_files(found: PanopticSet) -> Iterator[Finding]:
    for kind, files in (
        ("picture", [record.image_file for record in found.records]),
        ("PNG", [record.panoptic_file for record in found.records]),
    ):
        for file, count in Counter(files).items():
            if count > 1:
                yield Finding("duplicate-file", found.split, file, f"the {kind} of {count} entries")
