"""The subjects of gpu_suite.py: a random network and its baselines, at each size, within the time limit."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from straightforward import CATEGORIES, Thresholds, keeping, noise, plain, plain_panoptic, random_network

from yoso_cli.inference.engine import PRECISIONS, Switches, TorchEngine
from yoso_cli.inference.latency import Ratio, compare, milliseconds
from yoso_cli.inference.predict import Predictor
from yoso_cli.model.reparam import reparameterise
from yoso_cli.model.yoso import YOSO

# Queries that pass the score threshold, and the share of its mask that one must keep.
KEPT, OVERLAP = 30, 0.8
Edges = tuple[int, int]
# What is measured at every size.
HEADLINES = (
    Switches(),
    Switches("float16", channels_last=True),
    Switches("float16", channels_last=True, graphs=True),
    Switches("bfloat16", channels_last=True, graphs=True),
)


class Subject:
    """A network of random weights on a device.

    Args:
        device: where everything runs.
        small: in miniature, to try the script.
    """

    def __init__(self, device: torch.device, small: bool) -> None:
        self.device = device
        self.small = small
        self.repeats = 1 if small else 20
        self.sizes: list[Edges] = [(64, 96)] if small else [(800, 1333), (512, 800), (1024, 2048)]
        self.picture = noise(*((48, 64) if small else (480, 640))).numpy()
        torch.manual_seed(0)
        self.model: YOSO = random_network(KEPT, (64, 96) if small else (480, 640))[0].to(device)
        self.simple = plain(self.model)
        self._thresholds: dict[Edges, float] = {}
        self.deadline = float("inf")
        self.left_out = ""

    def each(self, several: Sequence[Switches]) -> Iterator[tuple[Edges, Switches]]:
        """Every size with each of these, as long as the section has time; after the first size only the headlines."""
        for edges in self.sizes:
            chosen = several if edges == self.sizes[0] else [one for one in several if one in HEADLINES] or several
            for switches in chosen:
                if time.monotonic() > self.deadline:
                    self.left_out = f"{_size(edges)}, {switches}, and what follows"
                    return
                yield edges, switches

    def precisions(self) -> list[Switches]:
        """Those of this device; a CPU's float16 is no aim of anybody's."""
        return [Switches(name) for name in PRECISIONS if self.device.type == "cuda" or name != "float16"]

    def combinations(self) -> list[Switches]:
        """Every combination of switches worth a look on this device, but for compilation; two of them in miniature."""
        if self.small:
            return [Switches(), Switches("bfloat16", channels_last=True)]
        graphs = (False, True) if self.device.type == "cuda" else (False,)
        return [
            Switches(one.precision, last, graphs=recorded)
            for one in self.precisions()
            for last in (False, True)
            for recorded in graphs
        ]

    def likely_best(self) -> Switches:
        """What is expected to be fastest here."""
        return Switches("float16", channels_last=True) if self.device.type == "cuda" else Switches(channels_last=True)

    def engine(self, switches: Switches) -> TorchEngine:
        """The folded network; a copy, whose memory format is its own."""
        return TorchEngine(reparameterise(self.model), self.device, switches)

    def images(self, edges: Edges) -> torch.Tensor:
        """The picture as the network sees it at this size."""
        return self.predictor(edges).prepare(self.picture).images

    def seconds_left(self) -> float:
        """Of the section's time."""
        return self.deadline - time.monotonic()

    def predictor(self, edges: Edges, switches: Switches | None = None) -> Predictor:
        """Ours at one size, with the threshold that keeps as many queries there as are to be kept."""
        made = Predictor(
            reparameterise(self.model),
            CATEGORIES,
            short_edge=edges[0],
            long_edge=edges[1],
            score_threshold=0.0,
            overlap_threshold=OVERLAP,
            device=self.device,
            switches=switches or Switches(),
        )
        if edges not in self._thresholds:
            last = self.simple(made.prepare(self.picture).images)[-1]
            self._thresholds[edges] = keeping(KEPT, last.class_logits[0].float().cpu())
        made.score_threshold = self._thresholds[edges]
        return made

    def in_turn(self, first: Callable[[], object], second: Callable[[], object]) -> Ratio:
        """Times both sides one after the other, again and again."""
        return compare(lambda _: first(), lambda _: second(), self.device, repeats=self.repeats, warmup=2)

    def milliseconds(self, call: Callable[[], object]) -> float:
        """The median of a call."""
        return milliseconds(call, self.device, self.repeats)

    def peak_mib(self, call: Callable[[], object]) -> float | None:
        """The most memory that the device held while `call` ran; None where it does not say."""
        if self.device.type != "cuda":
            return None
        torch.cuda.synchronize(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        call()
        torch.cuda.synchronize(self.device)
        return torch.cuda.max_memory_allocated(self.device) / 2**20


def straightforward(trained: YOSO, like: Predictor) -> Callable[[np.ndarray], np.ndarray]:
    """The other side, at the size and thresholds of `like`: a picture (H, W, 3) to its id map."""
    return lambda image: straightforward_segments(trained, like)(image)[0]


def straightforward_segments(
    trained: YOSO, like: Predictor
) -> Callable[[np.ndarray], tuple[np.ndarray, list[tuple[int, int]]]]:
    """The same with (id, class) of each segment."""
    simple = plain(trained)
    isthing = [category.isthing for category in like.categories]
    thresholds = Thresholds(like.score_threshold, like.overlap_threshold)

    def segments(image: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int]]]:
        with torch.inference_mode():
            images, sizes = like.prepare(image)
            last = simple(images)[-1]
            return plain_panoptic(last.mask_logits[0], last.class_logits[0], sizes, isthing, thresholds)

    return segments


def _size(edges: Iterable[int]) -> str:
    return "x".join(map(str, edges))


def named(edges: Edges, words: object) -> str:
    """`800x1333, float16, channels_last`."""
    return f"{_size(edges)}, {words}"


def spread(ratio: Ratio) -> dict[str, Any]:
    """The ratio of the two sides with its spread."""
    return {"ratio": ratio.median, "ratio_p10_p90": [ratio.low, ratio.high]}


def written(path: Path | None, text: str) -> None:
    """Keeps what was found so far."""
    if path:
        path.write_text(text + "\n")
