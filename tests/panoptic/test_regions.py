"""Runs and regions: what counting every pixel gives, in a hundredth of the numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from yoso_cli.panoptic.regions import painted, regions_of, runs_of

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9)
MAPS = st.one_of(
    hnp.arrays(np.uint8, SHAPES, elements=st.integers(0, 3)),
    hnp.arrays(np.uint16, SHAPES, elements=st.sampled_from([0, 1, 26000, 65535])),
    hnp.arrays(np.int32, SHAPES, elements=st.sampled_from([0, 5, 65536, 1 << 23])),
)


@given(MAPS)
def test_runs_make_the_map_again(label_map):
    runs = runs_of(label_map)
    again = painted(runs, runs.values)
    assert again.dtype == label_map.dtype
    assert np.array_equal(again, label_map)


@given(MAPS)
def test_a_run_begins_and_ends_where_the_value_changes(label_map):
    """Also across the end of a row: each run differs from the one before it, and together they are all pixels."""
    runs, pixels = runs_of(label_map), label_map.reshape(-1)
    for value, start, length in zip(runs.values, runs.starts, runs.lengths, strict=True):
        assert (pixels[start : start + length] == value).all()
    assert (runs.values[1:] != runs.values[:-1]).all()
    assert runs.lengths.sum() == label_map.size
    assert runs.shape == label_map.shape


@given(MAPS)
def test_regions_are_measured_as_masks_are(label_map):
    regions = regions_of(runs_of(label_map))
    assert regions.values.tolist() == np.unique(label_map).tolist()
    for value, area, (x, y, width, height) in zip(*regions[:3], strict=True):
        rows, columns = np.nonzero(label_map == value)
        assert area == len(rows)
        assert (x, y) == (columns.min(), rows.min())
        assert (width, height) == (np.ptp(columns) + 1, np.ptp(rows) + 1)


@given(st.data())
def test_the_runs_of_two_maps_end_where_either_changes(data):
    shape = data.draw(SHAPES)
    one, two = (data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 2))) for _ in range(2))
    runs = runs_of(one, two)
    assert np.array_equal(painted(runs, runs.values), one)
    assert np.array_equal(painted(runs, two.reshape(-1)[runs.starts]), two)


@pytest.mark.parametrize("view", [np.s_[::2, ::-1], np.s_[:, 1::3], np.s_[3:4]])
def test_a_view_of_a_map_is_a_map(view):
    label_map = np.random.default_rng(0).integers(0, 3, (8, 11))[view]
    runs = runs_of(label_map)
    assert np.array_equal(painted(runs, runs.values), label_map)
