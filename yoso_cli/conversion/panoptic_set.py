"""COCO panoptic JSON + PNG, as a source and as a target: a prepared split, or the two alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from yoso_cli.atomic import write_json
from yoso_cli.conversion.category_file import CategoryTable
from yoso_cli.conversion.convert import InformationLoss, LabelReader, SourcePicture
from yoso_cli.errors import DataError, RunError
from yoso_cli.panoptic import annotations
from yoso_cli.panoptic.annotations import Mistake
from yoso_cli.panoptic.files import (
    LISTING,
    MANIFEST,
    SetWriter,
    encode_id_map,
    read_id_map,
    read_panoptic,
    read_set,
)
from yoso_cli.panoptic.layout import find_listing, find_photos, find_pngs
from yoso_cli.panoptic.types import ImageRecord, Panoptic, PanopticSet, measured, present_ids

PANOPTIC = "panoptic"


@dataclass(frozen=True)
class PanopticReader(LabelReader):
    """A COCO panoptic JSON with its PNGs."""

    panoptic_set: PanopticSet
    records: dict[int | str, ImageRecord]

    @classmethod
    def of(
        cls, panoptic_set: PanopticSet, problems: Sequence[str] = (), repairs: Sequence[str] = ()
    ) -> "PanopticReader":
        """A set that is read already, with what was wrong with it and what was done about it."""
        records = {record.image_id: record for record in panoptic_set.records}
        pictures = tuple(
            SourcePicture(record.image_id, record.image_file, video_id=record.video_id)
            for record in panoptic_set.records
        )
        table = CategoryTable.of(panoptic_set.categories)
        found = (pictures, tuple(problems), panoptic_set.remarks, panoptic_set, records)
        return cls(table, panoptic_set.image_dir, *found, repairs=tuple(repairs))

    def read(self, picture: SourcePicture) -> tuple[Panoptic, Counter[InformationLoss]]:
        """The PNG, with areas and boxes measured on it. Raises DataError when it contradicts the JSON."""
        record = self.records[picture.image_id]
        empty = {one.id for one in record.segments if not one.area}
        if empty:
            empty -= set(present_ids(read_id_map(self.panoptic_set.panoptic_path(record))))
            record = replace(record, segments=tuple(one for one in record.segments if one.id not in empty))
        found = read_panoptic(self.panoptic_set, record)
        panoptic = Panoptic(found.id_map, measured(found.id_map, found.segments))
        return panoptic, Counter({InformationLoss.EMPTY: len(empty)})


def open_panoptic(
    path: Path, image_dir: Path | None, like: PanopticSet | None = None, *, repair: bool = False
) -> PanopticReader:
    """A prepared split, a folder with panoptic.json and panoptic/, or a JSON with its PNGs in a folder of its name.

    Args:
        path: one of these.
        image_dir: the folder of the pictures; by default that of the manifest, or where `layout` finds them.
        like: the truth, where `path` holds predictions that leave out what the truth knows.
        repair: leave out entries that are wrong, and list them.

    Raises:
        DataError: it is none of these, the JSON is malformed as a whole, or none of its pictures is found.
    """
    if (path / MANIFEST).exists():
        found = read_set(path)
        return PanopticReader.of(replace(found, image_dir=image_dir or (like or found).image_dir))
    listing = find_listing(path)
    mistakes: list[Mistake] = []
    remarks: list[str] = []
    categories, records = annotations.read(listing, like, mistakes.append, remarks.append)
    pngs = find_pngs(listing, [record.panoptic_file for record in records])
    problems = [] if repair else [f"{listing}: {mistake.text}" for mistake in mistakes]
    repairs = [f"left out: {mistake.text}" for mistake in mistakes] if repair else []
    if like and not image_dir:
        found = PanopticSet(path.stem, "", categories, records, like.image_dir, pngs, tuple(remarks))
        return PanopticReader.of(found, problems, repairs)
    photos = find_photos(listing, [record.image_file for record in records], image_dir)
    if photos.looked:
        raise DataError(f"{listing}: none of its pictures was found.", hint=photos.hint())
    found = PanopticSet(path.stem, "", categories, photos.renamed(records), photos.folder, pngs, tuple(remarks))
    return PanopticReader.of(found, problems, repairs)


@dataclass(frozen=True)
class PanopticWriter:
    """Writes panoptic.json and panoptic/; pictures stay where they are."""

    table: CategoryTable

    def write(
        self, folder: Path, picture: SourcePicture, panoptic: Panoptic
    ) -> tuple[ImageRecord, Counter[InformationLoss]]:
        """The PNG of one picture, which is read back and compared. Raises RunError if it is another one then."""
        height, width = panoptic.id_map.shape
        record = ImageRecord(
            picture.image_id,
            picture.image_file,
            f"{picture.stem}.png",
            height,
            width,
            panoptic.segments,
            picture.video_id,
        )
        path = folder / PANOPTIC / record.panoptic_file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_id_map(panoptic.id_map))
        if not np.array_equal(read_id_map(path), panoptic.id_map):
            raise RunError(f"{path}: has other ids than were written.", hint="The disk may be failing.")
        return record, Counter()

    def finish(self, folder: Path, entries: Sequence[ImageRecord]) -> None:
        """Writes the JSON."""
        write_json(folder / LISTING, annotations.to_json(self.table.categories, entries))


@dataclass(frozen=True)
class PreparedWriter(PanopticWriter):
    """Writes a prepared split: the same and a manifest with the folder of the pictures."""

    name: str
    split: str
    image_dir: Path

    def finish(self, folder: Path, entries: Sequence[ImageRecord]) -> None:
        """Writes the JSON, then the manifest, and reads the set back as other commands do."""
        writer = SetWriter(folder, self.name, self.split, self.table.categories, image_dir=str(self.image_dir))
        for record in entries:
            writer.add(record)
        writer.finish()
