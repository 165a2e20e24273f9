"""`yoso predict`: predictions as files for other tools."""

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yoso_cli.commands import console, options
from yoso_cli.errors import UsageError
from yoso_cli.media.frames import FrameChoice
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.api.predict_files import Outcome
    from yoso_cli.conversion.prediction_folder import Line, Part
    from yoso_cli.media.inputs import Input, Inputs

_SHARD = re.compile(r"([1-9]\d*)/([1-9]\d*)")


@dataclass(frozen=True)
class _Order:
    """What is to be written, and how."""

    output: Path
    formats: tuple[str, ...]
    frames: FrameChoice
    min_score: float
    batch: int
    shard: str | None
    fail_fast: bool
    verbose: bool
    force: bool
    as_json: bool


@click.command(name="predict")
@click.argument("inputs", nargs=-1)
@click.option("--output", "-o", type=click.Path(path_type=Path), metavar="DIR", required=True, help="Where to write.")
@click.option(
    "--format",
    "formats",
    multiple=True,
    default=("panoptic",),
    show_default=True,
    metavar="FORMAT",
    help="panoptic, coco-instances, semantic, masks, labelme, yolo-seg or cvat; several after commas, or repeated.",
)
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    metavar="SCORE",
    help="Leave segments below this score void, as for pseudo-labels.",
)
@options.recursive_option
@options.frame_options
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Batch size.")
@click.option("--shard", metavar="I/N", help="Predict the Ith of N parts only; torchrun's processes need no --shard.")
@click.option("--gather", is_flag=True, help="Predict nothing: join what the parts in --output have finished.")
@click.option(
    "--resume",
    is_flag=True,
    expose_value=False,
    help="Go on where it was interrupted; the same line without it does that too.",
)
@click.option("--fail-fast", is_flag=True, help="Stop at the first picture that cannot be read.")
@click.option("--verbose", "-v", is_flag=True, help="Print a line for each picture to stderr.")
@options.model_options
@options.datasets_option
@click.option("--force", is_flag=True, help="Remove the predictions in --output first.")
@options.json_option
def command(
    inputs: tuple[str, ...], chosen: options.ModelOptions, recursive: bool, gather: bool, root: Path, **order: Any
) -> None:
    """Predict INPUTS and write the segments as files for other tools.

    INPUTS are photos, folders, patterns such as 'photos/**/*.jpg', @LIST (a file with an input on each line), - (such
    a list or one picture on stdin), URLs, videos, and prepared splits such as mine/val. A picture keeps its place: the
    files of photos/a/1.jpg are called a/1. Those of each format but panoptic are in a folder of its name.

    Each picture's files are written as soon as it is done. The same line goes on where it was interrupted. A picture
    that cannot be read is named and passed over, and the exit code is 1 then.

    \b
    Example:
      yoso predict photos/ -o preds
      yoso predict photos/ -o preds --format coco-instances,labelme --weights coco
      yoso predict mine/test -o preds --min-score 0.8
      yoso convert preds datasets/pseudo/train --from prepared
      yoso predict photos/ -o preds --shard 3/8     # in each job of an array
      torchrun --nproc-per-node 4 -m yoso_cli predict photos/ -o preds
    """
    from yoso_cli.conversion.prediction_formats import require_formats

    names = tuple(dict.fromkeys(name.strip() for one in order.pop("formats") for name in one.split(",")))
    wanted = _Order(formats=names, **order)
    if gather:
        _gather(inputs, wanted)
        return
    if not inputs:
        raise UsageError("INPUTS are missing.", hint="Name photos, a folder, or another input: see --help.")
    require_formats(names)
    part = _part(wanted.shard)
    _predict(options.found_inputs(inputs, recursive, root), chosen, wanted, part)


def _predict(found: "Inputs", chosen: options.ModelOptions, wanted: _Order, part: "Part") -> None:
    from yoso_cli.api.predict import using
    from yoso_cli.api.predict_files import predict_files
    from yoso_cli.conversion.prediction_folder import remove_predictions

    file = chosen.read(console.TERMINAL)
    model = chosen.build(file, found)
    console.say(using(model))
    if wanted.force:
        remove_predictions(wanted.output)
    outcome = predict_files(
        model,
        found,
        wanted.output,
        formats=wanted.formats,
        min_score=wanted.min_score,
        frames=wanted.frames,
        batch=wanted.batch,
        part=part,
        fail_fast=wanted.fail_fast,
        each=_told if wanted.verbose else None,
        progress=console.TERMINAL,
    )
    _report(outcome, wanted, str(model.path))


def _part(shard: str | None) -> "Part":
    """The share of this process: of --shard, or its rank under torchrun."""
    from yoso_cli.conversion.prediction_folder import WHOLE, Part

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if shard is None:
        return Part(int(os.environ.get("RANK", "0")) + 1, processes) if processes > 1 else WHOLE
    if processes > 1:
        raise UsageError("--shard cannot be used under torchrun, which divides INPUTS already.")
    match = _SHARD.fullmatch(shard)
    if match is None or int(match[1]) > int(match[2]):
        raise UsageError(f"--shard {shard}: is not I/N.", hint="The first of four parts is 1/4, the last 4/4.")
    return Part(int(match[1]), int(match[2]))


def _gather(inputs: tuple[str, ...], wanted: _Order) -> None:
    from yoso_cli.conversion.prediction_folder import gather

    if inputs:
        raise UsageError("--gather takes no INPUTS: it joins what is in --output.")
    output = wanted.output
    count, missing = gather(output)
    if missing:
        console.say(f"Parts that are not complete: {', '.join(missing)}.")
    value = {"output": str(output), "pictures": count, "incomplete_parts": missing}
    console.result(value, f"{output}: {counted(count, 'picture')} joined", wanted.as_json)
    console.next_step(_next(output))


def _told(one: "Input", line: "Line") -> None:
    if not line.files:  # the end of a video, whose frames were told
        return
    files = line.files[0] + (", ..." if len(line.files) > 1 else "")
    console.say(f"{one.source} -> {files}")


def _report(outcome: "Outcome", wanted: _Order, weights: str) -> None:
    output, formats = wanted.output, wanted.formats
    how = f"{counted(outcome.done, 'input')} done so far; the same line goes on with the others."
    console.require_finished(outcome.ended, how)
    value: dict[str, Any] = {
        "weights": weights,
        "output": str(output),
        "formats": list(formats),
        "predicted": outcome.predicted,
        "frames": outcome.frames,
        "skipped": outcome.skipped,
        "failures": [one.to_json() for one in outcome.failures],
        "complete": outcome.complete,
        "seconds": outcome.seconds,
        "waiting_seconds": outcome.waiting.seconds,
    }
    before = f" ({outcome.skipped} there before)" if outcome.skipped else ""
    frames = f", {counted(outcome.frames, 'frame')}" if outcome.frames else ""
    text = f"{counted(outcome.predicted, 'picture')}{frames} predicted{before} -> {output} ({', '.join(formats)})"
    console.result(value, text, wanted.as_json)
    if not outcome.complete:
        console.say("Other parts are not complete; the last one to finish joins the JSON of all.")
    if outcome.failures:
        told = [one.message for one in outcome.failures]
        raise console.passed_over(
            str(output), told, f"{counted(len(told), 'input')} passed over; the same line tries again."
        )
    if outcome.complete:
        of_photos = "panoptic" in formats and not outcome.frames
        console.next_step(_next(output) if of_photos else f"ls {shlex.quote(str(output))}")


def _next(output: Path) -> str:
    return f"yoso convert {shlex.quote(str(output))} datasets/pseudo/train --from prepared"
