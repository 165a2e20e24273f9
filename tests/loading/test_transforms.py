"""Sizes as the released models see them, and augmentation that keeps a picture and its id map together."""

import json
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from yoso_cli.loading.transforms import Window, fitted, padded, resize_ids, resize_image
from yoso_cli.panoptic.types import VOID, IdMap, Rgb

MANY = settings(max_examples=100)
edges = st.integers(1, 3000)
small = st.integers(1, 40)
id_maps = hnp.arrays(np.int32, st.tuples(small, small), elements=st.sampled_from([VOID, 1, 2, 2**24 - 1]))


def painted(ids: IdMap) -> Rgb:
    """A channel for each of three ids, white where it is and black elsewhere."""
    return np.stack([np.where(ids == one, 255, 0) for one in (1, 2, 2**24 - 1)], -1).astype(np.uint8)


def test_sizes_are_those_of_the_released_models(shared: Path) -> None:
    facts = json.loads((shared / "reference/config_facts.json").read_text())
    compared = 0
    for config in facts.values():
        for entry in config["sizes"].values():
            for height, width, *expected in entry["rows"]:
                size = fitted((height, width), short_edge=entry["min"], long_edge=entry["max"])
                assert [*size, *padded(size, 32)] == expected
                compared += 1
    assert compared == 6 * 17


@MANY
@given(edges, edges, st.integers(1, 1000), st.integers(0, 1000))
def test_a_picture_fits_both_edges_and_keeps_its_shape(height: int, width: int, short: int, more: int) -> None:
    long = short + more
    size = fitted((height, width), short_edge=short, long_edge=long)
    assert 1 <= min(size) <= short
    assert max(size) <= long
    assert min(size) == short or max(size) == long
    scale = max(size) / max(height, width)
    assert abs(min(size) - max(1, scale * min(height, width))) <= 1


@MANY
@given(edges, edges, st.integers(1, 1000))
def test_fitting_turns_with_the_picture(height: int, width: int, short: int) -> None:
    size = fitted((height, width), short_edge=short, long_edge=2 * short)
    assert fitted((width, height), short_edge=short, long_edge=2 * short) == size[::-1]


@MANY
@given(edges, edges, st.sampled_from([1, 4, 32]))
def test_padding_goes_to_the_next_multiple(height: int, width: int, stride: int) -> None:
    size = padded((height, width), stride)
    assert all(
        after % stride == 0 and 0 <= after - before < stride
        for before, after in zip((height, width), size, strict=True)
    )
    assert padded(size, stride) == size


@MANY
@given(id_maps, small, small)
def test_resizing_ids_invents_none(ids: IdMap, height: int, width: int) -> None:
    resized = resize_ids(ids, (height, width))
    assert resized.shape == (height, width)
    assert resized.dtype == ids.dtype
    assert set(np.unique(resized)) <= set(np.unique(ids))


@MANY
@given(id_maps, st.integers(1, 4), st.integers(1, 4))
def test_enlarging_ids_by_whole_factors_repeats_them(ids: IdMap, down: int, right: int) -> None:
    resized = resize_ids(ids, (ids.shape[0] * down, ids.shape[1] * right))
    assert np.array_equal(resized, ids.repeat(down, 0).repeat(right, 1))
    assert np.array_equal(resize_ids(resized, ids.shape), ids)


@MANY
@given(id_maps, small, small)
def test_picture_and_ids_are_resized_alike(ids: IdMap, height: int, width: int) -> None:
    """Where only one id went into a pixel, the id map names it."""
    image, resized = resize_image(painted(ids), (height, width)), painted(resize_ids(ids, (height, width)))
    assert (resized[image == 255] == 255).all()
    assert (resized[image == 0] == 0).all()


@MANY
@given(id_maps, small, small, st.data())
def test_a_window_is_that_part_of_the_whole(ids: IdMap, height: int, width: int, data: st.DataObject) -> None:
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    window = Window(top, left, data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left)))
    part = slice(top, top + window.height), slice(left, left + window.width)
    assert np.array_equal(resize_ids(ids, (height, width), window), resize_ids(ids, (height, width))[part])
    picture = painted(ids)
    seen, expected = resize_image(picture, (height, width), window), resize_image(picture, (height, width))[part]
    # Pillow reckons a window's places from its corner, so a weight may round the other way.
    assert seen.shape == expected.shape
    assert np.abs(seen.astype(int) - expected).max() <= 1
