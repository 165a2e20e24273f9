"""Roofline model: the least time of a network on a device, limited by arithmetic or memory per operator.

The device's two limits are measured, by a large product of matrices and a large copy, and not looked up.
(Williams, Waterman and Patterson, https://doi.org/10.1145/1498765.1498785.)
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, shape_wrapper

from yoso_cli.inference.cost import UNCOUNTED_BY_TORCH, attention_in_parts
from yoso_cli.inference.latency import milliseconds


@dataclass(frozen=True)
class Peak:
    """What a device reaches.

    Attributes:
        flops: per second, in products of matrices of each type; a multiply-add is two.
        bytes: per second, read and written.
    """

    flops: Mapping[torch.dtype, float]
    bytes: float


@dataclass(frozen=True)
class Bound:
    """What a call takes at least.

    Attributes:
        milliseconds: the sum over operators, one after the other, each as fast as its slower limit allows.
        flops: of all its products.
        bytes: that its operators read and write; what two of them hand over in a cache is counted all the same.
    """

    milliseconds: float
    flops: int
    bytes: int


def measure_peak(
    device: torch.device, types: Sequence[torch.dtype], *, edge: int = 8192, megabytes: int = 1024, repeats: int = 10
) -> Peak:
    """The limits of `device`; single precision as its products are at best, in TF32 where the device has it.

    Args:
        device: where to measure.
        types: of the products.
        edge: of the matrices.
        megabytes: of the copy; far more than any cache holds.
        repeats: calls, of which the median counts.
    """
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        flops = {kind: _product(device, kind, edge, repeats) for kind in types}
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed
    source = torch.ones(megabytes << 20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    taken = milliseconds(lambda: target.copy_(source), device, repeats)
    return Peak(flops, 2000 * source.numel() / taken)


def bound(call: Callable[[], object], peak: Peak) -> Bound:
    """Runs `call` once and adds up what each of its operators takes at least on a device of that `peak`."""
    with torch.no_grad(), attention_in_parts(), _Counter(peak) as counter:
        call()
    return Bound(counter.milliseconds, counter.flops, counter.bytes)


class _Counter(TorchDispatchMode):
    """Sees every operator that reaches the device."""

    def __init__(self, peak: Peak) -> None:
        super().__init__()
        self._peak = peak
        self._flops_of = {**flop_registry, **{name: shape_wrapper(one) for name, one in UNCOUNTED_BY_TORCH.items()}}
        self.milliseconds, self.flops, self.bytes = 0.0, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        known = self._flops_of.get(func._overloadpacket)
        if known is None:
            with self:
                # What is made of other operators is seen as these.
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        out = func(*args, **kwargs)
        if not _is_view(func):
            flops = known(*args, **kwargs, out_val=out) if known else 0
            self._add(flops, sum(map(_bytes, _tensors((args, kwargs)))) + sum(map(_bytes, _tensors(out))), out)
        return out

    def _add(self, flops: int, moved: int, out: Any) -> None:
        kinds = [tensor.dtype for tensor in _tensors(out)]
        # A type whose products were not measured is not what products are made in.
        fastest = self._peak.flops.get(kinds[0], max(self._peak.flops.values())) if kinds else 1.0
        self.milliseconds += 1000 * max(flops / fastest, moved / self._peak.bytes)
        self.flops += flops
        self.bytes += moved


def _product(device: torch.device, kind: torch.dtype, edge: int, repeats: int) -> float:
    first = torch.ones(edge, edge, device=device, dtype=kind)
    return 2000 * edge**3 / milliseconds(lambda: first @ first, device, repeats)


def _is_view(func: Any) -> bool:
    """Whether the result is a view of its argument, without a copy."""
    aliases = [one.alias_info for one in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


def _tensors(values: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


def _bytes(tensor: Tensor) -> int:
    """What has to be moved of a tensor: of an expanded one no more than there is."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())
