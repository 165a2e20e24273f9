"""The prepared dataset of a recipe, or the command that prepares it."""

import shlex
from dataclasses import replace
from pathlib import Path

from yoso_cli.errors import DataError, did_you_mean
from yoso_cli.panoptic.files import MANIFEST, read_set
from yoso_cli.panoptic.types import PanopticSet
from yoso_cli.recipe.schema import Recipe
from yoso_cli.run_folder import RunFolder

# Folders above a run in which its dataset is looked for: the folder of all runs, that which holds it, one more.
_ABOVE = 3


def prepared_set(recipe: Recipe, split: str) -> PanopticSet:
    """A split of the recipe's dataset.

    Raises:
        DataError: it is not prepared, damaged or empty; the hint says what to type.
    """
    folder = Path(recipe.data.root) / recipe.data.name / split
    try:
        found = read_set(folder)
    except DataError as error:
        made = (folder / MANIFEST).exists()
        raise DataError(error.message, hint=error.hint if made else _prepare_hint(recipe, folder)) from None
    if not found.records:
        raise DataError(f"{folder}: has no pictures.", hint="Prepare it again with --force.")
    return found


def with_data_of(recipe: Recipe, run: RunFolder | None) -> Recipe:
    """`recipe` with `data.root` where the dataset of `run` is.

    It is looked for at `data.root` as written, then below the folders above the run, which keeps what was moved or
    copied together, then where it was when the run was trained. Where it is in none, the recipe stays as it is.
    """
    if run is None:
        return recipe
    data = recipe.data
    above = [folder for path in (run.path.absolute(), run.path.resolve()) for folder in path.parents[:_ABOVE]]
    places = [Path(data.root), *(folder / data.root for folder in above), run.data_root() or Path(data.root)]
    there = (place for place in places if (place / data.name / data.val_split / MANIFEST).is_file())
    found = next(there, places[0])
    return recipe if found == places[0] else replace(recipe, data=replace(data, root=str(found)))


def first_pictures(recipe: Recipe, count: int) -> list[Path]:
    """The first `count` pictures of the recipe's validation split. Raises DataError if it is not prepared."""
    found = prepared_set(recipe, recipe.data.val_split)
    return [found.image_path(record) for record in found.records[:count]]


def prepare_command(recipe: Recipe, split: str = "SPLIT") -> str:
    """The command that makes the recipe's dataset: `yoso prepare` for a published one, else `yoso convert`."""
    from yoso_cli.datasets.catalog import published

    spec = published(recipe.data.name)
    folder = Path(recipe.data.root) / recipe.data.name / split
    return f"yoso prepare {spec.name}" if spec else f"yoso convert SOURCE {shlex.quote(str(folder))}"


def _prepare_hint(recipe: Recipe, folder: Path) -> str:
    """What to do about a split that is not prepared: use another name, or prepare it."""
    from yoso_cli.datasets.catalog import DATASETS, published

    dataset = folder.parent
    there = {path.parent for path in dataset.parent.glob(f"*/*/{MANIFEST}")}
    splits = sorted(path.name for path in there if path.parent == dataset) if not folder.exists() else []
    command = prepare_command(recipe, folder.name)
    making = f"Type `{command}` to prepare it. If it is elsewhere, add `--set data.root=DIR`."
    if splits:
        return f"{making} Existing splits of {dataset.name}: {', '.join(splits)}."
    names = {*DATASETS, *(path.parent.name for path in there)} - {dataset.name}
    return making if published(dataset.name) else did_you_mean(dataset.name, names, making)
