"""Outlines run over the rim of their mask, and several become one polygon."""

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageDraw

from yoso_cli.conversion.contours import joined, outlines

MASKS = arrays.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@settings(max_examples=200, deadline=None)
@given(mask=MASKS)
def test_outlines_run_over_the_rim_of_their_mask_and_enclose_the_rest(mask: npt.NDArray[np.bool_]) -> None:
    found = outlines(mask)
    assert bool(found) == bool(mask.any())
    on_rim = np.zeros(mask.shape, bool)
    for outline in found:
        on_rim[outline[:, 1], outline[:, 0]] = True
    padded = np.pad(mask, 1)
    enclosed = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    assert np.array_equal(on_rim & ~mask, np.zeros_like(mask)), "never outside"
    assert (mask & ~enclosed <= on_rim).all(), "every pixel that touches the outside is on an outline"


def test_a_hole_and_two_parts_become_one_polygon() -> None:
    mask = np.zeros((20, 40), bool)
    mask[2:12, 2:12] = True
    mask[5:8, 5:8] = False
    mask[4:9, 25:35] = True
    found = outlines(mask)
    assert len(found) == 3
    canvas = Image.new("1", (40, 20))
    whole = joined(found)
    ImageDraw.Draw(canvas).polygon([tuple(point) for point in whole.tolist()], fill=1, outline=1)
    wrong = np.asarray(canvas) != mask
    assert wrong.sum() <= 14 + 2, "the line between the two parts, and none else"


def test_single_pixels_have_an_outline_of_one_point() -> None:
    mask = np.zeros((3, 3), bool)
    mask[1, 2] = True
    assert [one.tolist() for one in outlines(mask)] == [[[2, 1]]]
