"""`yoso reparam`: re-parameterise trained weights for inference."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yoso_cli.commands import console, options
from yoso_cli.errors import UsageError
from yoso_cli.runtime.paths import require_there
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.api.reparam import Reparameterized

# Repeated from `api.reparam`, so that help needs no numpy; a test compares them.
TOLERANCE = 1e-3


@click.command(name="reparam")
@click.argument("source", required=False)
@options.output_option
@options.checked_pictures(4, "verify")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, min_open=True),
    default=TOLERANCE,
    show_default=True,
    metavar="X",
    help="Largest relative difference allowed.",
)
@click.option("--steps", metavar="NAME,...", show_default="all", help="Apply these steps only.")
@click.option("--without", multiple=True, metavar="NAME", help="Leave this step out. Repeatable.")
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
    steps: str | None,
    without: tuple[str, ...],
    runs: Path,
    overrides: tuple[str, ...],
    force: bool,
    as_json: bool,
) -> None:
    """Re-parameterise trained weights: same predictions, lower latency.

    \b
    The steps, in their order:
      ifa_to_cfa        interpolation-first aggregation becomes
                        convolution-first (paper Sec. 3.2)
      fold_batch_norms  fold batch norms into the convolutions before them
      fold_pixel_std    fold the pixels' standard deviation into the first
                        convolution
      fold_temperature  fold the temperature into the last class layer
      fold_location     fold the location convolution into the kernels; its
                        map is not computed

    Each step is timed on one picture, alternating with the network before it. The first and the last network are then
    compared on pictures of the validation split, in double precision. The largest difference, relative to the largest
    value, is printed; above --tolerance nothing is written. The new file records the name and hash of the original:
    keep that one, as only it can be trained further or given to the authors' code (`yoso weights export`).

    SOURCE is a run folder, a weights file, the name of released weights (`yoso weights list`) or a URL; without it, the
    newest run is used. The result is written to the run folder as reparam.safetensors, or to --output.

    \b
    Example:
      yoso reparam
      yoso reparam runs/shapes-001 --output fast.safetensors
      yoso reparam --without fold_location --force
    """
    from yoso_cli.api.reparam import reparameterize

    chosen = _chosen_steps(steps, without)
    require_there(*named)
    done = reparameterize(
        source,
        output,
        pictures=named,
        count=images,
        tolerance=tolerance,
        folds=chosen,
        overrides=overrides,
        force=force,
        runs=runs,
        progress=console.TERMINAL,
    )
    console.result(_value(done), _text(done), as_json)
    console.next_step(f"yoso eval {shlex.quote(str(done.path))}")


def _chosen_steps(steps: str | None, without: tuple[str, ...]) -> tuple[str, ...]:
    """The steps that --steps and --without select, in order of application. Raises UsageError for an unknown one."""
    from yoso_cli.model.reparam import STEPS

    wanted = [name.strip() for name in steps.split(",")] if steps is not None else list(STEPS)
    unknown = [name for name in (*wanted, *without) if name not in STEPS]
    if unknown:
        raise UsageError(f"{unknown[0] or 'an empty name'}: no such step.", hint=f"There are {', '.join(STEPS)}.")
    chosen = tuple(name for name in STEPS if name in wanted and name not in without)
    if not chosen:
        raise UsageError("no step is left.", hint="Leave fewer out.")
    return chosen


def _value(done: "Reparameterized") -> dict[str, object]:
    return {
        "weights": str(done.path),
        "steps": [
            {"name": step.name, "difference": step.difference, "before_ms": step.before, "after_ms": step.after}
            for step in done.folds
        ],
        "pictures": done.pictures,
        "difference": {**asdict(done.difference), "largest": done.difference.largest},
    }


def _text(done: "Reparameterized") -> str:
    difference = done.difference
    return "\n".join(
        [
            console.table(
                ("step", "ms before", "ms after", "difference"),
                [(step.name, step.before, step.after, f"{step.difference:.1e}") for step in done.folds],
            ),
            f"Largest difference on {counted(done.pictures, 'picture')}: {difference.largest:.1e} "
            f"(features {difference.features:.1e}, masks {difference.mask_logits:.1e}, "
            f"classes {difference.class_logits:.1e}).",
            f"Weights: {done.path}",
        ]
    )
