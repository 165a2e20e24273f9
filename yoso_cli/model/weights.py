"""Weights on disk: one safetensors file that needs no recipe beside it.

The header's `yoso` entry is JSON: format version, resolved recipe, class table, re-parameterisation steps, provenance.
The format holds numbers and text only, so a file from a stranger cannot run code.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from yoso_cli import atomic
from yoso_cli.errors import DataError, YosoError
from yoso_cli.model.reparam import STEPS, reparameterise
from yoso_cli.model.yoso import YOSO
from yoso_cli.panoptic.types import Category
from yoso_cli.recipe import Recipe

VERSION = 1


@dataclass(frozen=True)
class Weights:
    """What a weights file holds.

    Attributes:
        path: where it was read.
        state: the model's tensors.
        recipe: the resolved recipe, as plain values.
        categories: the class table; list order is the order of the class logits.
        steps: re-parameterisation steps that the tensors have been through, by name.
        provenance: where the weights come from: run, iteration, versions.
    """

    path: Path
    state: dict[str, Tensor]
    recipe: dict[str, Any]
    categories: tuple[Category, ...]
    steps: tuple[str, ...]
    provenance: dict[str, Any]


def save_weights(
    path: Path,
    model: YOSO,
    *,
    recipe: Recipe,
    categories: tuple[Category, ...],
    provenance: dict[str, Any],
    steps: tuple[str, ...] = (),
) -> None:
    """Writes `model` to `path` in one step. Raises RunError when it cannot be written."""
    header = {
        "version": VERSION,
        "recipe": recipe.to_dict(),
        "categories": [asdict(category) for category in categories],
        "steps": list(steps),
        "provenance": provenance,
    }
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
    header["sha256"] = _digest(state)
    with atomic.replacing(path) as temporary:
        try:
            save_file(state, temporary, metadata={"yoso": json.dumps(header)})
        except SafetensorError as error:
            # Its own error for a full disk is no OSError, which `replacing` would have reported.
            raise OSError(str(error)) from error


def load_weights(path: Path) -> Weights:
    """Reads a weights file.

    Raises:
        DataError: it is missing, torn, of another kind or of a newer version, or holds a value that is not a number.
    """
    header, state = _read(path)
    if header.get("sha256") != _digest(state):
        raise DataError(
            f"{path}: its tensors are not the ones that were written.", hint="Use another copy of the file."
        )
    bad = [key for key, tensor in state.items() if tensor.is_floating_point() and not bool(tensor.isfinite().all())]
    if bad:
        raise DataError(f"{path}: {len(bad)} tensors hold values that are not numbers, the first is {bad[0]}.")
    try:
        return Weights(
            path=path,
            state=state,
            recipe=dict(header["recipe"]),
            categories=tuple(_category(entry) for entry in header["categories"]),
            steps=tuple(str(step) for step in header["steps"]),
            provenance=dict(header["provenance"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: its header is damaged ({error}).", hint="Use another copy of the file.") from error


def build(weights: Weights, recipe: Recipe) -> YOSO:
    """The model of a weights file, ready for inference. `recipe` is the file's own, read back into its type.

    Raises:
        DataError: tensors are missing, unknown or of other shapes than the recipe says, or a step is unknown.
    """
    unknown = [step for step in weights.steps if step not in STEPS]
    if unknown:
        raise DataError(f"{weights.path}: unknown re-parameterisation {unknown[0]!r}.", hint="Update yoso.")
    model = reparameterise(YOSO.from_recipe(recipe.model, len(weights.categories)), weights.steps)
    load_state(model, weights)
    return model.eval()


def load_state(model: YOSO, weights: Weights) -> None:
    """Fills `model` with the tensors of `weights`, all of them or none.

    Raises:
        DataError: a tensor is missing, unknown or of another shape; says which.
    """
    own, state = model.state_dict(), weights.state
    problems = [f"{key} is missing" for key in own if key not in state]
    problems += [f"{key} is unknown" for key in state if key not in own]
    problems += [
        f"{key} is {tuple(state[key].shape)}, not {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise DataError(
            f"{weights.path}: these weights do not fit the model: {'; '.join(problems[:3])}{more}.",
            hint=f"They were made for {len(weights.categories)} classes and this recipe: "
            f"{weights.recipe.get('name', '?')}.",
        )
    model.load_state_dict(state)


def _digest(state: dict[str, Tensor]) -> str:
    """The hash of every tensor with its name: a flipped bit would otherwise load and only answer wrongly."""
    found = hashlib.sha256()
    for key in sorted(state):
        found.update(key.encode())
        found.update(state[key].numpy().tobytes())
    return found.hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise DataError(f"{path}: there is no such weights file.", hint="Name a .safetensors file or a run folder.")
    try:
        with safe_open(path, framework="pt") as opened:
            header = json.loads((opened.metadata() or {}).get("yoso", "null"))
            _check_version(path, header)
            return header, {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (not a mapping)
    except YosoError:
        raise
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{path}: this is not a weights file that can be read ({error}).",
            hint="It may be torn or of another tool; use another copy.",
        ) from error


def _check_version(path: Path, header: Any) -> None:
    if not isinstance(header, dict) or not isinstance(header.get("version"), int):
        raise DataError(f"{path}: a safetensors file, but not one that yoso wrote: its header has no `yoso` entry.")
    if header["version"] > VERSION:
        raise DataError(
            f"{path}: format version {header['version']} is newer than this yoso knows.", hint="Update yoso."
        )


def _category(entry: dict[str, Any]) -> Category:
    red, green, blue = (int(part) for part in entry["color"])
    return Category(int(entry["id"]), str(entry["name"]), bool(entry["isthing"]), (red, green, blue))
