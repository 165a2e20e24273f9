"""The efficiency columns of the paper's ablations (Tables 5 to 10) and the contours of its Fig. 5, measured anew."""

# d hidden, c channels, n tokens, t kernel size

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from yoso_cli import atomic
from yoso_cli.inference.engine import Engine, default_switches
from yoso_cli.inference.latency import milliseconds
from yoso_cli.model.aggregator import AGGREGATORS
from yoso_cli.model.attention import ATTENTIONS
from yoso_cli.model.reparam import reparameterise
from yoso_cli.model.yoso import YOSO

# FLOPs as the paper prints them, latency in microseconds on its GPU.
AGGREGATION = {"ifa": (16.6e9, 4871), "cfa": (2.1e9, 1877)}
ATTENTION = {
    "mhca": (31.5e6, 2608),
    "sdca": (5.4e6, 2183),
    "dca": (15.5e6, 1701),
    "pdca": (5.2e6, 1450),
    "ddca": (0.3e6, 1242),
}
# Table, row, the network's argument, and the paper's FPS on an RTX 3090.
NETWORKS: list[tuple[str, str, dict[str, str | int], float]] = [
    ("5", "IFA", {"aggregator": "ifa"}, 23.3),
    ("5", "CFA", {}, 29.2),
    ("6", "MHCA", {"attention": "mhca"}, 27.3),
    ("6", "DCA", {"attention": "dca"}, 30.0),
    ("6", "PDCA", {"attention": "pdca"}, 30.2),
    ("6", "DDCA", {"attention": "ddca"}, 30.3),
    ("7", "N=1", {"num_blocks": 1}, 30.1),
    ("7", "N=3", {"num_blocks": 3}, 28.9),
    ("7", "N=4", {"num_blocks": 4}, 28.7),
    ("8", "t=1", {"kernel_size": 1}, 30.6),
    ("8", "t=5", {"kernel_size": 5}, 28.3),
    ("8", "t=7", {"kernel_size": 7}, 27.6),
    ("9", "T=1", {"num_stages": 1}, 30.1),
    ("9", "T=3", {"num_stages": 3}, 28.9),
    ("10", "n=50", {"num_proposals": 50}, 33.7),
    ("10", "n=150", {"num_proposals": 150}, 26.3),
    ("10", "n=200", {"num_proposals": 200}, 24.3),
]
NOTES = [
    "Latencies and FPS in the paper are of an RTX 3090 and cannot be had on another machine; compare ratios.",
    "Table 5's FLOPs (16.6 G, 2.1 G) are those of d = 128; its text says 256, which is what is counted here.",
    "The paper counts multiply-adds; so do we. Its Table 6 adds 5 per element for LayerNorm, which is not a product.",
    "FPS here is of the network alone, folded but for Table 5's IFA row, at 800x1344 (512x800 on a CPU).",
]


@dataclass(frozen=True)
class Row:
    """One figure beside the paper's: `what` is GMAC, MMAC, us (median) or FPS (of the median)."""

    table: str
    name: str
    what: str
    ours: float
    paper: float


def measure(device: torch.device, *, repeats: int, tell: Callable[[str], None]) -> list[Row]:
    """Every figure of the tables that a network without training has. `tell` hears which table is at work."""
    torch.manual_seed(0)
    rows = []
    with torch.inference_mode():
        for part in (_aggregators, _attentions, _networks):
            for row in part(device, repeats):
                tell(f"Table {row.table}, {row.name}: {row.ours:.4g} {row.what}")
                rows.append(row)
    return rows


def _aggregators(device: torch.device, repeats: int) -> Iterator[Row]:
    """Table 5: d = 256, c2..c5 = 128..1024, h = w = 256."""
    channels = (128, 256, 512, 1024)
    pyramid = [torch.randn(1, count, 256 >> level, 256 >> level, device=device) for level, count in enumerate(channels)]
    for name, (flops, latency) in AGGREGATION.items():
        module = AGGREGATORS[name](channels, 256).to(device).eval()
        yield Row("5", name.upper(), "GMAC", _multiply_adds(module, pyramid) / 1e9, flops / 1e9)
        yield Row("5", name.upper(), "us", 1000 * milliseconds(partial(module, pyramid), device, repeats), latency)


def _attentions(device: torch.device, repeats: int) -> Iterator[Row]:
    """Table 6: n = 100, d = 256, t = 3."""
    query, value = torch.randn(1, 100, 256, device=device), torch.randn(1, 100, 256, device=device)
    for name, (flops, latency) in ATTENTION.items():
        module = ATTENTIONS[name](256, num_proposals=100, kernel_size=3, num_heads=8).to(device).eval()
        yield Row("6", name.upper(), "MMAC", _multiply_adds(module, query, value) / 1e6, flops / 1e6)
        taken = milliseconds(partial(module, query, value), device, 10 * repeats)
        yield Row("6", name.upper(), "us", 1000 * taken, latency)


def _networks(device: torch.device, repeats: int) -> Iterator[Row]:
    size = (512, 800) if device.type == "cpu" else (800, 1344)
    images = torch.rand(1, 3, *size, device=device) * 255
    for table, name, values, fps in NETWORKS:
        model = YOSO(133, **values).eval().to(device)  # type: ignore[arg-type]
        if name != "IFA":
            model = reparameterise(model)
        engine = Engine(model, device, default_switches(device))
        yield Row(table, name, "FPS", 1000 / milliseconds(partial(engine, images), device, repeats), fps)


def _multiply_adds(module: nn.Module, *inputs: object) -> float:
    """Products of matrices alone; the shifted sums of depthwise dynamic convolution are not among them."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter:
            module(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.get_total_flops() / 2


def aggregation_reduction(c: float, d: float) -> float:
    """Eq. 2 with c2 = c3 = c4 = c5 = c: operations of IFA over those of CFA."""
    return (12 * c + 4 * c * d) / ((1 / 64 + 1 / 16 + 1 / 4 + 1) * c * d + 15 * d)


def attention_reduction(n: float, d: float, t: float = 3) -> float:
    """Eq. 10 as derived, with t where the paper prints k: operations of MHCA over those of SDCA."""
    return (2 * d + n) / (t + n)


def draw_contours(folder: Path) -> list[Path]:
    """Fig. 5: both reduction ratios as SVG maps in `folder`. Raises RunError when they cannot be written."""
    channels, hidden, tokens = np.linspace(32, 1024, 32), np.linspace(32, 512, 32), np.linspace(20, 300, 32)
    left = [[aggregation_reduction(c, d) for c in channels] for d in hidden]
    right = [[attention_reduction(n, d) for n in tokens] for d in hidden]
    drawn = {
        "fig5-cfa.svg": _contour("IFA / CFA (Eq. 2)", "channels c", (32, 1024), left),
        "fig5-sdca.svg": _contour("MHCA / SDCA (Eq. 10)", "tokens n", (20, 300), right),
    }
    for name, text in drawn.items():
        with atomic.replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [folder / name for name in drawn]


def _contour(title: str, across: str, ends: tuple[int, int], grid: list[list[float]]) -> str:
    """A map of ten bands between the smallest and largest value, d = 32..512 upwards, with the bands' values."""
    values = np.array(grid)
    levels = np.linspace(values.min(), values.max(), 11)
    bands = np.clip(np.digitize(values, levels) - 1, 0, 9)
    cell = 10
    shapes = [
        f'<rect x="{60 + cell * x}" y="{30 + cell * (31 - y)}" width="{cell}" height="{cell}" '
        f'fill="hsl({240 - 24 * int(bands[y, x])},70%,60%)"/>'
        for y in range(32)
        for x in range(32)
    ]
    legend = [
        f'<rect x="400" y="{30 + 28 * band}" width="20" height="20" fill="hsl({240 - 24 * band},70%,60%)"/>'
        f'<text x="426" y="{45 + 28 * band}">{levels[band]:.2f}-{levels[band + 1]:.2f}</text>'
        for band in range(10)
    ]
    words = [
        f'<text x="60" y="20">{title}</text>',
        f'<text x="60" y="372">{across}: {ends[0]} to {ends[1]}</text>',
        '<text x="4" y="200">d</text><text x="22" y="350">32</text><text x="22" y="40">512</text>',
    ]
    body = "\n".join([*shapes, *legend, *words])
    head = '<svg xmlns="http://www.w3.org/2000/svg" width="520" height="390" font-family="sans-serif" font-size="12">'
    return f"{head}\n{body}\n</svg>\n"
