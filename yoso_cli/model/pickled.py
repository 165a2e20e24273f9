"""State dicts of untrusted files: torch's pickles and plain safetensors, read without executing code.

torch's weights-only loader refuses a pickle that wants code. What it lets through is looked at here, before anything of
the size that the file claims is made: archives that unpack to more than they are, and tensors that are larger than
what they are stored in.
"""

import re
import warnings
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from yoso_cli.errors import DataError
from yoso_cli.model.weights import is_safetensors, require_plain, require_values
from yoso_cli.panoptic.set_archive import BROKEN_ZIP

# What tools put around a state dict, in the order in which it is looked for.
_WRAPPINGS = ("model", "state_dict", "model_state_dict")
_MOST_PICKLE = 64 << 20


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a torch file (`.pth`, `.pt`) or of a safetensors file, by name, on the CPU.

    A state dict may stand alone, or under `model`, `state_dict` or `model_state_dict` beside other things; a `module.`
    before every name is left out. Numbers are floating point, but for counters of batches (int64).

    Raises:
        DataError: the file is missing, torn, of another kind, wants to run code, or holds a tensor that is too large,
            of another type, or not finite.
    """
    if not path.is_file():
        raise DataError(f"{path}: {'is a folder, not a file' if path.is_dir() else 'there is no such file'}.")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: is empty.", hint="Its download may have failed: use another copy.")
    state = _unwrapped(path, _read_safetensors(path) if is_safetensors(path) else _read_torch(path))
    require_plain(path, state)
    return state


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as opened:
            names = list(opened.keys())
            require_values(path, {name: tuple(opened.get_slice(name).get_shape()) for name in names})
            return {name: opened.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise _unreadable(path) from error


def _read_torch(path: Path) -> Any:
    zipped = zipfile.is_zipfile(path)
    if zipped:
        _require_honest_archive(path)
    try:
        with warnings.catch_warnings():
            # torch's warnings about the file do not help the user; unsafe files are refused below.
            warnings.simplefilter("ignore")
            # With mmap a tensor takes no memory until it is used. Files of before torch 1.6 are no archives.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        if wanted:
            raise DataError(
                f"{path}: contains code ({wanted[1]}), which was not executed.",
                hint="Use a file from a trusted source, saved as a plain state dict.",
            ) from error
        # Its own words advise to load the file without care.
        raise _unreadable(path) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except MemoryError:
        raise
    except Exception as error:
        # torch's reader checks little: what is damaged raises whatever it meets, struct.error and assertions among it.
        raise _unreadable(path) from error


def _require_honest_archive(path: Path) -> None:
    """Raises DataError where an archive of torch unpacks to more than it is, which is a trap, or a CRC differs.

    torch stores tensors as they are and, reading them in place, compares no CRC: a flipped bit would be another weight.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _require_plausible(path, members)
            damaged = archive.testzip()
    except (OSError, *BROKEN_ZIP) as error:
        raise _unreadable(path) from error
    if damaged is not None:
        raise DataError(f"{path}: is damaged: the checksum of {damaged} differs.", hint="Use another copy of the file.")


def _require_plausible(path: Path, members: list[zipfile.ZipInfo]) -> None:
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise DataError(f"{path}: unpacks to more than its own size, unlike files of torch; it was not read.")
    if any(member.filename.endswith("data.pkl") and member.file_size > _MOST_PICKLE for member in members):
        raise DataError(f"{path}: its list of tensors is larger than that of any YOSO; it was not read.")


def _unwrapped(path: Path, value: Any) -> dict[str, Tensor]:
    for key in _WRAPPINGS:
        if isinstance(value, dict) and isinstance(value.get(key), dict):
            value = value[key]
            break
    if not isinstance(value, dict) or not value:
        raise DataError(f"{path}: has no named tensors.", hint="A state dict is expected, as written by torch.save.")
    wrong = [name for name, tensor in value.items() if not (isinstance(name, str) and isinstance(tensor, Tensor))]
    if wrong:
        raise DataError(f"{path}: {wrong[0]!r} is not a tensor, but {type(value[wrong[0]]).__name__}.")
    prefixed = all(name.startswith("module.") for name in value)
    return {name.removeprefix("module.") if prefixed else name: tensor.detach() for name, tensor in value.items()}


def _unreadable(path: Path) -> DataError:
    """Replaces the libraries' own messages (opcode numbers, advice to load unsafely)."""
    return DataError(
        f"{path}: is not a readable weights file.",
        hint="It is truncated, or not a file of torch or safetensors: use another copy.",
    )
