"""What the clock sees: the network alone or the whole way, without the warm-up."""

from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import torch
from inference.test_predict import noise, predictor
from PIL import Image

from yoso_cli.errors import DataError
from yoso_cli.inference import latency
from yoso_cli.inference.latency import Latency, compare, measure_end_to_end, measure_forward, measure_parts

BOTH = pytest.mark.parametrize("measure", [measure_forward, measure_end_to_end])


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    found = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, size in zip(found, ((30, 40), (40, 30)), strict=True):
        Image.fromarray(noise(*size)).save(path)
    return found


@BOTH
def test_figures_are_positive_and_counted(measure, paths: list[Path]) -> None:
    ours = predictor()
    shapes = []
    ours.engine.network.register_forward_pre_hook(lambda _, args: shapes.append(args[0].shape))
    found = measure(ours, paths, repeats=3, warmup=2)
    assert found.count == 3
    assert 0 < found.median <= found.p90
    assert found.fps == pytest.approx(1000 / found.median)
    assert len(shapes) == 5
    assert shapes[::2] == [(1, 3, 64, 64)] * 3
    assert shapes[0][2:] == shapes[1][:1:-1], "pictures take turns"


@BOTH
def test_the_warm_up_does_not_count(measure, paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock on which the calls take 1000 and 1000 ms, then 10, 20, 30, 40 and 50 ms."""
    durations = [1.0, 1.0, 0.01, 0.02, 0.03, 0.04, 0.05]
    ticks: Iterator[float] = iter(accumulate([0.0, *(part for one in durations for part in (one, 7.0))]))
    monkeypatch.setattr(latency, "perf_counter", lambda: next(ticks))
    found = measure(predictor(), paths, repeats=5, warmup=2)
    assert found.count == 5
    assert found.median == pytest.approx(30)
    assert found.p90 == pytest.approx(float(np.percentile([10, 20, 30, 40, 50], 90)))
    assert found.fps == pytest.approx(1000 / 30)


def test_the_network_alone_decodes_nothing_while_the_clock_runs(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    original = latency.read_image
    monkeypatch.setattr(latency, "read_image", lambda path: read.append(path) or original(path))
    measure_forward(predictor(), paths, repeats=5, warmup=1)
    assert read == paths
    read.clear()
    measure_end_to_end(predictor(), paths, repeats=4, warmup=1)
    assert read == [paths[0], paths[1], paths[0], paths[1], paths[0]]


def test_no_gradient_is_kept(paths: list[Path]) -> None:
    ours = predictor()
    kept = []
    ours.engine.network.register_forward_hook(lambda _, __, outputs: kept.append(outputs[-1].mask_logits.requires_grad))
    measure_forward(ours, paths, repeats=1, warmup=0)
    assert kept == [False]
    assert not torch.is_inference_mode_enabled()


@BOTH
def test_an_unreadable_picture_is_named(measure, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png"):
        measure(predictor(), [tmp_path / "gone.png"], repeats=1, warmup=0)


def test_frames_per_second_are_those_of_the_median() -> None:
    assert Latency(median=20.0, p90=50.0, p99=50.0, count=3).fps == 50
    assert Latency(median=20.0, p90=50.0, p99=50.0, count=3, batch=4).fps == 200


def test_two_variants_take_turns_and_their_ratio_has_a_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock on which A always takes three times as long as B."""
    calls: list[str] = []
    now = 0.0

    def taking(name: str, seconds: float):
        def call(index: int) -> None:
            nonlocal now
            now += seconds * (1 + index)
            calls.append(name)

        return call

    monkeypatch.setattr(latency, "perf_counter", lambda: now)
    found = compare(taking("A", 3.0), taking("B", 1.0), torch.device("cpu"), repeats=4, warmup=1)
    assert "".join(calls) == "ABBAABBAAB"
    assert (found.low, found.median, found.high) == pytest.approx((3.0, 3.0, 3.0))
    assert found.first.count == found.second.count == 4


def test_the_parts_add_up_to_the_total(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    ours = predictor()
    found = measure_parts(ours, paths, repeats=2, warmup=1)
    assert list(found) == ["decode", "resize", "backbone", "pyramid", "aggregation", "decoder", "merge"]
    assert all(milliseconds > 0 for milliseconds in found.values())
    monkeypatch.setattr(latency, "perf_counter", lambda: pytest.fail("the clock still runs with the network"))
    ours(noise(30, 40))


def test_a_batch_is_one_call(paths: list[Path]) -> None:
    ours = predictor()
    shapes = []
    ours.engine.network.register_forward_pre_hook(lambda _, args: shapes.append(args[0].shape[0]))
    assert measure_forward(ours, paths, repeats=1, warmup=0, batch=3).batch == 3
    assert shapes == [3]
