"""The prepared dataset of a recipe, or the command that prepares it."""

import shlex
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from yoso_cli.errors import DataError, YosoError, did_you_mean
from yoso_cli.panoptic.files import MANIFEST, read_set
from yoso_cli.panoptic.packed_segments import SegmentTable
from yoso_cli.panoptic.types import PanopticSet
from yoso_cli.recipe.schema import Recipe
from yoso_cli.run_folder import RunFolder
from yoso_cli.runtime.words import counted

# YAML files of a folder that may be recipes.
_LOOKED_AT = 50
# Numbers of proposals that are suggested.
_STEP = 50
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


def recipe_for(dataset: str) -> tuple[str, Recipe] | None:
    """The recipe whose data is `dataset`, and what `yoso train` calls it; None where there is none.

    A YAML in the current folder goes before a packaged recipe, and one that is called like the dataset before others.
    """
    from yoso_cli.recipe import file

    own = sorted(Path().glob("*.yaml"), key=lambda path: (path.stem != dataset, path.name))[:_LOOKED_AT]
    for path in own:
        # A YAML may be anything, as a table of classes.
        with suppress(YosoError, OSError):
            recipe = file.read(path)
            if recipe.data.name == dataset:
                return str(path), recipe
    # Mapillary's two versions are two datasets and share their recipe.
    name = dataset.partition("-v")[0]
    if name not in dict(file.packaged()):
        return None
    recipe = file.load(name)
    return (name, recipe) if recipe.data.name.partition("-v")[0] == name else None


def beyond_proposals(found: PanopticSet, proposals: int) -> str:
    """What is wrong with `proposals` for a split that has pictures with more segments; empty where none has."""
    table = SegmentTable.of(found.records)
    counts = np.bincount(table.image[~table.iscrowd], minlength=1)
    many = int(np.count_nonzero(counts > proposals))
    if not many:
        return ""
    most, enough = int(counts.max()), -(-int(counts.max()) // _STEP) * _STEP
    return (
        f"{found.split}: {many} of {counted(len(found.records), 'picture')} have more segments than the network's "
        f"{proposals} proposals, up to {most}: the rest of them cannot be learnt or found. "
        f"--set model.num_proposals={enough} would do; it takes more memory."
    )


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
