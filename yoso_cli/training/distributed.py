"""Distributed data parallel training (https://pytorch.org/docs/stable/notes/ddp.html)."""

# B images of this process, C channels, H W size

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def convert_batch_norms(model: nn.Module) -> None:
    """Replaces every batch norm of `model` by a synchronised one; the names of its weights do not change."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d) and not isinstance(child, SynchronisedBatchNorm):
                setattr(module, name, _synchronised_norm(child))


def wrap_ddp(model: nn.Module, device: torch.device) -> DistributedDataParallel:
    """`model` in DDP: gradients are averaged over the processes, except under `no_sync`."""
    return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the pictures of all processes, on any device; torch's own works only on GPUs.

    Args:
        norm: whose parameters it takes over, the same objects, which an optimizer may hold already; and the activation
            that norms of timm have in them.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, eps=norm.eps, momentum=norm.momentum)
        self.load_state_dict(norm.state_dict(), strict=False)
        self.weight, self.bias = norm.weight, norm.bias
        self.drop, self.act = (getattr(norm, name, nn.Identity()) for name in ("drop", "act"))
        self.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same; all processes call at the same time."""
        return self.act(self.drop(self._normalised(x)))

    def _normalised(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        x32 = x.float()
        count = _summed(x32.new_tensor([x32.numel() / x32.shape[1]]))
        mean = _summed(x32.sum((0, 2, 3))) / count
        centred = x32 - mean[:, None, None]
        variance = _summed(centred.square().sum((0, 2, 3))) / count
        self._update_statistics(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight / (variance + self.eps).sqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    def _update_statistics(self, mean: Tensor, unbiased: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum or 0.0)
        self.running_var.lerp_(unbiased, self.momentum or 0.0)


def _synchronised_norm(norm: nn.BatchNorm2d) -> nn.Module:
    # torch's own would lose the activation of a norm of timm.
    if norm.weight.is_cuda and type(norm) is nn.BatchNorm2d:
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)
        return converted
    return SynchronisedBatchNorm(norm)


class _Sum(torch.autograd.Function):
    """All-reduce sum, with an all-reduce of the gradients in the backward pass."""

    @staticmethod
    def forward(_: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def _summed(value: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(value)
    return total
