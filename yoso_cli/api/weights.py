"""SOURCE: the weights that a use case works with, by run folder, file, released name or URL, or the newest run."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from yoso_cli.api.predictor import AS_MEASURED, EngineOptions, make_predictor
from yoso_cli.errors import DataError, UsageError, did_you_mean
from yoso_cli.recipe import file as recipe_file
from yoso_cli.releases.catalog import RELEASES
from yoso_cli.run_folder import RunFolder
from yoso_cli.runtime.machine import choose_device
from yoso_cli.runtime.paths import beside, is_there, require_there
from yoso_cli.runtime.progress import SILENT, Progress
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.inference.predict import Predictor
    from yoso_cli.model.weights import Weights
    from yoso_cli.model.yoso import YOSO
    from yoso_cli.panoptic.types import PanopticSet
    from yoso_cli.recipe.schema import Recipe

SUFFIXES = (".safetensors", ".pth", ".pt")

Named = str | Path | None
"""SOURCE as a person gives it; None is the newest run, or released weights that are here when there is no run."""


@dataclass(frozen=True)
class ModelFile:
    """Weights that were found and read.

    Attributes:
        weights: the file's content.
        trained: the recipe that made them.
        recipe: the same with overrides applied.
        run: the run folder they lie in, if any.
    """

    weights: "Weights"
    trained: "Recipe"
    recipe: "Recipe"
    run: RunFolder | None

    @property
    def path(self) -> Path:
        """The weights file."""
        return self.weights.path

    @property
    def overrides(self) -> dict[str, tuple[float, float]]:
        """What an override or another recipe changes of how these weights are meant to be used, by name: was and is."""
        carried, used = self.trained.inference, self.recipe.inference
        values = {one.name: (getattr(carried, one.name), getattr(used, one.name)) for one in fields(carried)}
        return {name: (was, now) for name, (was, now) in values.items() if was != now}

    @property
    def overridden(self) -> str:
        """The same in words; empty when nothing is changed."""
        return ", ".join(f"{name} {now:g} instead of {was:g}" for name, (was, now) in self.overrides.items())

    def network(self) -> "YOSO":
        """The network with these weights. Raises DataError when they do not fit their own recipe."""
        from yoso_cli.model.weights import build

        return build(self.weights, self.trained.model.arguments())

    def plain(self) -> "YOSO":
        """A network of the same recipe before any re-parameterisation, its aggregation convolution first, untrained."""
        from yoso_cli.model.yoso import YOSO

        return YOSO(len(self.weights.categories), **replace(self.trained.model, aggregator="cfa").arguments())

    def predictor(
        self,
        device: str = "auto",
        options: EngineOptions = AS_MEASURED,
        *,
        flip: bool = False,
        scales: Sequence[float] = (),
    ) -> "Predictor":
        """The network with the recipe's sizes and thresholds on `device` (see `choose_device`).

        Raises:
            RunError: the device is not there, or cannot do it.
        """
        where = choose_device(device)
        known = self.weights.categories
        return make_predictor(self.network(), known, self.recipe, where, flip=flip, scales=scales, options=options)

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
            f"{self.path}: knows {counted(len(known), 'class')}, {truth.name} {truth.split} has {len(wanted)}; "
            f"{shown}.",
            hint="Evaluate on the dataset that the weights were trained on, with --set data.name=NAME.",
        )


def trained_weights(source: Named, runs: Path, progress: Progress = SILENT) -> Path:
    """The weights that SOURCE names as they were trained.

    Args:
        source: a weights file, a run folder (its newest checkpoint), the name of released weights, or a URL; None is
            the newest run, or the released weights that are here when there is no run.
        runs: the folder of run folders.
        progress: shows a download.

    Raises:
        UsageError: there is no such thing, or it is a URL of another kind than http and https.
        RunError: it is to be downloaded, and that fails.
        DataError: there are none.
    """
    place = _located(source, runs, progress)
    return RunFolder.open(place).weights() if _is_run(place) else place


def fastest_weights(source: Named, runs: Path, progress: Progress = SILENT) -> Path:
    """As `trained_weights`, but a run's re-parameterised weights where they are newer than its checkpoint."""
    place = _located(source, runs, progress)
    if not _is_run(place):
        return place
    run = RunFolder.open(place)
    trained, folded = run.weights(), run.reparameterised
    return folded if folded.is_file() and folded.stat().st_mtime_ns >= trained.stat().st_mtime_ns else trained


def _located(named: Named, runs: Path, progress: Progress) -> Path:
    """A weights file, or a folder that may be no run."""
    if named is None:
        return _newest(runs, progress)
    source = str(named)
    if "://" not in source and not is_release(source):
        require_source(source)
        return Path(source)
    # Not above: what brings weights from elsewhere is a tenth of a second to import.
    from yoso_cli.api.weight_import import downloaded_path, released_path

    return downloaded_path(source, progress) if "://" in source else released_path(source, progress)


def is_release(source: str) -> bool:
    """Whether SOURCE names released weights: a run or a file of that name goes first."""
    path = Path(source)
    # A folder of that name may well hold the dataset.
    return source in RELEASES and not path.is_file() and not (path / "recipe.yaml").is_file()


def require_source(source: str) -> None:
    """Raises UsageError when SOURCE is a path that is not there; downloads nothing."""
    path = Path(source)
    if "://" in source or is_release(source) or is_there(path):
        return
    what = "there is no such weights file" if path.suffix in SUFFIXES else "there is no such run folder"
    if path.name == source and path.suffix not in SUFFIXES:
        what = "is neither a run folder, nor a weights file, nor the name of released weights"
    hint = did_you_mean(source, [*RELEASES, *beside(path)], "`yoso weights list` names those weight_import.")
    raise UsageError(f"{source}: {what}.", hint=hint)


def _newest(runs: Path, progress: Progress) -> Path:
    if runs != Path("runs"):
        require_there(runs)
    try:
        run = RunFolder.newest(runs)
        if passed_over := ", ".join(str(newer.path) for newer in run.newer()):
            progress.message(f"Taking {run.path}: no checkpoint yet in {passed_over}.")
        return run.path
    except DataError as error:
        from yoso_cli.api import weight_import

        names = weight_import.released_here()
        if names:
            return weight_import.released_path(names[0], progress)
        raise DataError(
            f"{runs}: there is no run here yet, and no released weights are on this machine.",
            hint="`yoso weights get coco` brings the authors' own for everyday photos (169 MB); `yoso train shapes` "
            "and `yoso demo` train something small.",
        ) from error


def _is_run(place: Path) -> bool:
    """A missing file with the suffix of weights is a missing file, not a missing run."""
    return not place.is_file() and place.suffix not in SUFFIXES


def read_model(path: Path, overrides: Sequence[str] = (), progress: Progress = SILENT) -> ModelFile:
    """Reads a weights file, of ours or of another layout, and its recipe, with `overrides` (`a.b=v`) applied.

    Raises:
        DataError: the file is missing, damaged, unsafe or of another kind.
        UsageError: an override touches the network, which trained weights fix.
    """
    weights = read_weights(path, progress)
    trained = recipe_file.from_dict(weights.recipe, str(weights.path))
    recipe = recipe_file.with_overrides(trained, overrides) if overrides else trained
    if recipe.model != trained.model:
        raise UsageError("--set model.*: trained weights fix the network.", hint="Train anew to change it.")
    return ModelFile(weights, trained, recipe, _run_of(path))


def read_weights(path: Path, progress: Progress = SILENT) -> "Weights":
    """A weights file of ours or of another layout. Raises DataError as `read_model` does."""
    from yoso_cli.model.weights import load_weights

    if path.suffix == ".safetensors":
        return load_weights(path)
    from yoso_cli.api import weight_import

    found = weight_import.read(path)
    progress.message(f"{path}: read as {found.weights.recipe['name']} in the {found.layout} layout.")
    return found.weights


def _run_of(path: Path) -> "RunFolder | None":
    for run in map(RunFolder, path.parents[:3]):
        # Not just any folder with a recipe.yaml above the file: the weights must be the run's own.
        if run.recipe_path.is_file() and (path == run.reparameterised or path.parent in run.checkpoints()):
            return run
    return None
