"""The figures of a run as a table and as a picture."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from yoso_cli.training.curves import write_curves, write_results

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
