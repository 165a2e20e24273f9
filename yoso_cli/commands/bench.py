"""`yoso bench`: how long a picture takes on this machine."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yoso_cli.commands import console, options, wiring

if TYPE_CHECKING:
    from yoso_cli.commands.source import Source
    from yoso_cli.inference.latency import Latency
    from yoso_cli.inference.predict import Predictor


@dataclass(frozen=True)
class Speed:
    """The two latencies of a model, never mixed, and what they were measured on."""

    forward: "Latency"
    end_to_end: "Latency"


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
@options.runs_option
@options.device_option
@options.set_option
@options.json_option
def command(
    source: str | None,
    images: tuple[Path, ...],
    repeats: int,
    warmup: int,
    runs: Path,
    device: str,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Time a model on this machine, one picture at a time.

    Two figures that published tables tend to mix stay apart: the network alone, on a picture already resized and in
    the device's memory; and end to end, from a file on disk to the panoptic map at the picture's own size.

    SOURCE is a run folder, a weights file, the name of released weights (`yoso weights list`) or a URL; without it, the
    newest run is taken. A run's re-parameterised weights are used where there are any.

    \b
    Example:
      yoso bench
      yoso bench runs/shapes-001 --device cpu --repeats 200
      yoso bench fast.safetensors --image photo.jpg --json
    """
    from yoso_cli.commands.source import fastest_weights, read_source

    found = read_source(fastest_weights(source, runs), overrides)
    predictor = found.predictor(device)
    paths = list(images) or pictures(found)
    console.say(f"Timing {found.path} on {predictor.device}: {warmup} pictures to warm up, {repeats} timed.")
    speed = time_model(predictor, paths, repeats=repeats, warmup=warmup)
    value = _value(found, predictor, speed, paths, warmup)
    console.result(value, _text(speed, value), as_json)
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


def _value(source: "Source", predictor: "Predictor", speed: Speed, paths: list[Path], warmup: int) -> dict[str, Any]:
    import torch

    from yoso_cli import machine

    def latency(measured: "Latency") -> dict[str, float]:
        return {"median_ms": measured.median, "p90_ms": measured.p90, "fps": measured.fps, "pictures": measured.count}

    cuda = predictor.device.type == "cuda"
    return {
        "weights": str(source.path),
        "steps": list(source.weights.steps),
        "device": torch.cuda.get_device_name(predictor.device) if cuda else "cpu",
        "threads": torch.get_num_threads(),
        "batch": 1,
        "short_edge": predictor.short_edge,
        "long_edge": predictor.long_edge,
        "warmup": warmup,
        "files": [str(path) for path in paths],
        "forward": latency(speed.forward),
        "end_to_end": latency(speed.end_to_end),
        "versions": machine.versions(wiring.PACKAGES),
        "machine": machine.describe(),
    }


def _text(speed: Speed, value: dict[str, Any]) -> str:
    rows = [
        (name, measured.median, measured.p90, measured.fps)
        for name, measured in (("network alone", speed.forward), ("file to segments", speed.end_to_end))
    ]
    machine = value["machine"]
    where = (
        f"{machine['cpu']}, {value['threads']} thread{'s' if value['threads'] > 1 else ''}"
        if value["device"] == "cpu"
        else value["device"]
    )
    return "\n".join(
        [
            console.table(("", "median ms", "p90 ms", "FPS"), rows),
            f"Batch 1, short edge {value['short_edge']}, {speed.forward.count} pictures, {where}.",
        ]
    )
