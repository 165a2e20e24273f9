"""An outline gives its mask again, filled as pycocotools does and as Ultralytics does; several become one polygon."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from yoso_cli.conversion.contours import Outline, joined, outlines

pytestmark = pytest.mark.filterwarnings("ignore:__array__")  # pycocotools with NumPy 2.4

Mask = npt.NDArray[np.bool_]
MASKS = arrays.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def filled_by_centres(outline: Outline, height: int, width: int) -> Mask:
    encoded = coco_mask.frPyObjects([outline.reshape(-1).tolist()], height, width)
    decoded: Mask = coco_mask.decode(encoded)[..., 0] == 1
    return decoded


def filled_with_its_line(outline: Outline, height: int, width: int) -> Mask:
    """Cut down to whole numbers, as Ultralytics does; Pillow draws the line and what is inside."""
    canvas = Image.new("1", (width, height))
    points = [tuple(point) for point in outline.astype(int).tolist()]
    if len(set(points)) == 1:  # Pillow draws nothing where all points are one
        canvas.putpixel(points[0], 1)
    else:
        ImageDraw.Draw(canvas).polygon(points, fill=1, outline=1)
    return np.asarray(canvas)


@settings(max_examples=200)
@given(mask=MASKS)
def test_joined_to_one_polygon_they_are_the_mask_to_a_reader_that_looks_at_centres(mask: Mask) -> None:
    found = outlines(mask)
    assert bool(found) == bool(mask.any())
    if found:
        assert np.array_equal(filled_by_centres(joined(found), *mask.shape), mask)


@settings(max_examples=200)
@given(mask=MASKS)
def test_cut_down_to_pixels_an_outline_stays_in_its_mask(mask: Mask) -> None:
    for outline in outlines(mask):
        places = outline.astype(int)
        assert mask[places[:, 1], places[:, 0]].all()


@pytest.mark.parametrize("seed", range(20))
def test_cut_down_to_pixels_and_drawn_a_part_without_holes_is_itself(seed: int) -> None:
    """A walk of squares: connected, of any form."""
    random = np.random.default_rng(seed)
    mask = np.zeros((40, 40), bool)
    for y, x in np.clip(np.cumsum(random.integers(-2, 3, (25, 2)), axis=0) + 18, 0, 35):
        mask[y : y + 4, x : x + 4] = True
    outer, *holes = outlines(mask)
    for hole in holes:
        mask |= filled_by_centres(hole, 40, 40)
    assert np.array_equal(filled_with_its_line(outer, 40, 40), mask)


def test_a_hole_and_two_parts_become_one_polygon() -> None:
    mask = np.zeros((20, 40), bool)
    mask[2:12, 2:12] = True
    mask[5:8, 5:8] = False
    mask[4:9, 25:35] = True
    found = outlines(mask)
    assert len(found) == 3
    wrong = filled_with_its_line(joined(found), 20, 40) != mask
    assert wrong.sum() <= 14 + 2, "the line between the two parts, and none else"


def test_straight_lines_have_points_at_their_ends_alone() -> None:
    (outline,) = outlines(np.ones((3, 100), bool))
    assert len(outline) == 8
