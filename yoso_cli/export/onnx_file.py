"""ONNX files: written from a program of torch.export, checked before they are run, run by onnxruntime.

onnxruntime and onnx are imported where they are needed. A file is read as data first: what could reach beyond it
(tensors in other files, operators of other tools) or claims more than it holds is refused before a runtime sees it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from yoso_cli.errors import DataError
from yoso_cli.export.formats import FORMATS, import_without_reports, require_packages
from yoso_cli.export.metadata import KEY, Metadata, foreign, read_file, require_whole, seal
from yoso_cli.export.program import INPUTS, OUTPUTS, quiet

if TYPE_CHECKING:
    import onnx
    import onnxruntime
    from torch.export import ExportedProgram

OPSET = 20
"""18 is written and then rejected when it runs: its Resize lacks what the graph uses."""
_OLDEST_OPSET = 19
_MOST_NODES = 20_000

Array = npt.NDArray[Any]


def write(program: "ExportedProgram", metadata: Metadata, path: Path) -> None:
    """Writes `program` to `path`, with its metadata, sealed."""
    import torch

    with quiet():
        made = torch.onnx.export(
            program,
            (),
            dynamo=True,
            opset_version=OPSET,
            input_names=INPUTS[metadata.merge],
            output_names=OUTPUTS[metadata.merge],
            verbose=False,
        )
    assert made is not None, "only the old exporter returns nothing"
    model = made.model_proto
    _set_metadata(model, metadata)
    path.write_bytes(model.SerializeToString())
    seal(path)


def _set_metadata(model: "onnx.ModelProto", metadata: Metadata) -> None:
    from onnx.helper import set_model_props

    model.producer_name, model.producer_version = "yoso", metadata.versions.get("yoso-cli", "")
    # Names of lines of source code, three times as large as the graph itself.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in model.graph.value_info:
        del value.metadata_props[:]
    set_model_props(model, {KEY: metadata.to_json()})


def read_metadata(path: Path) -> Metadata:
    """What the file says of itself; it is whole and asks for nothing beyond it. Raises DataError otherwise."""
    return _checked(path)[1]


def _checked(path: Path) -> tuple[bytes, Metadata]:
    require_packages(FORMATS["onnx"].reads[:1], str(path), FORMATS["onnx"].extra)
    content = read_file(path, "ONNX file")
    model = _parsed(path, content)
    entries = {one.key: one.value for one in model.metadata_props}
    if KEY not in entries:
        raise foreign(str(path))
    require_whole(path, [content])
    metadata = Metadata.of_json(entries[KEY].encode(), str(path))
    _require_plain(path, model)
    names = [[one.name for one in side] for side in (model.graph.input, model.graph.output)]
    if names != [list(INPUTS[metadata.merge]), list(OUTPUTS[metadata.merge])]:
        raise DataError(f"{path}: its inputs and outputs are not those of a YOSO.", hint="Export it again.")
    return content, metadata


def _parsed(path: Path, content: bytes) -> "onnx.ModelProto":
    import onnx
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except (DecodeError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error
    if not model.graph.node:
        raise DataError(f"{path}: is not an ONNX file, or it is truncated.", hint="Export it again.")
    return model


def _require_plain(path: Path, model: "onnx.ModelProto") -> None:
    """Raises DataError for what reaches beyond the file or is none of ONNX's own operators."""
    opset = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=0)
    if opset < _OLDEST_OPSET:
        raise DataError(
            f"{path}: is of opset {opset}; YOSO needs {_OLDEST_OPSET} or newer, as older ones are rejected when run.",
            hint="Export it again with `yoso export`.",
        )
    if len(model.graph.node) > _MOST_NODES:
        raise DataError(f"{path}: has {len(model.graph.node):,} operators, more than any exported YOSO.")
    domains = {one.domain for one in model.opset_import} | {one.domain for one in model.graph.node}
    custom = sorted(domains - {"", "ai.onnx"})
    if custom or model.functions:
        raise DataError(
            f"{path}: has custom operators ({custom[0] if custom else 'functions'}), and only ONNX's own are run.",
            hint="Export it again with `yoso export`.",
        )
    for name, tensor in _tensors(path, model.graph):
        _require_inside(path, name, tensor)


def _tensors(path: Path, graph: "onnx.GraphProto") -> "Iterator[tuple[str, onnx.TensorProto]]":
    """Every tensor of the graph, by name. Raises DataError where there are graphs within it: no YOSO has any."""
    yield from ((one.name, one) for one in graph.initializer)
    if graph.sparse_initializer:
        raise DataError(f"{path}: has sparse tensors, which no exported YOSO has.")
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs:
                raise DataError(f"{path}: has a {node.op_type} with a graph of its own, which no exported YOSO has.")
            yield from ((node.name, one) for one in [*attribute.tensors, *[attribute.t] * attribute.HasField("t")])


def _require_inside(path: Path, name: str, tensor: "onnx.TensorProto") -> None:
    """Raises DataError unless the values of a tensor are in the file, as many as its shape says."""
    import onnx

    if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
        place = next((one.value for one in tensor.external_data if one.key == "location"), "elsewhere")
        raise DataError(
            f"{path}: the values of {name} are in another file ({place}), which is not opened.",
            hint="yoso writes one file with everything in it: export it again.",
        )
    values = 1
    for edge in tensor.dims:
        values *= edge
    try:
        wide = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, TypeError):
        raise DataError(f"{path}: {name} has values of an unknown type.") from None
    held = len(tensor.raw_data)
    stored = sum(len(one) for one in (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data))
    if any(edge < 0 for edge in tensor.dims) or (held != values * wide if held else stored != values):
        raise DataError(
            f"{path}: {name} claims {values:,} values of {wide} bytes, and the file holds {held or stored * wide:,}.",
            hint="It is damaged or forged: use another copy.",
        )


class Session:
    """An ONNX file in onnxruntime, on the CPU.

    Args:
        path: the file; what is wrong with it is said before it is run.
        threads: for each operator.

    Raises:
        UsageError: onnx or onnxruntime is not installed.
        DataError: the file is damaged, foreign, or rejected by onnxruntime.
    """

    def __init__(self, path: Path, threads: int) -> None:
        content, self.metadata = _checked(path)
        require_packages(FORMATS["onnx"].reads, str(path), FORMATS["onnx"].extra)
        import_without_reports()
        import onnxruntime

        self._path = path
        self._session = _session(path, content, threads)
        self.version = f"onnxruntime {onnxruntime.__version__}"

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs for the inputs, in the order of the file."""
        named = dict(zip(INPUTS[self.metadata.merge], inputs, strict=True))
        try:
            found: list[Array] = [np.asarray(one) for one in self._session.run(None, named)]
        except Exception as error:
            # Its errors are of many classes without a common one.
            raise _unreadable(self._path, error) from error
        return found


def _session(path: Path, content: bytes, threads: int) -> "onnxruntime.InferenceSession":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Its threads wait busily for more work, while torch merges the masks on the same cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return DataError(f"{path}: cannot be read or run as ONNX: {reason}.", hint="Export it again, or use another copy.")
