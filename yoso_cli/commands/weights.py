"""`yoso weights`: download the authors' released weights; import, export and show weights files."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yoso_cli.commands import console, next_step, options
from yoso_cli.errors import UsageError
from yoso_cli.runtime.paths import require_there
from yoso_cli.runtime.words import counted, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from yoso_cli.api.weights import ModelFile
    from yoso_cli.export.metadata import Metadata
    from yoso_cli.model.weights import Weights
    from yoso_cli.panoptic.types import Category
    from yoso_cli.recipe.schema import Recipe
    from yoso_cli.releases.catalog import Release


@click.group()
def command() -> None:
    """List, download, import, export and show weights.

    A name like `coco` means weights released by YOSO's authors; every --weights and SOURCE accepts it. Weights in
    yoso's own format are one safetensors file, which includes the recipe, the class table and the provenance.
    """


@command.command("list")
@options.json_option
def list_(as_json: bool) -> None:
    """List the released weights, with the paper's figures for them.

    \b
    Example:
      yoso weights list
    """
    from yoso_cli.api.weight_import import is_own_copy, released_here
    from yoso_cli.releases.catalog import ADDRESS, LICENCE, RELEASES

    rows = [row for name in RELEASES for row in _rows(name)]
    columns = ("weights", "recipe", "short,long", "paper PQ", "FPS", "classes", "MB", "here")
    there = released_here()
    own = {name for name in there if is_own_copy(name)}
    lines = [
        (
            row["name"],
            row["recipe"],
            f"{row['short_edge']},{row['long_edge']}",
            row["paper_pq"],
            row["paper_fps"],
            row["classes"],
            round(row["bytes"] / 1e6),
            ("own copy, not verified" if row["name"] in own else "yes") if row["name"] in there else "no",
        )
        for row in rows
    ]
    text = f"{console.table(columns, lines)}\n\nFrom {ADDRESS}\nLicence: {LICENCE}."
    value = [{**row, "here": row["name"] in there, "own_copy": row["name"] in own} for row in rows]
    console.result({"address": ADDRESS, "licence": LICENCE, "weights": value}, text, as_json)
    console.next_step(next_step.viz("coco") if "coco" in there else "yoso weights get coco")


def _rows(name: str) -> list[dict[str, Any]]:
    from yoso_cli.recipe import file as recipe_file
    from yoso_cli.releases.catalog import find

    release = find(name)
    recipes = {recipe: recipe_file.load(recipe) for recipe in release.recipes}
    return [
        {
            "name": name,
            "recipe": key,
            "short_edge": recipe.inference.short_edge,
            "long_edge": recipe.inference.long_edge,
            "paper_pq": recipe.paper.pq,
            "paper_fps": recipe.paper.fps,
            "gpu": recipe.paper.gpu,
            "classes": release.classes,
            "bytes": release.tensor_bytes,
            "file": release.file,
        }
        for key, recipe in recipes.items()
    ]


@command.command()
@click.argument("name")
@click.option(
    "--from",
    "source",
    metavar="FILE|URL",
    show_default="the authors' release",
    help="A mirror, or your own copy of the file.",
)
@click.option("--force", is_flag=True, help="Download again even if they are here.")
@options.json_option
def get(name: str, source: str | None, force: bool, as_json: bool) -> None:
    """Download the released weights NAME.

    The file is downloaded (an interrupted download resumes), checked tensor by tensor, and kept in yoso's format under
    $YOSO_HOME (~/.cache/yoso unless it is set). Its hash is recorded at the first download; a later download must have
    the same one.

    \b
    Example:
      yoso weights get coco
      yoso weights get cityscapes --from ~/Downloads/yoso_res50_cityscapes.pth
    """
    from yoso_cli.api.weight_import import fetch_release, released_path
    from yoso_cli.api.weights import read_model
    from yoso_cli.releases.cache import Cache
    from yoso_cli.releases.catalog import find

    find(name)
    if source is not None and "://" not in source:
        require_there(Path(source))
    standing = Cache.open().released(name).is_file() and not force
    progress = console.TERMINAL
    path = released_path(name, progress) if standing else fetch_release(name, source, progress)
    found = read_model(path, progress=progress)
    if standing:
        console.say(f"{name}: is downloaded already; --force downloads it again.")
    console.result(_content(found.weights), _sheet(found), as_json)
    console.next_step(next_step.viz(name, next_step.validation_pictures(found.recipe)))


@command.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    metavar="FILE",
    show_default="FILE with the suffix .safetensors, in the current folder",
    help="Where to write.",
)
@click.option(
    "--recipe",
    metavar="RECIPE",
    show_default="the released one with as many classes",
    help="The recipe for weights in the authors' layout: temperature, thresholds, sizes, dataset.",
)
@click.option(
    "--categories",
    metavar="FILE",
    show_default="those of the released dataset",
    help="A YAML of categories (as for `yoso convert`), a panoptic.json, or the name of a published dataset.",
)
@options.force_option
@options.json_option
def import_(
    file: Path, output: Path | None, recipe: str | None, categories: str | None, force: bool, as_json: bool
) -> None:
    """Convert the weights FILE to yoso's format.

    FILE is in the layout of YOSO's authors (`{'model': state_dict}`, norms frozen, trained or folded), a torchvision
    ResNet to train from, or an older format of yoso. Every key is mapped once and every shape checked; all that do not
    fit are named. No code is executed: a pickle that contains code is refused.

    \b
    Example:
      yoso weights import yoso_res50_coco.pth
      yoso weights import model.pth --recipe mine.yaml --categories mine.yaml
    """
    from yoso_cli.api import weight_import
    from yoso_cli.model.weights import BACKBONE, write_weights
    from yoso_cli.recipe import file as recipe_file

    _require_named(file, recipe, categories)
    target = output or Path(f"{file.stem}.safetensors")
    if target.exists() and file.exists() and target.samefile(file):
        raise UsageError(f"{target}: is the input file.", hint="Name another with --output.")
    _refuse_standing(target, force)
    found = weight_import.read(file, recipe=recipe, table=categories)
    # Before anything is written: the recipe in an old file may be refused.
    inside = None if found.weights.part == BACKBONE else recipe_file.from_dict(found.weights.recipe, str(file))
    write_weights(target, found.weights)
    for note in found.notes:
        console.say(f"  {note}")
    shown = _content(found.weights) | {"weights": str(target), "layout": found.layout, "notes": list(found.notes)}
    sentence = f"Read {counted(len(found.weights.state), 'tensor')} in the {found.layout} layout; wrote {target}."
    console.result(shown, sentence, as_json)
    if inside is None:
        console.next_step(f"yoso train coco --weights {shlex.quote(str(target))}")
    else:
        console.next_step(next_step.viz(target, next_step.validation_pictures(inside)))


def _require_named(file: Path, recipe: str | None, categories: str | None) -> None:
    """Raises UsageError for a missing file, before hundreds of megabytes are read."""
    from yoso_cli.conversion.category_file import read_table
    from yoso_cli.recipe import file as recipe_file

    require_there(file)
    if recipe is not None:
        recipe_file.find(recipe)
    if categories is not None and categories.endswith(".json"):
        require_there(Path(categories))
    elif categories is not None:
        read_table(categories)


@command.command()
@click.argument("source", required=False)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    metavar="FILE",
    show_default="NAME-released.pth in the current folder",
    help="Where to write.",
)
@options.runs_option
@options.force_option
@options.json_option
def export(source: str | None, output: Path | None, runs: Path, force: bool, as_json: bool) -> None:
    """Write weights in the layout of YOSO's authors, for their code.

    SOURCE is a run folder, a weights file, the name of released weights or a URL; without it, the newest run is used.
    Interpolation-first aggregation (IFA) is converted to convolution-first (CFA), which is what their code supports.

    \b
    Example:
      yoso weights export runs/coco-001 --output yoso_coco.pth
    """
    from yoso_cli.api.weights import read_model, trained_weights
    from yoso_cli.model.authors import save_authors_state

    found = read_model(trained_weights(source, runs, console.TERMINAL), progress=console.TERMINAL)
    target = output or Path(f"{found.trained.name}-released.pth")
    _refuse_standing(target, force)
    count = save_authors_state(
        target, found.network(), found.plain(), no_object_weight=found.trained.loss.no_object_weight
    )
    value = {"weights": str(found.path), "output": str(target), "tensors": count}
    console.result(
        value, f"Wrote {counted(count, 'tensor')} of {found.path} in the released layout: {target}.", as_json
    )
    console.next_step(shlex.join(_reading_back(found, target)))


@command.command()
@click.argument("source", required=False)
@options.runs_option
@options.json_option
def show(source: str | None, runs: Path, as_json: bool) -> None:
    """Show what weights are: network, classes, sizes, provenance.

    SOURCE is a run folder, a weights file, an exported file, the name of released weights or a URL; without it, the
    newest run is used. For released weights that are not downloaded, shows what is known without the file. Nothing in a
    file is executed.

    \b
    Example:
      yoso weights show coco
      yoso weights show coco.onnx
    """
    from yoso_cli.api.weight_import import released_here
    from yoso_cli.api.weights import is_release, read_model, trained_weights
    from yoso_cli.releases.catalog import find

    if source is not None and is_release(source) and source not in released_here():
        release = find(source)
        console.result(_announced(release), _announcement(release), as_json)
        console.next_step(f"yoso weights get {source}")
        return
    found = read_model(trained_weights(source, runs, console.TERMINAL), progress=console.TERMINAL)
    value = _content(found.weights) if found.exported is None else _exported_content(found.path, found.exported)
    console.result(value, _sheet(found), as_json)
    console.next_step(next_step.viz(source or found.path, next_step.validation_pictures(found.recipe)))


def _reading_back(found: "ModelFile", target: Path) -> list[str]:
    """The command that imports the export; classes other than the released ones must be named."""
    from yoso_cli.panoptic.files import LISTING
    from yoso_cli.releases.catalog import with_classes

    words = ["yoso", "weights", "import", str(target), "--output", "check.safetensors"]
    if with_classes(len(found.weights.categories)) is not None:
        return words
    data = found.recipe.data  # where it is now
    listing = Path(data.root) / data.name / data.val_split / LISTING
    recipe = str(found.run.recipe_path) if found.run else "RECIPE"
    return [*words, "--recipe", recipe, "--categories", str(listing) if listing.is_file() else "CATEGORIES"]


def _refuse_standing(target: Path, force: bool) -> None:
    if target.is_dir():
        raise UsageError(f"{target}: is a folder.", hint="Name a file with --output.")
    if target.exists() and not force:
        raise UsageError(f"{target}: exists already.", hint="Add --force to overwrite it, or choose another --output.")


def _content(weights: "Weights") -> dict[str, Any]:
    """All but the tensors, ready for JSON."""
    from yoso_cli.model.weights import digest

    return {
        "weights": str(weights.path),
        "part": weights.part,
        "tensors": len(weights.state),
        "values": _values(weights),
        "sha256": digest(weights.state),
        "steps": list(weights.steps),
        "recipe": weights.recipe,
        "categories": _class_table(weights.categories),
        "provenance": weights.provenance,
    }


def _exported_content(path: Path, told: "Metadata") -> dict[str, Any]:
    """What an exported file says of itself, ready for JSON."""
    return {"file": str(path), "bytes": path.stat().st_size, **told.to_dict()}


def _announced(release: "Release") -> dict[str, Any]:
    """What is known of released weights that are not downloaded, ready for JSON."""
    from yoso_cli.datasets.spec import read_categories
    from yoso_cli.recipe import file as recipe_file
    from yoso_cli.releases.catalog import LICENCE

    return {
        "weights": None,
        "name": release.name,
        "here": False,
        "address": release.address,
        "bytes": release.tensor_bytes,
        "licence": LICENCE,
        "recipe": recipe_file.load(release.recipe).to_dict(),
        "categories": _class_table(read_categories(release.categories)),
    }


def _announcement(release: "Release") -> str:
    """The same as text."""
    from yoso_cli.datasets.spec import read_categories
    from yoso_cli.recipe import file as recipe_file
    from yoso_cli.releases.catalog import LICENCE

    recipe = recipe_file.load(release.recipe)
    lines = {
        "weights": f"{release.name}, not on this machine: {release.tensor_bytes / 1e6:.0f} MB to download",
        **_known(recipe, read_categories(release.categories)),
        "paper": f"PQ {recipe.paper.pq:g} ({recipe.paper.table})",
        "from": release.address,
        "licence": LICENCE,
    }
    return _listed(lines)


def _sheet(found: "ModelFile") -> str:
    """The contents of weights as text, one fact a line."""
    weights = found.weights
    lines: dict[str, object] = {
        "weights": weights.path,
        "contents": _exported_as(found.exported)
        if found.exported
        else f"a {weights.part} model: {counted(len(weights.state), 'tensor')}, "
        f"{_values(weights) / 1e6:.1f} million values",
        **_known(found.trained, weights.categories),
        "steps": ", ".join(weights.steps) or "none, as trained",
        **_history(weights.provenance),
    }
    return _listed(lines)


def _exported_as(told: "Metadata") -> str:
    """`exported as onnx in float32, size dynamic, merge none`."""
    size = "x".join(map(str, told.size)) if told.size else "dynamic"
    return f"exported as {told.format} in {told.precision}, size {size}, merge {told.merge}"


def _known(recipe: "Recipe", categories: "Sequence[Category]") -> dict[str, str]:
    """Facts from the recipe and the classes, which need no file."""
    things = sum(category.isthing for category in categories)
    model, used = recipe.model, recipe.inference
    parts = {
        "proposal": model.num_proposals,
        "stage": model.num_stages,
        "class layer": model.num_class_layers,
        "mask layer": model.num_mask_layers,
    }
    return {
        "recipe": f"{recipe.name}: {recipe.description}" if recipe.description else recipe.name,
        "classes": f"{len(categories)} ({counted(things, 'thing')}, {len(categories) - things} stuff)",
        "network": ", ".join([model.backbone, *(counted(count, noun) for noun, count in parts.items())])
        + f", temperature {model.temperature:g}",
        "used at": f"short edge {used.short_edge}, long edge {used.long_edge} at most, score above "
        f"{used.score_threshold:g}, overlap {used.overlap_threshold:g}",
    }


def _class_table(categories: "Sequence[Category]") -> list[dict[str, Any]]:
    return [{"id": category.id, "name": category.name, "isthing": category.isthing} for category in categories]


def _listed(lines: "Mapping[str, object]") -> str:
    return "\n".join(f"{name:<10}{printable(str(value))}" for name, value in lines.items())


def _history(provenance: dict[str, Any]) -> dict[str, object]:
    """The provenance: single values as they are, and for each step its source file."""
    plain = {key: value for key, value in provenance.items() if isinstance(value, (str, int, float))}
    steps = {key: value["from"] for key, value in provenance.items() if isinstance(value, dict) and "from" in value}
    return plain | steps


def _values(weights: "Weights") -> int:
    return sum(tensor.numel() for tensor in weights.state.values() if tensor.is_floating_point())
