"""Batches are a pure function of seed and iteration, whoever loads them."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import build
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yoso_cli.errors import DataError, RunError
from yoso_cli.loading.augmentation import ScaleJitter
from yoso_cli.loading.batch import Batch, IterationOrder, batches
from yoso_cli.loading.dataset import PanopticDataset
from yoso_cli.panoptic.types import Category, PanopticSet

CATEGORIES = (Category(1, "disc", True), Category(2, "ground", False))
JITTER = ScaleJitter((32, 32), 0.5, 2.0, 0.5)


def write(folder: Path, count: int) -> PanopticSet:
    random = np.random.default_rng(0)
    pictures = [
        (random.integers(0, 256, (20, 30, 3), dtype=np.uint8), build.blocks(random, 20, 30, CATEGORIES))
        for _ in range(count)
    ]
    return build.write_set(folder / "train", CATEGORIES, pictures)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PanopticDataset:
    return PanopticDataset(write(tmp_path_factory.mktemp("set"), 5), JITTER)


def made(dataset: PanopticDataset, start: int, stop: int, *, workers: int = 0, seed: int = 3) -> list[Batch]:
    return list(batches(dataset, batch=2, seed=seed, start=start, stop=stop, workers=workers))


def assert_same(ours: list[Batch], theirs: list[Batch]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.image_ids == other.image_ids
        assert one.images.equal(other.images)
        for mine, yours in zip(one.targets, other.targets, strict=True):
            assert mine.labels.equal(yours.labels)
            assert mine.masks.equal(yours.masks)


def test_processes_that_load_change_nothing(dataset: PanopticDataset) -> None:
    assert_same(made(dataset, 0, 7, workers=1), made(dataset, 0, 7))
    assert_same(made(dataset, 4, 7, workers=2), made(dataset, 4, 7))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_processes_that_load_go_on_when_a_signal_reaches_all(dataset: PanopticDataset, number: signal.Signals) -> None:
    """A scheduler and a terminal signal them too: the step under way may still need their pictures."""
    loaded = batches(dataset, batch=2, seed=3, start=0, stop=7, workers=1)
    first = next(loaded)
    for process in multiprocessing.active_children():
        os.kill(process.pid or 0, number)
    assert_same([first, *loaded], made(dataset, 0, 7))


@settings(max_examples=15)
@given(start=st.integers(0, 6), seed=st.integers(0, 2**31))
def test_starting_later_is_skipping(dataset: PanopticDataset, start: int, seed: int) -> None:
    assert_same(made(dataset, start, 7, seed=seed), made(dataset, 0, 7, seed=seed)[start:])


def test_nothing_else_in_the_process_has_a_say(dataset: PanopticDataset) -> None:
    first = made(dataset, 0, 3)
    np.random.seed(5)
    torch.manual_seed(5)
    assert_same(made(dataset, 0, 3), first)


def test_another_seed_gives_other_batches(dataset: PanopticDataset) -> None:
    first, second = made(dataset, 0, 3, seed=0), made(dataset, 0, 3, seed=1)
    assert not all(one.images.equal(other.images) for one, other in zip(first, second, strict=True))


def test_a_batch_holds_pictures_of_one_size(dataset: PanopticDataset) -> None:
    (batch,) = made(dataset, 0, 1)
    assert batch.images.shape == (2, 3, 32, 32)
    assert batch.images.dtype == torch.uint8
    assert [target.masks.shape[1:] for target in batch.targets] == [(32, 32)] * 2
    assert [target.masks.dtype for target in batch.targets] == [torch.bool] * 2
    moved = batch.to(torch.device("cpu"))
    assert_same([moved], [batch])


orders = st.tuples(st.integers(1, 9), st.integers(1, 12), st.integers(0, 2**31))


@settings(max_examples=100)
@given(orders, st.integers(1, 4))
def test_every_sample_comes_once_in_each_epoch(order: tuple[int, int, int], epochs: int) -> None:
    length, batch, seed = order
    stop = -(-length * epochs // batch)
    stream = [key for keys in IterationOrder(length, batch=batch, seed=seed, start=0, stop=stop) for key in keys]
    for epoch in range(epochs):
        places = [place for place, _ in stream[epoch * length : (epoch + 1) * length]]
        assert sorted(places) == list(range(length))
    assert len({augmentation for _, augmentation in stream}) == len(stream), "no augmentation is used twice"


@settings(max_examples=100)
@given(orders, st.integers(0, 40), st.integers(0, 10))
def test_any_iteration_can_be_made_again(order: tuple[int, int, int], start: int, count: int) -> None:
    length, batch, seed = order
    stop = start + count
    whole = list(IterationOrder(length, batch=batch, seed=seed, start=0, stop=stop))
    part = IterationOrder(length, batch=batch, seed=seed, start=start, stop=stop)
    assert list(part) == whole[start:]
    assert len(part) == count
    assert all(len(keys) == batch for keys in part)


def test_epochs_are_shuffled_anew() -> None:
    stream = [keys[0][0] for keys in IterationOrder(20, batch=1, seed=0, start=0, stop=40)]
    assert stream[:20] != stream[20:]
    assert stream[:20] != sorted(stream[:20])


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("which", ["images", "panoptic"])
def test_an_unreadable_file_stops_with_its_name_from_any_process(tmp_path: Path, which: str, workers: int) -> None:
    dataset = PanopticDataset(write(tmp_path, 2), JITTER)
    path = tmp_path / "train" / which / "1.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError) as caught:
        made(dataset, 0, 2, workers=workers)
    assert str(path) in str(caught.value)
    assert caught.value.hint
    assert "Traceback" not in str(caught.value)
    assert "worker" not in str(caught.value)


def large(folder: Path) -> PanopticDataset:
    """Pictures whose batches are much larger than a small /dev/shm."""
    return PanopticDataset(write(folder, 5), ScaleJitter((512, 512), 0.5, 2.0, 0.5))


def test_large_batches_come_whatever_the_size_of_shared_memory(tmp_path: Path) -> None:
    dataset = large(tmp_path)
    assert_same(made(dataset, 0, 3, workers=2), made(dataset, 0, 3))


def test_a_system_without_anonymous_memory_sends_batches_through_pipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = large(tmp_path)
    monkeypatch.setattr("yoso_cli.runtime.workers._anonymous_file", lambda: None)
    assert_same(made(dataset, 0, 3, workers=1), made(dataset, 0, 3))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_loader_that_is_killed_or_stopped_is_told(
    dataset: PanopticDataset, how: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yoso_cli.runtime.workers._STOPPED", 1)
    loaded = batches(dataset, batch=2, seed=3, start=0, stop=1000, workers=2)
    next(loaded)
    os.kill(multiprocessing.active_children()[0].pid or 0, how)
    with pytest.raises(RunError, match=rf"A worker process was .* ?\(?{how.name}\)?"):
        list(loaded)
    assert not multiprocessing.active_children()


def test_loaders_end_with_a_program_that_fails_and_forgets_them(tmp_path: Path) -> None:
    """They ignore SIGTERM, with which multiprocessing would end them at exit."""
    write(tmp_path, 5)
    code = f"""
from pathlib import Path
from yoso_cli.loading.augmentation import ScaleJitter
from yoso_cli.loading.batch import batches
from yoso_cli.loading.dataset import PanopticDataset
from yoso_cli.panoptic.files import read_set
dataset = PanopticDataset(read_set(Path({str(tmp_path / "train")!r})), ScaleJitter((32, 32), 0.5, 2.0, 0.5))
loaded = batches(dataset, batch=2, seed=3, start=0, stop=10**6, workers=2)
next(loaded)
raise SystemExit(3)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False, timeout=30).returncode == 3
