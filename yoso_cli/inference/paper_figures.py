"""Figs. 4 and 5 of the paper: PQ over latency, and by what factor its two modules reduce operations."""

# d hidden, c channels, n tokens, t kernel size

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from yoso_cli.runtime.plots import COLORS, FAINT, drawing, whole_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE = (1280, 560)
_CELLS, _BANDS = 81, 10
# Possible offsets of a label from its point, in typographic points, and its alignment.
_PLACES = (
    *(((8, 0), "left"), ((-8, 0), "right"), ((0, 11), "center"), ((0, -11), "center")),
    *(((8, 11), "left"), ((8, -11), "left"), ((-8, 11), "right"), ((-8, -11), "right"), ((8, 22), "left")),
)
_GROUP_COLORS = (COLORS[0], COLORS[1], FAINT)


class Point(NamedTuple):
    """One model of Fig. 4: its name, PQ in percent and the latency of a picture in milliseconds."""

    name: str
    pq: float
    latency: float


# Each row with an FPS. All are of a V100, but for FPSNet, which is of a Titan.
_PRINTED = {
    "COCO, Table 1": {
        "Max-DeepLab": (48.4, 7.6),
        "Mask2Former": (51.9, 8.6),
        "UPSNet": (42.5, 9.1),
        "PanopticFCN": (44.3, 9.2),
        "LPSNet": (39.1, 9.3),
        "RealTimePan": (37.1, 15.9),
        "PanopticFPN": (41.5, 17.5),
        "MaskFormer": (46.5, 17.6),
        "PanopticDeepLab": (35.1, 20.0),
        "YOSO, 800": (48.4, 23.6),
        "YOSO, 512": (46.4, 45.6),
    },
    "Cityscapes, Table 2": {
        "Mask2Former": (62.1, 4.1),
        "UPSNet": (59.3, 7.5),
        "LPSNet": (59.7, 7.7),
        "PanopticDeepLab": (59.7, 8.5),
        "FPSNet (Titan)": (55.1, 8.8),
        "RealTimePan": (58.8, 10.1),
        "YOSO, 1024": (59.7, 11.1),
        "YOSO, 512": (52.5, 22.6),
    },
}
PUBLISHED = {
    panel: tuple(Point(name, pq, 1000 / fps) for name, (pq, fps) in rows.items()) for panel, rows in _PRINTED.items()
}
"""The points of Fig. 4 by its panels, as the paper's tables print them; latency is 1000 / FPS."""


def draw_pq_over_latency(
    path: Path, measured: Mapping[str, Sequence[Point]] | None = None, *, device: str = ""
) -> None:
    """Fig. 4 as a PNG; the paper says it in FPS.

    Args:
        path: of the picture.
        measured: points of our own, by a panel of PUBLISHED, or by one to add, which has no printed points.
        device: where those were measured.

    Raises:
        RunError: it cannot be written.
    """
    ours = measured or {}
    panels = {panel: PUBLISHED.get(panel, ()) for panel in (*PUBLISHED, *ours)}
    width, height = _SIZE
    with drawing(path, width / len(PUBLISHED) * len(panels), height) as figure:
        for axes, (panel, printed) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
            axes.set_title(f"{panel}: printed, on a V100" if printed else panel)
            axes.set_xlabel("latency of a picture, ms")
            axes.set_ylabel("PQ, %")
            papers = [point for point in printed if point.name.startswith("YOSO")]
            others = [point for point in printed if point not in papers]
            here = f"measured here, on {device}" if device else "measured here"
            groups = {"YOSO, the paper's": papers, here: ours.get(panel, ()), "other models": others}
            for (label, points), color, marker in zip(groups.items(), _GROUP_COLORS, "o^s", strict=True):
                if points:
                    _, pqs, latencies = zip(*points, strict=True)
                    axes.plot(latencies, pqs, marker, color=color, ms=7, label=label)
            axes.set_xlim(0, 1.25 * axes.dataLim.xmax)
            axes.margins(y=0.1)
            axes.legend(loc="lower right")
        figure.draw_without_rendering()
        for axes, (panel, printed) in zip(figure.axes, panels.items(), strict=True):
            _write_names(axes, [*printed, *ours.get(panel, ())])


def _write_names(axes: "Axes", points: Sequence[Point]) -> None:
    """Labels each point at the first offset that overlaps no point and no other label, else at the last."""
    from matplotlib.transforms import Bbox

    spots = axes.transData.transform([(one.latency, one.pq) for one in points])
    taken = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in spots]
    for one in points:
        for offset, across in _PLACES:
            at = (one.latency, one.pq)
            text = axes.annotate(one.name, at, offset, textcoords="offset points", ha=across, va="center", fontsize=9)
            box = text.get_window_extent()
            inside = axes.bbox.x0 < box.x0 and box.x1 < axes.bbox.x1
            if (inside and not any(box.overlaps(other) for other in taken)) or offset == _PLACES[-1][0]:
                break
            text.remove()
        taken.append(box)


def aggregation_reduction(c: float, d: float) -> float:
    """Eq. 2 with c2 = c3 = c4 = c5 = c: operations of IFA over those of CFA."""
    return (12 * c + 4 * c * d) / ((1 / 64 + 1 / 16 + 1 / 4 + 1) * c * d + 15 * d)


def attention_reduction(n: float, d: float, t: float = 3) -> float:
    """Eq. 10 as derived, with t where the paper prints k: operations of MHCA over those of SDCA."""
    return (2 * d + n) / (t + n)


@dataclass(frozen=True)
class Contours:
    """One of the two maps of Fig. 5: over what it goes, each from where to where, and what it shows."""

    title: str
    across: tuple[str, float, float]
    up: tuple[str, float, float]
    ratio: Callable[[float, float], float]

    def grid(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The values across (C,) and up (C,), and the ratio at each pair of them (C, C)."""
        x, y = np.linspace(*self.across[1:], _CELLS), np.linspace(*self.up[1:], _CELLS)
        return x, y, np.array([[self.ratio(one, other) for one in x.tolist()] for other in y.tolist()])


FIGURE_5 = (
    Contours(
        "Operations of IFA over those of CFA (Eq. 2, equal c)",
        ("channels c", 32, 1024),
        ("hidden d", 32, 512),
        aggregation_reduction,
    ),
    Contours(
        "Operations of MHCA over those of SDCA (Eq. 10, t = 3)",
        ("tokens n", 20, 300),
        ("hidden d", 32, 512),
        attention_reduction,
    ),
)


def draw_contours(path: Path) -> None:
    """Fig. 5 as a PNG: filled contours of both maps, at levels a constant factor apart. Raises RunError."""
    with drawing(path, *_SIZE) as figure:
        for axes, one in zip(figure.subplots(1, 2), FIGURE_5, strict=True):
            x, y, ratios = one.grid()
            levels = np.geomspace(ratios.min(), ratios.max(), _BANDS + 1)
            # From dark blue to yellow: readable in greyscale and by colour-blind readers.
            bands = axes.contourf(x, y, ratios, levels, cmap="cividis", norm="log")
            legend = figure.colorbar(bands, ax=axes, ticks=levels, format="%.2f", label="times fewer operations")
            legend.minorticks_off()
            axes.set(title=one.title, xlabel=one.across[0], ylabel=one.up[0])
            whole_numbers(axes, "x")
            whole_numbers(axes, "y")


def draw_figures(folder: Path) -> list[Path]:
    """Draws Figs. 4 and 5 into `folder` and returns their files. Raises RunError when they cannot be written."""
    drawn = {folder / "fig4.png": draw_pq_over_latency, folder / "fig5.png": draw_contours}
    for path, draw in drawn.items():
        draw(path)
    return list(drawn)
