"""`yoso bench`: latency and frames per second on this machine."""

import shlex
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yoso_cli.api.predictor import EngineOptions
from yoso_cli.commands import console, next_step, options
from yoso_cli.runtime.paths import require_there
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.api.benchmark import Benchmark, PaperTables, Versus
    from yoso_cli.inference.latency import Latency


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
@click.option("--repeats", type=click.IntRange(1), default=50, show_default=True, metavar="N", help="Pictures timed.")
@click.option(
    "--warmup",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    metavar="N",
    help="Untimed pictures before those.",
)
@click.option(
    "--batch",
    "batches",
    type=click.IntRange(2),
    multiple=True,
    metavar="N",
    help="Also time this batch size. Repeatable.",
)
@click.option(
    "--compare",
    "sides",
    nargs=2,
    metavar="A B",
    help="Time two variants alternately and report the ratio of their latencies. Each is SOURCE,WORD,... (see above).",
)
@click.option(
    "--suite",
    type=click.Choice(["paper"]),
    help="Reproduce the efficiency columns of Tables 5-10 instead, beside the paper's figures.",
)
@click.option(
    "--table",
    "tables",
    type=click.Choice(["5", "6", "7", "8", "9", "10"]),
    multiple=True,
    show_default="all",
    help="Only this table of the suite. Repeatable.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where the suite draws Fig. 4 (PQ over latency) and Fig. 5.",
)
@options.engine_options
@options.runs_option
@options.device_option
@options.set_option
@options.json_option
def command(
    source: str | None, engine_options: EngineOptions, tables: tuple[str, ...], as_json: bool, **given: Any
) -> None:
    """Measure the latency of a model on this machine.

    Two figures are reported: the network alone, on a picture already resized and in the device's memory; and end to
    end, from a file on disk to the panoptic map at the picture's own size.

    SOURCE is a run folder, a weights file, the name of released weights (`yoso weights list`) or a URL; without it, the
    newest run is used. A run's re-parameterised weights are preferred where there are any.

    A and B of --compare are each a SOURCE and words, separated by commas, or words alone. `trained` uses the weights
    without any fold; a fold's name (`yoso reparam --help`) adds that fold. float32, bfloat16, float16, channels_last,
    channels_first, compiled, graphs, fused, unfused, winograd, direct (no winograd) and fast_merge override the
    options for one side.

    --suite paper needs no weights: it times modules and networks with random weights.

    \b
    Example:
      yoso bench
      yoso bench runs/shapes-001 --device cpu --repeats 200
      yoso bench fast.safetensors --image photo.jpg --json
      yoso bench --compare trained trained,fold_batch_norms
      yoso bench --compare float32 bfloat16
      yoso bench --suite paper --output suite
    """
    from yoso_cli.api.benchmark import Clocking

    repeats, images = given["repeats"], given["images"]
    where = {"device": given["device"], "progress": console.TERMINAL}
    if given["suite"]:
        beside = {"SOURCE": source, "--compare": given["sides"], "--image": images}
        options.refuse(beside, "cannot be combined with --suite.", "Leave one of them out.")
        engine_options.prepare_process()
        _bench_paper({**where, "tables": tables, "repeats": repeats, "output": given["output"]}, as_json)
        return
    of_suite = {"--table": tables, "--output": given["output"]}
    options.refuse(of_suite, "needs --suite.", "Add --suite paper, or leave it out.")
    require_there(*images)
    engine_options.prepare_process()
    timed = {"repeats": repeats, "warmup": given["warmup"]}
    where |= {"pictures": images, "runs": given["runs"], "overrides": given["overrides"]}
    if given["sides"]:
        beside = {"SOURCE": source, "--batch": given["batches"]}
        options.refuse(beside, "cannot be combined with --compare.", "Leave one of them out.")
        _bench_pair(given["sides"], engine_options, {**where, "clocking": Clocking(**timed)}, as_json)
        return
    _bench(source, {**where, **timed, "batches": given["batches"], "options": engine_options}, as_json)


def _bench(source: str | None, how: dict[str, Any], as_json: bool) -> None:
    from yoso_cli.api.benchmark import benchmark

    done = benchmark(source, **how)
    console.result(done.to_dict(), _text(done), as_json)
    console.next_step(next_step.viz(done.weights, [Path(file) for file in done.environment["files"]]))


def _bench_pair(sides: tuple[str, str], given: EngineOptions, how: dict[str, Any], as_json: bool) -> None:
    from yoso_cli.api.benchmark import Variant, benchmark_pair

    first, second = (Variant.read(side, given) for side in sides)
    done = benchmark_pair(first, second, **how)
    console.result(done.to_dict(), _text_pair(done), as_json)
    console.next_step(f"yoso bench {shlex.quote(str(done.models[1].path))}")


def _bench_paper(how: dict[str, Any], as_json: bool) -> None:
    from yoso_cli.api.benchmark import benchmark_paper

    done = benchmark_paper(**how)
    notes = [textwrap.fill(note, 79, subsequent_indent="  ") for note in done.notes]
    console.result(done.to_dict(), "\n".join([_paper_table(done), "", *notes, *map(str, done.figures)]), as_json)
    console.next_step("yoso bench")


def _text(done: "Benchmark") -> str:
    """All figures of one model as text."""
    where, forward = done.environment, done.speed.forward
    named = [("network alone", forward), ("file to segments", done.speed.end_to_end)]
    named += [(f"network, batch {one.batch}", one) for one in done.batches]
    parts = {**done.parts, "sum": sum(done.parts.values())}
    flops, parameters = (sum(counts.values()) for counts in (done.cost.flops, done.cost.parameters))
    merges = [f"PQ, {merge} merge: {'-' if figure is None else f'{figure:.2f}'}" for merge, figure in done.pq.items()]
    return "\n".join(
        [
            _latencies(named),
            f"Batch 1, short edge {where['short_edge']}, {counted(forward.count, 'picture')}, {_place(where)}.",
            "Parts, mean ms:",
            *(f"  {name:<12}{mean:>10.1f}" for name, mean in parts.items()),
            f"{flops / 2e9:.2f} G multiply-adds, {parameters / 1e6:.2f} M parameters, "
            f"peak memory {done.peak_memory / 2**20:.0f} MiB.",
            *merges,
        ]
    )


def _text_pair(done: "Versus") -> str:
    names = {"forward": "network alone", "end_to_end": "file to segments"}
    rows = [
        (f"{side}, {names[name]}", one)
        for name, ratio in done.ratios.items()
        for side, one in (("A", ratio.first), ("B", ratio.second))
    ]
    told = [
        f"A took {ratio.median:.2f} times as long as B, {names[name]} (p10 {ratio.low:.2f}, p90 {ratio.high:.2f})."
        for name, ratio in done.ratios.items()
    ]
    timed = next(iter(done.ratios.values())).first.count
    last = f"Timed alternately, {counted(timed, 'picture')} each, {_place(done.environment)}."
    return "\n".join([_latencies(rows), *told, last])


def _paper_table(done: "PaperTables") -> str:
    columns = ("table", "row", "what", "ours", "paper", "of base", "paper's")
    return console.table(
        columns,
        [
            (
                *(row.table, row.name, row.what),
                # A CPU makes one or two pictures a second.
                f"{row.ours:.{2 if row.ours < 10 else 1}f}",
                row.paper,
                *(f"{row.ours_of_base:.2f}", f"{row.paper_of_base:.2f}"),
            )
            for row in done.rows
        ],
    )


def _latencies(named: "Sequence[tuple[str, Latency]]") -> str:
    """A row for each."""
    rows = [(name, one.median, one.p90, one.p99, one.fps) for name, one in named]
    return console.table(("", "median ms", "p90 ms", "p99 ms", "FPS"), rows)


def _place(where: dict[str, Any]) -> str:
    """`AMD EPYC, 2 threads`, or the GPU's name."""
    if where["device"] != "cpu":
        return str(where["device"])
    return f"{where['machine']['cpu']}, {counted(where['threads'], 'thread')}"
