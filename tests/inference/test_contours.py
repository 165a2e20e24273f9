"""Fig. 5 is drawn from the paper's equations, and can be read."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from yoso_cli.errors import RunError
from yoso_cli.inference.contours import FIGURE_5, aggregation_reduction, attention_reduction, draw_contours


def test_equation_2_and_10_at_the_papers_settings() -> None:
    assert aggregation_reduction(256, 128) == pytest.approx(
        (12 * 256 + 4 * 256 * 128) / (1.328125 * 256 * 128 + 15 * 128)
    )
    assert attention_reduction(100, 256) == pytest.approx(612 / 103)
    assert aggregation_reduction(1024, 64) > aggregation_reduction(64, 64)
    assert attention_reduction(20, 512) > attention_reduction(300, 512)


def test_the_maps_grow_where_the_paper_says_they_grow(tmp_path: Path) -> None:
    """Left: more input channels, fewer hidden ones. Right: fewer tokens, more hidden channels."""
    grows = {"fig5-cfa.svg": ("right", "bottom"), "fig5-sdca.svg": ("left", "top")}
    for path in draw_contours(tmp_path / "new"):
        boxes = [box.attrib for box in ElementTree.parse(path).getroot().findall("{*}rect")][1:]
        legend = {box["fill"]: -float(box["y"]) for box in boxes if float(box["x"]) > 400}
        assert len(legend) == 10
        cells = [box for box in boxes if float(box["x"]) < 400]
        area = sum(float(box["width"]) * float(box["height"]) for box in cells)
        assert area == pytest.approx(320 * 320)
        highest = max(cells, key=lambda box: legend[box["fill"]])
        middle = float(highest["x"]) + float(highest["width"]) / 2, float(highest["y"])
        found = "right" if middle[0] > 236 else "left", "bottom" if middle[1] > 196 else "top"
        assert found == grows[path.name]


def test_axes_and_bands_have_their_values() -> None:
    for one in FIGURE_5:
        words = [text.text or "" for text in ElementTree.fromstring(one.svg()).findall("{*}text")]
        assert {one.title, one.across.name, one.up.name} <= set(words)
        assert f"{one.across.high:.0f}" in words
        assert sum(" to " in word for word in words) == 10


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError):
        draw_contours(tmp_path / "file")
