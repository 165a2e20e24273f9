"""A file of every exported kind, from the run of the line in miniature."""

from pathlib import Path

from yoso_cli.api.export import metadata_of
from yoso_cli.api.weights import read_model
from yoso_cli.cli import run
from yoso_cli.export import onnx_file, openvino_file, torch_file
from yoso_cli.export.formats import requested
from yoso_cli.export.network import MergedGraph, NetworkGraph
from yoso_cli.export.program import exported

FOLDED = Path("runs/tiny-001/reparam.safetensors")
FRAME = "64,64"
"""Of tiny-merged.onnx: one size is traced in a fifth of the time, and scripts/export_proof has the free one."""


def export_all() -> None:
    """Folds the run and writes tiny.onnx, tiny-merged.onnx, tiny.xml and tiny.pt2, three of them from one tracing."""
    assert run(["reparam", "--images", "1"]) == 0
    model = read_model(FOLDED)
    network, used = model.network(), model.recipe.inference
    program = exported(NetworkGraph(network), None)
    onnx_file.write(program, metadata_of(model, requested("onnx")), Path("tiny.onnx"))
    conversion = openvino_file.Conversion(program, network, None)
    conversion.write(metadata_of(model, requested("openvino")), Path("tiny.xml"))
    torch_file.write(program, metadata_of(model, requested("torch")), Path("tiny.pt2"), compiled=False)
    thresholds = {"score_threshold": used.score_threshold, "overlap_threshold": used.overlap_threshold}
    framed = requested("onnx", size=FRAME, merge="inside")
    merged = exported(MergedGraph(network, model.weights.categories, **thresholds), framed.size)
    onnx_file.write(merged, metadata_of(model, framed), Path("tiny-merged.onnx"))
