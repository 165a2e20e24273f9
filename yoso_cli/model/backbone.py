"""The trunk: a picture to feature maps C2..C5 at strides 4, 8, 16, 32 (paper Sec. 3.1), and the paper's, a ResNet.

Blocks are torchvision's and keep its key names, so its ImageNet weights load as they are.
"""

# B images, H W input size, C channels

import contextlib
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException
from pickle import UnpicklingError
from typing import cast

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops import FrozenBatchNorm2d

from yoso_cli.errors import RunError, UsageError

Norm = Callable[[int], nn.Module]

LAYERS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}
NORMS: dict[str, Norm] = {"frozen": FrozenBatchNorm2d, "batch": nn.BatchNorm2d}
IMAGENET = {
    "resnet18": "ResNet18_Weights.IMAGENET1K_V1",
    "resnet34": "ResNet34_Weights.IMAGENET1K_V1",
    "resnet50": "ResNet50_Weights.IMAGENET1K_V1",
    "resnet101": "ResNet101_Weights.IMAGENET1K_V1",
}
STRIDES = (4, 8, 16, 32)
# RGB, 0..255: ImageNet's statistics, as torchvision's and the released models use them.
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)


class Backbone(nn.Module):
    """A trunk.

    Attributes:
        name: as a recipe has it.
        channels: of C2..C5.
        pixel_mean: of the pixels that its published weights were trained on, RGB 0..255.
        pixel_std: their standard deviation.
    """

    name: str
    channels: tuple[int, ...]
    pixel_mean: tuple[float, ...] = PIXEL_MEAN
    pixel_std: tuple[float, ...] = PIXEL_STD

    @property
    @abstractmethod
    def stem(self) -> nn.Conv2d | None:
        """The convolution that alone sees the picture, if there is one."""

    @abstractmethod
    def conv_norms(self) -> Iterator[tuple[nn.Module, str, nn.Module, str]]:
        """Each convolution that a batch norm directly follows, and the norm: parent and name of both."""


class ResNet(Backbone):
    """ResNet-18/34/50/101 without its classifier.

    Args:
        name: one of LAYERS.
        norm: one of NORMS; `frozen` keeps statistics and scale fixed.
        stem_channels: channels after the first convolution.
        base_channels: planes of the first stage; each later stage doubles them.
        width_per_group: width of a bottleneck's 3x3 convolution per 64 planes (torchvision's `width_per_group`).
    """

    def __init__(
        self,
        name: str = "resnet50",
        *,
        norm: str = "frozen",
        stem_channels: int = 64,
        base_channels: int = 64,
        width_per_group: int = 64,
    ) -> None:
        super().__init__()
        block, depths = LAYERS[name]
        self.name = name
        # torchvision's basic block knows no other width than its planes.
        width = width_per_group if block is Bottleneck else 64
        self.conv1 = nn.Conv2d(3, stem_channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = NORMS[norm](stem_channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        stages = []
        channels = stem_channels
        for index, depth in enumerate(depths):
            planes = base_channels * 2**index
            stages.append(_stage(block, channels, planes, depth, 1 if index == 0 else 2, width, NORMS[norm]))
            channels = planes * block.expansion
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.channels = tuple(base_channels * 2**index * block.expansion for index in range(4))
        _initialise(self)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B, 3, H, W) normalised pictures to C2..C5, each (B, channels[i], H / 2^(i+2), W / 2^(i+2))."""
        c1 = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        c2 = self.layer1(c1)
        c3 = self.layer2(c2)
        c4 = self.layer3(c3)
        return c2, c3, c4, self.layer4(c4)

    @property
    def stem(self) -> nn.Conv2d:
        """The convolution of 7x7."""
        return self.conv1

    def conv_norms(self) -> Iterator[tuple[nn.Module, str, nn.Module, str]]:
        """Each convolution and its batch norm: parent and name of both."""
        yield self, "conv1", self, "bn1"
        for block in self.modules():
            if isinstance(block, BasicBlock | Bottleneck):
                for index in (1, 2, 3) if isinstance(block, Bottleneck) else (1, 2):
                    yield block, f"conv{index}", block, f"bn{index}"
                if block.downsample is not None:
                    yield block.downsample, "0", block.downsample, "1"


def load_imagenet(backbone: ResNet) -> None:
    """Fills `backbone` with torchvision's ImageNet weights, downloaded once into torch's cache.

    Raises:
        UsageError: the backbone's widths are not the published ones.
        RunError: the weights cannot be downloaded.
    """
    from torchvision.models import get_weight

    try:
        # torch reports the download on stdout, which is for results.
        with contextlib.redirect_stdout(sys.stderr):
            state = get_weight(IMAGENET[backbone.name]).get_state_dict(progress=True, check_hash=True)
    except (OSError, HTTPException, RuntimeError, UnpicklingError, EOFError) as error:
        raise RunError(
            f"ImageNet weights of {backbone.name} cannot be downloaded: {error}.",
            hint="Check the network connection, or start from random weights with --set model.backbone_weights=none.",
        ) from error
    load_published(backbone, state)


def published_name(state: Mapping[str, Tensor]) -> str | None:
    """Which of LAYERS a torchvision state dict is of, by its keys; None for another network."""
    if "conv1.weight" not in state or "layer4.0.conv1.weight" not in state:
        return None
    depths = tuple(
        len({key.split(".")[1] for key in state if key.startswith(f"layer{stage}.")}) for stage in (1, 2, 3, 4)
    )
    block = Bottleneck if "layer1.0.conv3.weight" in state else BasicBlock
    return next((name for name, layers in LAYERS.items() if layers == (block, depths)), None)


def load_published(backbone: ResNet, state: dict[str, Tensor]) -> None:
    """Fills `backbone` from a torchvision state dict, leaving out its classifier.

    Raises:
        UsageError: a key or shape differs.
    """
    own = backbone.state_dict()
    # Frozen norms do not count batches, and files of before torch 0.4.1 have no counts.
    unused = ("fc.weight", "fc.bias")
    counters = {key: tensor for key, tensor in own.items() if key.endswith("num_batches_tracked")}
    state = {key: tensor for key, tensor in state.items() if key in own or not key.endswith("num_batches_tracked")}
    state = counters | {key: tensor for key, tensor in state.items() if key not in unused}
    wrong = sorted(
        key
        for key in own.keys() | state.keys()
        if key not in own or key not in state or own[key].shape != state[key].shape
    )
    if wrong:
        raise UsageError(
            f"ImageNet weights do not fit this {backbone.name}: {len(wrong)} tensors differ, the first is {wrong[0]}.",
            hint="They need stem_channels, base_channels and width_per_group of 64, or backbone_weights: none.",
        )
    backbone.load_state_dict(state)


def _stage(
    block: type[BasicBlock] | type[Bottleneck],
    channels: int,
    planes: int,
    depth: int,
    stride: int,
    width: int,
    norm: Norm,
) -> nn.Sequential:
    out = planes * block.expansion
    shortcut = None
    if stride != 1 or channels != out:
        shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride=stride, bias=False), norm(out))
    blocks = [block(channels, planes, stride, shortcut, base_width=width, norm_layer=norm)]
    blocks += [block(out, planes, base_width=width, norm_layer=norm) for _ in range(depth - 1)]
    return nn.Sequential(*cast("list[nn.Module]", blocks))


def _initialise(backbone: ResNet) -> None:
    with torch.no_grad():
        for module in backbone.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
