"""The figures of a run as a table for programs and as curves for people."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yoso_cli.atomic import write_text
from yoso_cli.runtime.plots import COLORS, FAINT, LINES, drawing, whole_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Line = Mapping[str, Any]

_SIZE = (1280, 720)
_PQ = {"pq": "all", "pq_things": "things", "pq_stuff": "stuff"}
# No axis can be drawn beyond.
_LARGEST = 1e30
# More points than pixels across only cost time.
_MOST_POINTS = 600
_FEW = 30


def write_results(path: Path, lines: Sequence[Line]) -> None:
    """One row of results.csv for each evaluation: its PQ, and the figures of training just before it.

    Args:
        path: of the table.
        lines: of metrics.jsonl.
    """
    rows: list[dict[str, Any]] = []
    last: dict[str, Any] = {}
    for line in lines:
        if "pq" in line:
            rows.append({**last, **line})
        else:
            last = dict(line)
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_curves(path: Path, lines: Sequence[Line]) -> None:
    """Loss, its parts, learning rate and PQ (percent) over the iterations, as one picture.

    Args:
        path: of the picture.
        lines: of metrics.jsonl.
    """
    terms = sorted({name for line in lines for name in line if "." in name})
    panels = {"loss": ["loss"], "parts of the loss, by stage": terms, "learning rate": ["lr"]}
    panels["PQ, %"] = list(_PQ)
    with drawing(path, *_SIZE) as figure:
        figure.supxlabel("iteration", fontsize=10)
        for axes, (title, names) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
            axes.set_title(title)
            draw_panel(axes, lines, names)


def write_trials(path: Path, trials: Sequence[tuple[int, Mapping[str, float]]], best: int) -> None:
    """PQ (percent) of each trial over its steps, as one picture; the best one stands out.

    Args:
        path: of the picture.
        trials: number of each, and PQ, a fraction, by steps.
        best: the number of the best.
    """
    with drawing(path, *_SIZE) as figure:
        axes = figure.subplots()
        axes.set_title("PQ of trials, %")
        axes.set_xlabel("steps")
        for number, pq in trials:
            points = sorted((int(steps), 100 * value) for steps, value in pq.items())
            color, width = (COLORS[1], 2.5) if number == best else (FAINT, 1.0)
            if points:
                axes.plot(*zip(*points, strict=True), "-o", color=color, linewidth=width)
                axes.annotate(str(number), points[-1], xytext=(4, 4), textcoords="offset points", color=color)
        whole_numbers(axes, "x")


def draw_panel(axes: "Axes", lines: Sequence[Line], names: Sequence[str]) -> None:
    """Draws `names` of the `lines`: the colour tells what it is, the style of the line its stage."""
    axes.set_xlim(0, 1.02 * max((line["iteration"] for line in lines), default=1))
    whole_numbers(axes, "x")
    stages = list(dict.fromkeys(name.rpartition(".")[0] for name in names))
    kinds = list(dict.fromkeys(name.rpartition(".")[2] for name in names))
    for name in names:
        if points := _points(lines, name):
            stage, _, kind = name.rpartition(".")
            color, style = COLORS[kinds.index(kind) % len(COLORS)], LINES[stages.index(stage) % len(LINES)]
            # A curve of a few points shows where they are; one alone would not be seen without.
            marker = "o" if len(points) <= _FEW else ""
            axes.plot(*zip(*points, strict=True), style, color=color, marker=marker, label=_PQ.get(name, name))
    if not axes.lines:
        axes.text(0.5, 0.5, "not measured yet", transform=axes.transAxes, ha="center", va="center", color=FAINT)
        axes.set_axis_off()
        return
    low, high = axes.dataLim.intervaly
    # Where all are 0, there is no extent to draw.
    axes.set_ylim(min(0, low), high + 0.05 * (high - min(0, low)) or 1)
    if len(axes.lines) > 1:
        axes.legend(ncols=max(1, len(stages)))


def _points(lines: Sequence[Line], name: str) -> list[tuple[float, float]]:
    factor = 100 if name in _PQ else 1
    told = [line for line in lines if line.get(name) is not None and abs(line[name]) < _LARGEST]
    found = [(float(line["iteration"]), factor * float(line[name])) for line in told]
    return found[:: -(-len(found) // _MOST_POINTS) or 1]
