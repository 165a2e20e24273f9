"""Matrix products of single precision on a CPU, by oneDNN.

torch gives them to MKL, which uses half the width of an AMD processor's vectors: on two cores of an AMD EPYC the
products of this network take twice as long there. The operator is the one into which torch.compile translates a linear
layer; it has no gradient and serves inference alone.
"""

# M rows, K summed over, N columns

import torch
from torch import Tensor
from torch.nn import functional as F


def available() -> bool:
    """Whether this build of torch has oneDNN's operators, and nobody has switched them off."""
    return torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled)


def usable(*operands: Tensor) -> bool:
    """Whether oneDNN may reckon with these: in single precision, on a CPU, with nobody asking for a gradient."""
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu") or not available():
        return False
    wanted = torch.is_grad_enabled() and any(one.requires_grad for one in operands)
    return not wanted and all(one.device.type == "cpu" and one.dtype is torch.float32 for one in operands)


def product(x: Tensor, weight: Tensor) -> Tensor:
    """`F.linear` without a bias: (M, K) and (N, K) to (M, N)."""
    if not usable(x, weight):
        return F.linear(x, weight)
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return found
