"""The truth's runs on disk are the truth, for as long as it stays what it was."""

from pathlib import Path

import numpy as np
import pytest
from evaluation.test_overlap import maps
from hypothesis import given, settings
from hypothesis import strategies as st

from yoso_cli.errors import DataError, RunError
from yoso_cli.evaluation.run_cache import Block, RunCache, Stamp, writing
from yoso_cli.panoptic.regions import painted, runs_of
from yoso_cli.panoptic.types import IdMap

STAMP = Stamp(10, 20)


def written(path: Path, **pictures: IdMap) -> RunCache:
    with writing(path) as add:
        for name, id_map in pictures.items():
            add(name, Block.of(runs_of(id_map), STAMP))
    return RunCache(path)


def read_back(cache: RunCache, name: str) -> IdMap | None:
    runs = cache.runs(name, STAMP)
    return None if runs is None else painted(runs, runs.values)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_block_holds_every_pixel(seed: int) -> None:
    id_map = maps(seed)[0]
    runs = Block.of(runs_of(id_map), STAMP).to_runs()
    assert (runs is None) == (id_map.size == 0)
    if runs is not None:
        again = painted(runs, runs.values)
        assert np.array_equal(again, id_map)
        assert again.dtype == np.int32


def test_long_runs_and_many_ids_fit(tmp_path: Path) -> None:
    long = np.zeros((500, 700), np.int32)
    long[490:, 5:] = 9
    pictures = {"long": long, "many": np.arange(400, dtype=np.int32).reshape(4, 100) * 40_000}
    cache = written(tmp_path / "cache", **pictures)
    for name, id_map in pictures.items():
        assert np.array_equal(read_back(cache, name), id_map)


def test_a_picture_that_changed_or_is_new_is_not_in_it(tmp_path: Path) -> None:
    cache = written(tmp_path / "cache", a=np.ones((2, 2), np.int32))
    assert len(cache) == 1
    assert read_back(cache, "a") is not None
    assert cache.runs("b", STAMP) is None
    assert cache.runs("a", Stamp(10, 21)) is None
    assert cache.runs("a", Stamp(11, 20)) is None
    assert len(RunCache(tmp_path / "none yet")) == 0


def test_it_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    block = Block.of(runs_of(np.ones((2, 2), np.int32)), STAMP)
    with pytest.raises(ZeroDivisionError), writing(tmp_path / "cache") as add:
        add(f"{1 / 0}", block)
    assert not list(tmp_path.iterdir())
    with pytest.raises(RunError, match="cannot be written"), writing(tmp_path / "file" / "cache"):
        (tmp_path / "file").rmdir()


@pytest.mark.parametrize("end", [0, 5, 12, 13, 40, -1, -9])
def test_a_file_cut_short_is_damaged_or_no_cache(tmp_path: Path, end: int) -> None:
    path = tmp_path / "cache"
    written(path, a=np.arange(12, dtype=np.int32).reshape(3, 4))
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(DataError, match=r"is damaged\. Remove it|is not a truth cache"):
        RunCache(path)


def test_a_changed_byte_is_noticed_wherever_it_is(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    written(path, a=maps(7)[0], b=maps(8)[0])
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"is damaged\. Remove it|is not a truth cache"):
            [RunCache(path).runs(name, STAMP) for name in "ab"]


def test_a_file_of_version_1_which_has_no_checksums_counts_as_empty(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    written(path, a=np.ones((2, 2), np.int32))
    path.write_bytes(path.read_bytes().replace(b"yoso-runs 2", b"yoso-runs 1"))
    assert len(RunCache(path)) == 0


def test_a_file_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("{}")
    with pytest.raises(DataError, match=r"report\.json: is not a truth cache"):
        RunCache(path)
    with pytest.raises(DataError, match="cannot be read"):
        RunCache(tmp_path)
