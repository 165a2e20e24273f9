"""Checks one picture and its panoptic PNG against their entry in the JSON."""

# H, W height and width of the picture in pixels

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from PIL import ExifTags, Image

from yoso_cli.errors import DataError
from yoso_cli.inspection.rules import PROPOSALS, Finding
from yoso_cli.panoptic import png
from yoso_cli.panoptic.files import are_exchanged, rgb_to_id
from yoso_cli.panoptic.photos import opened_photo, require_checksums
from yoso_cli.panoptic.types import VOID, ImageRecord, PanopticSet, Segment, measured, present_ids
from yoso_cli.runtime.words import shortened

_MODES = ("RGB", "L")
# Orientations that exchange width and height; 2 to 4 keep them, so that the sizes do not show it.
_TURNED, _FLIPPED = (5, 6, 7, 8), (2, 3, 4)
_MOSTLY = 0.9
_NAMED = 3


@dataclass(frozen=True)
class Examined:
    """What was found out about one picture; `digest` of its file's content, empty where it cannot be read."""

    image_file: str
    digest: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Examination:
    """Looks at the pictures of a split; worker processes can do it.

    Attributes:
        panoptic_set: without its records, which come one at a time.
        doubtful: pictures whose entries are incomplete, so that ids and areas cannot be compared.
        proposals: of the network: how many segments of a picture it finds at most.
    """

    panoptic_set: PanopticSet
    doubtful: frozenset[str]
    proposals: int = PROPOSALS

    def __call__(self, record: ImageRecord) -> Examined:
        """Reads both files of `record` to the end."""
        digest, findings = self._examine_image(record)
        return Examined(record.image_file, digest, (*findings, *self._examine_png(record)))

    def _finding(self, code: str, record: ImageRecord, detail: str = "") -> Finding:
        return Finding(code, self.panoptic_set.split, record.image_file, detail)

    def _examine_image(self, record: ImageRecord) -> tuple[str, list[Finding]]:
        path = self.panoptic_set.image_path(record)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return "", [self._finding("image-missing", record, str(path))]
        except OSError as error:
            return "", [self._finding("image-unreadable", record, error.strerror or str(error))]
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        try:
            with opened_photo(BytesIO(content), record.image_file) as image:
                # First: Pillow lets go of the file when it has read all of it, as it does for a PNG's EXIF.
                require_checksums(image)
                findings = list(self._look_at(image, record))
                # A JPEG at an eighth of its size is read to the end all the same, in a third of the time.
                image.draft("RGB", (1, 1))
                image.load()
        except DataError as error:
            what = error.message.removeprefix(f"{record.image_file}: ").removesuffix(".")
            return digest, [self._finding("image-unreadable", record, what)]
        return digest, findings

    def _look_at(self, image: Image.Image, record: ImageRecord) -> Iterator[Finding]:
        """Checks what is in the header: size, orientation, mode."""
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        stored, labelled = (image.height, image.width), (record.height, record.width)
        shown = stored[::-1] if orientation in _TURNED else stored
        if shown != labelled:
            turned = stored == labelled
            text = f"{shown[1]}x{shown[0]}, listed as {labelled[1]}x{labelled[0]}"
            yield self._finding("exif-orientation" if turned else "image-size", record, text)
        elif orientation in _FLIPPED or (orientation in _TURNED and stored == shown):
            yield self._finding("exif-ambiguous", record, f"orientation {orientation}")
        if image.mode not in _MODES:
            yield self._finding("image-mode", record, image.mode)

    def _examine_png(self, record: ImageRecord) -> Iterator[Finding]:
        path = self.panoptic_set.panoptic_path(record)
        if not path.exists():
            yield self._finding("png-missing", record, str(path))
            return
        try:
            content = path.read_bytes()
            header = png.header(content, str(path), png.Kind.RGB)
        except (DataError, OSError) as error:
            yield self._finding("png-unreadable", record, str(getattr(error, "message", error)).removesuffix("."))
            return
        if (header.height, header.width) != (record.height, record.width):
            text = f"{path}: {header.width}x{header.height}, listed as {record.width}x{record.height}"
            yield self._finding("png-size", record, text)
            return
        try:
            # Here time allows the checksum of the pixels too.
            png.require_intact(content, str(path))
            id_map = rgb_to_id(png.decode(content, str(path), png.Kind.RGB))
        except DataError as error:
            yield self._finding("png-damaged", record, error.message.removesuffix("."))
            return
        found = {one.id: one for one in measured(id_map, (Segment(number, 0, 0) for number in present_ids(id_map)))}
        void = found.pop(VOID, None)
        # A crowd is no target.
        targets = len(found.keys() - {one.id for one in record.segments if one.iscrowd})
        yield from self._examine_counts(record, len(found), targets, (void.area if void else 0) / id_map.size)
        if record.image_file not in self.doubtful:
            yield from self._compare(record, found)

    def _examine_counts(self, record: ImageRecord, segments: int, targets: int, void: float) -> Iterator[Finding]:
        """How many segments there are, how many of them are no crowds, and the part of the pixels that is void."""
        if void > _MOSTLY:
            yield self._finding("mostly-void" if segments else "no-segments", record, f"{void:.0%} void")
        if targets > self.proposals:
            yield self._finding("many-segments", record, f"{targets} segments, {self.proposals} proposals")

    def _compare(self, record: ImageRecord, found: dict[int, Segment]) -> Iterator[Finding]:
        """Ids, areas and boxes of the JSON with those of the PNG."""
        listed = {segment.id: segment for segment in record.segments}
        empty = [number for number, one in listed.items() if not one.area and number not in found]
        both = listed.keys() & found.keys()
        areas = [
            f"{number}: {listed[number].area} for {found[number].area}"
            for number in sorted(both)
            if listed[number].area != found[number].area
        ]
        boxes = [
            f"{number}: {list(listed[number].bbox)} for {list(found[number].bbox)}"
            for number in sorted(both)
            if listed[number].bbox != found[number].bbox
        ]
        things = {category.id for category in self.panoptic_set.categories if category.isthing}
        known = {category.id for category in self.panoptic_set.categories}
        crowds = [one.id for one in record.segments if one.iscrowd and one.category_id in known - things]
        exchanged = are_exchanged(found.keys() - listed.keys(), listed)
        for code, odd in (
            ("exchanged-channels", sorted(found.keys() - listed.keys()) if exchanged else ()),
            ("id-not-in-json", () if exchanged else sorted(found.keys() - listed.keys())),
            ("id-not-in-png", () if exchanged else sorted(listed.keys() - found.keys() - set(empty))),
            ("zero-area", empty),
            ("wrong-area", areas),
            ("wrong-bbox", boxes),
            ("stuff-crowd", crowds),
        ):
            if odd:
                yield self._finding(code, record, shortened(odd, _NAMED))


@dataclass(frozen=True)
class PhotoExamination(Examination):
    """Looks at the photos of labels in another form, which have no PNGs; the segments are those of the records."""

    def _examine_png(self, record: ImageRecord) -> Iterator[Finding]:
        if record.image_file in self.doubtful:
            return
        covered = sum(one.area for one in record.segments) / (record.height * record.width)
        targets = sum(not one.iscrowd for one in record.segments)
        yield from self._examine_counts(record, len(record.segments), targets, 1 - covered)
