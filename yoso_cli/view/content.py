"""What the page is made of: the index of all pictures, and of each one its photo and its label maps.

Label maps travel as runs of places in the list of the picture's segments, and the page colours them itself: to switch
views or to hide a class, nothing has to be asked for again.
"""

# H, W height and width of the picture in pixels; h, w those of what is shown; S true segments, T predicted ones

import base64
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from yoso_cli.drawing.colors import colors
from yoso_cli.drawing.style import shown_name
from yoso_cli.errors import DataError, YosoError
from yoso_cli.evaluation.causes import CAUSES, NAMES, segment_causes
from yoso_cli.evaluation.matching import match, overlap
from yoso_cli.page.gallery import COLORS, kind_table, places
from yoso_cli.panoptic.files import read_panoptic
from yoso_cli.panoptic.photos import photo_size, read_reduced
from yoso_cli.panoptic.regions import LabelMap, runs_of
from yoso_cli.panoptic.types import ImageRecord, Panoptic, PanopticSet
from yoso_cli.view.facts import SIZES, Facts

Predict = Callable[[ImageRecord], Panoptic]

THUMB, LARGE = 320, 1280
"""Long edges of what is shown in the grid and alone, pixels."""

EDGES = (THUMB, LARGE)

_QUALITY = 82
_PAPER = (200, 200, 200)
_LONGEST_RUN = 0xFFFF
_MOST_SEGMENTS = 0xFFFE
# Of a cause, and of what is imprecise or does not count: in the order of COLORS.
_KIND_NAMES = (*(NAMES[cause] for cause in CAUSES), "void or crowd: does not count")


@dataclass(frozen=True, eq=False)
class Content:
    """A dataset, or predictions beside their truth.

    Attributes:
        title: of the page.
        subtitle: where it is from.
        truth: the set.
        facts: what its pictures are filtered by.
        predict: the prediction for a picture; None to show the truth alone.
    """

    title: str
    subtitle: str
    truth: PanopticSet
    facts: Facts
    predict: Predict | None = None

    def __len__(self) -> int:
        return len(self.truth.records)

    def index(self, chosen: Sequence[int] | None = None) -> dict[str, Any]:
        """All that is known of all pictures, or of the `chosen` ones, in columns; ready for JSON."""
        wanted = np.arange(len(self)) if chosen is None else np.array(chosen, np.int64)
        records = [self.truth.records[place] for place in wanted.tolist()]
        facts = self.facts
        starts, stops = (np.searchsorted(facts.image, wanted, side) for side in ("left", "right"))
        rows = np.stack([facts.category, facts.sizes, facts.kinds], axis=1)
        tints = colors(self.truth.categories)
        return {
            "title": self.title,
            "subtitle": self.subtitle,
            "views": ["photo", "truth", *(["prediction", "errors"] if self.predict else [])],
            "categories": [
                {"name": shown_name(one), "thing": one.isthing, "color": list(tint)}
                for one, tint in zip(self.truth.categories, tints, strict=True)
            ],
            "sizes": list(SIZES),
            "kinds": list(facts.names),
            "errors": [{"name": name, "color": color} for name, color in zip(_KIND_NAMES, COLORS, strict=True)],
            "places": wanted.tolist(),
            "files": [one.image_file for one in records],
            "widths": [one.width for one in records],
            "heights": [one.height for one in records],
            "segments": facts.segments[wanted].tolist(),
            "classes": [
                rows[start:stop].ravel().tolist() for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
            ],
            "lost": None if facts.lost is None else (100 * facts.lost[wanted]).round(4).tolist(),
            "lowest": None if facts.lowest is None else _or_none(facts.lowest[wanted].round(4).tolist()),
        }

    def photo(self, place: int, edge: int) -> bytes:
        """A WebP of the photo with a long edge of at most `edge`; plain grey where it is missing or damaged."""
        record = self.truth.records[place]
        try:
            pixels = read_reduced(self.truth.image_path(record), edge)
            picture = Image.fromarray(pixels)
        except DataError:
            height, width = _shown_size(record, edge)
            picture = Image.new("RGB", (width, height), _PAPER)
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=_QUALITY, method=2)
        return buffer.getvalue()

    def maps(self, place: int, edge: int) -> dict[str, Any]:
        """Segments and label maps of a picture, with a long edge of at most `edge`; ready for JSON.

        What cannot be read is a sentence under `problem`.
        """
        record = self.truth.records[place]
        told: dict[str, Any] = {"photo": self._photo_problem(record)}
        try:
            true = read_panoptic(self.truth, record)
            told["truth"] = _side(true, record, self._places(), edge)
            if self.predict is None:
                return told
            predicted = self.predict(record)
            told["prediction"] = _side(predicted, record, self._places(), edge)
            told |= self._errors(true, predicted, told)
        except YosoError as error:
            told["problem"] = error.message
        return told

    def _places(self) -> dict[int, int]:
        return {one.id: place for place, one in enumerate(self.truth.categories)}

    def _errors(self, true: Panoptic, predicted: Panoptic, told: dict[str, Any]) -> dict[str, Any]:
        """Adds the cause of each segment, and gives what each pair of segments is coloured as."""
        matching = match([overlap(true, predicted)], self.truth.categories)
        for side, causes in zip(("truth", "prediction"), segment_causes(matching), strict=True):
            for segment, cause in zip(told[side]["segments"], causes.tolist(), strict=True):
                segment.append(cause)
        kinds = kind_table(matching)
        return {"kinds": kinds.ravel().tolist(), "shape": list(kinds.shape[1:])}

    def _photo_problem(self, record: ImageRecord) -> str:
        path = self.truth.image_path(record)
        try:
            height, width = photo_size(path.open("rb"), record.image_file)
        except FileNotFoundError:
            return "The photo is missing."
        except (OSError, DataError):
            return "The photo cannot be read."
        if {height, width} != {record.height, record.width}:
            return f"The photo is {width}x{height}, its labels are {record.width}x{record.height}."
        return ""


def _or_none(values: list[float]) -> list[float | None]:
    """JSON has no NaN."""
    return [None if value != value else value for value in values]


def _step(record: ImageRecord, edge: int) -> int:
    return max(1, -(-max(record.height, record.width) // edge))


def _shown_size(record: ImageRecord, edge: int) -> tuple[int, int]:
    step = _step(record, edge)
    return -(-record.height // step), -(-record.width // step)


def _side(panoptic: Panoptic, record: ImageRecord, category_places: dict[int, int], edge: int) -> dict[str, Any]:
    """Size, segments ([class, area, crowd, score]) and runs of a label map, of which every so many pixels are taken."""
    if len(panoptic.segments) > _MOST_SEGMENTS:
        raise DataError(f"{record.image_file}: has more segments than can be shown.")
    unknown = [one.category_id for one in panoptic.segments if one.category_id not in category_places]
    if unknown:
        raise DataError(f"{record.image_file}: has category {unknown[0]}, which the truth does not list.")
    step = _step(record, edge)
    shown = np.ascontiguousarray(panoptic.id_map[::step, ::step])
    listed = np.array([one.id for one in panoptic.segments], np.int64)
    segments = [[category_places[one.category_id], one.area, int(one.iscrowd), one.score] for one in panoptic.segments]
    return {"size": list(shown.shape), "segments": segments, "runs": encoded_runs(1 + places(listed, shown))}


def encoded_runs(values: LabelMap) -> str:
    """Runs of a map (h, w) in reading order: pairs of value and length, 16 bits each, little-endian, as base64."""
    runs = runs_of(values)
    pieces = -(-runs.lengths // _LONGEST_RUN)
    ends = np.cumsum(pieces)
    pairs = np.full((int(pieces.sum()), 2), _LONGEST_RUN, "<u2")
    pairs[:, 0] = np.repeat(runs.values, pieces)
    pairs[ends - 1, 1] = runs.lengths - (pieces - 1) * _LONGEST_RUN
    return base64.b64encode(pairs.tobytes()).decode()


def compact_json(value: Any) -> bytes:
    """As it is sent."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
