"""All figures of one model's speed: measured, as values for programs, and as text."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yoso_cli.commands import console, running, wiring
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.commands.source import Source
    from yoso_cli.inference.cost import Cost
    from yoso_cli.inference.latency import Latency
    from yoso_cli.inference.predict import Predictor


@dataclass(frozen=True)
class Speed:
    """What a model took: the two latencies, never mixed.

    Attributes:
        forward: the network alone, batch 1.
        end_to_end: from file to segments.
    """

    forward: "Latency"
    end_to_end: "Latency"


@dataclass(frozen=True)
class Findings:
    """All that was measured of one model.

    Attributes:
        speed: both latencies at batch 1.
        batches: the network alone at the other batch sizes asked for.
        parts: mean ms of each part of the way from file to segments.
        cost: operations and parameters on the first picture.
        peak_memory: bytes, after everything above.
    """

    speed: Speed
    batches: "list[Latency]"
    parts: dict[str, float]
    cost: "Cost"
    peak_memory: int


def pictures(source: "Source") -> list[Path]:
    """The pictures to time on when none are named. Raises DataError when the split was not prepared."""
    truth = wiring.prepared_set(source.recipe, source.recipe.data.val_split)
    return [truth.image_path(record) for record in truth.records[:8]]


def time_model(predictor: "Predictor", paths: list[Path], *, repeats: int, warmup: int) -> Speed:
    """Both latencies over `paths`, again and again. Raises DataError for an unreadable picture."""
    from yoso_cli.inference.latency import measure_end_to_end, measure_forward

    return Speed(
        measure_forward(predictor, paths, repeats=repeats, warmup=warmup),
        measure_end_to_end(predictor, paths, repeats=repeats, warmup=warmup),
    )


def measure(
    predictor: "Predictor", paths: list[Path], *, repeats: int, warmup: int, batches: tuple[int, ...] = ()
) -> Findings:
    """All figures of a model. Raises DataError for an unreadable picture."""
    from yoso_cli.inference import cost, latency
    from yoso_cli.panoptic.files import read_image

    speed = time_model(predictor, paths, repeats=repeats, warmup=warmup)
    batched = [
        latency.measure_forward(predictor, paths[:1], repeats=repeats, warmup=warmup, batch=size) for size in batches
    ]
    parts = latency.measure_parts(predictor, paths, repeats=repeats, warmup=warmup)
    counted = cost.count(predictor.model, predictor.prepare(read_image(paths[0])).images)
    return Findings(speed, batched, parts, counted, latency.peak_memory(predictor.device))


def environment(predictor: "Predictor", paths: list[Path], warmup: int) -> dict[str, Any]:
    """What every figure depends on beside the weights."""
    import torch

    from yoso_cli.runtime import machine

    on_gpu = predictor.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(predictor.device) if on_gpu else "cpu",
        "threads": torch.get_num_threads(),
        "short_edge": predictor.short_edge,
        "long_edge": predictor.long_edge,
        "warmup": warmup,
        "clock": "perf_counter, the device waited for before and after",
        "files": [str(path) for path in paths],
        "versions": machine.versions(wiring.PACKAGES),
        "machine": machine.describe(),
    }


def switches(predictor: "Predictor") -> dict[str, Any]:
    """How the predictor runs, for a program."""
    return {**asdict(predictor.engine.switches), "merge": predictor.merge_rule}


def value_of(latency: "Latency") -> dict[str, float]:
    """A latency for a program."""
    return {
        "median_ms": latency.median,
        "p90_ms": latency.p90,
        "p99_ms": latency.p99,
        "fps": latency.fps,
        "pictures": latency.count,
        "batch": latency.batch,
    }


def values(findings: Findings) -> dict[str, Any]:
    """All of it for a program."""
    return {
        "batch": 1,
        "forward": value_of(findings.speed.forward),
        "end_to_end": value_of(findings.speed.end_to_end),
        "forward_batches": [value_of(one) for one in findings.batches],
        "parts_ms": {**findings.parts, "sum": sum(findings.parts.values())},
        **asdict(findings.cost),
        "peak_memory_bytes": findings.peak_memory,
    }


def text(findings: Findings, where: dict[str, Any]) -> str:
    """All of it for a person; `where` is the environment."""
    named = [("network alone", findings.speed.forward), ("file to segments", findings.speed.end_to_end)]
    named += [(f"network, batch {one.batch}", one) for one in findings.batches]
    parts = {**findings.parts, "sum": sum(findings.parts.values())}
    flops, parameters = (sum(counts.values()) for counts in (findings.cost.flops, findings.cost.parameters))
    return "\n".join(
        [
            table_of(named),
            f"Batch 1, short edge {where['short_edge']}, {counted(findings.speed.forward.count, 'picture')}, "
            f"{place(where)}.",
            "Parts, mean ms:",
            *(f"  {name:<12}{mean:>10.1f}" for name, mean in parts.items()),
            f"{flops / 2e9:.2f} G multiply-adds, {parameters / 1e6:.2f} M parameters, "
            f"peak memory {findings.peak_memory / 2**20:.0f} MiB.",
        ]
    )


def table_of(named: "list[tuple[str, Latency]]") -> str:
    """A row for each latency."""
    rows = [(name, one.median, one.p90, one.p99, one.fps) for name, one in named]
    return console.table(("", "median ms", "p90 ms", "p99 ms", "FPS"), rows)


def place(where: dict[str, Any]) -> str:
    """`AMD EPYC, 2 threads`, or the GPU's name."""
    if where["device"] != "cpu":
        return str(where["device"])
    return f"{where['machine']['cpu']}, {counted(where['threads'], 'thread')}"


def told(named: str, predictor: "Predictor", clocked: dict[str, int]) -> str:
    """What begins: for stderr."""
    return (
        f"Timing {named} on {running.shown(predictor)}: "
        f"{counted(clocked['warmup'], 'picture')} to warm up, {clocked['repeats']} timed."
    )
