"""Augmentation keeps a picture and its id map together, and is a function of its seed."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from yoso_cli.loading.augmentation import (
    Augmentation,
    AugmentedPicture,
    Compose,
    ScaleJitter,
    ShortEdgeCrop,
    padding_as_picture,
    quarter_turned,
)
from yoso_cli.loading.color import ColorJitter
from yoso_cli.loading.copy_paste import pasted
from yoso_cli.panoptic.types import VOID, IdMap, Panoptic, Rgb, Segment

MANY = settings(max_examples=100)
small = st.integers(1, 40)
LARGE = 2**24 - 1
id_maps = hnp.arrays(np.int32, st.tuples(small, small), elements=st.sampled_from([VOID, 1, 2, LARGE]))
SEGMENTS = (Segment(1, 10, 0), Segment(2, 20, 0), Segment(LARGE, 10, 0))


def painted(ids: IdMap) -> Rgb:
    """A channel for each of three ids, white where it is and black elsewhere."""
    return np.stack([np.where(ids == one, 255, 0) for one in (1, 2, LARGE)], -1).astype(np.uint8)


def moved(step: Augmentation, image: Rgb, ids: IdMap, seed: int = 0) -> tuple[Rgb, IdMap]:
    view = step(AugmentedPicture.of(image, Panoptic(ids, SEGMENTS)), np.random.default_rng(seed))
    return view.image, view.panoptic.id_map


def short_edge(crop: tuple[int, int], edges: tuple[int, ...] = (8, 20, 50), share: float = 1.0) -> ShortEdgeCrop:
    return ShortEdgeCrop(crop, edges, long_edge=80, category_share=share, flip=0.5)


@MANY
@given(id_maps, st.integers(0, 2**63), st.sampled_from([(32, 32), (32, 64), (8, 5), (1, 1)]), st.booleans())
def test_picture_and_ids_stay_aligned(ids: IdMap, seed: int, crop: tuple[int, int], jitter: bool) -> None:
    step = ScaleJitter(crop, scale_min=0.3, scale_max=3.0, flip=0.5) if jitter else short_edge(crop, share=0.8)
    image, seen = moved(step, painted(ids), ids, seed)
    assert image.shape == (*crop, 3)
    assert seen.shape == crop
    assert (image.dtype, seen.dtype) == (np.uint8, np.int32)
    expected = painted(seen)
    assert (expected[image == 255] == 255).all()
    assert (expected[image == 0] == 0).all()


@MANY
@given(id_maps, st.integers(0, 2**63))
def test_all_of_it_is_a_function_of_its_seed_and_leaves_its_input_alone(ids: IdMap, seed: int) -> None:
    jitter = ScaleJitter((16, 24), scale_min=0.3, scale_max=3.0, flip=0.5)
    steps = Compose((jitter, short_edge((16, 8), share=0.9), ColorJitter()))
    picture, before = painted(ids), ids.copy()
    first, second = (moved(steps, picture, ids, seed) for _ in range(2))
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
    view = jitter(AugmentedPicture.of(picture, Panoptic(ids, SEGMENTS)), np.random.default_rng(seed))
    image, seen = view.image, view.panoptic.id_map
    inside = np.zeros(crop, bool)
    fit = scale * min(crop[0] / height, crop[1] / width)
    inside[: max(1, round(height * fit)), : max(1, round(width * fit))] = True
    assert (image[inside] == 7).all()
    assert (seen[inside] == 5).all()
    assert (image[~inside] == 128).all()
    assert (seen[~inside] == VOID).all()
    assert inside.sum() == view.extent[0] * view.extent[1]
    assert padding_as_picture(view, np.random.default_rng(0)).extent == crop


def test_without_scaling_a_flip_mirrors_and_no_flip_changes_nothing() -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (32, 64, 3), dtype=np.uint8)
    ids = random.integers(0, 9, (32, 64), dtype=np.int32)
    same = moved(ScaleJitter((32, 64), 1.0, 1.0, flip=0.0), image, ids)
    mirrored = moved(ScaleJitter((32, 64), 1.0, 1.0, flip=1.0), image, ids)
    assert np.array_equal(same[0], image)
    assert np.array_equal(same[1], ids)
    assert np.array_equal(mirrored[0], image[:, ::-1])
    assert np.array_equal(mirrored[1], ids[:, ::-1])


@MANY
@given(id_maps, st.integers(0, 2**63))
def test_a_turned_picture_keeps_its_pixels_and_their_ids(ids: IdMap, seed: int) -> None:
    image, seen = moved(quarter_turned, painted(ids), ids, seed)
    assert np.array_equal(image, painted(seen))
    assert any(np.array_equal(seen, np.rot90(ids, turns)) for turns in range(4))


def test_turns_and_flips_give_each_of_a_squares_eight_symmetries_equally_often() -> None:
    ids = np.array([[1, 2], [3, 4]], np.int32)
    steps = Compose((quarter_turned, ScaleJitter((2, 2), 1.0, 1.0, flip=0.5)))
    image = np.zeros((2, 2, 3), np.uint8)
    counts = Counter(moved(steps, image, ids, seed)[1].tobytes() for seed in range(800))
    assert len(counts) == 8
    assert min(counts.values()) > 60


def test_crops_reach_every_corner_and_rows_and_columns_are_drawn_apart() -> None:
    ids = np.arange(1, 17, dtype=np.int32).reshape(4, 4)
    corners = {
        place: {
            int(moved(ScaleJitter((2, 2), 2.0, 2.0, 0.0, place), painted(ids), ids, seed)[1][0, 0])
            for seed in range(200)
        }
        for place in ("free", "diagonal")
    }
    assert corners == {"free": {1, 2, 3, 5, 6, 7, 9, 10, 11}, "diagonal": {1, 6, 11}}


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
def test_the_oddest_pictures_come_through(size: tuple[int, int]) -> None:
    ids = np.ones(size, np.int32)
    for step in (ScaleJitter((64, 64), 0.1, 2.0, flip=0.5), short_edge((64, 64), share=0.5)):
        image, seen = moved(step, painted(ids), ids, 3)
        assert image.shape == (64, 64, 3)
        assert seen.shape == (64, 64)
        assert seen[0, 0] == 1


def test_the_short_edge_takes_each_length_of_the_list_and_the_long_one_keeps_its_bound() -> None:
    ids = np.ones((30, 60), np.int32)
    seen = set()
    for seed in range(60):
        view = short_edge((100, 100))(
            AugmentedPicture.of(painted(ids), Panoptic(ids, SEGMENTS)), np.random.default_rng(seed)
        )
        seen.add(view.extent)
    assert seen == {(8, 16), (20, 40), (40, 80)}


def test_a_crop_that_one_category_fills_is_drawn_again() -> None:
    """Of the two halves of a picture hardly any crop shows both unless it must."""
    ids = np.ones((8, 400), np.int32)
    ids[:, 200:] = 2
    ids[:, :40] = LARGE  # another segment, of the same category as segment 1
    ids[:, 360:] = VOID

    def mixed(share: float) -> int:
        step = ShortEdgeCrop((8, 40), (8,), long_edge=400, category_share=share, flip=0.5)
        crops = [moved(step, painted(ids), ids, seed)[1] for seed in range(200)]
        return sum({1, 2} <= set(np.unique(crop)) for crop in crops)

    free, chosen = mixed(1.0), mixed(0.9)
    assert free < 40
    assert chosen > 2.5 * free


def test_colour_jitter_leaves_segments_and_padding_alone() -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    view = AugmentedPicture(image, Panoptic(np.ones((20, 30), np.int32), SEGMENTS), (15, 10))
    changed = [ColorJitter()(view, np.random.default_rng(seed)) for seed in range(40)]
    for one in changed:
        assert one.panoptic is view.panoptic
        assert np.array_equal(one.image[15:], image[15:])
        assert np.array_equal(one.image[:, 10:], image[:, 10:])
    different = [not np.array_equal(one.image, image) for one in changed]
    # Each of the four changes skips half of the pictures, so about one in sixteen stays as it is.
    assert 30 <= sum(different) < 40


def colored(pixel: tuple[int, int, int], jitter: ColorJitter, seed: int) -> list[int]:
    view = AugmentedPicture.of(np.full((1, 1, 3), pixel, np.uint8), Panoptic(np.ones((1, 1), np.int32), SEGMENTS))
    found: list[int] = jitter(view, np.random.default_rng(seed)).image[0, 0].tolist()
    return found


def test_each_change_of_colour_is_what_its_name_says() -> None:
    off = {"brightness": 0.0, "contrast": (1.0, 1.0), "saturation": (1.0, 1.0), "hue": 0.0}
    seeds = range(60)
    red = (200, 100, 100)
    brighter = {tuple(np.subtract(colored(red, ColorJitter(**{**off, "brightness": 32}), seed), red)) for seed in seeds}
    assert all(len(set(step)) == 1 and -33 <= step[0] <= 32 for step in brighter)
    doubled = {tuple(colored(red, ColorJitter(**{**off, "contrast": (0.5, 0.5)}), seed)) for seed in seeds}
    assert doubled == {red, (100, 50, 50)}
    paler = {tuple(colored(red, ColorJitter(**{**off, "saturation": (0.5, 0.5)}), seed)) for seed in seeds}
    assert red in paler
    ((one, two, three),) = paler - {red}
    assert one == 200
    assert two == three == pytest.approx(150, abs=2)
    turned = {tuple(colored(red, ColorJitter(**{**off, "hue": 36}), seed)) for seed in seeds}
    assert all(max(pixel) == 200 and min(pixel) == pytest.approx(100, abs=2) for pixel in turned)
    assert len(turned) > 10


def test_pasted_things_cover_what_lies_below_and_keep_their_class() -> None:
    below = AugmentedPicture.of(
        np.zeros((4, 6, 3), np.uint8), Panoptic(np.full((4, 6), 7, np.int32), (Segment(7, 20, 0),))
    )
    ids = np.array([[1, 1, 2, 2, 3, 4]] * 4, np.int32)
    segments = (Segment(1, 10, 0), Segment(2, 10, 0), Segment(3, 10, 0, iscrowd=True), Segment(4, 20, 0))
    above = AugmentedPicture.of(np.full((4, 6, 3), 255, np.uint8), Panoptic(ids, segments))
    seen = set()
    for seed in range(30):
        view = pasted(below, above, {10}, np.random.default_rng(seed))
        category = {segment.id: segment.category_id for segment in view.panoptic.segments}
        assert (view.panoptic.id_map[:, 4:] == 7).all(), "crowds and stuff stay where they are"
        assert np.array_equal(view.image[..., 0] == 255, view.panoptic.id_map != 7)
        seen.add(tuple(category[one] for one in view.panoptic.id_map[0, ::2].tolist()))
    assert seen == {(20, 20, 20), (10, 20, 20), (20, 10, 20), (10, 10, 20)}
