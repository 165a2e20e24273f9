"""Throughput, data loading time and peak memory of a running training."""

import contextlib
import math
import sys
import time
from collections.abc import Iterator

import torch

Metrics = dict[str, float]


class Clock:
    """Throughput since the last reading, the share of time spent waiting for data, and the remaining time."""

    def __init__(self, start: int, stop: int) -> None:
        self._stop = stop
        self._done = start
        self._since = time.monotonic()
        self._waited = 0.0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time inside as waiting for data."""
        began = time.monotonic()
        yield
        self._waited += time.monotonic() - began

    def read(self, done: int) -> Metrics:
        """`it_per_s`, `data_wait` (0..1) and `eta_s` since the last reading, after `done` steps."""
        elapsed = max(time.monotonic() - self._since, 1e-9)
        speed = (done - self._done) / elapsed
        left = (self._stop - done) / speed if speed else math.inf
        figures = {"it_per_s": speed, "data_wait": self._waited / elapsed, "eta_s": left}
        self._done, self._since, self._waited = done, time.monotonic(), 0.0
        return figures

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Excludes the time inside, such as an evaluation."""
        began = time.monotonic()
        yield
        self._since += time.monotonic() - began


def peak_memory(device: torch.device) -> float:
    """Peak memory so far in MiB: of tensors on a GPU, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # not on Windows
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
