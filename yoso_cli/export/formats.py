"""The formats of exported files: what each can do, and what it needs; everything else is refused before work begins."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from yoso_cli.errors import UsageError, did_you_mean

Size = tuple[int, int]

STRIDE = 32
"""Edges of the network's input are multiples of it."""
MOST_PIXELS = 1 << 26
"""Of an input; the masks of 100 queries at a quarter of its edges are 1.7 GB then."""

PRECISIONS = ("float32", "bfloat16", "float16", "int8")
MERGES = ("none", "inside")
DYNAMIC = "dynamic"


@dataclass(frozen=True)
class Package:
    """A package that writes or runs a format: as Python imports it, and as pip and people know it."""

    module: str
    name: str


ONNX = Package("onnx", "onnx")
ONNXSCRIPT = Package("onnxscript", "onnxscript")
ONNXRUNTIME = Package("onnxruntime", "onnxruntime")
OPENVINO = Package("openvino", "OpenVINO")
NNCF = Package("nncf", "NNCF")


@dataclass(frozen=True)
class Format:
    """A kind of exported file. Every value of `PRECISIONS` and `MERGES` is either among those it has, or in `lacks`.

    Attributes:
        name: as `--format` has it.
        suffix: of the file.
        runtime: what runs it.
        extra: the pip extra with its packages; empty where none is needed.
        writes: packages that write and prove it.
        reads: packages that show and run it.
        precisions: of the convolutions.
        merges: whether masks become segments outside or inside of the file.
        lacks: a value that it does not have, and why, a sentence; the last words are what to do instead.
        compiles: whether `--compile` is possible.
    """

    name: str
    suffix: str
    runtime: str
    extra: str
    writes: tuple[Package, ...]
    reads: tuple[Package, ...]
    precisions: tuple[str, ...]
    merges: tuple[str, ...]
    lacks: Mapping[str, str] = field(default_factory=dict)
    compiles: bool = False


FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        Format(
            name="onnx",
            suffix=".onnx",
            runtime="onnxruntime",
            extra="export",
            writes=(ONNX, ONNXSCRIPT, ONNXRUNTIME),
            reads=(ONNX, ONNXRUNTIME),
            precisions=("float32",),
            merges=("none", "inside"),
            lacks={
                "bfloat16": "onnxruntime has no bfloat16 convolution for a CPU. OpenVINO has: --format openvino.",
                "float16": "onnxruntime turns float16 into float32 on a CPU. For a GPU there is --format tensorrt.",
                "int8": "Quantised models are written for OpenVINO: --format openvino.",
            },
        ),
        Format(
            name="openvino",
            suffix=".xml",
            runtime="OpenVINO",
            extra="openvino",
            writes=(OPENVINO,),
            reads=(OPENVINO,),
            precisions=("float32", "bfloat16", "int8"),
            merges=("none",),
            lacks={
                "float16": "OpenVINO computes in float32 or bfloat16 on a CPU: --precision bfloat16.",
                "inside": "A merged file has outputs of unknown length: --format onnx.",
            },
        ),
        Format(
            name="tensorrt",
            suffix=".onnx",
            runtime="TensorRT",
            extra="export",
            writes=(ONNX, ONNXSCRIPT, ONNXRUNTIME),
            reads=(ONNX, ONNXRUNTIME),
            precisions=("float32", "float16"),
            merges=("none",),
            lacks={
                "bfloat16": "It cannot be proved without a GPU, as onnxruntime has none on a CPU: --precision float16.",
                "int8": "Its calibration needs a GPU, which nothing here was run on: --precision float16.",
                "inside": "TensorRT wants to know the size of every output: --merge none.",
            },
        ),
        Format(
            name="torch",
            suffix=".pt2",
            runtime="torch",
            extra="",
            writes=(),
            reads=(),
            precisions=("float32",),
            merges=("none", "inside"),
            lacks={
                "bfloat16": "Weights themselves run in it, without an export: `yoso eval --precision bfloat16`.",
                "float16": "Weights themselves run in it, without an export: `yoso eval --precision float16`.",
                "int8": "Quantised models are written for OpenVINO: --format openvino.",
            },
            compiles=True,
        ),
    )
}
"""By name."""

SUFFIXES = tuple(dict.fromkeys(one.suffix for one in FORMATS.values()))
"""Of exported files."""


@dataclass(frozen=True)
class Request:
    """What a file shall be. Build it with `requested`, which refuses what no format can do.

    Attributes:
        format: one of FORMATS.
        size: (height, width) of every input, or None where it is free.
        merge: one of MERGES.
        precision: one of PRECISIONS.
        compiled: whether torch compiles it to machine code.
    """

    format: Format
    size: Size | None
    merge: str
    precision: str
    compiled: bool


def requested(
    name: str, *, size: str = DYNAMIC, merge: str = "none", precision: str = "float32", compiled: bool = False
) -> Request:
    """What a file of the format `name` shall be.

    Raises:
        UsageError: there is no such format, it cannot do it, or a package is missing; says what to do.
    """
    found = FORMATS.get(name)
    if found is None:
        raise UsageError(f"--format {name}: no such format.", hint=_choices(name, FORMATS))
    _require(found, "--precision", precision, PRECISIONS, found.precisions)
    _require(found, "--merge", merge, MERGES, found.merges)
    if compiled and not found.compiles:
        raise UsageError(f"--compile: {found.name} files are not compiled.", hint="Leave it out, or --format torch.")
    request = Request(found, read_size(size), merge, precision, compiled)
    if compiled and merge == "inside":
        raise UsageError("--compile cannot be combined with --merge inside.", hint="Leave one of them out.")
    extra = (NNCF,) if precision == "int8" else ()
    require_packages((*found.writes, *extra), f"--format {name}", found.extra)
    return request


def read_size(text: str) -> Size | None:
    """`512,800` as (height, width), or None for `dynamic`.

    Raises:
        UsageError: it is neither, or an edge is no multiple of the network's stride.
    """
    if text == DYNAMIC:
        return None
    match = re.fullmatch(r"(\d{1,6})[,x](\d{1,6})", text.strip())
    if match is None:
        raise UsageError(f"--size {text}: is no size.", hint="Write HEIGHT,WIDTH, as in --size 512,800, or dynamic.")
    height, width = int(match[1]), int(match[2])
    if height % STRIDE or width % STRIDE or not height or not width:
        near = ",".join(str(max(STRIDE, round(edge / STRIDE) * STRIDE)) for edge in (height, width))
        raise UsageError(f"--size {text}: both edges must be multiples of {STRIDE}.", hint=f"Try --size {near}.")
    if height * width > MOST_PIXELS:
        raise UsageError(f"--size {text}: has more than {MOST_PIXELS >> 20} million pixels.", hint="Choose a smaller.")
    return height, width


def require_packages(packages: Sequence[Package], what: str, extra: str) -> None:
    """Raises UsageError where one of `packages`, which `what` needs, is not installed; imports nothing."""
    missing = [one.name for one in packages if find_spec(one.module) is None]
    if missing:
        *first, last = missing
        named = f"{', '.join(first)} and {last}, which are" if first else f"{last}, which is"
        raise UsageError(
            f"{what} needs {named} not installed.",
            hint=f"Type `pip install 'yoso-cli[{extra}]'`.",
        )


def import_without_reports() -> None:
    """Keeps runtimes, once they are imported, from telling Intel and Microsoft of their use.

    OpenVINO reports every import and conversion; onnxruntime 1.32 every session, and leaves files in the home and in
    the temporary folder.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    # None makes its reporter's import fail, which OpenVINO and NNCF expect and go without it.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def format_of(path: Path) -> Format | None:
    """The format that the suffix of a file stands for; None for another file. TensorRT's ONNX is ONNX."""
    return next((one for one in FORMATS.values() if one.suffix == path.suffix.lower()), None)


def _require(found: Format, option: str, value: str, known: Sequence[str], possible: Sequence[str]) -> None:
    if value in possible:
        return
    if value not in known:
        raise UsageError(f"{option} {value}: there is no such choice.", hint=_choices(value, known))
    raise UsageError(f"{option} {value}: {found.name} does not do it.", hint=found.lacks[value])


def _choices(typed: str, known: Sequence[str] | Mapping[str, object]) -> str:
    return did_you_mean(typed, known, f"There are {', '.join(known)}.")
