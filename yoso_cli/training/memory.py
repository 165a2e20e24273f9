"""Estimates training memory: what autograd saves for one small picture, scaled to the crop."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from yoso_cli.model.yoso import MASK_STRIDE, YOSO

# Large enough for every level of the pyramid, small enough to take a second on a CPU.
_PROBE = 128
# The share that is usable: the rest is for the CUDA context, fragmentation and workspaces.
_USABLE = 0.85
_BYTES = 4
# Values that the loss at all cells keeps for each place of a mask: logits, targets, weights, probabilities, products.
_KEPT_AT_PLACES = 6


@dataclass(frozen=True)
class Footprint:
    """Estimated memory of training, bytes.

    Attributes:
        fixed: weights, gradients and optimizer moments.
        per_picture: activations saved for the backward pass, per picture.
    """

    fixed: int
    per_picture: int

    def total(self, pictures: int) -> int:
        """Bytes for a pass of that many pictures."""
        return self.fixed + pictures * self.per_picture

    def fitting(self, capacity: int, most: int) -> int:
        """The largest number of pictures per pass, 1 to `most`, that fits into `capacity` bytes."""
        free = capacity * _USABLE - self.fixed
        return max(1, min(most, int(free // self.per_picture)))


def capacity(device: torch.device) -> int | None:
    """Memory of a GPU in bytes; None for a CPU, whose memory is shared with other programs."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None


def footprint(
    model: YOSO,
    *,
    height: int,
    width: int,
    precision: str,
    average: bool,
    one_moment: int = 0,
    places: int = 0,
    codes: int = 0,
) -> Footprint:
    """The memory that training `model` on crops of height x width pixels needs.

    An estimate: it is measured on the CPU, and GPU kernels save other intermediate values.

    Args:
        model: is not changed.
        height: of the crop.
        width: of the crop.
        precision: as in the recipe; 16-bit activations take half the memory.
        average: whether there is a moving average of the weights.
        one_moment: learning parameters of which the optimizer keeps one moment instead of AdamW's two.
        places: at which each mask is compared, if these are all cells; counted as if every proposal had a target.
        codes: channels of the features that are compared with center codes: at every cell, what they should be.
    """
    weights = sum(parameter.numel() for parameter in model.parameters())
    learning = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    kept = _kept_bytes(copy.deepcopy(model).cpu().train(), precision)
    per_picture = round(kept * height * width / _PROBE**2)
    masks = (len(model.decoder.stages) + 1) * model.decoder.proposals.weight.shape[0]
    cells = (height // MASK_STRIDE) * (width // MASK_STRIDE)
    per_picture += _BYTES * (_KEPT_AT_PLACES * masks * places + codes * cells)
    return Footprint(_BYTES * (weights * (2 if average else 1) + 3 * learning - one_moment), per_picture)


def _kept_bytes(model: nn.Module, precision: str) -> int:
    """Bytes of all tensors that autograd saves for one picture of _PROBE pixels squared, without parameters."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    sizes: dict[int, int] = {}
    alive: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)  # or its address could be reused and counted as the same tensor
        return tensor

    half = {"bfloat16": torch.bfloat16, "float16": torch.bfloat16}.get(precision)
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", half, enabled=half is not None),
    ):
        model(torch.zeros(1, 3, _PROBE, _PROBE))
    return sum(sizes.values())
