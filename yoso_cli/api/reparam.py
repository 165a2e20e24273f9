"""Re-parameterisation of trained weights for faster inference, verified before they are written."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from yoso_cli.api.dataset import first_pictures
from yoso_cli.api.predictor import make_predictor
from yoso_cli.api.weights import ModelFile, Named, read_model, trained_weights
from yoso_cli.errors import UsageError
from yoso_cli.panoptic.photos import read_image
from yoso_cli.runtime.progress import SILENT, Progress

if TYPE_CHECKING:
    import torch

    from yoso_cli.inference.predict import Predictor
    from yoso_cli.model.reparam import Difference
    from yoso_cli.model.yoso import YOSO

TOLERANCE = 1e-3
"""Relative to each tensor's largest value, in double precision: weights are rounded to single precision once."""

# Timed calls of each network per fold.
_TIMED = 5


@dataclass(frozen=True)
class Fold:
    """The effect of one fold, compared with the network before it on one picture.

    Attributes:
        name: of the fold.
        difference: between the outputs, relative to the largest value.
        before: median latency of the network alone before the fold, ms.
        after: the same with the fold, measured alternately.
    """

    name: str
    difference: float
    before: float
    after: float


@dataclass(frozen=True)
class Reparameterized:
    """The result of a re-parameterisation.

    Attributes:
        path: the new weights file.
        folds: the effect of each, in the order applied.
        difference: of the outputs on `pictures` pictures.
        pictures: number of pictures compared.
    """

    path: Path
    folds: tuple[Fold, ...]
    difference: "Difference"
    pictures: int


def reparameterize(
    source: Named = None,
    output: str | Path | None = None,
    *,
    pictures: Sequence[str | Path] = (),
    count: int = 4,
    tolerance: float = TOLERANCE,
    folds: Sequence[str] | None = None,
    overrides: Sequence[str] = (),
    force: bool = False,
    runs: str | Path = "runs",
    progress: Progress = SILENT,
) -> Reparameterized:
    """Folds trained weights, compares the two networks on pictures, and writes the new weights.

    Args:
        source: the trained weights (see `api.weights.Named`).
        output: the file to write; by default reparam.safetensors in the run folder, or beside the weights.
        pictures: to verify on; the folds are timed on the first. By default `count` of the validation split.
        count: see `pictures`.
        tolerance: largest relative difference allowed, of each fold and of all.
        folds: some of `model.reparam.STEPS` in their order; None for all.
        overrides: changes of recipe values, as `data.root=elsewhere`.
        force: overwrite `output`; not needed if it was made from the same input and folds.
        runs: the folder of all runs.
        progress: shows a download.

    Raises:
        UsageError: the weights are folded already, or `output` exists.
        DataError: there are no weights or no pictures.
        RunError: the outputs differ by more than `tolerance`; nothing is written then.
    """
    model = read_model(trained_weights(source, Path(runs), progress), overrides, progress)
    target = Path(output) if output else None
    if target is None:
        target = model.run.reparameterised if model.run else model.path.with_name("reparam.safetensors")
    if target.is_dir():
        raise UsageError(f"{target}: is a folder.", hint="Name a file, as in --output fast.safetensors.")
    if target.exists() and not force and not _is_own_output(target, model, folds):
        raise UsageError(f"{target}: exists already.", hint="Add --force to overwrite it, or choose another --output.")
    paths = [Path(one) for one in pictures] or first_pictures(model.recipe, count)
    return reparameterize_model(model, target, paths, tolerance=tolerance, folds=folds)


def reparameterize_model(
    model: ModelFile,
    target: Path,
    pictures: Sequence[Path],
    *,
    tolerance: float = TOLERANCE,
    folds: Sequence[str] | None = None,
) -> Reparameterized:
    """As `reparameterize`, for weights that are read already."""
    from yoso_cli.model import reparam
    from yoso_cli.model.weights import save_weights, stated_hash

    model.require_weights()
    if model.weights.steps:
        raise UsageError(
            f"{model.path}: is re-parameterised already ({', '.join(model.weights.steps)}).",
            hint="Name the weights.safetensors of a checkpoint.",
        )
    names = tuple(reparam.STEPS if folds is None else folds)
    predictor = model.predictor("cpu")
    inputs = [predictor.prepare(read_image(path))[0] for path in pictures]
    folded, done = _fold_by_fold(model, predictor, names, inputs[:1], tolerance)
    difference = reparam.verify(predictor.model, folded, inputs, tolerance=tolerance)
    provenance = {
        **model.weights.provenance,
        "reparameterised": {"from": str(model.path), "sha256": stated_hash(model.path), **asdict(difference)},
    }
    recipe, categories = model.trained.to_dict(), model.weights.categories
    save_weights(target, folded, recipe=recipe, categories=categories, provenance=provenance, steps=names)
    return Reparameterized(target, done, difference, len(pictures))


def _is_own_output(target: Path, model: ModelFile, folds: Sequence[str] | None) -> bool:
    """Whether the file at `target` was made from the same run or the same weights by the same folds."""
    from yoso_cli.model.reparam import STEPS
    from yoso_cli.model.weights import is_own, read_header, stated_hash

    if not is_own(target):
        return False
    header = read_header(target)
    made = header.get("provenance", {}).get("reparameterised", {})
    of_run = model.run is not None and target == model.run.reparameterised
    same_input = bool(made) and (of_run or made.get("sha256") == stated_hash(model.path))
    return same_input and tuple(header.get("steps", ())) == tuple(STEPS if folds is None else folds)


def _fold_by_fold(
    model: ModelFile, predictor: "Predictor", names: Sequence[str], inputs: "list[torch.Tensor]", tolerance: float
) -> "tuple[YOSO, tuple[Fold, ...]]":
    from yoso_cli.inference.latency import compare
    from yoso_cli.model import reparam

    done = []
    for name in names:
        folded = reparam.reparameterise(predictor.model, (name,))
        after = make_predictor(folded, predictor.categories, model.recipe, predictor.device)
        difference = reparam.verify(predictor.model, after.model, inputs, tolerance=tolerance)
        both = _forward(predictor, inputs[0]), _forward(after, inputs[0])
        ratio = compare(*both, predictor.device, repeats=_TIMED, warmup=1)
        done.append(Fold(name, difference.largest, ratio.first.median, ratio.second.median))
        predictor = after
    return predictor.model, tuple(done)


def _forward(predictor: "Predictor", images: "torch.Tensor") -> Callable[[int], None]:
    def forward(_: int) -> None:
        predictor.engine(images)

    return forward
