"""Counts floating-point operations and parameters of a network."""

# B pictures, C channels in, O channels out, H W size

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from yoso_cli.model.yoso import YOSO


@dataclass(frozen=True)
class Cost:
    """Of one forward pass.

    Attributes:
        flops: per part; a multiply-add counts as two. Only matrix products and convolutions count, as
            usual; norms, activations and interpolation do not.
        parameters: per part, after folding where layers are folded.
    """

    flops: dict[str, int]
    parameters: dict[str, int]


def count(model: YOSO, images: Tensor) -> Cost:
    """The cost of `model` on (B, 3, H, W) pictures."""
    parts = {"backbone": model.backbone, "aggregator": model.aggregator, "decoder": model.decoder}
    counts = _counted(model, [images], UNCOUNTED_BY_TORCH)
    name = type(model).__name__
    return Cost(
        {part: sum(counts.get(f"{name}.{part}", {}).values()) for part in parts},
        {part: _parameters(module) for part, module in parts.items()},
    )


def flops(module: nn.Module, inputs: Sequence[object], counted: Mapping[Any, Any]) -> int:
    """Of one pass; `counted` has operators that torch does not count, with what they cost (see `FlopCounterMode`)."""
    return sum(_counted(module, inputs, counted)["Global"].values())


def _counted(module: nn.Module, inputs: Sequence[object], counted: Mapping[Any, Any]) -> dict[str, dict[Any, int]]:
    counter = FlopCounterMode(display=False, custom_mapping=dict(counted))
    with torch.no_grad(), attention_in_parts(), counter:
        # The counter tracks modules with gradient hooks, which fail on a view of a parameter.
        copy.deepcopy(module).requires_grad_(False)(*inputs)
    return counter.get_flop_counts()


@contextlib.contextmanager
def attention_in_parts() -> Iterator[None]:
    """While the block runs, attention is computed unfused: FLOP counters do not count the fused operator."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _deformable(x: Any, weight: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """Counts as a plain convolution with that kernel size."""
    batch, out_channels, height, width = out_shape
    return int(2 * batch * height * width * out_channels * weight[1] * weight[2] * weight[3])


UNCOUNTED_BY_TORCH = {torch.ops.torchvision.deform_conv2d: _deformable}
"""Without it the counter would leave out torchvision's deformable convolution."""
