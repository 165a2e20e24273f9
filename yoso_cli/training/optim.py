"""AdamW with the paper's groups, and the learning rate as a pure function of the iteration (paper Sec. 4.2)."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


def parameter_groups(
    model: nn.Module, *, weight_decay: float, backbone_lr: float, backbone: str = "backbone"
) -> list[dict[str, Any]]:
    """Groups for the optimizer: up to four, backbone or not, decayed or not.

    Norms of any kind are not decayed; everything else is, biases and proposal kernels too.

    Args:
        model: parameters without gradient are left out.
        weight_decay: of all but norms.
        backbone_lr: factor on the learning rate for the backbone.
        backbone: name of the submodule with that factor.

    Returns:
        `params`, `weight_decay` and, for `set_rate`, `lr_factor` of each group.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for path, module in model.named_modules(remove_duplicate=True):
        factor = backbone_lr if path.split(".")[0] == backbone else 1.0
        decay = 0.0 if isinstance(module, NORMS) else weight_decay
        parameters = [parameter for parameter in module.parameters(recurse=False) if parameter.requires_grad]
        groups.setdefault((factor, decay), []).extend(parameters)
    return [
        {"params": parameters, "weight_decay": decay, "lr_factor": factor}
        for (factor, decay), parameters in groups.items()
        if parameters
    ]


def adamw(model: nn.Module, *, weight_decay: float, backbone_lr: float) -> torch.optim.AdamW:
    """AdamW over `parameter_groups`, with torch's default betas and epsilon; `set_rate` sets the learning rate."""
    groups = parameter_groups(model, weight_decay=weight_decay, backbone_lr=backbone_lr)
    # One pass over each tensor: a quarter of the time of the plain loop, which for a small model on a CPU is a third of
    # a step.
    return torch.optim.AdamW(groups, lr=0.0, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of each group: `rate` times the group's factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_factor"]


def learning_rate(
    iteration: int,
    *,
    lr: float,
    schedule: str,
    milestones: Sequence[int],
    gamma: float,
    power: float,
    iterations: int,
    warmup: int,
) -> float:
    """The rate of an iteration, counted from 0. A pure function, so there is no scheduler to save.

    Args:
        iteration: 0..iterations; at `iterations` a poly schedule has reached zero.
        lr: the peak.
        schedule: "step" drops by `gamma` at each milestone; "poly" falls as (1 - iteration / iterations) ** power.
        milestones: of a step schedule, rising.
        gamma: of a step schedule.
        power: of a poly schedule.
        iterations: of the whole run.
        warmup: iterations of linear warm-up, from lr / warmup to lr.
    """
    if schedule == "poly":
        factor: float = max(1 - iteration / iterations, 0.0) ** power
    else:
        factor = gamma ** bisect_right(milestones, iteration)
    if iteration < warmup:
        factor *= (iteration + 1) / warmup
    return lr * factor
