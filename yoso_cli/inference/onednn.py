"""Convolutions and matrix products on a CPU with oneDNN, through torch's internal operators.

torch documents none of these operators, and any release may change them. So each is probed once in a process: it has
to give plain torch's result on a tiny input. Plain torch takes the place of one that does not. They compute in single
precision and have no gradient: they serve inference alone.

A layer's weights can be laid out for one size of input beforehand, which torch otherwise does at every call. Products
go to oneDNN because torch gives them to MKL, which uses half the width of an AMD processor's vectors: on two cores of
an AMD EPYC the products of this network take twice as long there.
"""

# B pictures, C channels in, O channels out, H W size of the map in, h w size of the map out
# M rows, K summed over, N columns

import functools
from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CONVOLUTION = "_convolution_pointwise"
SUM = "_convolution_pointwise_"
CONVOLUTION_LAYOUT = "_reorder_convolution_weight"
PRODUCT = "_linear_pointwise"
PRODUCT_LAYOUT = "_reorder_linear_weight"


class Geometry(NamedTuple):
    """How a convolution's kernel moves over the map, in the order in which the operators take it."""

    padding: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @classmethod
    def of(cls, conv: nn.Conv2d) -> "Geometry":
        """That of `conv`, whose padding is given in pixels."""
        return cls(cast("tuple[int, ...]", conv.padding), conv.stride, conv.dilation, conv.groups)


def works(operator: str) -> bool:
    """Whether one of PROBES is usable: it passed its probe, and oneDNN is enabled."""
    return bool(torch.backends.mkldnn.enabled) and probed(operator)


@functools.cache
def probed(operator: str) -> bool:
    """Whether one of PROBES computes what plain torch does. Kept for the life of the process."""
    try:
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            return all(torch.allclose(*pair, rtol=1e-4, atol=1e-5) for pair in PROBES[operator]())
    except Exception:
        return False


def missing() -> tuple[str, ...]:
    """Those of PROBES that do not work here."""
    return tuple(operator for operator in PROBES if not works(operator))


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, *, relu: bool = False) -> Tensor:
    """(B, C, H, W) to (B, O, h, w). `weight` may come from `convolution_layout`; with `relu`, a ReLU follows."""
    if works(CONVOLUTION):
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, weight, bias, *geometry, "relu" if relu else "none", [], ""
        )
        return found
    found = F.conv2d(x, weight, bias, geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
    return found.relu_() if relu else found


def add_convolution(
    total: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, *, relu: bool = False
) -> Tensor:
    """Adds the convolution of `x` to `total` (B, O, h, w) in place, then the ReLU, and returns `total`."""
    if works(SUM):
        torch.ops.mkldnn._convolution_pointwise_.binary(
            total, x, weight, bias, *geometry, "add", 1.0, "relu" if relu else None, [], ""
        )
        return total
    total.add_(convolution(x, weight, bias, geometry))
    return total.relu_() if relu else total


def convolution_layout(weight: Tensor, geometry: Geometry, shape: torch.Size) -> Tensor:
    """(O, C / groups, ...) laid out for inputs of `shape`; as it is where that cannot be done."""
    if not works(CONVOLUTION_LAYOUT):
        return weight
    found: Tensor = torch.ops.mkldnn._reorder_convolution_weight(weight, *geometry, list(shape))
    return found


def product(x: Tensor, weight: Tensor) -> Tensor:
    """`F.linear` without a bias: (M, K) and (N, K) to (M, N). `weight` may come from `product_layout`."""
    if not works(PRODUCT):
        return F.linear(x, weight)
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return found


def product_layout(weight: Tensor, rows: int) -> Tensor:
    """(N, K) laid out for (M, K) of so many rows; as it is where that cannot be done."""
    if not works(PRODUCT_LAYOUT):
        return weight
    found: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    return found


class KeptLayout:
    """A layer's weights packed for one input size; packed again for another size and when the weights change.

    One layout alone is kept, as much memory as the weights: laid out for another size, a convolution can take ten times
    as long, and laying out anew costs what torch pays at each call.
    """

    def __init__(self) -> None:
        self._kept: Tensor | None = None
        self._kept_for: tuple[torch.Size, int] | None = None

    def of(self, weight: Tensor, shape: torch.Size, lay_out: Callable[[], Tensor]) -> Tensor:
        """What `lay_out` made of `weight` for an input of `shape`."""
        # Training may go on with these very tensors between two evaluations.
        wanted = (shape, 0 if weight.is_inference() else weight._version)
        if self._kept is None or self._kept_for != wanted:
            self._kept, self._kept_for = lay_out(), wanted
        return self._kept


Pairs = list[tuple[Tensor, Tensor]]


def _probe_convolution() -> Pairs:
    x, weight, bias, geometry, wanted = _small_convolution()
    plain = torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *geometry, "none", [], "")
    rectified = torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *geometry, "relu", [], "")
    return [(plain, wanted), (rectified, wanted.relu())]


def _probe_sum() -> Pairs:
    x, weight, bias, geometry, wanted = _small_convolution()
    laid_out = convolution_layout(weight, geometry, x.shape)
    pairs = []
    for relu, total in ((None, wanted.flip(1)), ("relu", wanted.flip(1))):
        sums = wanted + total
        torch.ops.mkldnn._convolution_pointwise_.binary(total, x, laid_out, bias, *geometry, "add", 1.0, relu, [], "")
        pairs.append((total, sums.relu() if relu else sums))
    return pairs


def _probe_convolution_layout() -> Pairs:
    x, weight, bias, geometry, wanted = _small_convolution()
    laid_out = torch.ops.mkldnn._reorder_convolution_weight(weight, *geometry, list(x.shape))
    return [(torch.ops.mkldnn._convolution_pointwise(x, laid_out, bias, *geometry, "none", [], ""), wanted)]


def _probe_product() -> Pairs:
    x, weight = _numbers(5, 4), _numbers(3, 4)
    return [(torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], ""), x @ weight.T)]


def _probe_product_layout() -> Pairs:
    x, weight = _numbers(5, 4), _numbers(3, 4)
    laid_out = torch.ops.mkldnn._reorder_linear_weight(weight, len(x))
    return [(torch.ops.mkldnn._linear_pointwise(x, laid_out, None, "none", [], ""), x @ weight.T)]


PROBES: dict[str, Callable[[], Pairs]] = {
    CONVOLUTION: _probe_convolution,
    SUM: _probe_sum,
    CONVOLUTION_LAYOUT: _probe_convolution_layout,
    PRODUCT: _probe_product,
    PRODUCT_LAYOUT: _probe_product_layout,
}
"""Every operator that is used, with what it computes and what plain torch does."""


def _small_convolution() -> tuple[Tensor, Tensor, Tensor, Geometry, Tensor]:
    """A map with channels last, weights, a bias, the geometry, and what torch makes of them."""
    x = _numbers(1, 4, 5, 6).contiguous(memory_format=torch.channels_last)
    weight, bias, geometry = _numbers(6, 2, 3, 3), _numbers(6), Geometry((1, 1), (2, 2), (1, 1), 2)
    wanted = F.conv2d(x, weight, bias, geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
    return x, weight, bias, geometry, wanted


def _numbers(*shape: int) -> Tensor:
    """Some of either sign, always the same."""
    return torch.arange(torch.Size(shape).numel(), device="cpu", dtype=torch.float32).sin().view(shape)
