"""The network as a program of torch.export, which every format is written from."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import torch
from torch.export import Dim, ExportedProgram

from yoso_cli.export.formats import MOST_PIXELS, STRIDE, Size
from yoso_cli.export.network import MergedGraph, NetworkGraph

INPUTS = {"none": ("images",), "inside": ("image", "used", "size")}
"""Names by merge, in order."""
OUTPUTS = {
    "none": ("mask_logits", "class_logits"),
    "inside": ("id_map", "segment_ids", "category_ids", "areas", "scores"),
}

# Any size that is no square: an exporter takes numbers that are equal for one and the same.
_EXAMPLE: Size = (96, 160)

_TALKATIVE = ("torch.onnx", "onnxscript", "nncf", "torch.utils.cpp_extension")


def exported(graph: NetworkGraph | MergedGraph, size: Size | None) -> ExportedProgram:
    """`graph` for inputs of `size` (height, width), or of all multiples of 32 where it is None."""
    height, width = size or _EXAMPLE
    merged = isinstance(graph, MergedGraph)
    if merged:
        picture = torch.zeros(height, width, 3, dtype=torch.uint8)
        inputs: tuple[torch.Tensor, ...] = (picture, torch.tensor([height - 3, width - 5]), torch.tensor([77, 51]))
    else:
        inputs = (torch.zeros(1, 3, height, width),)
    # Named by itself: `32 * h` is an edge.
    most = MOST_PIXELS // STRIDE**2
    down, across = (STRIDE * Dim(name, min=1, max=most) for name in ("h", "w"))
    free = {0: down, 1: across} if merged else {2: down, 3: across}
    shapes = None if size is not None else (free, *(None for _ in inputs[1:]))
    with quiet(), torch.no_grad():
        return torch.export.export(graph.eval(), inputs, dynamic_shapes=shapes, strict=False)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps what exporters print, warn and log about their own progress and internals from the terminal."""
    levels = {logger: logger.level for logger in map(logging.getLogger, _TALKATIVE)}
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            for logger in levels:
                logger.setLevel(logging.CRITICAL)
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
