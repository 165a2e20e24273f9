"""A sweep of thresholds as one HTML file: the best pair, and PQ at every pair as a heat map."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from yoso_cli import atomic
from yoso_cli.evaluation.sweep import Sweep
from yoso_cli.page.document import own_file, percent, render


class Shade(NamedTuple):
    """A cell of the map: PQ in words, how far it is from the lowest (0) to the highest (1), and what it is."""

    words: str
    share: float
    best: bool
    present: bool


def write_sweep(path: Path, sweep: Sweep, weights: str) -> None:
    """Writes `sweep` of the weights of that name to `path`. Raises RunError when it cannot be written."""
    atomic.write_text(path, sweep_page(sweep, weights))


def sweep_page(sweep: Sweep, weights: str) -> str:
    """The whole document."""
    seen = [one.pq for one in sweep.cells if one.pq is not None]
    low, high = min(seen, default=0.0), max(seen, default=0.0)

    def shade(score: float, overlap: float) -> Shade:
        cell = sweep.at(score, overlap)
        share = 0.0 if cell.pq is None or high == low else (cell.pq - low) / (high - low)
        thresholds = cell.thresholds
        best, present = sweep.best.cell.thresholds, sweep.present.cell.thresholds
        return Shade(percent(cell.pq), share, thresholds == best, thresholds == present)

    rows: Sequence[tuple[float, list[Shade]]] = [
        (score, [shade(score, overlap) for overlap in sweep.overlaps]) for score in sweep.scores
    ]
    values = {"sweep": sweep, "rows": rows, "weights": weights}
    return render("sweep_page.html", values, style=own_file("page.css"))
