"""`yoso reparam`: the same answers from fewer operations."""

import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yoso_cli.commands import console, options, wiring
from yoso_cli.errors import UsageError
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    import torch

    from yoso_cli.commands.source import Source
    from yoso_cli.inference.predict import Predictor
    from yoso_cli.model.reparam import Difference
    from yoso_cli.model.yoso import YOSO

# Relative to each tensor's largest value, in double precision: weights are rounded to single precision once.
TOLERANCE = 1e-3
# Calls of each network for a step's two latencies.
TIMED = 5


@dataclass(frozen=True)
class Step:
    """What one step did, beside the network before it, on one picture.

    Attributes:
        name: of the step.
        difference: between the answers.
        before: median latency of the network alone before the step, ms.
        after: the same with the step, measured in turn with it.
    """

    name: str
    difference: float
    before: float
    after: float


@dataclass(frozen=True)
class Reparameterised:
    """What was written and how it differs.

    Attributes:
        path: the new weights file.
        model: the changed network.
        steps: what each did, in the order applied.
        difference: of the answers on `pictures` real pictures.
        pictures: how many were compared.
    """

    path: Path
    model: "YOSO"
    steps: tuple[Step, ...]
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
    """Turn trained weights into faster ones with the same answers.

    \b
    The steps, in their order:
      ifa_to_cfa        interpolation-first aggregation becomes
                        convolution-first (paper Sec. 3.2)
      fold_batch_norms  batch norms go into the convolutions before them
      fold_pixel_std    the pixels' standard deviation goes into the first
                        convolution
      fold_temperature  the temperature goes into the last class layer
      fold_location     the location convolution goes into the kernels; its
                        map is never made

    Each step is timed on one picture in turn with the network before it. The first and the last network then look at
    real pictures of the validation split, in double precision; the largest difference, as a share of the largest
    value, is printed, and past --tolerance nothing is written. The file names the one that it was made from, with its
    hash: keep that one, as it alone can be trained on or exported.

    SOURCE is a run folder, a weights file, the name of released weights (`yoso weights list`) or a URL; without it, the
    newest run is taken. The result is written into the run folder as reparam.safetensors, or to --output.

    \b
    Example:
      yoso reparam
      yoso reparam runs/shapes-001 --output fast.safetensors
      yoso reparam --without fold_location --force
    """
    from yoso_cli.commands.source import read_source, trained_weights

    chosen = _chosen_steps(steps, without)
    options.require_there(*named)
    found = read_source(trained_weights(source, runs), overrides)
    target = output or (found.run.reparameterised if found.run else found.path.with_name("reparam.safetensors"))
    if target.is_dir():
        raise UsageError(f"{target}: is a folder.", hint="Name a file, as in --output fast.safetensors.")
    if target.exists() and not force:
        raise UsageError(f"{target}: exists already.", hint="Add --force to overwrite it, or choose another --output.")
    done = reparameterise(found, target, list(named) or pictures(found, images), tolerance=tolerance, steps=chosen)
    console.result(_value(done), _text(done), as_json)
    console.next_step(f"yoso eval {shlex.quote(str(done.path))}")


def reparameterise(
    source: "Source", target: Path, paths: list[Path], *, tolerance: float, steps: tuple[str, ...] | None = None
) -> Reparameterised:
    """Changes, verifies and writes.

    Args:
        source: the trained weights.
        target: the file to write.
        paths: real pictures to verify on; the first one is what the steps are timed on.
        tolerance: largest difference allowed, of each step and of all.
        steps: names in their order; None takes all.

    Raises:
        UsageError: the weights have been through it already.
        RunError: the answers differ by more than `tolerance`; nothing is written then.
    """
    from yoso_cli.model import reparam
    from yoso_cli.model.weights import save_weights, stated_hash

    if source.weights.steps:
        raise UsageError(
            f"{source.path}: is re-parameterised already ({', '.join(source.weights.steps)}).",
            hint="Name the weights.safetensors of a checkpoint.",
        )
    names = tuple(reparam.STEPS) if steps is None else steps
    predictor = source.predictor("cpu")
    inputs = _inputs(predictor, paths)
    changed, done = _step_by_step(source, predictor, names, inputs[:1], tolerance)
    difference = reparam.verify(predictor.model, changed, inputs, tolerance=tolerance)
    provenance = {
        **source.weights.provenance,
        "reparameterised": {"from": str(source.path), "sha256": stated_hash(source.path), **asdict(difference)},
    }
    save_weights(
        target,
        changed,
        recipe=source.trained.to_dict(),
        categories=source.weights.categories,
        provenance=provenance,
        steps=names,
    )
    return Reparameterised(target, changed, done, difference, len(paths))


def _step_by_step(
    source: "Source", predictor: "Predictor", names: tuple[str, ...], inputs: "list[torch.Tensor]", tolerance: float
) -> "tuple[YOSO, tuple[Step, ...]]":
    from yoso_cli.inference.latency import compare
    from yoso_cli.model import reparam

    done = []
    for name in names:
        changed = wiring.make_predictor(
            reparam.reparameterise(predictor.model, (name,)), predictor.categories, source.recipe, predictor.device
        )
        difference = reparam.verify(predictor.model, changed.model, inputs, tolerance=tolerance)
        before, after = (_forward(each, inputs[0]) for each in (predictor, changed))
        ratio = compare(before, after, predictor.device, repeats=TIMED, warmup=1)
        done.append(Step(name, difference.largest, ratio.first.median, ratio.second.median))
        predictor = changed
    return predictor.model, tuple(done)


def _forward(predictor: "Predictor", images: "torch.Tensor") -> "Callable[[int], None]":
    def forward(_: int) -> None:
        predictor.engine(images)

    return forward


def _chosen_steps(steps: str | None, without: tuple[str, ...]) -> tuple[str, ...]:
    """The names that --steps and --without leave, in the order of application. Raises UsageError for an unknown one."""
    from yoso_cli.model.reparam import STEPS

    wanted = [name.strip() for name in steps.split(",")] if steps is not None else list(STEPS)
    unknown = [name for name in (*wanted, *without) if name not in STEPS]
    if unknown:
        raise UsageError(f"{unknown[0] or 'an empty name'}: no such step.", hint=f"There are {', '.join(STEPS)}.")
    chosen = tuple(name for name in STEPS if name in wanted and name not in without)
    if not chosen:
        raise UsageError("no step is left.", hint="Leave fewer out.")
    return chosen


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
        "steps": [
            {"name": step.name, "difference": step.difference, "before_ms": step.before, "after_ms": step.after}
            for step in done.steps
        ],
        "pictures": done.pictures,
        "difference": {**asdict(done.difference), "largest": done.difference.largest},
    }


def _text(done: Reparameterised) -> str:
    difference = done.difference
    return "\n".join(
        [
            console.table(
                ("step", "ms before", "ms after", "difference"),
                [(step.name, step.before, step.after, f"{step.difference:.1e}") for step in done.steps],
            ),
            f"Largest difference on {counted(done.pictures, 'picture')}: {difference.largest:.1e} "
            f"(features {difference.features:.1e}, masks {difference.mask_logits:.1e}, "
            f"classes {difference.class_logits:.1e}).",
            f"Weights: {done.path}",
        ]
    )
