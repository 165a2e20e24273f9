"""Areas and boxes as measured on a map."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from yoso_cli.panoptic.types import Segment, measured, present_ids

MAPS = hnp.arrays(np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 4))


@given(MAPS)
def test_measures_what_counting_pixels_gives(id_map):
    asked = [Segment(segment_id, 7, -1) for segment_id in range(1, 6)]
    found = {segment.id: segment for segment in measured(id_map, asked)}
    assert set(found) == set(np.unique(id_map).tolist()) - {0}
    for segment_id, segment in found.items():
        rows, columns = np.nonzero(id_map == segment_id)
        width, height = np.ptp(columns) + 1, np.ptp(rows) + 1
        assert segment.area == len(rows)
        assert segment.bbox == (columns.min(), rows.min(), width, height)
        assert segment.category_id == 7


@given(MAPS)
def test_present_ids_are_the_values_of_the_map(id_map):
    assert present_ids(id_map) == np.unique(id_map).tolist()
