"""Parts of the network that keep what they know while the rest learns."""

from collections.abc import Sequence

from torch import nn


def freeze(model: nn.Module, parts: Sequence[str]) -> None:
    """Takes `parts`, names of the model's children, out of learning. Call it before the optimizer is made."""
    for part in parts:
        model.get_submodule(part).requires_grad_(False)


def set_training(model: nn.Module) -> None:
    """Sets `model` to training, but for modules none of whose weights learn: their norms keep their statistics."""
    model.train()
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()
