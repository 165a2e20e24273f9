"""SOURCE: which weights a command works with, by run folder, by file, or the newest run."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from yoso_cli.commands import wiring
from yoso_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from yoso_cli.inference.predict import Predictor
    from yoso_cli.model.weights import Weights
    from yoso_cli.model.yoso import YOSO
    from yoso_cli.panoptic.types import PanopticSet
    from yoso_cli.recipe import Recipe
    from yoso_cli.run_folder import RunFolder


@dataclass(frozen=True)
class Source:
    """Weights that were found and read.

    Attributes:
        weights: the file's content.
        trained: the recipe that made them.
        recipe: the same with --set applied.
        run: the run folder they lie in, if any.
    """

    weights: "Weights"
    trained: "Recipe"
    recipe: "Recipe"
    run: "RunFolder | None"

    @property
    def path(self) -> Path:
        """The weights file."""
        return self.weights.path

    def model(self) -> "YOSO":
        """The network with these weights. Raises DataError when they do not fit their own recipe."""
        from yoso_cli.model.weights import build

        return build(self.weights, self.trained)

    def predictor(self, device: str) -> "Predictor":
        """The network with the recipe's sizes and thresholds on the device that --device names."""
        return wiring.make_predictor(self.model(), self.weights.categories, self.recipe, wiring.choose_device(device))

    def require_classes_of(self, truth: "PanopticSet") -> None:
        """Raises DataError when the weights know other classes than `truth`, or know them in another order."""
        known = [(category.id, category.name) for category in self.weights.categories]
        wanted = [(category.id, category.name) for category in truth.categories]
        if known == wanted:
            return
        differing = sorted({name for _, name in set(known) ^ set(wanted)})
        shown = (
            f"not shared: {', '.join(differing[:5])}{', ...' if len(differing) > 5 else ''}"
            if differing
            else "reordered"
        )
        raise DataError(
            f"{self.path}: knows {len(known)} classes, {truth.name} {truth.split} has {len(wanted)}; {shown}.",
            hint="Evaluate on the dataset that the weights were trained on, with --set data.name=NAME.",
        )


def trained_weights(source: Path | None, runs: Path) -> Path:
    """The weights that SOURCE names as they were trained: a file, a run's newest checkpoint, or the newest run's.

    Raises:
        DataError: there are none.
    """
    from yoso_cli.run_folder import RunFolder

    if source is None:
        return RunFolder.newest(runs).weights()
    # A missing .safetensors is a missing weights file, not a missing run.
    return source if source.is_file() or source.suffix == ".safetensors" else RunFolder.open(source).weights()


def fastest_weights(source: Path | None, runs: Path) -> Path:
    """As `trained_weights`, but a run's re-parameterised weights where they are newer than its checkpoint."""
    from yoso_cli.run_folder import RunFolder

    if source is not None and not (source / "recipe.yaml").is_file():
        return trained_weights(source, runs)
    run = RunFolder.newest(runs) if source is None else RunFolder.open(source)
    trained, folded = run.weights(), run.reparameterised
    return folded if folded.is_file() and folded.stat().st_mtime_ns >= trained.stat().st_mtime_ns else trained


def read_source(path: Path, overrides: Sequence[str] = ()) -> Source:
    """Reads a weights file and its recipe, with --set applied.

    Raises:
        DataError: the file is missing, damaged or of another kind.
        UsageError: --set touches the network, which trained weights fix.
    """
    from yoso_cli import recipe_file
    from yoso_cli.model.weights import load_weights

    weights = load_weights(path)
    trained = recipe_file.from_dict(weights.recipe, str(weights.path))
    recipe = _changed(trained, overrides)
    if recipe.model != trained.model:
        raise UsageError("--set model.*: trained weights fix the network.", hint="Train anew to change it.")
    return Source(weights, trained, recipe, _run_of(path))


def _changed(recipe: "Recipe", overrides: Sequence[str]) -> "Recipe":
    from yoso_cli import recipe_file

    with tempfile.TemporaryDirectory() as folder:
        # --set is read in one place, on top of a file.
        kept = Path(folder) / "recipe.yaml"
        kept.write_text(recipe_file.to_yaml(recipe), encoding="utf-8")
        return recipe_file.read(kept, overrides)


def _run_of(path: Path) -> "RunFolder | None":
    from yoso_cli.run_folder import RunFolder

    for run in map(RunFolder, path.parents[:3]):
        # Not just any folder with a recipe.yaml above the file: the weights must be the run's own.
        if run.recipe_path.is_file() and (path == run.reparameterised or path.parent in run.checkpoints()):
            return run
    return None
