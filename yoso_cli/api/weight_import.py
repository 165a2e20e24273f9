"""Importing weights: the authors' releases by name, files by URL, and other layouts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yoso_cli.conversion.category_file import read_table
from yoso_cli.datasets.spec import read_categories
from yoso_cli.errors import DataError, RecipeError
from yoso_cli.export.formats import format_of
from yoso_cli.panoptic.annotations import categories_from_json
from yoso_cli.panoptic.types import Category
from yoso_cli.recipe import file as recipe_file
from yoso_cli.recipe.schema import ModelRecipe, Recipe
from yoso_cli.releases import catalog
from yoso_cli.releases.cache import Cache, Known
from yoso_cli.releases.download import download
from yoso_cli.runtime import machine
from yoso_cli.runtime.json_text import read_json
from yoso_cli.runtime.progress import SILENT, Progress

if TYPE_CHECKING:
    from torch import Tensor

    from yoso_cli.model.weights import Weights


@dataclass(frozen=True)
class Imported:
    """Imported weights, in yoso's format.

    Attributes:
        weights: path is the file they were read from.
        layout: of the original file: `yoso`, `released` or `torchvision`.
        notes: conversions other than copying, a sentence each.
    """

    weights: "Weights"
    layout: str
    notes: tuple[str, ...]


def read(path: Path, *, recipe: str | None = None, table: str | None = None) -> Imported:
    """Reads a weights file of yoso (any version), of YOSO's authors, or of a torchvision ResNet.

    The network is inferred from the shapes; temperature, thresholds, sizes and dataset come from the recipe.

    Args:
        path: the file.
        recipe: name or file of the recipe that a released layout was trained with; by default the released recipe with
            as many classes.
        table: a YAML of categories, a panoptic.json or the name of a published dataset; by default that of the
            released weights.

    Raises:
        DataError: the file is missing, unsafe, of another kind, or does not fit; all keys that do not fit are named.
        UsageError: it is an exported file.
    """
    from yoso_cli.model.authors import is_released_layout
    from yoso_cli.model.backbone import published_name
    from yoso_cli.model.pickled import read_state
    from yoso_cli.model.weights import is_own, load_weights

    if format_of(path) is not None:
        from yoso_cli.api.weights import read_model

        read_model(path).require_weights()
    if is_own(path):
        return Imported(load_weights(path), "yoso", ())
    state = read_state(path)
    if is_released_layout(state):
        return _released(path, state, recipe, table)
    if published := published_name(state):
        return _backbone(path, state, published)
    raise DataError(
        f"{path}: its {len(state)} tensors are not those of YOSO or a ResNet; the first is {next(iter(state))}.",
        hint="Import the authors' YOSO files (keys like yoso_head.kernels.weight) or torchvision's ResNet files.",
    )


def read_release(path: Path, name: str) -> Imported:
    """Reads a file that must be the released weights `name`.

    Raises:
        DataError: it is another file.
    """
    from yoso_cli.model.authors import is_released_layout
    from yoso_cli.model.pickled import read_state

    release = catalog.find(name)
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "there is no such file"
        raise DataError(f"{path}: {what}.", hint="--from takes a file, or a URL with http or https.")
    size = path.stat().st_size
    if size < release.tensor_bytes:
        raise DataError(
            f"{path}: has {size / 1e6:.1f} MB, but the tensors of {release.file} alone have "
            f"{release.tensor_bytes / 1e6:.1f}.",
            hint="It is truncated, or another file.",
        )
    state = read_state(path)
    if not is_released_layout(state):
        raise DataError(f"{path}: is not {release.file}: it has no tensors of a released YOSO.")
    found = _released(path, state, release.recipe, None)
    differing = [note for note in found.notes if note.startswith("model.")]
    if differing or len(found.weights.categories) != release.classes:
        raise DataError(f"{path}: is not {release.file}: {differing[0] if differing else 'it has other classes'}.")
    return found


def _released(path: Path, state: "Mapping[str, Tensor]", recipe_name: str | None, table: str | None) -> Imported:
    from yoso_cli.model.authors import class_count, load_authors_state, network
    from yoso_cli.model.weights import WHOLE, Weights
    from yoso_cli.model.yoso import YOSO

    try:
        count, told = class_count(state), network(state)
        assumed = recipe_name is None
        recipe_name = recipe_name or _recipe_for(count, table)
        base = recipe_file.load(recipe_name)
        categories = _categories(base, count, table)
        whole = _with_network(base, told)
        model = YOSO(count, **whole.model.arguments()).eval()
        notes = load_authors_state(model, state)
    except DataError as error:
        raise DataError(f"{path}: {error.message}", hint=error.hint) from error
    differing = [
        f"model.{key} is {value} by the shapes, not {getattr(base.model, key)} as in {recipe_name}"
        for key, value in told.items()
        if value != getattr(base.model, key)
    ]
    if assumed:
        differing = [_assumed(base), *differing]
    weights = Weights(path, WHOLE, model.state_dict(), whole.to_dict(), categories, (), _provenance(path, "released"))
    return Imported(weights, "released", (*differing, *notes))


def _assumed(base: Recipe) -> str:
    """What decides about segments and stands in no tensor."""
    used = base.inference
    return (
        f"not in the file, taken from {base.name}: temperature {base.model.temperature:g}, score threshold "
        f"{used.score_threshold:g}, overlap threshold {used.overlap_threshold:g}, short edge {used.short_edge}, "
        f"long edge {used.long_edge}, backbone_norm {base.model.backbone_norm}; --recipe names another"
    )


def _with_network(base: Recipe, told: Mapping[str, str | int]) -> Recipe:
    plain = base.to_dict()
    plain["model"] |= told
    try:
        return recipe_file.from_dict(plain, "its shapes")
    except RecipeError as error:
        raise DataError(f"is not a valid YOSO network: {error.problems[0]}.") from error


def _backbone(path: Path, state: "dict[str, Tensor]", name: str) -> Imported:
    from yoso_cli.model.backbone import ResNet, load_published
    from yoso_cli.model.weights import BACKBONE, Weights

    # Trained norms have the values of frozen ones, and batch counts.
    backbone = ResNet(name, norm="batch")
    load_published(backbone, state)
    recipe = Recipe(name=name, description="a backbone alone", model=ModelRecipe(backbone=name))
    notes = tuple(f"{key} was left out: it is the classifier" for key in state if key.startswith("fc."))
    provenance = _provenance(path, "torchvision")
    return Imported(
        Weights(path, BACKBONE, backbone.state_dict(), recipe.to_dict(), (), (), provenance), "torchvision", notes
    )


def _recipe_for(count: int, table: str | None) -> str:
    release = catalog.with_classes(count)
    if release is not None:
        return release.recipe
    if table is not None:
        return "coco"
    known = ", ".join(f"{one.classes} ({one.name})" for one in catalog.RELEASES.values())
    raise DataError(
        f"has {count} classes; the released weights have {known}.",
        hint="Name its classes and recipe: `yoso weights import FILE --categories FILE --recipe RECIPE`.",
    )


def _categories(recipe: Recipe, count: int, table: str | None) -> tuple[Category, ...]:
    release = catalog.with_classes(count)
    if table is not None and table.endswith(".json"):
        listed = read_json(Path(table)).get("categories")
        categories = categories_from_json(listed if isinstance(listed, list) else [])
    elif table is not None:
        categories = read_table(table).categories
    elif release is not None:
        categories = read_categories(release.categories)
    else:
        raise DataError(f"has {count} classes, which {recipe.name} does not list.", hint="Add --categories.")
    if len(categories) != count:
        raise DataError(f"has {count} classes, but {table} lists {len(categories)}.")
    return categories


def _provenance(path: Path, layout: str) -> dict[str, Any]:
    found = Known.of(path, str(path))
    return {
        "imported": {"from": found.origin, "layout": layout, "bytes": found.bytes, "sha256": found.sha256},
        "versions": machine.versions(machine.MODEL_PACKAGES),
    }


def released_here() -> list[str]:
    """Names of the released weights in the cache."""
    cache = Cache.open()
    return [name for name in catalog.RELEASES if cache.released(name).is_file()]


def is_own_copy(name: str) -> bool:
    """Whether the weights `name` in the cache came from a file or mirror, which no published hash verifies."""
    known = Cache.open().known(name)
    return known is None or known.origin != catalog.find(name).address


def released_path(name: str, progress: Progress = SILENT) -> Path:
    """The cached weights `name`, downloaded if necessary; their hash must be the recorded one.

    Raises:
        RunError: they cannot be downloaded or stored.
        DataError: the cached or downloaded file is not the released one.
    """
    from yoso_cli.model.weights import stated_hash

    cache = Cache.open()
    target, known = cache.released(name), cache.known(name)
    if not target.is_file():
        return fetch_release(name, progress=progress)
    if known is None or stated_hash(target) != known.tensors:
        raise DataError(
            f"{target}: its hash is not the one recorded for {name}.",
            hint=f"Download it again with `yoso weights get {name} --force`.",
        )
    return target


def fetch_release(name: str, source: str | None = None, progress: Progress = SILENT) -> Path:
    """Downloads the released weights `name`, checks them and caches them in yoso's format.

    Args:
        name: of the release.
        source: a file or URL to use instead of the authors' release.
        progress: shows the download and messages.

    Raises:
        UsageError: there is no such release.
        RunError: they cannot be downloaded or stored.
        DataError: the file is not the released one.
    """
    from yoso_cli.model.weights import digest, write_weights

    release, cache = catalog.find(name), Cache.open()
    origin = source or release.address
    # The download may be there already, if the disk was too full for the conversion.
    arrived = cache.path / release.file
    if "://" not in origin:
        file = Path(origin)
    else:
        file = arrived if arrived.is_file() else _downloaded(origin, arrived, progress)
    try:
        found = read_release(file, name)
        known = replace(Known.of(file, origin), tensors=digest(found.weights.state))
        cache.check(name, known)
    except DataError:
        # A wrong download is removed; a user's own file is kept.
        arrived.unlink(missing_ok=True)
        raise
    versions = found.weights.provenance["versions"]
    provenance = {"released": {"name": name, "from": origin, "sha256": known.sha256}, "versions": versions}
    target = cache.released(name)
    write_weights(target, replace(found.weights, provenance=provenance))
    arrived.unlink(missing_ok=True)
    for note in found.notes:
        progress.message(f"  {note}")
    return target


def downloaded_path(address: str, progress: Progress = SILENT) -> Path:
    """The weights file of a URL, downloaded once; its hash must be the one recorded at the first download.

    Raises:
        UsageError: it is not an http or https URL.
        RunError: it cannot be downloaded or stored.
        DataError: the file has changed since the first download.
    """
    cache = Cache.open()
    target = cache.addressed(address)
    if not target.is_file():
        _downloaded(address, target, progress)
    try:
        cache.check(address, Known.of(target, address))
    except DataError:
        target.unlink()
        raise
    return target


def _downloaded(address: str, target: Path, progress: Progress) -> Path:
    progress.message(f"Downloading {address}")
    download(address, target, progress=progress)
    return target
