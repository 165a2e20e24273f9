"""A check of COCO's instance annotations, before they are converted."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from yoso_cli.conversion.convert import InformationLoss, SourcePicture
from yoso_cli.conversion.instances import InstancesReader, photos_of, read_beside, reader_of
from yoso_cli.conversion.instances_listing import has_instances
from yoso_cli.errors import YosoError
from yoso_cli.inspection.check import Part
from yoso_cli.inspection.picture import Examined, PhotoExamination
from yoso_cli.inspection.rules import Finding
from yoso_cli.inspection.split import Listed
from yoso_cli.panoptic.layout import split_of
from yoso_cli.panoptic.types import ImageRecord, PanopticSet, Segment
from yoso_cli.runtime.progress import Progress, tracked
from yoso_cli.runtime.words import counted
from yoso_cli.runtime.workers import mapped

# Where a folder has them: this program's, Roboflow's, and COCO's.
_PATTERNS = ("instances.json", "_annotations.coco.json", "*/_annotations.coco.json", "annotations/*.json")
_NOT_THE_SPLIT = ("_annotations.coco", "instances")


def find_instances(path: Path) -> list[Path]:
    """The instance annotations at `path`, a JSON or a folder."""
    listings = [path] if path.is_file() else [one for pattern in _PATTERNS for one in sorted(path.glob(pattern))]
    return [listing for listing in listings if has_instances(listing)]


def read_parts(listings: list[Path], proposals: int, processes: int, progress: Progress) -> Iterator[Part]:
    """Each JSON as a split, with its annotations decoded.

    Args:
        listings: the JSONs.
        proposals: of the network that is to be trained.
        processes: that work at a time.
        progress: shows how far it is.
    """
    for listing in listings:
        split = listing.absolute().parent.name if listing.stem in _NOT_THE_SPLIT else split_of(listing)
        try:
            found = read_beside(listing)
            reader = reader_of(found, photos_of(found).folder)
        except YosoError as error:
            yield Part(split, Finding("listing-unreadable", split, detail=str(error)), _nothing)
            continue
        findings = [Finding(mistake.code, split, mistake.image, mistake.text) for mistake in found.mistakes]
        command = f"yoso convert {listing} datasets/NAME/{split} --from coco-instances"
        findings.append(Finding("not-panoptic", split, detail=f"`{command}`"))
        findings += [Finding("converted-values", split, detail=remark) for remark in reader.remarks]
        read = mapped(_Reading(reader, split), reader.pictures, workers=processes)
        pictures = list(tracked(read, len(reader.pictures), f"reading {split}", progress))
        findings += [finding for picture in pictures for finding in picture.findings]
        wrong = [
            *(mistake.image for mistake in found.mistakes),
            *(one.record.image_file for one in pictures if one.is_wrong),
        ]
        # An entry that does not say its picture may be of any of them.
        doubtful = frozenset(wrong if all(wrong) else (one.record.image_file for one in pictures))
        records = tuple(picture.record for picture in pictures)
        places = (reader.image_dir, listing.with_suffix(""))
        panoptic_set = PanopticSet(listing.absolute().parent.name, split, reader.table.categories, records, *places)
        certain = not found.mistakes and not doubtful
        listed = Listed(panoptic_set, tuple(findings), doubtful, certain, certain)
        yield Part(split, listed, PhotoExamination(replace(panoptic_set, records=()), doubtful, proposals))


def _nothing(_: ImageRecord) -> Examined:
    return Examined("", "", ())


@dataclass(frozen=True)
class _Read:
    """One picture: its record with the segments that are seen, and what is wrong or odd about its annotations."""

    record: ImageRecord
    findings: tuple[Finding, ...]
    is_wrong: bool = False


@dataclass(frozen=True)
class _Reading:
    """Decodes the annotations of one picture at a time; worker processes can do it."""

    reader: InstancesReader
    split: str

    def __call__(self, picture: SourcePicture) -> _Read:
        height, width = self.reader.sizes[picture.image_id]
        try:
            panoptic, losses = self.reader.read(picture)
        except YosoError as error:
            finding = Finding("malformed-entry", self.split, picture.image_file, error.message)
            return _Read(self._record(picture, height, width, ()), (finding,), True)
        return _Read(self._record(picture, height, width, panoptic.segments), tuple(self._odd(picture, losses)))

    def _record(self, picture: SourcePicture, height: int, width: int, segments: tuple[Segment, ...]) -> ImageRecord:
        return ImageRecord(picture.image_id, picture.image_file, "", height, width, segments)

    def _odd(self, picture: SourcePicture, losses: Counter[InformationLoss]) -> Iterator[Finding]:
        pixels, gone = losses[InformationLoss.OVERLAP], losses[InformationLoss.HIDDEN] + losses[InformationLoss.EMPTY]
        if pixels:
            yield Finding("overlapping-instances", self.split, picture.image_file, counted(pixels, "pixel"))
        if gone:
            yield Finding("hidden-instances", self.split, picture.image_file, counted(gone, "instance"))
