"""Archives of torch.export, and packages that AOTInductor has compiled to machine code.

To load either is to run what is in it: torch builds Python from an archive and loads a library from a package. So only
files that this machine's yoso has written itself are run, which their hash tells; what a file says of itself is read
from any of them, as data.
"""

import hashlib
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from yoso_cli.errors import DataError, RunError
from yoso_cli.export.metadata import KEY, MOST_BYTES, Metadata, foreign, read_file, require_file
from yoso_cli.export.program import quiet
from yoso_cli.panoptic.set_archive import BROKEN_ZIP
from yoso_cli.releases.cache import Cache

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from yoso_cli.export.onnx_file import Array

_ENTRY = f"{KEY}.json"


def write(program: "ExportedProgram", metadata: Metadata, path: Path, *, compiled: bool) -> None:
    """Writes `program` to `path`, as an archive or compiled, with its metadata, and remembers its hash.

    Raises:
        RunError: it cannot be compiled here.
    """
    with quiet():
        if compiled:
            _compile(program, path)
            with zipfile.ZipFile(path, "a") as archive:
                archive.writestr(f"{path.stem}/extra/{_ENTRY}", metadata.to_json())
        else:
            torch.export.save(program, path, extra_files={_ENTRY: metadata.to_json()})
    Cache.open().remember_own(_hash(path.read_bytes()))


def _compile(program: "ExportedProgram", path: Path) -> None:
    try:
        # Freezing packs the weights for this processor: a tenth faster.
        torch._inductor.aoti_compile_and_package(
            program, package_path=os.fspath(path), inductor_configs={"freezing": True}
        )
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(
            f"{path.name}: torch cannot compile the network here: {reason}.",
            hint="On a CPU it needs a C++ compiler. Otherwise leave --compile out.",
        ) from error


def read_metadata(path: Path) -> Metadata:
    """What the file says of itself; nothing else of it is read. Raises DataError otherwise."""
    require_file(path, "archive")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [one for one in archive.infolist() if one.filename.endswith(f"/{_ENTRY}")]
            if not entries or entries[0].file_size > MOST_BYTES:
                raise foreign(str(path))
            text = archive.read(entries[0])
    except (OSError, *BROKEN_ZIP) as error:
        raise DataError(f"{path}: is no archive of torch ({error}).", hint="Export it again.") from error
    return Metadata.of_json(text, str(path))


class Session:
    """An archive or a compiled package, run by torch on the CPU.

    Args:
        path: the file.
        threads: of torch, in the whole process.

    Raises:
        DataError: the file is damaged, foreign, or was not written by this machine's yoso.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self.metadata = read_metadata(path)
        if not Cache.open().is_own(_hash(read_file(path, "archive"))):
            raise DataError(
                f"{path}: is not a file that yoso wrote on this machine, or it was changed since. To load an archive "
                "of torch is to run what is in it.",
                hint="Export it here, or use the .onnx, which is data.",
            )
        torch.set_num_threads(threads)
        self._path = path
        self._run = _loaded(path)
        self.version = f"torch {torch.__version__}"

    def run(self, inputs: "Sequence[Array]") -> "list[Array]":
        """The outputs for the inputs, in the order of the file."""
        try:
            with torch.inference_mode():
                found: Sequence[Tensor] = self._run(*map(torch.from_numpy, inputs))
        except (AssertionError, RuntimeError) as error:
            # torch.export takes an edge of one cell, 32 pixels, for another case than all others.
            shape = "x".join(str(edge) for edge in inputs[0].shape)
            raise DataError(
                f"{self._path}: torch rejects an input of {shape}. Archives of torch take edges of 64 pixels and more, "
                "or exactly the size that they were exported with.",
                hint="An .onnx takes any.",
            ) from error
        return [one.numpy() for one in found]


def _loaded(path: Path) -> Callable[..., Any]:
    with quiet():
        with zipfile.ZipFile(path) as archive:
            compiled = any(one.endswith(".so") for one in archive.namelist())
        if compiled:
            package: Callable[..., Any] = torch._inductor.aoti_load_package(os.fspath(path))
            return package
        return torch.export.load(path).module()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
