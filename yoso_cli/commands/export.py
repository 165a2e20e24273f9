"""`yoso export`: a file that runs without this package, proved before it is kept."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yoso_cli.commands import console, options
from yoso_cli.export.formats import DYNAMIC, FORMATS, MERGES, PRECISIONS
from yoso_cli.runtime.paths import require_there
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.api.export import Exported

# Repeated from `api.export`, so that help needs no numpy; a test compares them.
TOLERANCE = 1e-3
MOST_LOSS = 1.0
CALIBRATION = 100
PICTURES = 2


@click.command(name="export")
@click.argument("source", required=False)
@click.option(
    "--format",
    "to",
    type=click.Choice(list(FORMATS)),
    default="onnx",
    show_default=True,
    help="What will run it: onnxruntime and many others, OpenVINO, TensorRT, or torch.",
)
@click.option(
    "--size",
    default=DYNAMIC,
    show_default=True,
    metavar="H,W|dynamic",
    help="Height and width of every input, multiples of 32; smaller pictures are padded.",
)
@click.option(
    "--merge",
    type=click.Choice(MERGES),
    default="none",
    show_default=True,
    help="What comes out: masks and classes, or with the merge inside segments.",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="float32",
    show_default=True,
    help="Of the convolutions; a format that does not have it says so.",
)
@options.output_option
@click.option("--compile", "compiled", is_flag=True, help="torch: a package of machine code (AOTInductor).")
@click.option(
    "--calibrate",
    type=click.IntRange(1),
    default=CALIBRATION,
    show_default=True,
    metavar="N",
    help="Pictures of the training split on which int8's ranges are found.",
)
@click.option(
    "--most-loss",
    type=click.FloatRange(0),
    default=MOST_LOSS,
    show_default=True,
    metavar="PQ",
    help="Most PQ lost below float32, on the validation split.",
)
@options.checked_pictures(PICTURES, "prove it")
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    default=TOLERANCE,
    show_default=True,
    metavar="X",
    help="Largest distance of a float32 file from double precision.",
)
@options.runs_option
@options.set_option
@options.force_option
@options.json_option
def command(
    source: str | None, output: Path | None, images: int, named: tuple[Path, ...], as_json: bool, **given: Any
) -> None:
    """Export folded weights to a file for another runtime, and prove that it answers alike.

    \b
    The formats, and what each can do:
      onnx      float32; --merge inside       pip install 'yoso-cli[export]'
      openvino  float32, bfloat16, int8       pip install 'yoso-cli[openvino]'
      tensorrt  float32, float16              pip install 'yoso-cli[export]'
      torch     float32; --merge inside, --compile

    The file is run on pictures of the validation split, at two sizes where the size is free. Its distance from the
    network in double precision is printed beside that of torch's float32. Beyond --tolerance, and beyond ten times
    what torch has, nothing is written; a file in fewer bits is judged by the PQ that it loses.

    Sizes, padding, thresholds and classes are in the file: `yoso weights show FILE`. SOURCE of every other command may
    be such a file. docs/export.md has what runs it elsewhere.

    SOURCE is a run folder, a weights file, the name of released weights (`yoso weights list`) or a URL; without it, the
    newest run is used. The weights must be re-parameterised (`yoso reparam`).

    \b
    Example:
      yoso export
      yoso export runs/shapes-001 --merge inside --output shapes.onnx
      yoso export --format openvino --precision int8 --calibrate 200
      yoso export fast.safetensors --size 512,800 --image photo.jpg
    """
    from yoso_cli.api.export import export_model

    require_there(*named)
    done = export_model(
        source,
        output,
        pictures=named,
        count=images,
        overrides=given.pop("overrides"),
        progress=console.TERMINAL,
        **given,
    )
    console.result(done.to_dict(), _text(done), as_json)
    console.next_step(shlex.join(["yoso", "bench", "--compare", str(done.metadata.weights["from"]), str(done.path)]))


def _text(done: "Exported") -> str:
    """The table of the proof, and the file."""
    proof, told = done.proof, done.metadata
    rows = [(one.name, f"{one.file:.1e}", f"{one.torch:.1e}") for one in proof.figures]
    sizes = ", ".join(f"{height}x{width}" for height, width in proof.sizes)
    value = done.to_dict()
    lines = [
        console.table(("distance from double precision", "the file", "torch float32"), rows),
        f"On {counted(proof.pictures, 'picture')}, as inputs of {sizes}.",
    ]
    if done.judged:
        judged = done.judged
        lines.append(
            f"PQ on {counted(judged.images, 'picture')}: {judged.before:.2f} in float32, {judged.after:.2f} in "
            f"{told.precision}."
        )
    lines.append(f"File: {done.path} ({value['bytes'] / 1e6:.1f} MB, {told.precision}, size {_size(value['size'])})")
    if done.command:
        lines += ["Not run here, as it needs a GPU:", f"  {done.command}"]
    return "\n".join(lines)


def _size(size: object) -> str:
    return "x".join(map(str, size)) if isinstance(size, list) else str(size)
