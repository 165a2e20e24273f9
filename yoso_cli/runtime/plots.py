"""The style of every plot, and how one is drawn with matplotlib: without a window, the same bytes each time."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from yoso_cli.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Colours that colour-blind people tell apart (Okabe and Ito, 2008); their yellow is too pale for lines."""

LINES = ("-", "--", ":", "-.")
"""Styles of lines that share a colour."""

FAINT = "#6b6b70"
"""Of what stands behind: counts, notes."""

DPI = 100

_STYLE = {
    "figure.dpi": DPI,
    "figure.facecolor": "#fafaf8",
    "axes.facecolor": "#fafaf8",
    "axes.edgecolor": "#8c8c92",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.labelsize": 10,
    "grid.color": "#dededa",
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.color": "#8c8c92",
    "ytick.color": "#8c8c92",
    "xtick.labelcolor": "#222226",
    "ytick.labelcolor": "#222226",
    "text.color": "#222226",
    "axes.labelcolor": "#222226",
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "font.family": "DejaVu Sans",  # it comes with matplotlib, so every machine has it
    "text.parse_math": False,  # a class may be called "$x$"
}


@contextlib.contextmanager
def drawing(path: Path, width: float, height: float) -> Iterator["Figure"]:
    """Gives an empty figure of `width` x `height` pixels, which is `path`, a PNG, when the block ends well.

    Raises:
        RunError: the disk is full or the place cannot be written.
    """
    # Agg by its own canvas: pyplot would choose a backend for the whole process and keep every figure.
    import matplotlib.style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.style.context(["default", _STYLE]), warnings.catch_warnings():
        # A class may be called in a script that the font lacks: boxes stand for its letters.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure = Figure(figsize=(width / DPI, height / DPI), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})


def whole_numbers(axes: "Axes", axis: str) -> None:
    """Ticks of the `axis`, x or y, at a few whole numbers, written as 10,000."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    chosen = axes.xaxis if axis == "x" else axes.yaxis
    chosen.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    chosen.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
