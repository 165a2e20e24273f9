"""SOURCE: weights by run folder, file, released name or URL; by default the newest run."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from yoso_cli.api.dataset import with_data_of
from yoso_cli.api.predictor import AS_MEASURED, EngineOptions, exported_predictor, make_predictor
from yoso_cli.errors import DataError, RecipeError, UsageError, did_you_mean
from yoso_cli.export import formats
from yoso_cli.recipe import file as recipe_file
from yoso_cli.releases.catalog import RELEASES
from yoso_cli.run_folder import RunFolder, newest_of
from yoso_cli.runtime.machine import choose_device
from yoso_cli.runtime.paths import beside, is_there, require_there
from yoso_cli.runtime.progress import SILENT, Progress
from yoso_cli.runtime.words import counted, shortened

if TYPE_CHECKING:
    from yoso_cli.export.metadata import Metadata
    from yoso_cli.inference.predict import Predictor
    from yoso_cli.model.weights import Weights
    from yoso_cli.model.yoso import YOSO
    from yoso_cli.panoptic.types import PanopticSet
    from yoso_cli.recipe.schema import Recipe

SUFFIXES = (".safetensors", ".pth", ".pt", *formats.SUFFIXES)

Named = str | Path | None
"""SOURCE; None is the newest run, or downloaded released weights if there is no run."""


@dataclass(frozen=True)
class ModelFile:
    """A weights file, or an exported one, that was read.

    Attributes:
        weights: the file's content; of an exported file without the tensors.
        trained: the recipe of their training.
        recipe: the same with overrides applied, and `data.root` where the run's dataset is now.
        run: the run folder that they are in, if any.
        exported: what an exported file says of itself; None for weights.
    """

    weights: "Weights"
    trained: "Recipe"
    recipe: "Recipe"
    run: RunFolder | None
    exported: "Metadata | None" = None

    @property
    def path(self) -> Path:
        """The weights file."""
        return self.weights.path

    @property
    def overrides(self) -> dict[str, tuple[float, float]]:
        """Inference settings that differ from those of the training recipe, by name: (original, used)."""
        carried, used = self.trained.inference, self.recipe.inference
        values = {one.name: (getattr(carried, one.name), getattr(used, one.name)) for one in fields(carried)}
        return {name: (was, now) for name, (was, now) in values.items() if was != now}

    @property
    def overridden(self) -> str:
        """The same as text; empty if there are none."""
        return ", ".join(f"{name} {now:g} instead of {was:g}" for name, (was, now) in self.overrides.items())

    def network(self) -> "YOSO":
        """The network with these weights.

        Raises:
            DataError: they do not fit their own recipe.
            UsageError: it is an exported file, which has none.
        """
        from yoso_cli.model.weights import build

        self.require_weights()
        return build(self.weights, self.trained.model.arguments())

    def require_weights(self) -> None:
        """Raises UsageError for an exported file: it is for prediction alone."""
        if self.exported is not None:
            made_from = self.exported.weights.get("from", "the weights that it was made from")
            raise UsageError(
                f"{self.path}: is an exported file, which runs and is nothing else; this needs weights.",
                hint=f"Name {made_from} instead.",
            )

    @property
    def digest(self) -> str:
        """The hash of the weights, also where they are in an exported file."""
        from yoso_cli.model.weights import digest

        return str(self.exported.weights.get("sha256")) if self.exported else digest(self.weights.state)

    def plain(self) -> "YOSO":
        """An untrained CFA network of the same recipe, without any re-parameterisation."""
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
            RunError: no such device, or the device does not support it.
        """
        if self.exported is not None:
            return exported_predictor(
                self.path, self.exported, self.recipe, device, flip=flip, scales=scales, options=options
            )
        where = choose_device(device)
        known = self.weights.categories
        return make_predictor(self.network(), known, self.recipe, where, flip=flip, scales=scales, options=options)

    def require_classes_of(self, truth: "PanopticSet") -> None:
        """Raises DataError if the weights have other classes than `truth`, or another order."""
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
            f"{self.path}: has {counted(len(known), 'class')}, {truth.name} {truth.split} has {len(wanted)}; {shown}.",
            hint="Evaluate on the dataset that the weights were trained on, with --set data.name=NAME.",
        )


def trained_weights(source: Named, runs: Path, progress: Progress = SILENT) -> Path:
    """The weights of SOURCE, without re-parameterisation.

    Args:
        source: a weights file, a run folder (its newest checkpoint), the name of released weights, or a URL; None is
            the newest run, or downloaded released weights if there is no run.
        runs: the folder of all runs.
        progress: shows a download.

    Raises:
        UsageError: SOURCE does not exist, or is a URL that is not http or https.
        RunError: the download fails.
        DataError: there are no weights.
    """
    place = _located(source, runs, progress)
    return RunFolder.open(place).weights() if _is_run(place) else place


def fastest_weights(source: Named, runs: Path, progress: Progress = SILENT) -> Path:
    """As `trained_weights`, but a run's re-parameterised weights if they were made from its newest checkpoint."""
    place = _located(source, runs, progress)
    if not _is_run(place):
        return place
    run = RunFolder.open(place)
    trained, folded = run.weights(), run.reparameterised
    if not folded.is_file():
        return trained
    if problem := outdated(folded, trained):
        again = f"`yoso reparam {shlex.quote(str(run.path))}`"
        progress.message(f"Using {trained}: {folded.name} {problem}. {again} makes it again.")
        return trained
    return folded


def outdated(folded: Path, trained: Path) -> str:
    """Why the re-parameterised weights `folded` are not those of `trained`; empty if they are.

    Both files state the hash of their tensors, so only their headers are read.

    Raises:
        DataError: `trained` is missing or damaged.
    """
    from yoso_cli.model.weights import read_header, stated_hash

    try:
        made = read_header(folded).get("provenance", {}).get("reparameterised", {}).get("sha256")
    except (DataError, AttributeError):
        return "is damaged"
    if made is None:
        return "does not say which weights it was made from"
    return "" if made == stated_hash(trained) else "was made from other weights than those of the newest checkpoint"


def _located(named: Named, runs: Path, progress: Progress) -> Path:
    """A weights file, or a folder, which may not be a run."""
    if named is None:
        return _newest(runs, progress)
    source = str(named)
    if "://" not in source and not is_release(source):
        require_source(source)
        return Path(source)
    # Imported here: it takes a tenth of a second.
    from yoso_cli.api.weight_import import downloaded_path, released_path

    return downloaded_path(source, progress) if "://" in source else released_path(source, progress)


def is_release(source: str) -> bool:
    """Whether SOURCE names released weights; a run or a file of that name takes precedence."""
    path = Path(source)
    # A folder of that name may well hold the dataset.
    return source in RELEASES and not path.is_file() and not (path / "recipe.yaml").is_file()


def require_source(source: str) -> None:
    """Raises UsageError if SOURCE is a path that does not exist; downloads nothing."""
    path = Path(source)
    if "://" in source or is_release(source) or is_there(path):
        return
    what = "there is no such weights file" if path.suffix in SUFFIXES else "there is no such run folder"
    if path.name == source and path.suffix not in SUFFIXES:
        what = "is neither a run folder, nor a weights file, nor the name of released weights"
    hint = did_you_mean(source, [*RELEASES, *beside(path)], "`yoso weights list` lists released weights.")
    raise UsageError(f"{source}: {what}.", hint=hint)


def _newest(runs: Path, progress: Progress) -> Path:
    if runs != Path("runs"):
        require_there(runs)
    if found := RunFolder.all(runs):
        run = newest_of(found)
        if passed_over := found[: found.index(run)]:
            lacking = "not finished" if run.is_finished() else "without a checkpoint"
            named = shortened([one.path for one in passed_over])
            progress.message(f"Using {run.path}: newer, but {lacking}: {named}.")
        return run.path
    from yoso_cli.api import weight_import

    if names := weight_import.released_here():
        return weight_import.released_path(names[0], progress)
    raise DataError(
        f"{runs}: there is no run, and no released weights are downloaded.",
        hint="`yoso weights get coco` downloads the authors' weights for everyday photos (169 MB); `yoso train "
        "shapes` and `yoso demo` train a small model.",
    )


def _is_run(place: Path) -> bool:
    """A missing file with the suffix of weights is a missing file, not a missing run."""
    return not place.is_file() and place.suffix not in SUFFIXES


def read_model(path: Path, overrides: Sequence[str] = (), progress: Progress = SILENT) -> ModelFile:
    """Reads a weights file, in yoso's or another layout, and its recipe, with `overrides` (`a.b=v`) applied.

    Raises:
        DataError: the file is missing, damaged, unsafe or of another kind.
        UsageError: an override changes the network, which trained weights determine.
    """
    if path.suffix == ".bin" and (graph := path.with_suffix(".xml")).is_file():
        raise UsageError(f"{path}: has the weights of {graph}, and no network.", hint=f"Name {graph} instead.")
    if formats.format_of(path) is not None:
        return _read_exported(path, overrides)
    weights = read_weights(path, progress)
    trained = recipe_file.from_dict(weights.recipe, str(weights.path))
    run = _run_of(path)
    recipe = recipe_file.with_overrides(trained, overrides) if overrides else trained
    # A root of --set is where the dataset must be.
    recipe = with_data_of(recipe, run) if recipe.data.root == trained.data.root else recipe
    if recipe.model != trained.model:
        raise UsageError(
            "--set model.*: the network cannot be changed for trained weights.", hint="Train a new model instead."
        )
    return ModelFile(weights, trained, recipe, run)


def _read_exported(path: Path, overrides: Sequence[str]) -> ModelFile:
    from yoso_cli.export.runtimes import read_metadata
    from yoso_cli.model.weights import WHOLE, Weights

    told = read_metadata(path)
    try:
        trained = recipe_file.from_dict(told.recipe, str(path))
    except RecipeError as error:
        raise DataError(f"{path}: its recipe is damaged: {error.problems[0]}.", hint="Export it again.") from error
    recipe = recipe_file.with_overrides(trained, overrides) if overrides else trained
    _require_kept(path, told, trained, recipe)
    provenance = {**told.weights, "versions": ", ".join(f"{name} {one}" for name, one in told.versions.items())}
    weights = Weights(path, WHOLE, {}, told.recipe, told.categories, told.steps, provenance)
    return ModelFile(weights, trained, recipe, None, told)


def _require_kept(path: Path, told: "Metadata", trained: "Recipe", recipe: "Recipe") -> None:
    """Raises UsageError where `recipe` changes what is inside of an exported file."""
    was, now = trained.to_dict(), recipe.to_dict()
    inside = [("model", name) for name in was["model"]]
    inside += [("inference", name) for name in ("score_threshold", "overlap_threshold") if told.merge == "inside"]
    inside += [("inference", name) for name in ("short_edge", "long_edge") if told.size is not None]
    changed = [f"{part}.{name}" for part, name in inside if was[part][name] != now[part][name]]
    if changed:
        raise UsageError(
            f"--set {changed[0]}: is inside of {path}, and cannot be changed any more.",
            hint="Export it again with this --set.",
        )


def knows(file: ModelFile) -> str:
    """What the weights know where that is no photo, and which do; empty for weights that were trained on photos."""
    if file.trained.data.name != "shapes":
        return ""
    return f"knows {counted(len(file.weights.categories), 'class')} of drawn shapes; for photos: --weights coco"


def read_weights(path: Path, progress: Progress = SILENT) -> "Weights":
    """A weights file in yoso's or another layout. Raises DataError as `read_model` does."""
    from yoso_cli.model.weights import load_weights

    if path.suffix == ".safetensors":
        return load_weights(path)
    from yoso_cli.api import weight_import

    found = weight_import.read(path)
    progress.message(f"{path}: read as {found.weights.recipe['name']} in the {found.layout} layout.")
    return found.weights


def _run_of(path: Path) -> "RunFolder | None":
    for run in map(RunFolder, path.parents[:3]):
        # A folder above with a recipe.yaml is not enough: the weights must be the run's own.
        if run.recipe_path.is_file() and (path == run.reparameterised or path.parent in run.checkpoints()):
            return run
    return None
