"""Where labels stand: on their segment, beside it, or in a free place with a line to it; never on one another."""

# H, W height and width of the picture in pixels; N boxes that a label could have, M taken boxes

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels; right and bottom are exclusive."""

Boxes = npt.NDArray[np.int64]
"""(N, 4)."""

Point = tuple[int, int]
"""x and y in pixels."""

# The middle of a segment need not be exact: a coarse map is a hundred times faster.
_COARSE = 320
# Pixels of a segment on the coarse map that are looked at.
_ENOUGH = 2000
# Positions inside a segment that are tried, the innermost first.
_INSIDE = 8
# A line to the label is longer than this many label heights only where nothing nearer is free.
_RINGS = (1.5, 2.2, 3.2, 4.5, 6.5, 9.0)
_DIRECTIONS = 20
# Pixels of a segment that a line may lead to.
_ANCHORS = 6
# Costs: beside the segment, at the end of a line, and of covering other things altogether.
_BESIDE, _LED, _COVERING = 0.15, 0.5, 1.0
# Of a line that crosses a label.
_CROSSING = 2.0
# Lines that are looked at for crossing labels, the cheapest first.
_LINES = 40
_ALONG_LINE = np.linspace(0.15, 0.95, 9)
# Pixels between a label and the border of the picture, if the picture is large.
_MARGIN = 2


@dataclass(frozen=True)
class Spot:
    """What a label is to be put at.

    Attributes:
        place: the segment's value in the map.
        size: width and height of the label in pixels.
        isthing: whether the label should leave the segment visible.
        box: of the segment.
        pixel: any pixel of the segment.
        area: pixels.
    """

    place: int
    size: tuple[int, int]
    isthing: bool
    box: Box
    pixel: Point
    area: int


@dataclass(frozen=True)
class Placement:
    """The box of a label, and the pixel of its segment to which a line leads; None where it stands at its segment."""

    box: Box
    anchor: Point | None


def placements(places: npt.NDArray[np.unsignedinteger], spots: Iterable[Spot]) -> dict[int, Placement]:
    """A place for each label by its segment's value; one is left out only where the picture has no free place at all.

    Args:
        places: the map of segments, (H, W).
        spots: of the segments with a label.
    """
    # Things have least choice, and small ones can have a line.
    ordered = sorted(spots, key=lambda spot: (not spot.isthing, -spot.area, spot.place))
    board = _Board.of(places, [spot.place for spot in ordered if spot.isthing])
    found = {spot.place: board.placed(spot) for spot in ordered}
    return {place: placement for place, placement in found.items() if placement}


@dataclass
class _Board:
    """The picture, coarsely, and the boxes that are taken.

    Attributes:
        step: pixels of the picture to one of the coarse map.
        size: width and height of the picture.
        coarse: the map.
        depths: of its pixels, in pixels of the picture.
        order: its pixels by value.
        things: the sums of its pixels of things.
        taken: bool, its pixels that labels and lines touch.
        sums: of `taken`, at least.
    """

    step: int
    size: tuple[int, int]
    coarse: npt.NDArray[np.unsignedinteger]
    depths: npt.NDArray[np.float64]
    order: npt.NDArray[np.int64]
    things: npt.NDArray[np.int32]
    taken: npt.NDArray[np.bool_]
    sums: npt.NDArray[np.int32]

    @classmethod
    def of(cls, places: npt.NDArray[np.unsignedinteger], things: list[int]) -> "_Board":
        step = max(1, max(places.shape) // _COARSE)
        coarse = np.ascontiguousarray(places[::step, ::step])
        size = (places.shape[1], places.shape[0])
        taken = np.zeros(coarse.shape, np.bool_)
        order = np.argsort(coarse.reshape(-1), kind="stable")
        covered = _sums(np.isin(coarse, things))
        return cls(step, size, coarse, _depths(coarse) * step, order, covered, taken, _sums(taken))

    def placed(self, spot: Spot) -> Placement | None:
        """The cheapest free place for a label, which is taken from now on."""
        width, height = spot.size
        if width > self.size[0] or height > self.size[1]:
            return None
        rows, columns = self._pixels(spot.place)
        inside = self._inside(spot, rows, columns)
        near = np.concatenate([inside, _beside(spot, inside)]) if spot.isthing else inside
        costs = np.where(np.arange(len(near)) < len(inside), 0.0, _BESIDE) + 0.01 * np.arange(len(near))
        boxes = self._boxes(near, spot.size)
        costs = self._costs(boxes, costs, spot.place if spot.isthing else None)
        # A line costs more than a free place at the segment ever does, so it is looked for only where there is none.
        if len(costs) and costs.min() < _LED:
            return self._take(boxes[costs.argmin()], None)
        anchors = self._anchors(spot, rows, columns)
        found = self._led(spot, *self._around(anchors, spot.size))
        return found or self._led(spot, *self._anywhere(anchors[:1], spot.size))

    def _pixels(self, place: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Rows and columns of a segment on the coarse map, the innermost first."""
        values = self.coarse.reshape(-1)
        # All pixels are sorted once: faster than a look at all of them for each segment.
        first, last = np.searchsorted(values, (place, place + 1), sorter=self.order)
        pixels = self.order[first:last]
        rows, columns = np.divmod(pixels[:: 1 + len(pixels) // _ENOUGH], self.coarse.shape[1])
        off = np.hypot(rows - rows.mean(), columns - columns.mean()) if len(rows) else rows
        # Of equally deep pixels the one nearest to the middle.
        order = np.argsort(off * 1e-3 - self.depths[rows, columns], kind="stable")
        return rows[order], columns[order]

    def _inside(self, spot: Spot, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> Boxes:
        """Centres (N, 2) in the segment where the label has room."""
        width, height = spot.size
        needed = max(0.9 * height, 0.5 * width if spot.isthing else 0.3 * width)
        count = int(np.searchsorted(-self.depths[rows, columns], -needed / 2))
        chosen = np.unique(np.linspace(0, count - 1, _INSIDE).astype(np.int64)) if count else np.zeros(0, np.int64)
        return np.stack([columns[chosen], rows[chosen]], axis=1) * self.step + self.step // 2

    def _anchors(self, spot: Spot, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> Boxes:
        """Pixels (N, 2) of the segment that are under no label, the innermost first; if there is none, any pixel."""
        some = slice(None, None, max(1, len(rows) // 64))
        pixels = np.stack([columns[some], rows[some]], axis=1) * self.step
        free = pixels[~self._covered(pixels)]
        return free[:: max(1, len(free) // _ANCHORS)][:_ANCHORS] if len(free) else np.array([spot.pixel], np.int64)

    def _around(self, anchors: Boxes, size: tuple[int, int]) -> tuple[Boxes, Boxes]:
        """Pixels (N, 2), and centres (N, 2) on rings around them."""
        angles = np.arange(_DIRECTIONS) * (2 * np.pi / _DIRECTIONS)
        # Labels are wide: their rings are too.
        ring = np.stack([np.cos(angles) * (size[0] / 2 + size[1]), np.sin(angles) * size[1]], axis=1)
        rings = np.concatenate([ring * reach for reach in _RINGS]).round().astype(np.int64)
        return np.repeat(anchors, len(rings), axis=0), (anchors[:, None] + rings).reshape(-1, 2)

    def _anywhere(self, anchor: Boxes, size: tuple[int, int]) -> tuple[Boxes, Boxes]:
        """One pixel (N, 2), and centres (N, 2) all over the picture."""
        across = np.arange(size[0] // 2, self.size[0], max(4, size[0] // 4))
        down = np.arange(size[1] // 2, self.size[1], max(4, size[1] // 2))
        centres = np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 2)
        return np.repeat(anchor, len(centres), axis=0), centres

    def _led(self, spot: Spot, anchors: Boxes, centres: Boxes) -> Placement | None:
        """The cheapest free place, with a line to its pixel that crosses no label if that can be."""
        boxes = self._boxes(centres, spot.size)
        way = np.clip(anchors, boxes[:, :2], boxes[:, 2:]) - anchors
        costs = _LED + 0.06 * np.hypot(way[:, 0], way[:, 1]) / spot.size[1]
        costs = self._costs(boxes, costs, None)
        # A line of no length would be no line.
        costs[(way == 0).all(axis=1)] = np.inf
        cheapest = np.argsort(costs, kind="stable")[:_LINES]
        cheapest = cheapest[np.isfinite(costs[cheapest])]
        if not len(cheapest):
            return None
        lines = anchors[cheapest, None] + (way[cheapest, None] * _ALONG_LINE[:, None]).round().astype(np.int64)
        crosses = self._covered(lines.reshape(-1, 2)).reshape(lines.shape[:2]).any(axis=1)
        best = int((costs[cheapest] + _CROSSING * crosses).argmin())
        x, y = anchors[cheapest[best]].tolist()
        for x_on, y_on in (lines[best] // self.step).tolist():
            self._mark(x_on, y_on, x_on + 1, y_on + 1)
        return self._take(boxes[cheapest[best]], (x, y))

    def _boxes(self, centres: Boxes, size: tuple[int, int]) -> Boxes:
        """Boxes (N, 4) around centres (N, 2), moved into the picture."""
        extent = np.array(size)
        room = np.array(self.size) - extent
        margin = np.minimum(_MARGIN, room // 2)
        corners = np.clip(centres - extent // 2, margin, room - margin)
        return np.concatenate([corners, corners + extent], axis=1)

    def _costs(self, boxes: Boxes, costs: npt.NDArray[np.float64], own: int | None) -> npt.NDArray[np.float64]:
        """`costs` (N,) and those of covering things other than `own`; infinite where another label is."""
        edges = self._edges(boxes)
        free = _in(edges, self.sums) == 0
        covered = _in(edges, self.things)
        left, top, right, bottom = edges
        if own is not None:
            for place in np.flatnonzero(free & (covered > 0)).tolist():
                here = self.coarse[top[place] : bottom[place], left[place] : right[place]]
                covered[place] -= np.count_nonzero(here == own)
        share = covered / np.maximum((bottom - top) * (right - left), 1)
        return np.where(free, costs + _COVERING * share, np.inf)

    def _edges(self, boxes: Boxes) -> Boxes:
        """Boxes (N, 4) on the coarse map, (4, N), with all pixels that they touch."""
        return np.concatenate([boxes.T[:2] // self.step, (boxes.T[2:] - 1) // self.step + 1])

    def _covered(self, points: Boxes) -> npt.NDArray[np.bool_]:
        """Whether pixels (N, 2) are in a taken box, (N,)."""
        found: npt.NDArray[np.bool_] = self.taken[points[:, 1] // self.step, points[:, 0] // self.step]
        return found

    def _take(self, box: npt.NDArray[np.int64], anchor: Point | None) -> Placement:
        self._mark(*self._edges(box[None])[:, 0].tolist())
        left, top, right, bottom = box.tolist()
        return Placement((left, top, right, bottom), anchor)

    def _mark(self, left: int, top: int, right: int, bottom: int) -> None:
        """Takes a box of the coarse map."""
        self.taken[top:bottom, left:right] = True
        # Only sums below and to the right change. Where boxes overlap, they are too large, but 0 in free boxes alone.
        sums = self.sums[top + 1 :, left + 1 :]
        down = np.minimum(np.arange(1, sums.shape[0] + 1, dtype=np.int32), bottom - top)
        across = np.minimum(np.arange(1, sums.shape[1] + 1, dtype=np.int32), right - left)
        sums += down[:, None] * across


def _sums(pixels: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """How many pixels (H, W) are set above and left of each corner, (H + 1, W + 1)."""
    sums = np.zeros((pixels.shape[0] + 1, pixels.shape[1] + 1), np.int32)
    np.cumsum(pixels, axis=0, out=sums[1:, 1:])
    np.cumsum(sums[1:, 1:], axis=1, out=sums[1:, 1:])
    return sums


def _in(edges: Boxes, sums: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """How many pixels are set in boxes (4, N), (N,)."""
    left, top, right, bottom = edges
    found: npt.NDArray[np.int32] = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return found


def _beside(spot: Spot, inside: Boxes) -> Boxes:
    """Centres (N, 2) above, below, left and right of a segment."""
    width, height = spot.size
    left, top, right, bottom = spot.box
    x, y = (left + right) // 2, (top + bottom) // 2
    return np.array(
        [
            (x, top - height // 2 - 2),
            (x, bottom + height // 2 + 2),
            (right + width // 2 + 2, y),
            (left - width // 2 - 2, y),
        ],
        np.int64,
    )


def _depths(coarse: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.float64]:
    """For each pixel (H, W) its distance to the border of its segment; the picture's border is one too."""
    from scipy.ndimage import distance_transform_edt

    inner = np.zeros((coarse.shape[0] + 2, coarse.shape[1] + 2), np.bool_)
    same = inner[1:-1, 1:-1]
    same[:] = True
    same[1:] &= coarse[1:] == coarse[:-1]
    same[:-1] &= coarse[1:] == coarse[:-1]
    same[:, 1:] &= coarse[:, 1:] == coarse[:, :-1]
    same[:, :-1] &= coarse[:, 1:] == coarse[:, :-1]
    depths: npt.NDArray[np.float64] = distance_transform_edt(inner)[1:-1, 1:-1]
    return depths + 0.5
