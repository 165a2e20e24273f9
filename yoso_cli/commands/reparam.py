"""`yoso reparam`: the same answers from fewer operations."""

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yoso_cli.commands import console, options, wiring
from yoso_cli.errors import UsageError

if TYPE_CHECKING:
    import torch

    from yoso_cli.commands.source import Source
    from yoso_cli.inference.predict import Predictor
    from yoso_cli.model.reparam import Difference
    from yoso_cli.model.yoso import YOSO

# Relative to each tensor's largest value, in double precision: weights are rounded to single precision once.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Reparameterised:
    """What was written and how it differs.

    Attributes:
        path: the new weights file.
        model: the changed network.
        steps: names of the steps applied.
        difference: of the answers on `pictures` real pictures.
        pictures: how many were compared.
    """

    path: Path
    model: "YOSO"
    steps: tuple[str, ...]
    difference: "Difference"
    pictures: int


@click.command(name="reparam")
@click.argument("source", required=False)
@options.output_option
@click.option("--images", type=click.IntRange(1), default=4, show_default=True, help="Real pictures to verify on.")
@click.option(
    "--image",
    "named",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    show_default="the validation split's first",
    help="A picture to verify on. Repeatable.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0, min_open=True),
    default=TOLERANCE,
    show_default=True,
    help="Largest difference allowed.",
)
@options.runs_option
@options.set_option
@options.force_option
@options.json_option
def command(
    source: str | None,
    output: Path | None,
    images: int,
    named: tuple[Path, ...],
    tolerance: float,
    runs: Path,
    overrides: tuple[str, ...],
    force: bool,
    as_json: bool,
) -> None:
    """Turn trained weights into faster ones with the same answers.

    Interpolation-first aggregation becomes convolution-first (paper Sec. 3.2), and batch norms fold into convolutions.
    Both networks then look at real pictures of the validation split, in double precision; the largest difference,
    as a share of the largest value, is printed, and past --tolerance nothing is written.

    SOURCE is a run folder, a weights file, the name of released weights (`yoso weights list`) or a URL; without it, the
    newest run is taken. The result is written into the run folder as reparam.safetensors, or to --output.

    \b
    Example:
      yoso reparam
      yoso reparam runs/shapes-001 --output fast.safetensors
    """
    from yoso_cli.commands.source import read_source, trained_weights

    found = read_source(trained_weights(source, runs), overrides)
    target = output or (found.run.reparameterised if found.run else found.path.with_name("reparam.safetensors"))
    if target.is_dir():
        raise UsageError(f"{target}: is a folder.", hint="Name a file, as in --output fast.safetensors.")
    if target.exists() and not force:
        raise UsageError(f"{target}: exists already.", hint="Add --force to overwrite it, or choose another --output.")
    done = reparameterise(found, target, list(named) or pictures(found, images), tolerance=tolerance)
    console.result(_value(done), _text(done), as_json)
    console.next_step(f"yoso eval {shlex.quote(str(done.path))}")


def reparameterise(source: "Source", target: Path, paths: list[Path], *, tolerance: float) -> Reparameterised:
    """Changes, verifies on the pictures at `paths` and writes.

    Raises:
        UsageError: the weights have been through it already.
        RunError: the answers differ by more than `tolerance`; nothing is written then.
    """
    from yoso_cli.model import reparam
    from yoso_cli.model.weights import save_weights

    if source.weights.steps:
        raise UsageError(
            f"{source.path}: is re-parameterised already ({', '.join(source.weights.steps)}).",
            hint="Name the weights.safetensors of a checkpoint.",
        )
    predictor = source.predictor("cpu")
    steps = tuple(reparam.STEPS)
    changed = reparam.reparameterise(predictor.model, steps)
    difference = reparam.verify(predictor.model, changed, _inputs(predictor, paths), tolerance=tolerance)
    provenance = {**source.weights.provenance, "reparameterised": {"from": str(source.path), **asdict(difference)}}
    save_weights(
        target,
        changed,
        recipe=source.trained,
        categories=source.weights.categories,
        provenance=provenance,
        steps=steps,
    )
    return Reparameterised(target, changed, steps, difference, len(paths))


def pictures(source: "Source", count: int) -> list[Path]:
    """The first of the validation split. Raises DataError when it was not prepared."""
    truth = wiring.prepared_set(source.recipe, source.recipe.data.val_split)
    return [truth.image_path(record) for record in truth.records[:count]]


def _inputs(predictor: "Predictor", paths: list[Path]) -> "list[torch.Tensor]":
    from yoso_cli.panoptic.files import read_image

    return [predictor.prepare(read_image(path))[0] for path in paths]


def _value(done: Reparameterised) -> dict[str, object]:
    return {
        "weights": str(done.path),
        "steps": list(done.steps),
        "pictures": done.pictures,
        "difference": {**asdict(done.difference), "largest": done.difference.largest},
    }


def _text(done: Reparameterised) -> str:
    difference = done.difference
    return "\n".join(
        [
            f"Applied {', '.join(done.steps)}.",
            f"Largest difference on {done.pictures} pictures: {difference.largest:.1e} "
            f"(features {difference.features:.1e}, masks {difference.mask_logits:.1e}, "
            f"classes {difference.class_logits:.1e}).",
            f"Weights: {done.path}",
        ]
    )
