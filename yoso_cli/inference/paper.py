"""The efficiency columns of the paper's ablations (Tables 5 to 10), measured here and as published."""

# d hidden, c channels, n tokens, t kernel size

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from yoso_cli.inference import cost
from yoso_cli.inference.engine import TorchEngine, switches_for
from yoso_cli.inference.latency import interleaved
from yoso_cli.model.aggregator import AGGREGATORS
from yoso_cli.model.attention import ATTENTIONS
from yoso_cli.model.reparam import STEPS, reparameterise
from yoso_cli.model.yoso import YOSO

# Operations as the paper prints them, latency in microseconds on its GPU.
AGGREGATION = {"ifa": (16.6e9, 4871), "cfa": (2.1e9, 1877)}
ATTENTION = {
    "mhca": (31.5e6, 2608),
    "sdca": (5.4e6, 2183),
    "dca": (15.5e6, 1701),
    "pdca": (5.2e6, 1450),
    "ddca": (0.3e6, 1242),
}
# c2..c5 and h = w of Table 5.
CHANNELS, EDGE = (128, 256, 512, 1024), 256
# d of the text, and d of the printed operation counts.
HIDDEN = (256, 128)
Value = str | int
# Table: rows with the network's arguments and the paper's FPS on an RTX 3090. The row without arguments is the default.
NETWORKS: dict[str, dict[str, tuple[dict[str, Value], float]]] = {
    "5": {"IFA": ({"aggregator": "ifa"}, 23.3), "CFA": ({}, 29.2)},
    "6": {
        "MHCA": ({"attention": "mhca"}, 27.3),
        "SDCA": ({}, 29.2),
        "DCA": ({"attention": "dca"}, 30.0),
        "PDCA": ({"attention": "pdca"}, 30.2),
        "DDCA": ({"attention": "ddca"}, 30.3),
    },
    "7": {
        "N=1": ({"num_blocks": 1}, 30.1),
        "N=2": ({}, 29.2),
        "N=3": ({"num_blocks": 3}, 28.9),
        "N=4": ({"num_blocks": 4}, 28.7),
    },
    "8": {
        "t=1": ({"kernel_size": 1}, 30.6),
        "t=3": ({}, 29.2),
        "t=5": ({"kernel_size": 5}, 28.3),
        "t=7": ({"kernel_size": 7}, 27.6),
    },
    "9": {"T=1": ({"num_stages": 1}, 30.1), "T=2": ({}, 29.2), "T=3": ({"num_stages": 3}, 28.9)},
    "10": {
        "n=50": ({"num_proposals": 50}, 33.7),
        "n=100": ({}, 29.2),
        "n=150": ({"num_proposals": 150}, 26.3),
        "n=200": ({"num_proposals": 200}, 24.3),
    },
}
NOTES = (
    "Operations are counted as the paper counts them: a multiply-add is one, an interpolated value four, a normalised "
    "one five.",
    "Table 5: the caption says d = 256, and the operations (16.6 G, 2.1 G) are those of d = 128. Which d the latencies "
    "are for is unclear.",
    "Table 6: MHCA has 8 heads there. DDCA convolves channels and not tokens, other than the text says, and its PQ is "
    "46.6 in the table and 46.7 in the text.",
    "Eq. 10 prints k where it means t. Fig. 5 has no axis values in the text: the ranges here are ours.",
    "Latencies and FPS are of an RTX 3090 and cannot be had on another machine: compare the columns `of base`, each "
    "row over its table's base on one machine, from calls in turn.",
    "FPS here is of the network alone, batch 1, every fold applied but IFA's own, at 800x1344 (512x800 on a CPU). The "
    "paper does not say what its FPS includes.",
    "PQ needs training on COCO: it stands in the recipes as a target, and `yoso eval` prints ours beside it.",
)


@dataclass(frozen=True)
class Row:
    """One figure beside the paper's.

    Attributes:
        table: its number.
        name: of the row.
        what: G or M operations, us (median latency) or FPS (of the median).
        ours: the figure.
        paper: the printed one.
        ours_of_base: ours over ours of the table's base row.
        paper_of_base: the same of the printed ones.
    """

    table: str
    name: str
    what: str
    ours: float
    paper: float
    ours_of_base: float
    paper_of_base: float


def measure(
    device: torch.device, *, repeats: int, tell: Callable[[str], None], tables: Sequence[str] = tuple(NETWORKS)
) -> list[Row]:
    """Every figure of the tables that a network without training has.

    Args:
        device: where to measure.
        repeats: calls of each network; the small modules are called ten times as often.
        tell: called with each figure when it is measured.
        tables: which of them.
    """
    torch.manual_seed(0)
    rows = []
    with torch.inference_mode():
        for table in tables:
            for row in _table(table, device, repeats):
                tell(f"Table {row.table}, {row.name}: {row.ours:.4g} {row.what}")
                rows.append(row)
    return rows


def _table(table: str, device: torch.device, repeats: int) -> Iterator[Row]:
    modules = {"5": _aggregators, "6": _attentions}
    if table in modules:
        yield from modules[table](device, repeats)
    yield from _networks(table, device, repeats)


def _aggregators(device: torch.device, repeats: int) -> Iterator[Row]:
    """Table 5 for either d."""
    pyramid = [
        torch.randn(1, count, EDGE >> level, EDGE >> level, device=device) for level, count in enumerate(CHANNELS)
    ]
    if switches_for(device).channels_last:
        pyramid = [x.contiguous(memory_format=torch.channels_last) for x in pyramid]
    for hidden in HIDDEN:
        modules = {f"{name.upper()}, d={hidden}": AGGREGATORS[name](CHANNELS, hidden) for name in AGGREGATION}
        printed = dict(zip(modules, AGGREGATION.values(), strict=True))
        counts = {name: operations(module, pyramid) / 1e9 for name, module in modules.items()}
        yield from _beside("5", "G", counts, {name: flops / 1e9 for name, (flops, _) in printed.items()})
        times = _microseconds(modules, (pyramid,), device, 2 * repeats)
        yield from _beside("5", "us", times, {name: latency for name, (_, latency) in printed.items()})


def _attentions(device: torch.device, repeats: int) -> Iterator[Row]:
    """Table 6: n = 100, d = 256, t = 3."""
    query, value = torch.randn(1, 100, 256, device=device), torch.randn(1, 100, 256, device=device)
    modules = {name.upper(): ATTENTIONS[name](256, num_proposals=100, kernel_size=3, num_heads=8) for name in ATTENTION}
    counts = {name: operations(module, query, value) / 1e6 for name, module in modules.items()}
    yield from _beside("6", "M", counts, {name.upper(): flops / 1e6 for name, (flops, _) in ATTENTION.items()})
    times = _microseconds(modules, (query, value), device, 10 * repeats)
    yield from _beside("6", "us", times, {name.upper(): latency for name, (_, latency) in ATTENTION.items()})


def _networks(table: str, device: torch.device, repeats: int) -> Iterator[Row]:
    size = (512, 800) if device.type == "cpu" else (800, 1344)
    images = torch.rand(1, 3, *size, device=device) * 255
    engines = {name: _engine(values, device) for name, (values, _) in NETWORKS[table].items()}
    base = next(name for name, (values, _) in NETWORKS[table].items() if not values)
    taken = _medians({name: partial(engine, images) for name, engine in engines.items()}, device, repeats)
    printed = {name: fps for name, (_, fps) in NETWORKS[table].items()}
    yield from _beside(table, "FPS", {name: 1000 / time for name, time in taken.items()}, printed, base)


def _engine(values: Mapping[str, Any], device: torch.device) -> TorchEngine:
    model = YOSO(133, **values).eval().to(device)
    # IFA is not folded, as Table 5 compares it; everything else is folded in both.
    steps = tuple(step for step in STEPS if step != "ifa_to_cfa")
    return TorchEngine(reparameterise(model, steps), device, switches_for(device))


def _microseconds(
    modules: Mapping[str, nn.Module], inputs: Sequence[object], device: torch.device, repeats: int
) -> dict[str, float]:
    placed = {name: module.to(device).eval() for name, module in modules.items()}
    calls = {name: partial(module, *inputs) for name, module in placed.items()}
    return {name: 1000 * taken for name, taken in _medians(calls, device, repeats).items()}


def _medians(calls: Mapping[str, Callable[[], object]], device: torch.device, repeats: int) -> dict[str, float]:
    """Milliseconds of each call, all of them in turn."""
    times = interleaved(
        [_numbered(call) for call in calls.values()], device, repeats=repeats, warmup=1 if device.type == "cpu" else 3
    )
    return dict(zip(calls, (one.median for one in times), strict=True))


def _numbered(call: Callable[[], object]) -> Callable[[int], object]:
    """The same call for every index."""
    return lambda _: call()


def _beside(
    table: str, what: str, ours: Mapping[str, float], paper: Mapping[str, float], base: str | None = None
) -> Iterator[Row]:
    """A row for each name; the base is the first one where none is named."""
    base = base or next(iter(ours))
    for name, figure in ours.items():
        yield Row(table, name, what, figure, paper[name], figure / ours[base], paper[name] / paper[base])


def operations(module: nn.Module, *inputs: Tensor | list[Tensor]) -> int:
    """Operations of `module` as the paper's Tables 5 and 6 count them; by shapes alone, nothing is computed.

    A multiply-add is one, the shifted sums of a depthwise convolution among them; a bilinearly interpolated value is
    four, and one that passes a LayerNorm five. These rules reproduce every printed figure.
    """
    aten = torch.ops.aten
    counted = {aten.upsample_bilinear2d: _each(4), aten.native_layer_norm: _each(5), aten.mul: _each(1)}
    # In inference mode, torch 2.14 decomposes interpolation into three products per value before it is counted.
    with torch.inference_mode(False):
        shapes = [[x.to("meta") for x in one] if isinstance(one, list) else one.to("meta") for one in inputs]
        return cost.flops(copy.deepcopy(module).to("meta"), shapes, counted) // 2


def _each(count: int) -> Callable[..., int]:
    """A fixed number of multiply-adds for each output value."""

    def flops(*_: Any, out_shape: Any, **__: Any) -> int:
        first = out_shape if isinstance(out_shape[0], int) else out_shape[0]
        return 2 * count * math.prod(first)

    return flops
