"""Segments followed from frame to frame of a video: the masks stay as they are, their ids persist.

A thing is matched with the things of its class that were there before, by overlap (IoU): of where each of them was,
and of where it should be now, its last whole mask moved on by its last displacement. The Hungarian algorithm picks the
pairs of the largest sum, first among the things that were seen in the frame before, then among those that have been
hidden for a few frames. Stuff keeps one id for each class.

What it cannot do, as it looks at shapes and not at pictures: follow a thing that moves by more than its own size from
one frame to the next before its movement is known; know one again that was away for longer than its memory, or came
back somewhere else; tell two of a class apart where they met, hid each other and went on differently; or keep a thing
whose predicted class changes. Then there is a new id.
"""

# H, W height and width of a frame in pixels; T tracks, S segments, R runs, P pairs that share pixels

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from yoso_cli.errors import DataError, RunError
from yoso_cli.panoptic.regions import Ints, Runs, painted, runs_of
from yoso_cli.panoptic.types import LARGEST_ID, VOID, Category, Panoptic, Segment

Floats = npt.NDArray[np.float64]

MEMORY = 15
"""Frames for which a hidden thing is remembered: half a second of most videos."""

LEAST_OVERLAP = 0.2
"""The IoU below which two masks are not the same thing."""

WHOLE = 0.8
"""The share of its area below which a thing is taken for partly hidden."""


@dataclass(frozen=True)
class Tracked:
    """A frame whose segment ids are track ids.

    Attributes:
        panoptic: the same masks; stuff of one class is one segment.
        numbers: of each of its tracks, 1, 2, 3 ... within the class, in the order in which they appeared.
    """

    panoptic: Panoptic
    numbers: Mapping[int, int]


class _Spans(NamedTuple):
    """Pieces of rows that make up a mask, (R,) each: the row, and the columns from `left` to before `right`."""

    row: Ints
    left: Ints
    right: Ints


class _View(NamedTuple):
    """A mask, its area in pixels, and the row and column of its centre of mass."""

    spans: _Spans
    area: int
    center: Floats


@dataclass
class _Track:
    """A thing as it was last seen.

    Attributes:
        id: of the track.
        number: within its class.
        seen: the last view.
        whole: the last one that was not much smaller than those before: a part that shows from behind another thing
            tells neither its shape nor its movement.
        age: frames since the whole view.
        step: the displacement of the centre in a frame.
        hidden: frames since the last view.
    """

    id: int
    number: int
    seen: _View
    whole: _View
    age: int = 0
    step: Floats = field(default_factory=lambda: np.zeros(2))
    hidden: int = 0

    def show(self, view: _View, memory: int) -> None:
        """Takes in what is seen of it in the next frame."""
        self.seen = view
        self.age, self.hidden = self.age + 1, 0
        if view.area >= WHOLE * self.whole.area or self.age > memory:
            self.step = (view.center - self.whole.center) / self.age
            self.whole, self.age = view, 0

    def hide(self) -> None:
        """It is not in the next frame."""
        self.age, self.hidden = self.age + 1, self.hidden + 1


class Tracker:
    """Gives the segments of a video ids that persist; frame after frame, in their order.

    The ids of the frames themselves do not matter. A track id belongs to one class and is never used again.

    Args:
        categories: the classes.
        memory: frames for which a hidden thing is remembered.
        least_overlap: the IoU below which two masks are not the same thing; 0..1.
    """

    def __init__(
        self, categories: Sequence[Category], *, memory: int = MEMORY, least_overlap: float = LEAST_OVERLAP
    ) -> None:
        self._is_thing = {category.id: category.isthing for category in categories}
        self._memory, self._least = memory, least_overlap
        self._things: dict[int, list[_Track]] = {}
        self._stuff: dict[int, int] = {}
        self._counts: Counter[int] = Counter()
        self._last_id = 0
        self._shape: tuple[int, int] | None = None

    def update(self, panoptic: Panoptic) -> Tracked:
        """The next frame, with track ids.

        Raises:
            DataError: it is of another size than those before, or of a class that is not listed.
            RunError: the ids are used up, after 2^24 - 1 tracks.
        """
        if self._shape not in (None, panoptic.id_map.shape):
            raise DataError("The frames of a video must have one size.", hint="Scale them to that of the first.")
        self._shape = panoptic.id_map.shape[0], panoptic.id_map.shape[1]
        runs = runs_of(panoptic.id_map)
        frame = _Frame.of(runs, panoptic.segments)
        new_ids, numbers = np.zeros(len(frame.segments), np.int64), {}
        for category_id in sorted({segment.category_id for segment in frame.segments} | self._things.keys()):
            members = np.flatnonzero(frame.categories == category_id)
            for place, (track_id, number) in zip(members, self._ids(category_id, members, frame), strict=True):
                new_ids[place], numbers[track_id] = track_id, number
        listed = _merged(frame.segments, new_ids.tolist())
        id_map = painted(runs, np.append(new_ids, VOID).astype(np.int32)[frame.place])
        return Tracked(Panoptic(id_map, listed), numbers)

    def _ids(self, category_id: int, members: Ints, frame: "_Frame") -> list[tuple[int, int]]:
        """Id and number of each of the frame's segments of one class."""
        if category_id not in self._is_thing:
            raise DataError(f"A segment has category {category_id}, which is not among the classes.")
        if not self._is_thing[category_id]:
            if category_id not in self._stuff:
                self._stuff[category_id] = self._new_id()
            return [(self._stuff[category_id], 1)] * len(members)
        tracks = self._things.setdefault(category_id, [])
        matched = self._matched(tracks, members, frame)
        seen = [
            self._seen(matched.get(index), category_id, frame.view(int(place))) for index, place in enumerate(members)
        ]
        kept = {id(track) for track in seen}
        for track in tracks:
            if id(track) not in kept:
                track.hide()
        hidden = [one for one in tracks if id(one) not in kept and one.hidden <= self._memory]
        self._things[category_id] = seen + hidden
        return [(track.id, track.number) for track in seen]

    def _seen(self, track: _Track | None, category_id: int, view: _View) -> _Track:
        if track is None:
            self._counts[category_id] += 1
            return _Track(self._new_id(), self._counts[category_id], view, view)
        track.show(view, self._memory)
        return track

    def _matched(self, tracks: Sequence[_Track], members: Ints, frame: "_Frame") -> dict[int, _Track]:
        """The track of each segment that has one, by its place among `members`."""
        found: dict[int, _Track] = {}
        if not tracks or not len(members):
            return found
        overlap = frame.overlap(tracks, members)
        visible = np.array([track.hidden == 0 for track in tracks])
        for group in (np.flatnonzero(visible), np.flatnonzero(~visible)):
            free = np.array([place for place in range(len(members)) if place not in found], np.int64)
            part = overlap[np.ix_(group, free)]
            # Pairs below the limit count nothing, so that none is preferred for their sake.
            for row, column in zip(*linear_sum_assignment(np.where(part >= self._least, -part, 0)), strict=True):
                if part[row, column] >= self._least:
                    found[int(free[column])] = tracks[group[row]]
        return found

    def _new_id(self) -> int:
        if self._last_id == LARGEST_ID:
            raise RunError(f"The video has more than {LARGEST_ID} tracks.", hint="Begin anew with --start.")
        self._last_id += 1
        return self._last_id


@dataclass(frozen=True, eq=False)
class _Frame:
    """A frame as runs, its segments in the order of their first pixels: so nothing depends on their ids.

    Attributes:
        runs: of the map.
        segments: those that have a pixel.
        place: (R,) the place among the segments of each run, -1 for void.
        categories: (S,) the category id of each segment.
        spans: the pieces of rows of all segments.
        owner: (R',) the place of the segment of each piece.
        areas: (S,) pixels.
        centers: (S, 2) row and column of the centre of mass.
    """

    runs: Runs
    segments: Sequence[Segment]
    place: Ints
    categories: Ints
    spans: _Spans
    owner: Ints
    areas: Ints
    centers: Floats

    @classmethod
    def of(cls, runs: Runs, listed: Sequence[Segment]) -> "_Frame":
        values, first, inverse = np.unique(runs.values, return_index=True, return_inverse=True)
        by_id = {segment.id: segment for segment in listed}
        order = [int(at) for at in np.argsort(first) if int(values[at]) in by_id]
        segments = [by_id[int(values[at])] for at in order]
        place = np.full(len(values), -1)
        place[order] = np.arange(len(order))
        place = place[inverse]
        spans, owner = _rows(runs, place)
        lengths = spans.right - spans.left
        count = len(segments)
        areas = np.bincount(owner, lengths, minlength=count)
        rows = np.bincount(owner, lengths * spans.row, minlength=count)
        columns = np.bincount(owner, lengths * (spans.left + spans.right - 1) / 2, minlength=count)
        centers = np.stack([rows, columns], axis=1) / np.maximum(areas, 1)[:, None]
        categories = np.array([segment.category_id for segment in segments], np.int64)
        return cls(runs, segments, place, categories, spans, owner, areas.astype(np.int64), centers)

    def view(self, place: int) -> _View:
        mine = self.owner == place
        return _View(_Spans(*(column[mine] for column in self.spans)), int(self.areas[place]), self.centers[place])

    def overlap(self, tracks: Sequence[_Track], members: Ints) -> Floats:
        """(T, S) IoU with some segments of each track as it was seen, or as it should be now, whichever is more."""
        columns = np.full(len(self.segments) + 1, -1)
        columns[members] = np.arange(len(members))
        still = [(track.seen, np.zeros(2, np.int64)) for track in tracks]
        moved = [(track.whole, np.rint(track.step * (track.age + 1)).astype(np.int64)) for track in tracks]
        shared = self._shared([*still, *moved], columns, len(members))
        areas = np.array([view.area for view, _ in (*still, *moved)])
        iou = shared / (areas[:, None] + self.areas[members] - shared)
        either: Floats = iou.reshape(2, len(tracks), -1).max(0)
        return either

    def _shared(self, views: Sequence[tuple[_View, Ints]], columns: Ints, count: int) -> Floats:
        """(T, S) pixels that views, each moved by rows and columns, share with segments whose column is not -1."""
        height, width = self.runs.shape
        masks = [view.spans for view, _ in views]
        lengths = [len(spans.row) for spans in masks]
        track = np.repeat(np.arange(len(masks)), lengths)
        move = np.repeat(np.array([move for _, move in views]), lengths, axis=0)
        row = np.concatenate([spans.row for spans in masks]) + move[:, 0]
        left = (np.concatenate([spans.left for spans in masks]) + move[:, 1]).clip(0, width)
        right = (np.concatenate([spans.right for spans in masks]) + move[:, 1]).clip(0, width)
        inside = (row >= 0) & (row < height) & (left < right)
        track, begin, end = track[inside], (row * width + left)[inside], (row * width + right)[inside]
        # Each piece meets the runs from the one it begins in to the one it ends in.
        first = np.searchsorted(self.runs.starts, begin, "right") - 1
        met = np.searchsorted(self.runs.starts, end, "left") - first
        piece = np.repeat(np.arange(len(met)), met)
        run = np.arange(len(piece)) - np.repeat(np.cumsum(met) - met, met) + first[piece]
        ends = np.append(self.runs.starts[1:], height * width)
        pixels = np.minimum(end[piece], ends[run]) - np.maximum(begin[piece], self.runs.starts[run])
        column = columns[self.place[run]]
        kept = column >= 0
        cells = np.bincount(track[piece[kept]] * count + column[kept], pixels[kept], minlength=len(masks) * count)
        return cells.astype(np.float64).reshape(len(masks), count)


def _rows(runs: Runs, place: Ints) -> tuple[_Spans, Ints]:
    """The runs that belong to a segment, cut where a row ends, and the place of the segment of each."""
    width = runs.shape[1]
    mine = np.flatnonzero(place >= 0)
    starts, ends = runs.starts[mine], (runs.starts + runs.lengths)[mine]
    top = starts // width
    rows = (ends - 1) // width - top + 1
    piece = np.repeat(np.arange(len(mine)), rows)
    row = np.arange(len(piece)) - np.repeat(np.cumsum(rows) - rows, rows) + top[piece]
    left = np.maximum(starts[piece] - row * width, 0)
    right = np.minimum(ends[piece] - row * width, width)
    return _Spans(row, left, right), place[mine][piece]


def _merged(segments: Sequence[Segment], ids: Sequence[int]) -> tuple[Segment, ...]:
    """The segments under their new ids, rising; those of one id, stuff of one class, become one."""
    found: dict[int, Segment] = {}
    for new_id, segment in zip(ids, segments, strict=True):
        other = found.get(new_id)
        found[new_id] = replace(segment, id=new_id) if other is None else _joined(other, segment)
    return tuple(found[new_id] for new_id in sorted(found))


def _joined(one: Segment, other: Segment) -> Segment:
    left, top = min(one.bbox[0], other.bbox[0]), min(one.bbox[1], other.bbox[1])
    right = max(one.bbox[0] + one.bbox[2], other.bbox[0] + other.bbox[2])
    bottom = max(one.bbox[1] + one.bbox[3], other.bbox[1] + other.bbox[3])
    scores = [score for score in (one.score, other.score) if score is not None]
    bbox = (left, top, right - left, bottom - top)
    return replace(one, area=one.area + other.area, bbox=bbox, score=max(scores, default=None))
