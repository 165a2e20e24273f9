"""Sizes as the released models see them, and augmentation that keeps a picture and its id map together."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from yoso_cli.loading.transforms import ScaleJitter, fitted, padded, resize_ids, resize_image
from yoso_cli.panoptic.types import VOID, IdMap, Rgb

MANY = settings(deadline=None, max_examples=100)
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
@given(id_maps, st.integers(0, 2**63), st.sampled_from([(32, 32), (32, 64), (8, 5), (1, 1)]))
def test_jitter_keeps_picture_and_ids_aligned(ids: IdMap, seed: int, crop: tuple[int, int]) -> None:
    jitter = ScaleJitter(crop, scale_min=0.3, scale_max=3.0, flip=0.5)
    image, moved = jitter(painted(ids), ids, np.random.default_rng(seed))
    assert image.shape == (*crop, 3)
    assert moved.shape == crop
    assert (image.dtype, moved.dtype) == (np.uint8, np.int32)
    expected = painted(moved)
    assert (expected[image == 255] == 255).all()
    assert (expected[image == 0] == 0).all()


@MANY
@given(id_maps, st.integers(0, 2**63))
def test_jitter_is_a_function_of_its_seed_and_leaves_its_input_alone(ids: IdMap, seed: int) -> None:
    jitter = ScaleJitter((16, 24), scale_min=0.3, scale_max=3.0, flip=0.5)
    picture, before = painted(ids), ids.copy()
    first = jitter(picture, ids, np.random.default_rng(seed))
    second = jitter(picture, ids, np.random.default_rng(seed))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert np.array_equal(picture, painted(before))
    assert np.array_equal(ids, before)


@MANY
@given(small, small, st.floats(0.1, 1.0), st.integers(0, 2**32))
def test_beyond_a_picture_that_fits_lies_grey_void(height: int, width: int, scale: float, seed: int) -> None:
    crop = (32, 48)
    jitter = ScaleJitter(crop, scale_min=scale, scale_max=scale, flip=0.5)
    picture, ids = np.full((height, width, 3), 7, np.uint8), np.full((height, width), 5, np.int32)
    image, moved = jitter(picture, ids, np.random.default_rng(seed))
    inside = np.zeros(crop, bool)
    fit = scale * min(crop[0] / height, crop[1] / width)
    inside[: max(1, round(height * fit)), : max(1, round(width * fit))] = True
    assert (image[inside] == 7).all()
    assert (moved[inside] == 5).all()
    assert (image[~inside] == 128).all()
    assert (moved[~inside] == VOID).all()


def test_without_scaling_a_flip_mirrors_and_no_flip_changes_nothing() -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (32, 64, 3), dtype=np.uint8)
    ids = random.integers(0, 9, (32, 64), dtype=np.int32)
    same = ScaleJitter((32, 64), 1.0, 1.0, flip=0.0)(image, ids, random)
    mirrored = ScaleJitter((32, 64), 1.0, 1.0, flip=1.0)(image, ids, random)
    assert np.array_equal(same[0], image)
    assert np.array_equal(same[1], ids)
    assert np.array_equal(mirrored[0], image[:, ::-1])
    assert np.array_equal(mirrored[1], ids[:, ::-1])


def test_crops_reach_every_corner_and_rows_and_columns_are_drawn_apart() -> None:
    ids = np.arange(1, 17, dtype=np.int32).reshape(4, 4)
    jitter = ScaleJitter((2, 2), scale_min=2.0, scale_max=2.0, flip=0.0)
    seen = {int(jitter(painted(ids), ids, np.random.default_rng(seed))[1][0, 0]) for seed in range(200)}
    assert seen == {1, 2, 3, 5, 6, 7, 9, 10, 11}


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
def test_the_oddest_pictures_come_through(size: tuple[int, int]) -> None:
    ids = np.ones(size, np.int32)
    image, moved = ScaleJitter((64, 64), 0.1, 2.0, flip=0.5)(painted(ids), ids, np.random.default_rng(3))
    assert image.shape == (64, 64, 3)
    assert moved.shape == (64, 64)
    assert moved[0, 0] == 1
