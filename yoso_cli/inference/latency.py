"""How long a picture takes: the network alone, and from file to panoptic map. The two are never mixed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from yoso_cli.inference.predict import Predictor
from yoso_cli.panoptic.files import read_image


@dataclass(frozen=True)
class Latency:
    """Times of single pictures at batch 1, in milliseconds.

    Attributes:
        median: half of the pictures took no longer.
        p90: nine in ten took no longer.
        count: pictures timed, after the warm-up.
    """

    median: float
    p90: float
    count: int

    @property
    def fps(self) -> float:
        """Pictures per second at the median."""
        return 1000 / self.median


def measure_forward(predictor: Predictor, paths: Sequence[Path], *, repeats: int, warmup: int) -> Latency:
    """The network alone, on pictures already resized and in the device's memory."""
    inputs = [predictor.prepare(read_image(path))[0] for path in paths]

    def forward(index: int) -> None:
        predictor.model(inputs[index % len(inputs)])

    return _timed(forward, predictor.device, repeats=repeats, warmup=warmup)


def measure_end_to_end(predictor: Predictor, paths: Sequence[Path], *, repeats: int, warmup: int) -> Latency:
    """From a file on disk to segments at its size: decode, resize, network, postprocessing."""

    def whole(index: int) -> None:
        predictor(read_image(paths[index % len(paths)]))

    return _timed(whole, predictor.device, repeats=repeats, warmup=warmup)


def _timed(call: Callable[[int], None], device: torch.device, *, repeats: int, warmup: int) -> Latency:
    times = []
    with torch.inference_mode():
        for index in range(warmup + repeats):
            _wait(device)
            start = perf_counter()
            call(index)
            _wait(device)
            times.append(1000 * (perf_counter() - start))
    kept = np.array(times[warmup:])
    return Latency(float(np.median(kept)), float(np.percentile(kept, 90)), len(kept))


def _wait(device: torch.device) -> None:
    """A GPU works on after a call returns; the clock must not stop before it does."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
