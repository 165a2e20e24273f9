"""An exponential moving average of the weights: often better than the last ones, and never in the way of training."""

import copy

import torch
from torch import Tensor, nn

from yoso_cli.model.yoso import YOSO


class MovingAverage:
    """A second model that follows the first.

    Args:
        model: what is averaged.
        decay: share of the average that each step keeps, 0..1; 0.9998 looks back over some 5,000 steps.
    """

    def __init__(self, model: YOSO, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Moves towards `model`; statistics of norms are taken over as they are."""
        # One call over all tensors: a few hundred small kernels would take longer than the arithmetic.
        torch._foreach_lerp_(list(self.model.parameters()), _tensors(model), 1 - self.decay)
        for own, other in zip(self.model.buffers(), model.buffers(), strict=True):
            own.copy_(other)


def _tensors(model: nn.Module) -> list[Tensor]:
    return [parameter.detach() for parameter in model.parameters()]
