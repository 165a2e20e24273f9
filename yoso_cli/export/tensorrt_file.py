"""TensorRT: the ONNX that it takes, with the command that makes an engine of it where a GPU is.

Nothing of it was run by those who wrote this: there was no GPU. The ONNX is proved by onnxruntime. It says itself which
layers are in float16 (the backbone, up to the first sigmoid; places, masks and sums stay float32), so TensorRT is told
to keep the types as they are.
"""

import shlex
from pathlib import Path

from yoso_cli.export.formats import STRIDE
from yoso_cli.export.metadata import Metadata

_LEAST = 2 * STRIDE


def trtexec(path: Path, metadata: Metadata, short_edge: int, long_edge: int) -> str:
    """The command line that makes an engine of the ONNX at `path`.

    Args:
        path: of the ONNX.
        metadata: what it says of itself.
        short_edge: pixels that pictures are resized to.
        long_edge: the most of the other edge.
    """
    words = ["trtexec", f"--onnx={path}", f"--saveEngine={path.with_suffix('.plan')}", "--stronglyTyped"]
    if metadata.size is None:
        short, long = (-(-edge // STRIDE) * STRIDE for edge in (short_edge, long_edge))
        usual = min(long, -(-short * 4 // 3 // STRIDE) * STRIDE)
        shapes = {"min": (_LEAST, _LEAST), "opt": (short, usual), "max": (long, long)}
        words += [f"--{name}Shapes=images:1x3x{height}x{width}" for name, (height, width) in shapes.items()]
    return shlex.join(words)
