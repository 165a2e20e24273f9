"""A model that several processes train together (https://pytorch.org/docs/stable/notes/ddp.html)."""

# B images of this process, C channels, H W size

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def synchronised(model: nn.Module) -> None:
    """Lets every batch norm of `model` see the pictures of all processes; names of its weights stay."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.BatchNorm2d:
                setattr(module, name, _synchronised_norm(child))


def shared(model: nn.Module, device: torch.device) -> DistributedDataParallel:
    """`model` with gradients averaged over the processes after each backward pass that is not under `no_sync`."""
    return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the pictures of all processes, on any device; torch's own works on GPUs alone."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same; each process calls at the same time."""
        if not self.training:
            return super().forward(x)
        x32 = x.float()
        count = _summed(x32.new_tensor([x32.numel() / x32.shape[1]]))
        mean = _summed(x32.sum((0, 2, 3))) / count
        centred = x32 - mean[:, None, None]
        variance = _summed(centred.square().sum((0, 2, 3))) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight / (variance + self.eps).sqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    def _remember(self, mean: Tensor, unbiased: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum or 0.0)
        self.running_var.lerp_(unbiased, self.momentum or 0.0)


def _synchronised_norm(norm: nn.BatchNorm2d) -> nn.Module:
    if norm.weight.is_cuda:
        synchronised: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)
        return synchronised
    twin = SynchronisedBatchNorm(norm.num_features, eps=norm.eps, momentum=norm.momentum)
    twin.load_state_dict(norm.state_dict())
    # The very same parameters, which an optimizer may know already.
    twin.weight, twin.bias = norm.weight, norm.bias
    return twin.train(norm.training)


class _Sum(torch.autograd.Function):
    """The sum over processes; each one's gradient is the sum of all gradients of it."""

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
