"""Segments' colours mixed into a photo, their outlines, and what replaces the rest.

Twelve megapixels take a tenth of a second: weights are integers of 16 bits, and the picture is worked on in bands of
rows that stay in the cache, each in a thread.
"""

# H, W height and width of the picture in pixels; P places of the palette

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from yoso_cli.panoptic.regions import Runs, painted
from yoso_cli.panoptic.types import Rgb
from yoso_cli.runtime.stages import stage

HIDDEN, UNLABELLED, FIRST = 0, 1, 2
"""Places of the palette: what is not drawn, void, and the first segment."""

# Pixels of a band: what is worked on for one fits into a core's cache.
_BAND = 1 << 17
# Below so many bands, threads take longer to start than they save.
_WORTH_THREADS = 6
_WHITE, _HATCH = 255, (250, 250, 248)
# Weights are 256ths, so that a weighted sum of bytes fits into 16 bits.
_ONE = 256


@dataclass(frozen=True)
class Palette:
    """What each place looks like.

    Attributes:
        colors: uint8 (P, 3).
        things: bool (P).
        crowds: bool (P); hatched.
        outlines: int (P), pixels.
    """

    colors: Rgb
    things: npt.NDArray[np.bool_]
    crowds: npt.NDArray[np.bool_]
    outlines: npt.NDArray[np.int64]


def tint(
    image: Rgb, runs: Runs, palette: Palette, target: Rgb, *, alpha: float, ground: Rgb | None, threads: int
) -> None:
    """Draws a photo under the colours of its segments into `target`.

    The photo keeps its light but little of its colour, or else a red ball under blue paint would read as purple.
    Things have a light outline and stuff a dark one; where HIDDEN, the photo is as it was.

    Args:
        image: uint8 (H, W, 3).
        runs: of the map of places.
        palette: of these places.
        target: uint8 (H, W, 3), or (H, W, 4) to be transparent where HIDDEN.
        alpha: how much of the colour covers the photo, 0..1.
        ground: uint8 (H, W, 3) to show where HIDDEN instead of the photo.
        threads: how many bands are worked on at once.
    """
    height, width = runs.shape
    rows = max(1, _BAND // width)
    bands = [slice(top, min(top + rows, height)) for top in range(0, height, rows)]
    places = painted(runs, runs.values)
    behind = image if ground is None else ground

    def draw(band: slice) -> None:
        here, drawn = places[band], target[band]
        if alpha:
            _mix(image[band], _band_runs(runs, band), palette.colors, alpha, drawn)
            _hatch(places, band, palette, drawn)
        else:
            drawn[..., :3] = image[band]
        _outline(places, band, palette, drawn)
        hidden = here == HIDDEN
        if hidden.any():
            np.copyto(drawn[..., :3], behind[band], where=hidden[..., None])
        if drawn.shape[2] == 4:
            drawn[..., 3] = ~hidden * np.uint8(255)

    for _ in stage(draw, bands, threads=threads if len(bands) >= _WORTH_THREADS else 0, ahead=2 * threads):
        pass


def _band_runs(runs: Runs, band: slice) -> Runs:
    """The part of `runs` that lies in these rows."""
    width = runs.shape[1]
    begin, end = band.start * width, band.stop * width
    first, last = np.searchsorted(runs.starts, begin, "right") - 1, np.searchsorted(runs.starts, end)
    starts = runs.starts[first:last] - begin
    starts[:1] = 0
    return Runs(runs.values[first:last], starts, (band.stop - band.start, width))


def _mix(photo: Rgb, runs: Runs, colors: Rgb, alpha: float, target: Rgb) -> None:
    """Photo and colours, mixed; the less the photo shows, the greyer it is."""
    paint = round(_ONE * alpha)
    own = round(_ONE * (1 - alpha) ** 3)
    grey = (_ONE - paint - own) // 3
    own = _ONE - paint - 3 * grey
    planes = [photo[..., channel].astype(np.uint16) for channel in range(3)]
    light = planes[0] + planes[1]
    light += planes[2]
    light *= np.uint16(grey)
    # Half is added, so that the shift rounds.
    coats = colors.astype(np.uint16) * np.uint16(paint) + np.uint16(_ONE // 2)
    for channel, plane in enumerate(planes):
        plane *= np.uint16(own)
        plane += light
        plane += painted(runs, coats[:, channel][runs.values])
        plane >>= 8
        target[..., channel] = plane


def _hatch(places: npt.NDArray[np.unsignedinteger], band: slice, palette: Palette, drawn: Rgb) -> None:
    """Light stripes over crowds, from the upper right to the lower left."""
    if not palette.crowds.any():
        return
    rows, columns = np.nonzero(palette.crowds[places[band]])
    period = max(12, max(places.shape) // 50)
    striped = (rows + band.start + columns) % period < period // 4
    drawn[rows[striped], columns[striped], :3] = _HATCH


def _outline(places: npt.NDArray[np.unsignedinteger], band: slice, palette: Palette, drawn: Rgb) -> None:
    """A light line inside things, a dark one inside stuff."""
    here = places[band].reshape(-1)
    width = places.shape[1]
    for thickness in np.unique(palette.outlines[palette.outlines > 0]).tolist():
        edge = np.flatnonzero(_edge(places, band, thickness))
        place = here[edge]
        own = palette.outlines[place] == thickness
        things = palette.things[place]
        light, dark = edge[own & things], edge[own & ~things]
        drawn[light // width, light % width, :3] = _WHITE
        drawn[dark // width, dark % width, :3] //= 2


def _edge(places: npt.NDArray[np.unsignedinteger], band: slice, reach: int) -> npt.NDArray[np.bool_]:
    """Bool (rows, W): whether another place is within `reach` pixels to the left, right, above or below."""
    here = places[band]
    found = np.zeros(here.shape, np.bool_)
    for one, other in _shifted(places.shape[1], reach):
        found[:, one] |= here[:, one] != here[:, other]
    above, below = max(band.start, reach), min(band.stop, len(places) - reach)
    if above < band.stop:
        found[above - band.start :] |= places[above : band.stop] != places[above - reach : band.stop - reach]
    if below > band.start:
        found[: below - band.start] |= places[band.start : below] != places[band.start + reach : below + reach]
    return found


def _shifted(width: int, reach: int) -> Iterator[tuple[slice, slice]]:
    if reach < width:
        yield slice(reach, None), slice(None, -reach)
        yield slice(None, -reach), slice(reach, None)
