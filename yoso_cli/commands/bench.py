"""`yoso bench`: how long a picture takes on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yoso_cli.commands import advice, console, options, running, suite, timing, variants, wiring
from yoso_cli.commands.running import Running
from yoso_cli.errors import UsageError

if TYPE_CHECKING:
    from yoso_cli.commands.source import Source
    from yoso_cli.inference.predict import Predictor


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
@click.option(
    "--compare",
    "sides",
    nargs=2,
    metavar="A B",
    help="Time two variants in turn and give the ratio with its spread. Each is SOURCE,WORD,... (see above).",
)
@click.option(
    "--suite",
    type=click.Choice(["paper"]),
    help="Instead: the efficiency columns of Tables 5-10 and Fig. 5, beside the paper's figures.",
)
@click.option(
    "--table",
    "tables",
    type=click.Choice(["5", "6", "7", "8", "9", "10"]),
    multiple=True,
    show_default="all",
    help="Of the suite's tables, this one. Repeatable.",
)
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Where the suite draws Fig. 5."
)
@running.options
@options.runs_option
@options.device_option
@options.set_option
@options.json_option
def command(
    source: str | None, runs: Path, device: str, running: Running, tables: tuple[str, ...], as_json: bool, **given: Any
) -> None:
    """Time a model on this machine.

    Two figures that published tables tend to mix stay apart: the network alone, on a picture already resized and in
    the device's memory; and end to end, from a file on disk to the panoptic map at the picture's own size.

    SOURCE is a run folder, a weights file, the name of released weights (`yoso weights list`) or a URL; without it, the
    newest run is taken. A run's re-parameterised weights are used where there are any.

    A and B of --compare are a SOURCE and words with commas between them, or words alone. `trained` takes the weights
    without any fold, a fold's name (`yoso reparam --help`) adds that one, and float32, bfloat16, float16,
    channels_last, channels_first, compiled, graphs, fused, unfused, winograd, direct (no winograd) and fast_merge
    switch one side differently from what the options say for both.

    --suite paper needs no weights: it times modules and networks of random weights.

    \b
    Example:
      yoso bench
      yoso bench runs/shapes-001 --device cpu --repeats 200
      yoso bench fast.safetensors --image photo.jpg --json
      yoso bench --compare trained trained,fold_batch_norms
      yoso bench --compare float32 bfloat16
      yoso bench --suite paper --output suite
    """
    if given["suite"]:
        _refuse_beside("--suite", {"SOURCE": source, "--compare": given["sides"], "--image": given["images"]})
        running.begin()
        suite.run(device, given["output"], given["repeats"], tables, as_json)
        return
    _refuse_without_suite({"--table": tables, "--output": given["output"]})
    options.require_there(*given["images"])
    clocked = {"repeats": given["repeats"], "warmup": given["warmup"]}
    if given["sides"]:
        _refuse_beside("--compare", {"SOURCE": source, "--batch": given["batches"]})
        first, second = (variants.Variant.read(side, running) for side in given["sides"])
        where = variants.Place(runs, device, given["overrides"], given["images"])
        variants.compare(first, second, where, clocked, as_json)
        return
    from yoso_cli.commands.source import fastest_weights, read_source

    found = read_source(fastest_weights(source, runs), given["overrides"])
    _time(found, found.predictor(device, running), running, given["images"], given["batches"], clocked, as_json)


def _refuse_beside(option: str, given: dict[str, object]) -> None:
    for name in (name for name, value in given.items() if value):
        raise UsageError(f"{name} has no meaning beside {option}.", hint="Leave one of them out.")


def _refuse_without_suite(given: dict[str, object]) -> None:
    for name in (name for name, value in given.items() if value):
        raise UsageError(f"{name} belongs to --suite.", hint="Add --suite paper, or leave it out.")


def _time(
    found: "Source",
    predictor: "Predictor",
    run_as: Running,
    images: tuple[Path, ...],
    batches: tuple[int, ...],
    clocked: dict[str, int],
    as_json: bool,
) -> None:
    paths = list(images) or timing.pictures(found)
    console.say(timing.told(str(found.path), predictor, clocked))
    console.say(running.reason(predictor))
    findings = timing.measure(predictor, paths, **clocked, batches=batches)
    pq = _pq_of_merges(found, predictor, bool(images)) if run_as.fast_merge else {}
    where = timing.environment(predictor, paths, clocked["warmup"])
    value = {
        "weights": str(found.path),
        "steps": list(found.weights.steps),
        "switches": timing.switches(predictor),
        "reason": running.reason(predictor),
        **where,
        **timing.values(findings),
        "pq": pq,
    }
    merges = [f"PQ, {merge} merge: {'-' if figure is None else f'{figure:.2f}'}" for merge, figure in pq.items()]
    console.result(value, "\n".join([timing.text(findings, where), *merges]), as_json)
    console.next_step(advice.drawing(found.path, paths))


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
