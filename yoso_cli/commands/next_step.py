"""The command to type next. Known paths are filled in; unknown ones are a word in capitals."""

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from yoso_cli.errors import DataError

if TYPE_CHECKING:
    from yoso_cli.recipe.schema import Recipe

# Pictures searched for one that was not drawn before.
_LOOKED_AT = 8


def viz(weights: str | Path, pictures: Iterable[Path] = ()) -> str:
    """The `yoso viz` command for the first of `pictures` that was not drawn here yet."""
    fresh = (one for one in pictures if one.is_file() and not Path(f"{one.stem}-yoso.png").exists())
    picture = next(fresh, None)
    return f"yoso viz {_shown(picture) if picture else 'IMAGE'} --weights {shlex.quote(str(weights))}"


def bench(weights: str | Path, recipe: "Recipe", picture: Path | None) -> str:
    """The `yoso bench` command: on the dataset of `weights` where it was prepared, else on `picture`, if any."""
    line = f"yoso bench {shlex.quote(str(weights))}"
    return line if picture is None or validation_pictures(recipe) else f"{line} --image {_shown(picture)}"


def recipe_new(dataset: str, train: str | Path, val: str | Path | None = None) -> str:
    """The `yoso recipe new` command for a dataset and the set to train on."""
    name = re.sub(r"[^A-Za-z0-9._-]+|^[^A-Za-z0-9]+", "", dataset.removesuffix("-split")) or "mine"
    there = "" if val in (None, train) else f" --val {shlex.quote(str(val))}"
    return f"yoso recipe new {name} --for {shlex.quote(str(train))}{there}"


def train(dataset: str, splits: Sequence[str], root: Path) -> str | None:
    """The `yoso train` command for a dataset below `root`, with the recipe that is for it; None where there is none.

    A single split is for both training and validation.
    """
    from yoso_cli.api.dataset import recipe_for

    found = recipe_for(dataset)
    if found is None:
        return None
    named, recipe = found
    words = ["yoso", "train", named]
    if recipe.data.name != dataset:
        words += ["--set", f"data.name={dataset}"]
    if root != Path(recipe.data.root):
        words += ["--set", f"data.root={root}"]
    first = next((split for split in splits if split.startswith("train")), splits[0])
    last = next((split for split in splits if split != first), first)
    if not {recipe.data.train_split, recipe.data.val_split} <= set(splits):
        words += ["--set", f"data.train_split={first}", "--set", f"data.val_split={last}"]
    return shlex.join(words)


def validation_pictures(recipe: "Recipe") -> list[Path]:
    """The first pictures of the recipe's validation split; none where it was not prepared, or its path cannot be."""
    from yoso_cli.api.dataset import first_pictures

    try:
        return first_pictures(recipe, _LOOKED_AT)
    except (DataError, OSError):
        return []


def _shown(path: Path) -> str:
    """Relative to the current folder where possible, quoted."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
