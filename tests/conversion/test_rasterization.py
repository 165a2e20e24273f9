"""Polygons become pixels as pycocotools makes them; ellipses by the centres of pixels; masks as they are."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco_mask

from yoso_cli.conversion.rasterization import (
    Region,
    box_region,
    ellipse_region,
    mask_region,
    polygon_region,
    row_lengths_mask,
    union,
)
from yoso_cli.panoptic.annotations import MalformedError

pytestmark = pytest.mark.filterwarnings("ignore:__array__")  # pycocotools with NumPy 2.4

Mask = npt.NDArray[np.bool_]
MASKS = arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def drawn(region: Region, height: int, width: int) -> Mask:
    found = np.zeros(height * width, bool)
    found[region.pixels()] = True
    assert found.sum() == region.area
    return found.reshape(width, height).T


@settings(max_examples=100)
@given(
    st.lists(st.floats(-8, 40, width=32), min_size=6, max_size=16).filter(lambda points: len(points) % 2 == 0),
    st.integers(1, 30),
    st.integers(1, 30),
)
def test_a_polygon_is_what_pycocotools_makes_of_it(polygon: list[float], height: int, width: int) -> None:
    if max(map(abs, polygon)) > 4 * max(height, width):
        with pytest.raises(MalformedError, match="far outside"):
            polygon_region(polygon, height, width)
        return
    wanted = coco_mask.decode(coco_mask.frPyObjects([polygon], height, width))[..., 0]
    assert np.array_equal(drawn(polygon_region(polygon, height, width), height, width), wanted == 1)


@settings(max_examples=100)
@given(MASKS, MASKS, st.integers(0, 5), st.integers(0, 5))
def test_masks_lie_where_they_are_put_and_are_united(one: Mask, other: Mask, left: int, top: int) -> None:
    size = (20, 17)
    wanted = np.zeros(size, bool)
    wanted[top : top + one.shape[0], left : left + one.shape[1]] = one
    first = mask_region(one, left, top, *size)
    assert np.array_equal(drawn(first, *size), wanted)
    wanted[: other.shape[0], : other.shape[1]] |= other
    assert np.array_equal(drawn(union([first, mask_region(other, 0, 0, *size)]), *size), wanted)


@pytest.mark.parametrize("degrees", [0, 30, 90, 215])
def test_an_ellipse_has_the_pixels_whose_centres_it_holds(degrees: float) -> None:
    """Against the definition by its two foci."""
    y, x = np.mgrid[:40, :50] + 0.5
    radius_x, radius_y, turn = 15.0, 6.0, np.radians(degrees)
    focus = np.sqrt(radius_x**2 - radius_y**2) * np.array([np.cos(turn), np.sin(turn)])
    way = sum(np.hypot(x - 24.3 - sign * focus[0], y - 19.8 - sign * focus[1]) for sign in (1, -1))
    found = drawn(ellipse_region(24.3, 19.8, radius_x, radius_y, 40, 50, degrees=degrees), 40, 50)
    assert np.array_equal(found, way <= 2 * radius_x)


def test_boxes_are_their_polygons_and_end_at_the_rim() -> None:
    assert drawn(box_region(1, 1, 3, 2, 4, 5), 4, 5).astype(int).tolist()[1] == [0, 1, 1, 0, 0]
    assert box_region(-3, -3, 20, 20, 8, 8).area == 64
    assert ellipse_region(0, 0, 3, 3, 8, 8).area == 8
    assert ellipse_region(4, 4, 0, 3, 8, 8).area == 0


def test_run_lengths_go_along_the_rows() -> None:
    assert row_lengths_mask([1, 3, 2], 2, 3).astype(int).tolist() == [[0, 1, 1], [1, 0, 0]]
    for lengths in ([1, 3], [7, -1], [], [2**62, 2**62]):
        with pytest.raises(MalformedError, match="run lengths"):
            row_lengths_mask(lengths, 2, 3)


@pytest.mark.parametrize(
    "polygon", [[0, 0, 1, 1], [0, 0, 1, 1, 2], [0, 0, 1, 1, float("nan"), 2], [1e9, 0, 1, 1, 2, 2]]
)
def test_what_is_no_polygon_is_refused(polygon: list[float]) -> None:
    with pytest.raises(MalformedError):
        polygon_region(polygon, 10, 10)


def test_a_mask_never_leaves_its_picture() -> None:
    for left, top in ((-1, 0), (0, -1), (7, 0), (0, 7)):
        with pytest.raises(MalformedError, match="leaves the picture"):
            mask_region(np.ones((4, 4), bool), left, top, 10, 10)
