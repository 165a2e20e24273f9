"""Fig. 4 has the printed points and ours, Fig. 5 is drawn from the paper's equations, and both can be read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from yoso_cli.errors import RunError
from yoso_cli.inference.paper_figures import (
    FIGURE_5,
    PUBLISHED,
    Point,
    aggregation_reduction,
    attention_reduction,
    draw_figures,
    draw_pq_over_latency,
)


def test_equation_2_and_10_at_the_papers_settings() -> None:
    assert aggregation_reduction(256, 128) == pytest.approx(
        (12 * 256 + 4 * 256 * 128) / (1.328125 * 256 * 128 + 15 * 128)
    )
    assert attention_reduction(100, 256) == pytest.approx(612 / 103)
    assert aggregation_reduction(1024, 64) > aggregation_reduction(64, 64)
    assert attention_reduction(20, 512) > attention_reduction(300, 512)


def test_the_maps_grow_where_the_paper_says_they_grow() -> None:
    """Left: more input channels, fewer hidden ones. Right: fewer tokens, more hidden channels."""
    for one, across, up in zip(FIGURE_5, (1024, 20), (32, 512), strict=True):
        x, y, ratios = one.grid()
        row, column = np.unravel_index(ratios.argmax(), ratios.shape)
        assert (x[column], y[row]) == (across, up)


def test_the_figures_are_reproducible(tmp_path: Path) -> None:
    first, again = draw_figures(tmp_path / "first"), draw_figures(tmp_path / "again")
    assert [path.name for path in first] == ["fig4.png", "fig5.png"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    for path in first:
        with Image.open(path) as picture:
            assert picture.size == (1280, 560)


def test_fig_4_has_every_printed_row_with_fps() -> None:
    """As `recipes/coco.yaml` and `cityscapes.yaml` have them too."""
    coco, cityscapes = PUBLISHED.values()
    assert (len(coco), len(cityscapes)) == (11, 8)
    by_name = {one.name: one for one in coco}
    assert by_name["YOSO, 800"] == Point("YOSO, 800", 48.4, pytest.approx(1000 / 23.6))


def test_our_points_are_drawn_in_fig_4(tmp_path: Path) -> None:
    draw_pq_over_latency(tmp_path / "without.png")
    draw_pq_over_latency(tmp_path / "with.png", {"COCO, Table 1": [Point("$ours$", 46.1, 14)]})
    orange = {name: (pixels(tmp_path / f"{name}.png") == (213, 94, 0)).all(2).sum() for name in ("without", "with")}
    assert orange["without"] == 0
    assert orange["with"] > 20


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError):
        draw_figures(tmp_path / "file")
