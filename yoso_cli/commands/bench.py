"""`yoso bench`: how long a picture takes on this machine."""

import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yoso_cli.commands import console, options, wiring
from yoso_cli.errors import UsageError

if TYPE_CHECKING:
    from yoso_cli.commands.source import Source
    from yoso_cli.inference.cost import Cost
    from yoso_cli.inference.latency import Latency, Ratio
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
        ratios: this model over the one of --compare, by what was timed.
        pq: of the exact and of the fast merge, in percent, where asked for.
    """

    speed: Speed
    batches: "list[Latency]"
    parts: dict[str, float]
    cost: "Cost"
    peak_memory: int
    ratios: "dict[str, Ratio]" = field(default_factory=dict)
    pq: dict[str, float | None] = field(default_factory=dict)


@click.command(name="bench")
@click.argument("source", required=False)
@click.option(
    "--image",
    "images",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    show_default="the validation split's first 8",
    help="Picture to time on. Repeatable.",
)
@click.option("--repeats", type=click.IntRange(1), default=50, show_default=True, help="Pictures timed.")
@click.option(
    "--warmup", type=click.IntRange(0), default=5, show_default=True, help="Pictures before the clock starts."
)
@click.option("--batch", "batches", type=click.IntRange(2), multiple=True, help="Also the network alone at this batch.")
@click.option("--compare", metavar="SOURCE", help="Time in turn with SOURCE as trained, give the ratio.")
@click.option(
    "--precision",
    type=click.Choice(["single", "bfloat16", "half"]),
    default="single",
    show_default=True,
    help="Of the network.",
)
@click.option(
    "--channels-last/--channels-first",
    default=None,
    show_default="last on a CPU, first on a GPU",
    help="Memory format of the network.",
)
@click.option("--compile", "compiled", is_flag=True, help="Run through torch.compile.")
@click.option("--graphs", is_flag=True, help="Replay CUDA graphs (GPU only).")
@click.option("--fast-merge", is_flag=True, help="Merge at the masks' size, and measure what that does to PQ.")
@click.option(
    "--suite",
    type=click.Choice(["paper"]),
    help="Instead: the efficiency columns of Tables 5-10 and Fig. 5, beside the paper's figures.",
)
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Where the suite draws."
)
@options.runs_option
@options.device_option
@options.set_option
@options.json_option
def command(source: str | None, runs: Path, device: str, as_json: bool, **chosen: Any) -> None:
    """Time a model on this machine.

    Two figures that published tables tend to mix stay apart: the network alone, on a picture already resized and in
    the device's memory; and end to end, from a file on disk to the panoptic map at the picture's own size.

    SOURCE is a run folder, a weights file, the name of released weights (`yoso weights list`) or a URL; without it, the
    newest run is taken. A run's re-parameterised weights are used where there are any.

    --suite paper needs no weights: it times modules and networks of random weights.

    \b
    Example:
      yoso bench
      yoso bench runs/shapes-001 --device cpu --repeats 200
      yoso bench fast.safetensors --image photo.jpg --json
      yoso bench runs/shapes-001 --compare runs/shapes-001
      yoso bench --suite paper --output suite
    """
    if chosen["suite"]:
        _run_suite(device, chosen["output"], chosen["repeats"], as_json)
        return
    from yoso_cli.commands.source import fastest_weights, read_source, trained_weights

    found = read_source(fastest_weights(source, runs), chosen["overrides"])
    predictor = _switched(found.predictor(device), chosen)
    paths = list(chosen["images"]) or pictures(found)
    count = {"repeats": chosen["repeats"], "warmup": chosen["warmup"]}
    console.say(
        f"Timing {found.path} on {predictor.device} ({predictor.engine.switches}): "
        f"{count['warmup']} pictures to warm up, {count['repeats']} timed."
    )
    other = read_source(trained_weights(chosen["compare"], runs)).predictor(device) if chosen["compare"] else None
    findings = measure(predictor, paths, batches=chosen["batches"], other=other, **count)
    if chosen["fast_merge"]:
        findings.pq.update(_pq_of_merges(found, predictor, bool(chosen["images"])))
    value = _value(found, predictor, findings, paths, count["warmup"])
    console.result(value, _text(findings, value), as_json)
    console.next_step(f"yoso viz image.jpg --weights {shlex.quote(str(found.path))}")


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
    predictor: "Predictor",
    paths: list[Path],
    *,
    repeats: int,
    warmup: int,
    batches: tuple[int, ...] = (),
    other: "Predictor | None" = None,
) -> Findings:
    """All figures of a model; with `other`, the two in turn as well. Raises DataError for an unreadable picture."""
    from yoso_cli.inference import cost, latency
    from yoso_cli.panoptic.files import read_image

    speed = time_model(predictor, paths, repeats=repeats, warmup=warmup)
    batched = [
        latency.measure_forward(predictor, paths[:1], repeats=repeats, warmup=warmup, batch=size) for size in batches
    ]
    parts = latency.measure_parts(predictor, paths, repeats=repeats, warmup=warmup)
    counted = cost.count(predictor.model, predictor.prepare(read_image(paths[0]))[0])
    peak = latency.peak_memory(predictor.device)
    ratios = {
        name: latency.compare(
            make(predictor, paths), make(other, paths), predictor.device, repeats=repeats, warmup=warmup
        )
        for name, make in (("forward", latency.forward_of), ("end_to_end", latency.end_to_end_of))
        if other is not None
    }
    return Findings(speed, batched, parts, counted, peak, ratios)


def _switched(predictor: "Predictor", chosen: dict[str, Any]) -> "Predictor":
    from yoso_cli.inference.engine import Engine, Switches

    last = chosen["channels_last"]
    if last is None:
        last = predictor.engine.switches.channels_last
    switches = Switches(chosen["precision"], last, chosen["compiled"], chosen["graphs"])
    predictor.engine = Engine(predictor.model, predictor.device, switches)
    predictor.merge_rule = "fast" if chosen["fast_merge"] else "exact"
    return predictor


def _pq_of_merges(source: "Source", predictor: "Predictor", named: bool) -> dict[str, float | None]:
    """PQ on the validation split with either merge. Raises UsageError where pictures without truth are named."""
    if named:
        raise UsageError("--fast-merge measures PQ, and --image has no truth.", hint="Leave --image out.")
    truth = wiring.prepared_set(source.recipe, source.recipe.data.val_split)
    report = wiring.evaluate(predictor, truth, source.recipe, source.path)
    exact = report.exact_merge
    assert exact is not None, "the fast merge was chosen"
    fast = report.quality.all.pq
    return {"exact": exact.pq, "fast": None if fast is None else 100 * fast}


def _run_suite(device: str, output: Path | None, repeats: int, as_json: bool) -> None:
    from yoso_cli.inference import paper

    rows = paper.measure(wiring.choose_device(device), repeats=min(repeats, 20), tell=console.say)
    drawn = paper.draw_contours(output) if output else []
    table = console.table(
        ("table", "row", "what", "ours", "paper"),
        [(row.table, row.name, row.what, row.ours, row.paper) for row in rows],
    )
    value = {"rows": [asdict(row) for row in rows], "notes": paper.NOTES, "contours": [str(path) for path in drawn]}
    console.result(value, "\n".join([table, "", *paper.NOTES, *map(str, drawn)]), as_json)
    console.next_step("yoso bench")


def _latency(measured: "Latency") -> dict[str, float]:
    return {
        "median_ms": measured.median,
        "p90_ms": measured.p90,
        "p99_ms": measured.p99,
        "fps": measured.fps,
        "pictures": measured.count,
        "batch": measured.batch,
    }


def _value(
    source: "Source", predictor: "Predictor", findings: Findings, paths: list[Path], warmup: int
) -> dict[str, Any]:
    import torch

    from yoso_cli import machine

    cuda = predictor.device.type == "cuda"
    ratios = {
        name: {"ratio": ratio.median, "p10": ratio.low, "p90": ratio.high} for name, ratio in findings.ratios.items()
    }
    return {
        "weights": str(source.path),
        "steps": list(source.weights.steps),
        "device": torch.cuda.get_device_name(predictor.device) if cuda else "cpu",
        "threads": torch.get_num_threads(),
        "switches": {**asdict(predictor.engine.switches), "merge": predictor.merge_rule},
        "batch": 1,
        "short_edge": predictor.short_edge,
        "long_edge": predictor.long_edge,
        "warmup": warmup,
        "clock": "perf_counter, the device waited for before and after",
        "files": [str(path) for path in paths],
        "forward": _latency(findings.speed.forward),
        "end_to_end": _latency(findings.speed.end_to_end),
        "forward_batches": [_latency(one) for one in findings.batches],
        "parts_ms": {**findings.parts, "sum": sum(findings.parts.values())},
        **asdict(findings.cost),
        "peak_memory_bytes": findings.peak_memory,
        "over_compared": ratios,
        "pq": findings.pq,
        "versions": machine.versions(wiring.PACKAGES),
        "machine": machine.describe(),
    }


def _text(findings: Findings, value: dict[str, Any]) -> str:
    speed = findings.speed
    named = [("network alone", speed.forward), ("file to segments", speed.end_to_end)]
    named += [(f"network, batch {one.batch}", one) for one in findings.batches]
    rows = [(name, one.median, one.p90, one.p99, one.fps) for name, one in named]
    machine = value["machine"]
    where = (
        f"{machine['cpu']}, {value['threads']} thread{'s' if value['threads'] > 1 else ''}"
        if value["device"] == "cpu"
        else value["device"]
    )
    flops, parameters = (sum(counts.values()) for counts in (findings.cost.flops, findings.cost.parameters))
    lines = [
        console.table(("", "median ms", "p90 ms", "p99 ms", "FPS"), rows),
        f"Batch 1, short edge {value['short_edge']}, {speed.forward.count} pictures, {where}.",
        "Parts, ms: " + ", ".join(f"{name} {mean:.1f}" for name, mean in value["parts_ms"].items()) + ".",
        f"{flops / 2e9:.2f} G multiply-adds, {parameters / 1e6:.2f} M parameters, "
        f"peak memory {findings.peak_memory / 2**20:.0f} MiB.",
    ]
    lines += [
        f"{name}: {ratio.median:.2f} times the compared one's (p10 {ratio.low:.2f}, p90 {ratio.high:.2f})."
        for name, ratio in findings.ratios.items()
    ]
    lines += [f"PQ, {merge} merge: {'-' if pq is None else f'{pq:.2f}'}" for merge, pq in findings.pq.items()]
    return "\n".join(lines)
