"""Freezing parts of the network."""

from collections.abc import Sequence

from torch import nn


def freeze(model: nn.Module, parts: Sequence[str]) -> None:
    """Freezes `parts`, names of the model's children. Call it before the optimizer is made."""
    for part in parts:
        model.get_submodule(part).requires_grad_(False)


def set_training(model: nn.Module) -> None:
    """Sets `model` to training mode, except frozen modules: their batch norms keep their statistics."""
    model.train()
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()


def keep_statistics(model: nn.Module) -> None:
    """From here on batch norms normalise by the statistics that inference will use, and no longer change them.

    Those of a few unlike pictures differ from those of the set: the weights learn what they will meet.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
