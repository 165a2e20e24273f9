"""OpenVINO's intermediate representation: an .xml with the graph and a .bin with the weights, run by OpenVINO.

OpenVINO and NNCF are imported where they are needed. A pair of files is read as data first: operators that are not
OpenVINO's own, entities in the XML and weights beyond the end of the .bin are refused before OpenVINO sees them.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from torch import nn

from yoso_cli.errors import DataError, RunError
from yoso_cli.export.formats import FORMATS, Size, import_without_reports, require_packages
from yoso_cli.export.metadata import KEY, Metadata, foreign, read_file, require_whole, seal
from yoso_cli.export.program import INPUTS, OUTPUTS, quiet

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from yoso_cli.export.onnx_file import Array
    from yoso_cli.model.yoso import YOSO

_MOST_XML_BYTES = 64 << 20
# As torchvision and timm call the stages at strides 16 and 32.
_DEEP = re.compile(r"backbone\.(body\.)?(layer[34]|blocks\.[3-6]|stages[._][23]|s[34])\.")
# Shifts are places.
QUANTISED: dict[str, Callable[[str], bool]] = {
    "convolutions": lambda name: name != "" and not name.endswith(".offset"),
    "backbone": lambda name: name.startswith("backbone."),
    "deep backbone": lambda name: _DEEP.match(name) is not None,
}
"""Which convolutions are in int8, by their modules' names: the fastest first, the most accurate last."""

_HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
"""OpenVINO's names for the precision in which it computes what is not int8."""


def _openvino() -> ModuleType:
    """OpenVINO, without its reporter."""
    import_without_reports()
    import openvino

    found: ModuleType = openvino
    return found


def weights_of(path: Path) -> Path:
    """The .bin of an .xml."""
    return path.with_suffix(".bin")


class Conversion:
    """A program of torch.export as OpenVINO's model, which is written as it is or quantised.

    Args:
        program: of torch.export, without the merge.
        network: that it was traced from; its weights tell which convolution is which.
        size: (height, width) of every input, or None.
    """

    def __init__(self, program: "ExportedProgram", network: "YOSO", size: Size | None) -> None:
        with quiet():
            self._model = _openvino().convert_model(program)
        for port, name in zip(
            (*self._model.inputs, *self._model.outputs), (*INPUTS["none"], *OUTPUTS["none"]), strict=True
        ):
            port.set_names({name})
        if size is not None:
            self._model.reshape([1, 3, *size])
        self._network = network

    def write(self, metadata: Metadata, path: Path, calibration: "Sequence[Array]" = ()) -> None:
        """Writes it to `path` and the .bin beside it, with its metadata, sealed.

        Args:
            metadata: what the file says of itself; `quantised` is one of QUANTISED, or empty.
            path: of the .xml.
            calibration: inputs of the network, by which the ranges of int8 are found.
        """
        model = self._quantised(metadata.quantised, calibration) if metadata.quantised else self._model
        model.set_rt_info(metadata.to_json(), [KEY])
        with quiet():
            # By itself it would store weights as float16.
            _openvino().save_model(model, path, compress_to_fp16=False)
        seal(path, [weights_of(path)])

    def _quantised(self, part: str, inputs: "Sequence[Array]") -> Any:
        """The model with int8 convolutions in one of QUANTISED; ranges are those seen on `inputs`."""
        with quiet():
            import nncf

            kept = [name for name, convolution in self._convolutions().items() if not QUANTISED[part](convolution)]
            # A copy: quantisation changes the model.
            return nncf.quantize(
                self._model.clone(),
                nncf.Dataset(inputs),
                subset_size=len(inputs),
                preset=nncf.QuantizationPreset.MIXED,
                ignored_scope=nncf.IgnoredScope(types=["MatMul"], names=kept, validate=False),
            )

    def _convolutions(self) -> dict[str, str]:
        """The name of each convolution in the model, and of the module that it is.

        Empty where it is none, and for the one that sees the picture itself, which is never quantised.
        """
        stem = self._network.backbone.stem
        weights = {
            _hash(one.weight.detach().numpy()): "" if one is stem else name
            for name, one in self._network.named_modules()
            if _has(one)
        }
        return {
            one.get_friendly_name(): weights.get(_hash(one.input_value(1).get_node().data), "")
            for one in self._model.get_ordered_ops()
            if one.get_type_name() in ("Convolution", "ConvolutionBackpropData")
        }


def _has(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d | nn.ConvTranspose2d)


def _hash(weight: "Array") -> bytes:
    return hashlib.sha256(np.ascontiguousarray(weight).tobytes()).digest()


def read_metadata(path: Path) -> Metadata:
    """What the files say of themselves; they are whole and plain. Raises DataError otherwise."""
    return _checked(path)[2]


def _checked(path: Path) -> tuple[bytes, bytes, Metadata]:
    graph = read_file(path, "OpenVINO file")
    if len(graph) > _MOST_XML_BYTES:
        raise DataError(f"{path}: has {len(graph) / 1e6:.0f} MB of XML, more than any exported YOSO.")
    found = _parsed(path, graph)
    entry = found.find(f"rt_info/{KEY}")
    text = None if entry is None else entry.get("value")
    if text is None:
        raise foreign(str(path))
    together = f"It belongs to {path.name}: copy both."
    weights = read_file(weights_of(path), "file of weights", together)
    require_whole(path, [graph, weights])
    metadata = Metadata.of_json(text.encode(), str(path))
    _require_plain(path, found, len(weights))
    return graph, weights, metadata


def _parsed(path: Path, graph: bytes) -> ElementTree.Element:
    if not graph.lstrip().startswith(b"<"):
        raise DataError(f"{path}: is no XML, or empty.", hint="Export it again, or use another copy.")
    if b"<!" in graph:
        # OpenVINO writes neither; entities can grow without bound.
        raise DataError(f"{path}: has declarations or comments, which no exported YOSO has.")
    try:
        found = ElementTree.fromstring(graph)  # noqa: S314 (without declarations there are no entities)
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{path}: is no readable XML ({error}).", hint="Export it again.") from error
    if found.tag != "net":
        raise foreign(str(path))
    return found


def _place(text: str) -> int:
    """A number of bytes; -1 for what is none, or has more digits than any."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else -1


def _require_plain(path: Path, found: ElementTree.Element, held: int) -> None:
    """Raises DataError for operators that are not OpenVINO's, and for weights that the .bin does not hold."""
    for layer in found.iterfind("layers/layer"):
        kind, version = layer.get("type", ""), layer.get("version", "")
        if not version.startswith("opset") or layer.find("body") is not None:
            raise DataError(
                f"{path}: has the operator {kind} of {version or 'nowhere'}, and only OpenVINO's own are run.",
                hint="Export it again with `yoso export`.",
            )
        data = layer.find("data")
        if kind == "Const" and data is not None:
            first, count = (_place(data.get(name, "")) for name in ("offset", "size"))
            if first < 0 or count < 0 or first + count > held:
                raise DataError(
                    f"{path}: claims weights up to byte {first + count:,}, and {weights_of(path).name} has {held:,}.",
                    hint="It is damaged or forged: use another copy.",
                )


class Session:
    """An OpenVINO file, on the CPU.

    Args:
        path: the .xml; what is wrong with it or its .bin is said before it is run.
        threads: for the whole network.
        precision: float32 or bfloat16 instead of that of the file.

    Raises:
        UsageError: OpenVINO is not installed.
        DataError: the file is damaged, foreign, or rejected by OpenVINO.
    """

    def __init__(self, path: Path, threads: int, precision: str | None = None) -> None:
        graph, weights, self.metadata = _checked(path)
        require_packages(FORMATS["openvino"].reads, str(path), FORMATS["openvino"].extra)
        openvino = _openvino()
        chosen = precision or self.metadata.precision
        if chosen == "bfloat16":
            require_bfloat16()
        how = {
            "INFERENCE_PRECISION_HINT": _HINTS[chosen],
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        core = openvino.Core()
        try:
            held = openvino.Tensor(np.frombuffer(weights, np.uint8)) if weights else openvino.Tensor()
            model = core.read_model(graph.decode(), held)
            self._request = core.compile_model(model, "CPU", how).create_infer_request()
        except (RuntimeError, ValueError, UnicodeDecodeError) as error:
            raise _rejected(path, error) from error
        self._path = path
        self.version = f"OpenVINO {openvino.__version__.split('-')[0]}"

    def run(self, inputs: "Sequence[Array]") -> "list[Array]":
        """The outputs for the inputs, in the order of the file."""
        try:
            found = self._request.infer(dict(enumerate(inputs)))
        except (RuntimeError, ValueError) as error:
            raise _rejected(self._path, error) from error
        # Copies: the next call writes over them.
        return [np.array(one) for one in found.values()]


def require_bfloat16() -> None:
    """Raises RunError where OpenVINO does not compute in bfloat16 on this CPU."""
    if "BF16" not in _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise RunError(
            "--precision bfloat16: this CPU has no bfloat16 instructions, so OpenVINO would compute in float32.",
            hint="Use float32 or int8.",
        )


def _rejected(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:200]
    return DataError(f"{path}: OpenVINO rejects it: {reason}.", hint="Export it again, or use another copy.")
