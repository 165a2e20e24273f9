"""Measuring latency: of the network alone, from file to panoptic map, and of each stage."""

import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from yoso_cli.inference.predict import Predictor
from yoso_cli.panoptic.photos import read_image


@dataclass(frozen=True)
class Latency:
    """Times of single calls, in milliseconds.

    Attributes:
        median: the 50th percentile.
        p90: the 90th percentile.
        p99: the 99th percentile.
        count: calls timed, after the warm-up.
        batch: pictures in a call.
    """

    median: float
    p90: float
    p99: float
    count: int
    batch: int = 1

    @property
    def fps(self) -> float:
        """Pictures per second at the median."""
        return 1000 * self.batch / self.median


@dataclass(frozen=True)
class Ratio:
    """The latency ratio of A to B from alternating calls; above 1, B is faster.

    Attributes:
        median: of the ratios of neighbouring calls.
        low: the 10th percentile.
        high: the 90th percentile.
        first: A's times.
        second: B's times.
    """

    median: float
    low: float
    high: float
    first: Latency
    second: Latency


def measure_forward(
    predictor: Predictor, paths: Sequence[Path], *, repeats: int, warmup: int, batch: int = 1
) -> Latency:
    """The network alone, on resized pictures in device memory; a batch repeats the same picture `batch` times."""
    return _latency(_timed(forward_of(predictor, paths, batch), predictor.device, repeats, warmup), batch)


def measure_end_to_end(predictor: Predictor, paths: Sequence[Path], *, repeats: int, warmup: int) -> Latency:
    """From a file on disk to segments at its size: decode, resize, network, postprocessing."""
    return _latency(_timed(end_to_end_of(predictor, paths), predictor.device, repeats, warmup))


def compare(
    first: Callable[[int], object], second: Callable[[int], object], device: torch.device, *, repeats: int, warmup: int
) -> Ratio:
    """Times two calls alternately, so that changes in the machine's load affect both."""
    times = _interleaved((first, second), device, repeats, warmup)
    low, median, high = np.percentile(times[:, 0] / times[:, 1], (10, 50, 90)).tolist()
    return Ratio(median, low, high, _latency(times[:, 0]), _latency(times[:, 1]))


def interleaved(
    calls: Sequence[Callable[[int], object]], device: torch.device, *, repeats: int, warmup: int
) -> list[Latency]:
    """Times several calls in round-robin order."""
    return [_latency(column) for column in _interleaved(calls, device, repeats, warmup).T]


def measure_parts(predictor: Predictor, paths: Sequence[Path], *, repeats: int, warmup: int) -> dict[str, float]:
    """Mean milliseconds of each stage from file to segments; their sum is the total.

    The clock stops between parts, so on a GPU, where parts overlap, their sum is larger than the end-to-end time.
    """
    rows = [_parts(predictor, paths[index % len(paths)]) for index in range(warmup + repeats)][warmup:]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def milliseconds(call: Callable[[], object], device: torch.device, repeats: int) -> float:
    """The median of `repeats` calls after three warm-up calls."""
    return _latency(_timed(lambda _: call(), device, repeats, 3)).median


def peak_memory(device: torch.device) -> int:
    """Peak memory in bytes: allocated by torch on a GPU, else resident memory of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Linux counts in kilobytes, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forward_of(predictor: Predictor, paths: Sequence[Path], batch: int = 1) -> Callable[[int], None]:
    """A call that runs the network on picture number `index`, read beforehand."""
    calls = [predictor.forward_of(read_image(path), batch) for path in paths]

    def forward(index: int) -> None:
        calls[index % len(calls)]()

    return forward


def end_to_end_of(predictor: Predictor, paths: Sequence[Path]) -> Callable[[int], None]:
    """A call that goes from file number `index` to segments."""

    def whole(index: int) -> None:
        predictor(read_image(paths[index % len(paths)]))

    return whole


def _parts(predictor: Predictor, path: Path) -> dict[str, float]:
    clock, parts = _Clock(predictor.device), predictor.engine.parts()
    hooks = [part.register_forward_hook(clock.after(name)) for name, part in parts.items()]
    if parts:
        # The picture is padded between its resizing and the first module.
        hooks.append(next(iter(parts.values())).register_forward_pre_hook(clock.after("resize")))
    try:
        image = read_image(path)
        clock.lap("decode")
        shown = predictor.resized(image)
        clock.lap("resize")
        with torch.inference_mode():
            answer = predictor.answer([shown])
            clock.lap(next(reversed(parts), "network"))
            predictor.merge(answer, (shown[0].sizes,))
        clock.lap("merge")
    finally:
        for hook in hooks:
            hook.remove()
    return clock.laps


class _Clock:
    """Milliseconds between laps, by name; laps of one name are summed."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.laps: dict[str, float] = {}
        _wait(device)
        self._last = perf_counter()

    def after(self, name: str) -> Callable[..., None]:
        """A hook that ends a lap when a module has run."""
        return lambda *_: self.lap(name)

    def lap(self, name: str) -> None:
        _wait(self._device)
        now = perf_counter()
        self.laps[name] = self.laps.get(name, 0.0) + 1000 * (now - self._last)
        self._last = now


def _timed(call: Callable[[int], object], device: torch.device, repeats: int, warmup: int) -> "np.ndarray":
    with torch.inference_mode():
        return np.array([_once(call, index, device) for index in range(warmup + repeats)][warmup:])


def _interleaved(
    calls: Sequence[Callable[[int], object]], device: torch.device, repeats: int, warmup: int
) -> "np.ndarray":
    """Milliseconds, (repeats, calls)."""
    times = np.zeros((warmup + repeats, len(calls)))
    with torch.inference_mode():
        for index, row in enumerate(times):
            # The order rotates, so that each call goes first equally often.
            for step in range(len(calls)):
                place = (index + step) % len(calls)
                row[place] = _once(calls[place], index, device)
    return times[warmup:]


def _once(call: Callable[[int], object], index: int, device: torch.device) -> float:
    _wait(device)
    start = perf_counter()
    call(index)
    _wait(device)
    return 1000 * (perf_counter() - start)


def _latency(times: "np.ndarray", batch: int = 1) -> Latency:
    median, p90, p99 = np.percentile(times, (50, 90, 99)).tolist()
    return Latency(median, p90, p99, len(times), batch)


def _wait(device: torch.device) -> None:
    """Waits for the GPU, which continues after a call returns."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
