"""Fig. 5 of the paper: how many times fewer operations its two modules take, over their sizes, as SVG."""

# d hidden, c channels, n tokens, t kernel size

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yoso_cli import atomic

_CELLS = 80
_BANDS = 10
# Pixels: the map's edge, its corner, and the whole picture.
_EDGE, _LEFT, _TOP = 320, 76, 36
_WIDTH, _HEIGHT = 560, 416


def aggregation_reduction(c: float, d: float) -> float:
    """Eq. 2 with c2 = c3 = c4 = c5 = c: operations of IFA over those of CFA."""
    return (12 * c + 4 * c * d) / ((1 / 64 + 1 / 16 + 1 / 4 + 1) * c * d + 15 * d)


def attention_reduction(n: float, d: float, t: float = 3) -> float:
    """Eq. 10 as derived, with t where the paper prints k: operations of MHCA over those of SDCA."""
    return (2 * d + n) / (t + n)


@dataclass(frozen=True)
class Axis:
    """What grows along an edge of the map, from where to where."""

    name: str
    low: float
    high: float

    def values(self, count: int) -> list[float]:
        """`count` values, the ends among them."""
        return np.linspace(self.low, self.high, count).tolist()


@dataclass(frozen=True)
class Contours:
    """One of the two maps."""

    file: str
    title: str
    across: Axis
    up: Axis
    ratio: Callable[[float, float], float]

    def svg(self) -> str:
        """The map in bands, each higher than the one below by one factor, with ticks and the bands' values."""
        grid = np.array([[self.ratio(x, y) for x in self.across.values(_CELLS)] for y in self.up.values(_CELLS)])
        levels = np.geomspace(grid.min(), grid.max(), _BANDS + 1)
        bands = np.clip(np.digitize(grid, levels) - 1, 0, _BANDS - 1)
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
            f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">'
        )
        ground = f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>'
        parts = [head, ground, *_map(bands), *self._words(), *_legend(levels), "</svg>"]
        return "\n".join(parts) + "\n"

    def _words(self) -> Iterator[str]:
        bottom, middle = _TOP + _EDGE, _TOP + _EDGE / 2
        yield _text(_LEFT, _TOP - 14, self.title, "start")
        yield _text(_LEFT + _EDGE / 2, bottom + 40, self.across.name, "middle")
        yield f'<text transform="translate(20 {middle:g}) rotate(-90)" text-anchor="middle">{self.up.name}</text>'
        for share, value in zip(np.linspace(0, 1, 5).tolist(), self.across.values(5), strict=True):
            yield _text(_LEFT + share * _EDGE, bottom + 18, f"{value:.0f}", "middle")
        for share, value in zip(np.linspace(0, 1, 5).tolist(), self.up.values(5), strict=True):
            yield _text(_LEFT - 8, bottom - share * _EDGE + 4, f"{value:.0f}", "end")


FIGURE_5 = (
    Contours(
        "fig5-cfa.svg",
        "Operations of IFA over those of CFA (Eq. 2, equal c)",
        Axis("channels c", 32, 1024),
        Axis("hidden d", 32, 512),
        aggregation_reduction,
    ),
    Contours(
        "fig5-sdca.svg",
        "Operations of MHCA over those of SDCA (Eq. 10, t = 3)",
        Axis("tokens n", 20, 300),
        Axis("hidden d", 32, 512),
        attention_reduction,
    ),
)


def draw_contours(folder: Path) -> list[Path]:
    """Writes both maps into `folder` and returns their files. Raises RunError when they cannot be written."""
    for one in FIGURE_5:
        atomic.write_text(folder / one.file, one.svg())
    return [folder / one.file for one in FIGURE_5]


def _map(bands: np.ndarray) -> Iterator[str]:
    """A rectangle for each run of cells of one band in a row."""
    cell = _EDGE / _CELLS
    for row, values in enumerate(bands):
        top = _TOP + _EDGE - (row + 1) * cell
        starts = np.flatnonzero(np.diff(values, prepend=-1))
        for start, end in zip(starts, [*starts[1:], _CELLS], strict=True):
            yield _box(_LEFT + start * cell, top, (end - start) * cell, cell, int(values[start]))


def _legend(levels: Iterable[float]) -> Iterator[str]:
    """The highest band on top, as in the map."""
    ends = list(levels)
    for band in range(_BANDS):
        top = _TOP + _EDGE - (band + 1) * _EDGE / _BANDS
        yield _box(_LEFT + _EDGE + 20, top, 20, _EDGE / _BANDS, band)
        yield _text(_LEFT + _EDGE + 46, top + 20, f"{ends[band]:.2f} to {ends[band + 1]:.2f}", "start")


def _box(left: float, top: float, width: float, height: float, band: int) -> str:
    # From dark blue to light yellow: the order can be seen in grey and by colour-blind eyes too.
    share = band / (_BANDS - 1)
    color = f"hsl({240 - 190 * share:.0f} 70% {25 + 55 * share:.0f}%)"
    return (
        f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" fill="{color}" '
        'shape-rendering="crispEdges"/>'
    )


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{words}</text>'
