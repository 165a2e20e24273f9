"""The figures of a run as a table and as a picture."""

import csv
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from yoso_cli.training.curves import draw_panel, write_curves, write_results

LINES = [
    {"iteration": 1, "loss": 9.0, "s0.mask": 4.0, "lr": 1e-4},
    {"iteration": 2, "loss": 7.0, "s0.mask": 3.0, "lr": 1e-4},
    {"iteration": 2, "pq": 0.2, "pq_things": 0.1},
    {"iteration": 3, "lr": 1e-4},
    {"iteration": 4, "loss": 6.0, "s0.mask": 2.0, "lr": 1e-5},
    {"iteration": 4, "pq": 0.3, "pq_things": 0.2},
]


def test_a_row_has_an_evaluation_and_the_figures_before_it(tmp_path: Path) -> None:
    write_results(tmp_path / "results.csv", LINES)
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert [(row["iteration"], row["loss"], row["pq"]) for row in rows] == [("2", "7.0", "0.2"), ("4", "6.0", "0.3")]


def drawn(path: Path, lines: list[dict[str, float]]) -> np.ndarray:
    write_curves(path, lines)
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def test_curves_are_drawn_of_what_there_is(tmp_path: Path) -> None:
    full, empty = drawn(tmp_path / "full.png", LINES), drawn(tmp_path / "empty.png", [])
    assert full.shape == empty.shape == (720, 1280, 3)
    coloured = np.ptp(full, axis=2) > 60
    for row in (slice(360), slice(360, None)):
        for column in (slice(640), slice(640, None)):
            assert coloured[row, column].any(), "each panel has a curve"
    assert not (np.ptp(empty, axis=2) > 60).any()


def test_the_same_figures_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        write_curves(tmp_path / name, LINES)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_pq_is_in_percent_and_every_axis_begins_at_zero() -> None:
    axes = Figure().subplots()
    draw_panel(axes, LINES, ["pq", "pq_things"])
    assert [line.get_ydata() for line in axes.lines] == [pytest.approx([20, 30]), pytest.approx([10, 20])]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["all", "things"]
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] > 30


@pytest.mark.parametrize("pq", [0.0, 0.3])
def test_one_evaluation_is_a_point_on_the_axis_of_the_whole_run(pq: float) -> None:
    axes = Figure().subplots()
    draw_panel(axes, [{"iteration": 500, "pq": pq}], ["pq"])
    low, high = axes.get_xlim()
    assert low == 0
    assert 500 < high < 550
    assert axes.get_ylim()[1] > 100 * pq
    assert axes.lines[0].get_marker() == "o"


def test_no_label_is_cut(tmp_path: Path) -> None:
    """A learning rate has long labels; a few pixels around the picture are free."""
    picture = drawn(tmp_path / "full.png", LINES)
    paper = picture[0, 0]
    for border in (picture[:, :2], picture[:, -2:], picture[:2], picture[-2:]):
        assert (border == paper).all()
