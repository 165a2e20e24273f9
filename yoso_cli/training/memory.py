"""How much memory a training takes: counted from what autograd keeps of one small picture, scaled to the crop."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from yoso_cli.model.yoso import YOSO

# Large enough that every level of the pyramid is there, small enough to take a second on a CPU.
_PROBE = 128
# What a GPU keeps for itself and for blocks of memory that fit nothing: context, fragments, workspaces.
_USABLE = 0.85
_BYTES = 4


@dataclass(frozen=True)
class Footprint:
    """Bytes that training takes.

    Attributes:
        fixed: weights, gradients and moments, whatever the batch.
        per_picture: features kept for the backward pass, of one picture.
    """

    fixed: int
    per_picture: int

    def total(self, pictures: int) -> int:
        """Bytes of a pass with so many pictures."""
        return self.fixed + pictures * self.per_picture

    def fitting(self, capacity: int, most: int) -> int:
        """The largest number of pictures, 1 to `most`, of a pass that fits into `capacity` bytes."""
        free = capacity * _USABLE - self.fixed
        return max(1, min(most, int(free // self.per_picture)))


def capacity(device: torch.device) -> int | None:
    """Bytes that a GPU has; a CPU's memory belongs to others too, and is not asked."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None


def footprint(model: YOSO, *, height: int, width: int, precision: str, average: bool) -> Footprint:
    """What training `model` on crops of height x width pixels takes.

    An estimate: kernels of a GPU keep other intermediate values than those of a CPU, on which this is counted.

    Args:
        model: is left as it is.
        height: of the crop.
        width: of the crop.
        precision: as in the recipe; features of half precision take half the room.
        average: whether a moving average is kept.
    """
    weights = sum(parameter.numel() for parameter in model.parameters())
    learning = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    kept = _kept_bytes(copy.deepcopy(model).cpu().train(), precision)
    per_picture = round(kept * height * width / _PROBE**2)
    return Footprint(_BYTES * (weights * (2 if average else 1) + 3 * learning), per_picture)


def _kept_bytes(model: nn.Module, precision: str) -> int:
    """Bytes of all tensors that autograd keeps of one picture of _PROBE pixels squared, parameters aside."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    sizes: dict[int, int] = {}
    alive: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)  # or another tensor could take its place and count as the same
        return tensor

    half = {"bfloat16": torch.bfloat16, "float16": torch.bfloat16}.get(precision)
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", half, enabled=half is not None),
    ):
        model(torch.zeros(1, 3, _PROBE, _PROBE))
    return sum(sizes.values())
