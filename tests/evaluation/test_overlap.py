"""Pixels shared by pairs of ids: counted by runs, they are what counting pixel by pixel gives."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yoso_cli.errors import DataError
from yoso_cli.evaluation.matching import (
    LARGEST_ID,
    LISTED,
    UNLISTED,
    VOIDED,
    Overlap,
    PanopticRuns,
    Workspace,
    overlap,
)
from yoso_cli.panoptic.regions import runs_of
from yoso_cli.panoptic.types import VOID, IdMap, Panoptic, Segment


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


def panoptic(id_map: IdMap, listed: float = 1.0) -> Panoptic:
    """With a share of its ids listed, in no order."""
    ids = [int(one) for one in np.random.default_rng(1).permutation(np.unique(id_map)) if one != VOID]
    return Panoptic(id_map, tuple(Segment(one, 1, 1) for one in ids[: round(listed * len(ids))]))


def by_code(found: Overlap) -> dict[tuple[int, int], int]:
    width = LISTED + len(found.predicted)
    cells, pixels = found.cells.tolist(), found.pixels.tolist()
    return {divmod(cell, width): count for cell, count in zip(cells, pixels, strict=True)}


def by_pixel(truth: Panoptic, prediction: Panoptic) -> dict[tuple[int, int], int]:
    """The same by looking at each pixel."""
    sides = (truth, prediction)
    codes = [{VOID: VOIDED} | {one.id: LISTED + n for n, one in enumerate(side.segments)} for side in sides]
    pixels = zip(truth.id_map.ravel().tolist(), prediction.id_map.ravel().tolist(), strict=True)
    return dict(Counter((codes[0].get(true, UNLISTED), codes[1][predicted]) for true, predicted in pixels))


def by_runs(truth: Panoptic) -> PanopticRuns:
    return PanopticRuns(runs_of(truth.id_map), truth.segments)


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32 - 1), listed=st.floats(0, 1))
def test_runs_count_what_pixels_count(seed: int, listed: float) -> None:
    """The same from ids and runs, in fresh memory and in used one; true ids may be unlisted."""
    true, predicted = maps(seed)
    truth, prediction = panoptic(true, listed), panoptic(predicted)
    expected, space = by_pixel(truth, prediction), Workspace()
    several = ((truth, prediction), (by_runs(truth), prediction))
    for one, other in several:
        assert by_code(overlap(one, other)) == expected
        found = overlap(one, other, space)
        assert by_code(found) == expected
        assert found.cells.tolist() == sorted(found.cells.tolist())


def test_maps_of_noise_fit_into_memory() -> None:
    """A hundred thousand ids on each side would make a table of ten thousand million pairs."""
    true = np.arange(1, 100_001, dtype=np.int32).reshape(250, 400)
    found = overlap(panoptic(true), panoptic(true[::-1].copy()))
    assert found.pixels.tolist() == [1] * true.size


def test_a_used_workspace_does_not_know_earlier_pictures() -> None:
    space = Workspace()
    rng = np.random.default_rng(5)
    for height in (9, 3, 12):
        truth, prediction = map(panoptic, rng.integers(0, 4, (2, height, 7)).astype(np.int32))
        assert by_code(overlap(truth, prediction, space)) == by_pixel(truth, prediction)
        assert by_code(overlap(by_runs(truth), prediction, space)) == by_pixel(truth, prediction)


@pytest.mark.parametrize("stray", [-1, LARGEST_ID + 1])
def test_values_that_are_no_ids_are_refused(stray: int) -> None:
    good, bad = panoptic(np.ones((2, 3), np.int32)), Panoptic(np.full((2, 3), stray, np.int32), ())
    with pytest.raises(DataError, match=f"The predicted map holds {stray}, which is outside"):
        overlap(good, bad)
    with pytest.raises(DataError, match=f"The true map holds {stray}, which is outside"):
        overlap(bad, good)
    with pytest.raises(DataError, match=f"The true map holds {stray}, which is outside"):
        overlap(by_runs(bad), good)


def test_sizes_that_differ_are_refused_even_where_numpy_would_stretch_one() -> None:
    wide, row = panoptic(np.ones((2, 3), np.int32)), panoptic(np.ones((1, 3), np.int32))
    with pytest.raises(DataError, match="The predicted map is 3x1 pixels, the true one 3x2"):
        overlap(wide, row)
    with pytest.raises(DataError, match="The predicted map is 3x2 pixels, the true one 3x1"):
        overlap(by_runs(row), wide)


def test_ids_that_share_a_slot_are_told_apart() -> None:
    """Ids are hashed: among a hundred thousand, thousands fall together with another one."""
    ids = np.arange(1, 100_001, dtype=np.int32)
    codes = Workspace().codes(np.append(ids, [VOID, 123_456]).astype(np.int32), ids)
    assert codes.tolist() == [*range(LISTED, LISTED + len(ids)), VOIDED, UNLISTED]


def test_an_id_in_the_slot_of_another_is_not_listed() -> None:
    listed = np.array([7], np.int32)
    codes = Workspace().codes(np.arange(LARGEST_ID + 1, dtype=np.int32), listed)
    assert np.flatnonzero(codes != UNLISTED).tolist() == [VOID, 7]


@pytest.mark.parametrize("kind", [np.int64, np.uint32, np.uint16, np.uint8])
def test_maps_of_any_integers_count_alike(kind: type) -> None:
    true, predicted = np.random.default_rng(2).integers(0, 5, (2, 6, 7)).astype(np.int32)
    truth, prediction = panoptic(true), panoptic(predicted)
    found = overlap(replace(truth, id_map=true.astype(kind)), replace(prediction, id_map=predicted.astype(kind)))
    assert by_code(found) == by_pixel(truth, prediction)
