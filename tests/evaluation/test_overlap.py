"""Pixels shared by pairs of ids: counted by runs, they are what counting pixel by pixel gives."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yoso_cli.errors import DataError
from yoso_cli.evaluation.overlap import LARGEST_ID, Overlap, Workspace, overlap, runs_of
from yoso_cli.panoptic.types import IdMap


def maps(seed: int) -> tuple[IdMap, IdMap]:
    """Two maps of one size, blocky or noise, some without a pixel."""
    rng = np.random.default_rng(seed)
    height, width = (int(edge) for edge in rng.integers(0, 14, 2))
    ids = rng.choice(LARGEST_ID + 1, 9, replace=False).astype(np.int32)
    blocks = rng.choice(ids, (2, 4, 4))
    rows, columns = np.arange(height) * 4 // max(height, 1), np.arange(width) * 4 // max(width, 1)
    blocky = blocks[:, rows][:, :, columns]
    noise = rng.choice(ids, blocky.shape)
    found = np.where(rng.random(blocky.shape) < rng.choice([0, 0.2, 1]), noise, blocky)
    return found[0], found[1]


def as_counts(found: Overlap) -> list[tuple[tuple[int, int], int]]:
    pairs = zip(found.true_id.tolist(), found.predicted_id.tolist(), strict=True)
    return list(zip(pairs, found.pixels.tolist(), strict=True))


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_runs_count_what_pixels_count(seed: int) -> None:
    """In rising order, and the same from the true map as from its runs, in fresh memory and in used one."""
    true, predicted = maps(seed)
    by_pixel = Counter(zip(true.ravel().tolist(), predicted.ravel().tolist(), strict=True))
    space = Workspace()
    for truth in (true, runs_of(true), runs_of(true, space)):
        assert as_counts(overlap(truth, predicted)) == sorted(by_pixel.items())
        assert as_counts(overlap(truth, predicted, space)) == sorted(by_pixel.items())


def test_maps_of_noise_fit_into_memory() -> None:
    """A hundred thousand ids on each side would make a table of ten thousand million pairs."""
    true = np.arange(100_000, dtype=np.int32).reshape(250, 400)
    predicted = true[::-1].copy()
    found = overlap(true, predicted)
    assert found.pixels.tolist() == [1] * true.size
    assert np.array_equal(found.predicted_id, predicted.ravel())


def test_a_used_workspace_does_not_know_earlier_pictures() -> None:
    space = Workspace()
    rng = np.random.default_rng(5)
    for height in (9, 3, 12):
        true, predicted = rng.integers(0, 4, (2, height, 7)).astype(np.int32)
        assert as_counts(overlap(true, predicted, space)) == as_counts(overlap(true, predicted))
        assert as_counts(overlap(runs_of(true, space), predicted, space)) == as_counts(overlap(true, predicted))


@pytest.mark.parametrize("stray", [-1, LARGEST_ID + 1])
def test_values_that_are_no_ids_are_refused(stray: int) -> None:
    good, bad = np.ones((2, 3), np.int32), np.full((2, 3), stray, np.int32)
    with pytest.raises(DataError, match=f"The predicted map holds {stray}, which is outside"):
        overlap(good, bad)
    with pytest.raises(DataError, match=f"The true map holds {stray}, which is outside"):
        runs_of(bad)


def test_sizes_that_differ_are_refused_even_where_numpy_would_stretch_one() -> None:
    wide, row = np.ones((2, 3), np.int32), np.ones((1, 3), np.int32)
    with pytest.raises(DataError, match="The predicted map is 3x1 pixels, the true one 3x2"):
        overlap(wide, row)
    with pytest.raises(DataError, match="The predicted map is 3x2 pixels, the true one 3x1"):
        overlap(runs_of(row), wide)
