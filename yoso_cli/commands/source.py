"""SOURCE: which weights a command works with, by run folder, file, released name or URL, or the newest run."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from yoso_cli.commands import console, options, wiring
from yoso_cli.commands.running import AS_MEASURED, Running
from yoso_cli.errors import DataError, UsageError, did_you_mean
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.inference.predict import Predictor
    from yoso_cli.model.weights import Weights
    from yoso_cli.model.yoso import YOSO
    from yoso_cli.panoptic.types import PanopticSet
    from yoso_cli.recipe.schema import Recipe
    from yoso_cli.run_folder import RunFolder


SUFFIXES = (".safetensors", ".pth", ".pt")


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

    @property
    def overrides(self) -> dict[str, tuple[float, float]]:
        """What --set or another recipe changes of how these weights are meant to be used, by name: was and is."""
        carried, used = self.trained.inference, self.recipe.inference
        values = {one.name: (getattr(carried, one.name), getattr(used, one.name)) for one in fields(carried)}
        return {name: (was, now) for name, (was, now) in values.items() if was != now}

    @property
    def overridden(self) -> str:
        """The same in words; empty when nothing is changed."""
        return ", ".join(f"{name} {now:g} instead of {was:g}" for name, (was, now) in self.overrides.items())

    def model(self) -> "YOSO":
        """The network with these weights. Raises DataError when they do not fit their own recipe."""
        from yoso_cli.model.weights import build

        return build(self.weights, self.trained.model.arguments())

    def plain(self) -> "YOSO":
        """A network of the same recipe before any re-parameterisation, its aggregation convolution first, untrained."""
        from yoso_cli.model.yoso import YOSO

        return YOSO(len(self.weights.categories), **replace(self.trained.model, aggregator="cfa").arguments())

    def predictor(self, device: str, running: Running = AS_MEASURED) -> "Predictor":
        """The network with the recipe's sizes and thresholds on the device that --device names, run as `running` says.

        Raises:
            RunError: the device is not there, or cannot do it.
        """
        where = wiring.choose_device(device)
        return wiring.make_predictor(self.model(), self.weights.categories, self.recipe, where, running=running)

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


def trained_weights(source: str | Path | None, runs: Path) -> Path:
    """The weights that SOURCE names as they were trained.

    Args:
        source: a weights file, a run folder (its newest checkpoint), the name of released weights, or a URL; None is
            the newest run, or the released weights that are here when there is no run.
        runs: the folder of run folders.

    Raises:
        UsageError: there is no such thing, or it is a URL of another kind than http and https.
        RunError: it is to be downloaded, and that fails.
        DataError: there are none.
    """
    from yoso_cli.run_folder import RunFolder

    place = _located(source, runs)
    return RunFolder.open(place).weights() if _is_run(place) else place


def fastest_weights(source: str | Path | None, runs: Path) -> Path:
    """As `trained_weights`, but a run's re-parameterised weights where they are newer than its checkpoint."""
    from yoso_cli.run_folder import RunFolder

    place = _located(source, runs)
    if not _is_run(place):
        return place
    run = RunFolder.open(place)
    trained, folded = run.weights(), run.reparameterised
    return folded if folded.is_file() and folded.stat().st_mtime_ns >= trained.stat().st_mtime_ns else trained


def _located(named: str | Path | None, runs: Path) -> Path:
    """A weights file, or a folder that may be no run."""
    from yoso_cli.commands import released

    if named is None:
        return _newest(runs)
    source = str(named)
    if "://" in source:
        return released.from_address(source)
    if is_release(source):
        return released.path_of(source)
    require_source(source)
    return Path(source)


def is_release(source: str) -> bool:
    """Whether SOURCE names released weights: a run or a file of that name goes first."""
    from yoso_cli.releases.catalog import RELEASES

    path = Path(source)
    # A folder of that name may well hold the dataset.
    return source in RELEASES and not path.is_file() and not (path / "recipe.yaml").is_file()


def require_source(source: str) -> None:
    """Raises UsageError when SOURCE is a path that is not there; downloads nothing."""
    from yoso_cli.releases.catalog import RELEASES

    path = Path(source)
    if "://" in source or is_release(source) or options.is_there(path):
        return
    what = "there is no such weights file" if path.suffix in SUFFIXES else "there is no such run folder"
    if path.name == source and path.suffix not in SUFFIXES:
        what = "is neither a run folder, nor a weights file, nor the name of released weights"
    hint = did_you_mean(source, [*RELEASES, *options.beside(path)], "`yoso weights list` names those released.")
    raise UsageError(f"{source}: {what}.", hint=hint)


def _newest(runs: Path) -> Path:
    from yoso_cli.commands import released
    from yoso_cli.run_folder import RunFolder

    if runs != Path("runs"):
        options.require_there(runs)
    try:
        run = RunFolder.newest(runs)
        if passed_over := ", ".join(str(newer.path) for newer in run.newer()):
            console.say(f"Taking {run.path}: no checkpoint yet in {passed_over}.")
        return run.path
    except DataError as error:
        names = released.here()
        if names:
            return released.path_of(names[0])
        raise DataError(
            f"{runs}: there is no run here yet, and no released weights are on this machine.",
            hint="`yoso weights get coco` brings the authors' own for everyday photos (169 MB); `yoso train shapes` "
            "and `yoso demo` train something small.",
        ) from error


def _is_run(place: Path) -> bool:
    """A missing file with the suffix of weights is a missing file, not a missing run."""
    return not place.is_file() and place.suffix not in SUFFIXES


def read_source(path: Path, overrides: Sequence[str] = ()) -> Source:
    """Reads a weights file, of ours or of another layout, and its recipe, with --set applied.

    Raises:
        DataError: the file is missing, damaged, unsafe or of another kind.
        UsageError: --set touches the network, which trained weights fix.
    """
    from yoso_cli.recipe import file as recipe_file

    weights = read_weights(path)
    trained = recipe_file.from_dict(weights.recipe, str(weights.path))
    recipe = _changed(trained, overrides)
    if recipe.model != trained.model:
        raise UsageError("--set model.*: trained weights fix the network.", hint="Train anew to change it.")
    return Source(weights, trained, recipe, _run_of(path))


def read_weights(path: Path) -> "Weights":
    """A weights file of ours or of another layout. Raises DataError as `read_source` does."""
    from yoso_cli.commands import importing
    from yoso_cli.model.weights import load_weights

    if path.suffix == ".safetensors":
        return load_weights(path)
    found = importing.read(path)
    console.say(f"{path}: read as {found.weights.recipe['name']} in the {found.layout} layout.")
    return found.weights


def _changed(recipe: "Recipe", overrides: Sequence[str]) -> "Recipe":
    from yoso_cli.recipe import file as recipe_file

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
