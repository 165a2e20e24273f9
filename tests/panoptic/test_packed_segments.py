"""Packed segments are the tuple of segments that they were made of, in every way but their memory."""

import json
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoso_cli.panoptic import annotations
from yoso_cli.panoptic.packed_segments import PackedSegments, SegmentTable
from yoso_cli.panoptic.types import Category, ImageRecord, Segment
from yoso_cli.runtime import json_text

EDGES = st.integers(-(2**31) + 1, 2**31 - 1)
SEGMENTS = st.lists(
    st.builds(
        Segment,
        id=st.integers(1, 256**3 - 1),
        category_id=st.integers(0, 2**31 - 1),
        area=st.integers(0, 2**40),
        bbox=st.tuples(EDGES, EDGES, EDGES, EDGES),
        iscrowd=st.booleans(),
        score=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    ),
    max_size=6,
).map(tuple)


@given(SEGMENTS, st.integers(-7, 7), st.integers(-7, 7))
def test_packed_segments_are_those_they_were_made_of(segments: tuple[Segment, ...], start: int, stop: int) -> None:
    packed = PackedSegments.of(segments)
    assert tuple(packed) == segments
    assert packed == segments
    assert packed == PackedSegments.of(segments)
    assert packed != (*segments, Segment(1, 1, 1))
    assert hash(packed) == hash(segments)
    assert len(packed) == len(segments)
    assert packed[start:stop] == segments[start:stop]
    assert pickle.loads(pickle.dumps(packed)) == segments
    assert all(packed[place] == segment for place, segment in enumerate(segments))
    assert all(segment in packed for segment in segments)
    assert [type(one.iscrowd) for one in packed] == [bool] * len(segments)


@given(st.lists(st.tuples(SEGMENTS, st.booleans()), max_size=5))
def test_the_table_has_a_row_for_each_segment(pictures: list[tuple[tuple[Segment, ...], bool]]) -> None:
    records = [
        ImageRecord(place, "a.jpg", "a.png", 1, 1, PackedSegments.of(segments) if packed else segments)
        for place, (segments, packed) in enumerate(pictures)
    ]
    table = SegmentTable.of(records)
    rows = [(place, one) for place, (segments, _) in enumerate(pictures) for one in segments]
    assert table.image.tolist() == [place for place, _ in rows]
    for name in ("category_id", "area", "iscrowd"):
        assert getattr(table, name).tolist() == [getattr(one, name) for _, one in rows]


def test_a_listing_is_never_there_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stays takes a tenth of the objects that its text would make, and what is needed meanwhile no more."""
    monkeypatch.setattr(json_text, "_PIECE", 1 << 14)
    path, count = tmp_path / "panoptic.json", 1000
    numbers = np.random.default_rng(0).integers(300, 2**20, (count, 10, 7)).tolist()
    segments = [tuple(Segment(one[0], 1, one[1], tuple(one[2:6])) for one in picture) for picture in numbers]
    records = [ImageRecord(place, f"{place}.jpg", f"{place}.png", 9, 9, one) for place, one in enumerate(segments)]
    path.write_text(json.dumps(annotations.to_json([Category(1, "cat", True)], records)))
    tracemalloc.start()
    _, found = annotations.read(path)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert list(found) == records
    assert kept < 900 * count, "of ten segments each"
    assert peak < 1.4 * path.stat().st_size
