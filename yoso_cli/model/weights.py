"""Weights files: safetensors with the recipe and the class table inside.

The header's `yoso` entry is JSON: format version, part (a whole model or a backbone), resolved recipe, class table,
re-parameterisation steps, provenance, the hash of the tensors, and the hash of all of this. The format holds numbers
and text only, so a file from a stranger cannot run code.

Version 2 had no hash of the header. Version 1 had no part either (its models are whole), and its hash left out the
tensors' shapes and types. Both are still read.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from yoso_cli import atomic
from yoso_cli.errors import DataError, YosoError
from yoso_cli.model.reparam import STEPS, reparameterise
from yoso_cli.model.yoso import YOSO
from yoso_cli.panoptic.types import Category
from yoso_cli.runtime.json_text import parse_json

VERSION = 3
WHOLE, BACKBONE = "whole", "backbone"

_HEADER_HASH = "header_sha256"

MOST_VALUES = 1_000_000_000
"""In one file. ResNet-101 with the largest head has 62 million."""

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


@dataclass(frozen=True)
class Weights:
    """What a weights file holds.

    Attributes:
        path: where it was read.
        part: WHOLE or BACKBONE, which has no class table and the key names of `YOSO.backbone`.
        state: the model's tensors.
        recipe: the resolved recipe, as plain values.
        categories: the class table; list order is the order of the class logits.
        steps: re-parameterisation steps that the tensors have been through, by name.
        provenance: where the weights come from: run, iteration, versions.
    """

    path: Path
    part: str
    state: dict[str, Tensor]
    recipe: dict[str, Any]
    categories: tuple[Category, ...]
    steps: tuple[str, ...]
    provenance: dict[str, Any]


def save_weights(
    path: Path,
    model: YOSO,
    *,
    recipe: Mapping[str, Any],
    categories: tuple[Category, ...],
    provenance: dict[str, Any],
    steps: tuple[str, ...] = (),
) -> None:
    """Writes `model` to `path` in one step. Raises RunError when it cannot be written."""
    write_weights(path, Weights(path, WHOLE, model.state_dict(), dict(recipe), categories, steps, provenance))


def write_weights(path: Path, weights: Weights) -> None:
    """Writes `weights` to `path` in one step and in the present version. Raises RunError when it cannot be written."""
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in weights.state.items()}
    header: dict[str, Any] = {
        "version": VERSION,
        "part": weights.part,
        "recipe": weights.recipe,
        "categories": [asdict(category) for category in weights.categories],
        "steps": list(weights.steps),
        "provenance": weights.provenance,
        "sha256": digest(state),
    }
    # As it is read back: keys are text.
    header = json.loads(json.dumps(header))
    header[_HEADER_HASH] = _header_digest(header)
    with atomic.replacing(path) as temporary:
        try:
            save_file(state, temporary, metadata={"yoso": json.dumps(header)})
        except SafetensorError as error:
            # Its own error for a full disk is no OSError, which `replacing` would have reported.
            raise OSError(str(error)) from error


def is_own(path: Path) -> bool:
    """Whether yoso wrote a file, by its header. False for one that is missing or of another kind."""
    if not is_safetensors(path):
        return False
    try:
        with safe_open(path, framework="pt") as opened:
            return "yoso" in (opened.metadata() or {})
    except (SafetensorError, OSError):
        return False


def stated_hash(path: Path) -> str:
    """The hash of its tensors that a weights file states; `load_weights` holds them to it. Raises as that does."""
    return str(read_header(path).get("sha256"))


def load_weights(path: Path) -> Weights:
    """Reads a weights file.

    Raises:
        DataError: it is missing, torn, of another kind or of a newer version, or holds a tensor that is too large, of
            another type, or not finite.
    """
    header, state = _read(path)
    if header.get("sha256") != _DIGESTS[header["version"]](state):
        raise DataError(f"{path}: its tensors do not match their hash.", hint="Use another copy of the file.")
    require_plain(path, state)
    try:
        return Weights(
            path=path,
            part=str(header.get("part", WHOLE)),
            state=state,
            recipe=dict(header["recipe"]),
            categories=tuple(_category(entry) for entry in header["categories"]),
            steps=tuple(str(step) for step in header["steps"]),
            provenance=dict(header["provenance"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: its header is damaged ({error}).", hint="Use another copy of the file.") from error


def build(weights: Weights, arguments: Mapping[str, Any]) -> YOSO:
    """The model of a weights file, ready for inference. `arguments` are those of `YOSO` in the file's recipe.

    Raises:
        DataError: tensors are missing, unknown or of other shapes than `arguments` say, or a step is unknown.
    """
    if weights.part != WHOLE:
        raise DataError(
            f"{weights.path}: contains only a {weights.part}, which cannot segment pictures.",
            hint="Train from it with `yoso train RECIPE --weights FILE`.",
        )
    unknown = [step for step in weights.steps if step not in STEPS]
    if unknown:
        raise DataError(f"{weights.path}: unknown re-parameterisation {unknown[0]!r}.", hint="Update yoso.")
    _require_size(weights, arguments)
    model = YOSO(len(weights.categories), **arguments)
    if weights.steps:
        model = reparameterise(model, weights.steps)
    load_state(model, weights)
    return model.eval()


def _require_size(weights: Weights, arguments: Mapping[str, Any]) -> None:
    """Raises DataError for a recipe of a network that is far larger than its tensors: it would fill the memory."""
    held = sum(tensor.numel() for tensor in weights.state.values())
    try:
        # Without memory for its values.
        with torch.device("meta"):
            described = sum(one.numel() for one in YOSO(len(weights.categories), **arguments).state_dict().values())
    except RuntimeError:  # more values than a number holds
        described = MOST_VALUES
    # Folded batch norms are a few percent.
    if described > 2 * held + 1_000_000:
        raise DataError(
            f"{weights.path}: these weights do not fit the model of their recipe: {held:,} values for {described:,}.",
            hint="Use another copy of the file.",
        )


def load_state(model: YOSO, weights: Weights) -> None:
    """Fills `model`, or its backbone when that is all there is, with the tensors of `weights`, all of them or none.

    Raises:
        DataError: a tensor is missing, unknown or of another shape; says which.
    """
    target = model if weights.part == WHOLE else model.backbone
    own = target.state_dict()
    # A backbone's file counts batches for norms that are trained; frozen ones do not.
    countless = weights.part == BACKBONE and not any(key.endswith("num_batches_tracked") for key in own)
    state = {key: value for key, value in weights.state.items() if not (countless and key.endswith("_tracked"))}
    problems = [f"{key} is missing" for key in own if key not in state]
    problems += [f"{key} is unknown" for key in state if key not in own]
    problems += [
        f"{key} is {tuple(state[key].shape)}, not {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        made_for = f"{len(weights.categories)} classes and this recipe" if weights.part == WHOLE else "this recipe"
        raise DataError(
            f"{weights.path}: these weights do not fit the model: {'; '.join(problems[:3])}{more}.",
            hint=f"They were made for {made_for}: {weights.recipe.get('name', '?')}.",
        )
    target.load_state_dict(state)


def digest(state: dict[str, Tensor]) -> str:
    """The SHA-256 of every tensor with its name, type and shape: which detects corruption."""
    found = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].detach().cpu().contiguous()
        found.update(f"{key} {tensor.dtype} {list(tensor.shape)}\n".encode())
        # As bytes: numpy has no bfloat16.
        found.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _digest_of_version_1(state: dict[str, Tensor]) -> str:
    found = hashlib.sha256()
    for key in sorted(state):
        found.update(key.encode())
        found.update(state[key].numpy().tobytes())
    return found.hexdigest()


_DIGESTS = {1: _digest_of_version_1, 2: digest, 3: digest}


def _header_digest(header: Mapping[str, Any]) -> str:
    """The SHA-256 of the header's values, which include the hash of the tensors."""
    values = {key: value for key, value in header.items() if key != _HEADER_HASH}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    header = read_header(path)
    with _reading(path) as opened:
        names = list(opened.keys())
        require_values(path, {key: tuple(opened.get_slice(key).get_shape()) for key in names})
        return header, {key: opened.get_tensor(key) for key in names}


def read_header(path: Path) -> dict[str, Any]:
    """The header of a weights file: recipe, class table, steps, provenance, hash. Raises as `load_weights`."""
    with _reading(path) as opened:
        text = (opened.metadata() or {}).get("yoso", "{}")
    header = parse_json(text.encode(), f"{path}: its header")
    _check_version(path, header)
    return header


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise DataError(f"{path}: there is no such weights file.", hint="Name a .safetensors file or a run folder.")
    try:
        with safe_open(path, framework="pt") as opened:
            yield opened
    except YosoError:
        raise
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{path}: is not a readable weights file ({error}).",
            hint="It may be truncated or of another tool; use another copy.",
        ) from error


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: eight bytes of length, then JSON. False for one that is not there."""
    if not path.is_file():
        return False
    with path.open("rb") as opened:
        return opened.read(9)[8:] == b"{"


def require_values(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """Raises DataError when tensors of these shapes would be larger than any YOSO's."""
    for name, shape in shapes.items():
        if _values(shape) > MOST_VALUES:
            raise DataError(f"{path}: {name} has {_values(shape):,} values, more than any YOSO.")
    total = sum(map(_values, shapes.values()))
    if total > MOST_VALUES:
        raise DataError(f"{path}: its tensors have {total:,} values together, more than any YOSO.")


def _values(shape: tuple[int, ...]) -> int:
    # Not torch's or numpy's product, which overflows.
    total = 1
    for edge in shape:
        total *= edge
    return total


def require_plain(path: Path, state: dict[str, Tensor]) -> None:
    """Raises DataError unless every tensor is plain numbers, of a size that can be. Sizes are looked at first."""
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise DataError(f"{path}: {name} is not a plain tensor.")
        if _values(tuple(tensor.shape)) * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise DataError(f"{path}: {name} has shape {tuple(tensor.shape)}, which is more values than are stored.")
        wanted = "int64" if name.endswith("num_batches_tracked") else "floating point"
        if (tensor.dtype not in FLOATS) if wanted == "floating point" else tensor.dtype != torch.int64:
            raise DataError(f"{path}: {name} is {str(tensor.dtype).removeprefix('torch.')}, not {wanted}.")
    require_values(path, {name: tuple(tensor.shape) for name, tensor in state.items()})
    bad = [name for name, tensor in state.items() if not bool(tensor.isfinite().all())]
    if bad:
        raise DataError(f"{path}: tensors with values that are not finite: {len(bad)}; the first is {bad[0]}.")


def _check_version(path: Path, header: Any) -> None:
    if not isinstance(header, dict) or not isinstance(header.get("version"), int):
        raise DataError(f"{path}: a safetensors file, but not one that yoso wrote: its header has no `yoso` entry.")
    if header["version"] > VERSION:
        raise DataError(
            f"{path}: format version {header['version']} is newer than this version of yoso.", hint="Update yoso."
        )
    if header["version"] not in _DIGESTS:
        raise DataError(f"{path}: there is no format version {header['version']}.", hint="Use another copy.")
    # Whatever version it says: damage can turn a 3 into a 2, which has no hash.
    hashed = header["version"] >= 3 or _HEADER_HASH in header
    if hashed and header.get(_HEADER_HASH) != _header_digest(header):
        raise DataError(f"{path}: its header does not match its hash.", hint="Use another copy of the file.")


def _category(entry: dict[str, Any]) -> Category:
    red, green, blue = (int(part) for part in entry["color"])
    return Category(int(entry["id"]), str(entry["name"]), bool(entry["isthing"]), (red, green, blue))
