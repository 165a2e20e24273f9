"""Muon for the convolutions, AdamW for the rest: fewer steps from random weights.

A convolution's gradients have a few directions that are much stronger than all others. Muon
(https://kellerjordan.github.io/posts/muon/) moves along the nearest matrix whose directions are all equally strong, so
that rare ones are learnt at the same time. Torch's own takes matrices only, and computes them in bfloat16, which is
slow on most CPUs.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from yoso_cli.training.optim import parameter_groups

# Coefficients of the steps towards equal strengths, which reach it within 3 % (https://arxiv.org/abs/2505.16932).
_STEPS = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
_MOMENTUM = 0.95
# Root mean square of an update at a learning rate of 1. AdamW's is about 0.2 late in a training and 1 at its beginning.
_SIZE = 0.5
# Multiplications of one matrix product. Larger matrices would take most of the time: they are left to AdamW.
_LARGEST = 1 << 24


class MuonAdamW(torch.optim.AdamW):
    """Muon for groups with `matrices`, AdamW for the others.

    Args:
        groups: as `parameter_groups` gives them, with `matrices`.
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__(groups, lr=0.0, fused=True)
        # A gradient scaler must leave out a step itself; only AdamW's part could.
        self._step_supports_amp_scaling = False

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Updates all parameters that have gradients."""
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group["matrices"]]
        try:
            super().step(closure)
        finally:
            self.param_groups = groups
        for group in groups:
            if group["matrices"]:
                self._move(group)

    def _move(self, group: dict[str, Any]) -> None:
        by_shape: dict[tuple[int, ...], list[tuple[nn.Parameter, Tensor]]] = {}
        for parameter in group["params"]:
            if parameter.grad is not None:
                by_shape.setdefault(_matrix(parameter).shape, []).append((parameter, self._direction(parameter)))
        for (rows, columns), moved in by_shape.items():
            size = _SIZE * math.sqrt(max(rows, columns))
            for (parameter, _), update in zip(moved, equalised(torch.stack([one for _, one in moved])), strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update.view(parameter.shape), alpha=-group["lr"] * size)

    def _direction(self, parameter: nn.Parameter) -> Tensor:
        """The gradient with Nesterov momentum, as a matrix."""
        assert parameter.grad is not None
        # As AdamW names them: loading a state looks for these.
        kept = self.state[parameter]
        if not kept:
            kept.update(step=torch.zeros(()), exp_avg=torch.zeros_like(parameter))
        kept["step"] += 1
        kept["exp_avg"].lerp_(parameter.grad, 1 - _MOMENTUM)
        return _matrix(parameter.grad.lerp(kept["exp_avg"], _MOMENTUM))


def equalised(matrices: Tensor) -> Tensor:
    """(K, M, N) to the nearest semi-orthogonal matrices: all singular values become 1, within 3 % for most."""
    if matrices.shape[1] > matrices.shape[2]:
        return equalised(matrices.transpose(1, 2)).transpose(1, 2)
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-12)
    for a, b, c in _STEPS:
        square = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x


def muon(model: nn.Module, *, weight_decay: float, backbone_lr: float) -> MuonAdamW:
    """Muon for the convolutions of backbone and neck, AdamW for all else; arguments are those of `optim.adamw`."""
    chosen = set(convolutions(model))
    groups = []
    for group in parameter_groups(model, weight_decay=weight_decay, backbone_lr=backbone_lr):
        for matrices in (False, True):
            params = [one for one in group["params"] if (one in chosen) == matrices]
            groups += [{**group, "params": params, "matrices": matrices}] if params else []
    return MuonAdamW(groups)


def convolutions(model: nn.Module) -> Iterator[nn.Parameter]:
    """The weights that Muon moves, and of which it keeps one moment instead of AdamW's two.

    Their rows and columns are many and of one kind: not those that read pixels or give offsets of taps.
    """
    for path, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if path.startswith("decoder") or path.endswith("offset") or not isinstance(weight, nn.Parameter):
            continue
        if weight.dim() == 4 and weight.shape[1] > 3:
            rows, columns = sorted(_matrix(weight).shape)
            if rows**2 * columns <= _LARGEST:
                yield weight


def _matrix(weight: Tensor) -> Tensor:
    """(O, C, h, w) to (O, C h w)."""
    return weight.reshape(len(weight), -1)
