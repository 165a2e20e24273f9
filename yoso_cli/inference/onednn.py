"""Convolutions and matrix products on a CPU with oneDNN, through torch's internal operators.

torch documents none of these operators, and any release may change them. So each is probed once per process: it must
give plain torch's result on a tiny input, else plain torch is used instead. They compute in float32, or in bfloat16
where that is what they are given, and have no gradient, so they are for inference only.

A layer's weights can be packed for one input size in advance, which torch otherwise does at every call. Matrix products
use oneDNN because torch's choice, MKL, uses only half of the vector width of AMD processors: on two cores of an AMD
EPYC the products of this network take twice as long with MKL.
"""

# B pictures, C channels in, O channels out, H W size of the map in, h w size of the map out
# Matrix products: (M, K) times (K, N)

import functools
from collections.abc import Callable, Iterable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yoso_cli.runtime import address_space

CONVOLUTION = "_convolution_pointwise"
SUM = "_convolution_pointwise_"
CONVOLUTION_LAYOUT = "_reorder_convolution_weight"
PRODUCT = "_linear_pointwise"
PRODUCT_LAYOUT = "_reorder_linear_weight"


class Geometry(NamedTuple):
    """Padding, stride, dilation and groups of a convolution, in the operators' argument order."""

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
    """Whether one of PROBES computes what plain torch does. Cached for the process.

    Raises:
        MemoryError: it got no memory, which says nothing of the operator: another engine would give other maps.
    """
    return _agree(PROBES[operator], rtol=1e-4, atol=1e-5)


def _agree(probe: Callable[[], Iterable[tuple[Tensor, Tensor]]], *, rtol: float, atol: float) -> bool:
    try:
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            return all(torch.allclose(*pair, rtol=rtol, atol=atol) for pair in probe())
    except Exception:
        address_space.require_left()
        return False


def bfloat16_works() -> bool:
    """Whether convolutions in bfloat16 are usable, and fast: the CPU has instructions for them."""
    return not missing() and _has_bfloat16() and _probed_in_bfloat16()


def _has_bfloat16() -> bool:
    # Without them oneDNN computes in bfloat16 all the same, but slower than in float32.
    return any(getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))


@functools.cache
def _probed_in_bfloat16() -> bool:
    return _agree(_probe_bfloat16, rtol=0.02, atol=0.05)


def missing() -> tuple[str, ...]:
    """Those of PROBES that do not work here."""
    return tuple(operator for operator in PROBES if not works(operator))


def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    *,
    relu: bool = False,
    most: float | None = None,
) -> Tensor:
    """(B, C, H, W) to (B, O, h, w).

    Args:
        x: (B, C, H, W).
        weight: may come from `convolution_layout`.
        bias: (O,).
        geometry: of the convolution.
        relu: whether a ReLU follows.
        most: the largest value that the ReLU lets through.
    """
    if works(CONVOLUTION):
        limits, activation = ([0.0, most], "hardtanh") if most is not None else ([], "relu")
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, weight, bias, *geometry, activation if relu else "none", limits if relu else [], ""
        )
        return found
    found = F.conv2d(x, weight, bias, geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
    return found.clamp_(min=0, max=most) if relu else found


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
    """(O, C / groups, ...) packed for inputs of `shape`; unchanged where that is not possible."""
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
    """(N, K) packed for (M, K) with so many rows; unchanged where that is not possible."""
    if not works(PRODUCT_LAYOUT):
        return weight
    found: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    return found


class KeptLayout:
    """A layer's weights packed for one input size; packed again for another size and when the weights change.

    Only one packing is kept, which takes as much memory as the weights. A convolution with weights packed for another
    size can take ten times as long; packing again costs what torch pays at each call.
    """

    def __init__(self) -> None:
        self._kept: Tensor | None = None
        self._kept_for: tuple[torch.Size, int] | None = None

    def of(self, weight: Tensor, shape: torch.Size, lay_out: Callable[[], Tensor]) -> Tensor:
        """`weight` as packed by `lay_out` for an input of `shape`."""
        # Training may change these tensors between two evaluations.
        wanted = (shape, 0 if weight.is_inference() else weight._version)
        if self._kept is None or self._kept_for != wanted:
            self._kept, self._kept_for = lay_out(), wanted
        return self._kept


Pairs = list[tuple[Tensor, Tensor]]


def _probe_convolution() -> Pairs:
    x, weight, bias, geometry, wanted = _small_convolution()
    plain = torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *geometry, "none", [], "")
    rectified = torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *geometry, "relu", [], "")
    limited = torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *geometry, "hardtanh", [0.0, 0.5], "")
    return [(plain, wanted), (rectified, wanted.relu()), (limited, wanted.clamp(0, 0.5))]


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


def _probe_bfloat16() -> Pairs:
    x, weight, bias, geometry, wanted = _small_convolution()
    x, weight, bias = (one.bfloat16() for one in (x, weight, bias))
    laid_out = convolution_layout(weight, geometry, x.shape)
    once = convolution(x, laid_out, bias, geometry)
    twice = add_convolution(once.clone(), x, laid_out, bias, geometry, relu=True)
    rows = product(_numbers(5, 4).bfloat16(), product_layout(_numbers(3, 4).bfloat16(), 5))
    pairs = [(once, wanted), (twice, (2 * wanted).relu()), (rows, _numbers(5, 4) @ _numbers(3, 4).T)]
    return [(found.float(), exact) for found, exact in pairs]


PROBES: dict[str, Callable[[], Pairs]] = {
    CONVOLUTION: _probe_convolution,
    SUM: _probe_sum,
    CONVOLUTION_LAYOUT: _probe_convolution_layout,
    PRODUCT: _probe_product,
    PRODUCT_LAYOUT: _probe_product_layout,
}
"""Every operator that is used, with what it computes and what plain torch does."""


def _small_convolution() -> tuple[Tensor, Tensor, Tensor, Geometry, Tensor]:
    """A channels-last map, weights, bias, geometry, and torch's result."""
    x = _numbers(1, 4, 5, 6).contiguous(memory_format=torch.channels_last)
    weight, bias, geometry = _numbers(6, 2, 3, 3), _numbers(6), Geometry((1, 1), (2, 2), (1, 1), 2)
    wanted = F.conv2d(x, weight, bias, geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
    return x, weight, bias, geometry, wanted


def _numbers(*shape: int) -> Tensor:
    """Fixed numbers of both signs."""
    return torch.arange(torch.Size(shape).numel(), device="cpu", dtype=torch.float32).sin().view(shape)
