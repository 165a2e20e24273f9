"""The network with fused convolutions by oneDNN, the fastest form on a CPU, over the same weights.

A convolution is fused with the ReLU after it and with the sum with a block's shortcut, so that a map at stride 4 is
read and written once instead of three times. Weights are packed once per input size instead of at every call. With a
single thread, 1x1 convolutions also use oneDNN, where torch would use MKL. Everything is without gradients; plain torch
replaces an operator that does not work (see `onednn`).

In bfloat16, convolutions and the products of the pyramid are, and nothing else: the shifts of deformable convolutions,
the places in a picture, masks and the sums under them stay float32. Weights are rounded when they are packed.
"""

# B pictures, C channels in, O channels out, H W size of the map in, h w size of the map out

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck

from yoso_cli.inference import onednn
from yoso_cli.inference.onednn import Geometry, KeptLayout
from yoso_cli.model.aggregator import (
    DeformablePyramid,
    DeformableUpsample,
    ModulatedDeformConv,
    added_up,
    pixels,
    tap_kernels,
)
from yoso_cli.model.backbone import Backbone, ResNet
from yoso_cli.model.decoder import InnerProducts
from yoso_cli.model.yoso import YOSO


def fused(model: YOSO, dtype: torch.dtype = torch.float32) -> YOSO:
    """A network that shares the tensors of `model`, which stays as it is.

    ReLUs and sums are fused where batch norms have been folded; elsewhere oneDNN computes the convolutions alone.

    Args:
        model: in evaluation mode, float32.
        dtype: of the convolutions; with bfloat16, what is not fused is autocast's to run.
    """
    tensors = {id(one): one for one in (*model.parameters(), *model.buffers())}
    network = copy.deepcopy(model, tensors)
    if isinstance(network.backbone, ResNet):
        _fuse_blocks(network.backbone)
    else:
        _fuse_activations(network.backbone)
    network.aggregator.add_module("pyramid", FusedPyramid(network.aggregator.pyramid))
    for part in (network.backbone, network.aggregator):
        _replace_convolutions(part)
    _replace_products(network.decoder)
    if dtype is not torch.float32:
        _compute_in(network, dtype)
    return network


class FusedConv(nn.Module):
    """A convolution, fused with the ReLU after it if there is one.

    Args:
        conv: whose weights it reads.
        relu: whether negative values become 0.
        most: with `relu`, what larger values become: 6 for a ReLU6.
        same: whether the map is padded to as many outputs as strides begin in it, TensorFlow's "same".

    Attributes:
        dtype: that it computes in, whatever comes in.
        result: what goes out; None for the same.
    """

    def __init__(self, conv: nn.Conv2d, *, relu: bool = False, most: float | None = None, same: bool = False) -> None:
        super().__init__()
        self.conv = conv
        self.relu = relu
        self.most = most
        self.same = same
        self.dtype = torch.float32
        self.result: torch.dtype | None = None
        self._geometry = Geometry.of(conv)
        self._layout = KeptLayout()

    def __getattr__(self, name: str) -> Any:
        """Networks of timm look at their convolutions' weights and strides."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("conv"), name)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, O, h, w)."""
        x = x.to(self.dtype)
        if self.same:
            x = _padded_to_same(x, self.conv)
        found = onednn.convolution(x, *self._convolution(x), relu=self.relu, most=self.most)
        return found.to(self.result or self.dtype)

    def onto(self, x: Tensor, total: Tensor) -> Tensor:
        """Adds the convolution of `x` to `total` (B, O, h, w) in its place, then the ReLU, and returns `total`."""
        x, total = x.to(self.dtype), total.to(self.dtype)
        return onednn.add_convolution(total, x, *self._convolution(x), relu=self.relu)

    def _convolution(self, x: Tensor) -> tuple[Tensor, Tensor | None, Geometry]:
        weight, bias, geometry = self.conv.weight, self.conv.bias, self._geometry
        laid_out = self._layout.of(
            weight, x.shape, lambda: onednn.convolution_layout(weight.to(x.dtype), geometry, x.shape)
        )
        return laid_out, None if bias is None else bias.to(x.dtype), geometry


class FusedBlock(nn.Module):
    """A residual block whose batch norms are folded. It writes over its input where that is its shortcut.

    Nothing else reads such an input: the backbone's outputs go into blocks with a convolution in the shortcut.
    """

    def __init__(self, block: BasicBlock | Bottleneck) -> None:
        super().__init__()
        *first, last = _convolutions(block)
        self.first = nn.Sequential(*(FusedConv(conv, relu=True) for conv in first))
        self.last = FusedConv(last, relu=True)
        self.shortcut = None if block.downsample is None else FusedConv(cast("nn.Conv2d", block.downsample[0]))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, O, h, w)."""
        inner = self.first(x)
        return self.last.onto(inner, x if self.shortcut is None else self.shortcut(x))


class FusedDeform(nn.Module):
    """A deformable convolution with packed weights for its matrix product, which alone is in `dtype`."""

    def __init__(self, deform: ModulatedDeformConv) -> None:
        super().__init__()
        self.deform = deform
        self.dtype = torch.float32
        self._layout = KeptLayout()

    def forward(self, x: Tensor, shifts: Tensor, strengths: Tensor) -> Tensor:
        """As the class it replaces."""
        weight, rows = self.deform.weight, pixels(x.to(self.dtype))
        laid_out = self._layout.of(
            weight, rows.shape, lambda: onednn.product_layout(tap_kernels(weight).to(self.dtype), len(rows))
        )
        return added_up(onednn.product(rows, laid_out), shifts, strengths, self.deform.bias)


class FusedProducts(InnerProducts):
    """The decoder's batched matrix products, computed by oneDNN for each picture."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """As the class it replaces."""
        found = [onednn.product(one, other) for one, other in zip(a, b, strict=True)]
        # One alone is not copied.
        return found[0][None] if len(found) == 1 else torch.stack(found)


class FusedPyramid(nn.Module):
    """The deformable pyramid; each lateral convolution adds its output to the upsampled coarser level."""

    def __init__(self, pyramid: DeformablePyramid) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(FusedConv(cast("nn.Conv2d", conv)) for conv in pyramid.laterals)
        self.upsamples = pyramid.upsamples
        for upsample in pyramid.upsamples:
            upsample.add_module("deform", FusedDeform(cast("DeformableUpsample", upsample).deform))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """C2..C5 to P2..P5."""
        x = self.laterals[-1](maps[-1])
        pyramid = [x]
        for level in (2, 1, 0):
            x = cast("FusedConv", self.laterals[level]).onto(maps[level], self.upsamples[level](x))
            pyramid.insert(0, x)
        return pyramid


def _fuse_blocks(backbone: ResNet) -> None:
    if isinstance(backbone.bn1, nn.Identity):
        backbone.add_module("conv1", FusedConv(backbone.conv1, relu=True))
        backbone.add_module("relu", nn.Identity())
    for layer in (backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4):
        for place, block in enumerate(layer):
            if isinstance(block.bn1, nn.Identity):
                layer[place] = FusedBlock(block)


def _fuse_activations(backbone: Backbone) -> None:
    """Fuses a backbone's convolutions with the ReLU or ReLU6 that is left of the norm behind it."""
    for conv_parent, conv_name, norm_parent, norm_name in backbone.conv_norms():
        conv, activation = getattr(conv_parent, conv_name), getattr(norm_parent, norm_name)
        if type(activation) not in (nn.ReLU, nn.ReLU6) or not _replaceable(conv):
            continue
        most = 6.0 if type(activation) is nn.ReLU6 else None
        conv_parent.add_module(conv_name, FusedConv(conv, relu=True, most=most, same=is_same(conv)))
        norm_parent.add_module(norm_name, nn.Identity())


def _padded_to_same(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """(B, C, H, W) with zeros around, such that a convolution with `conv` has ceil(H / stride) rows."""
    amounts: list[int] = []
    for edge, kernel, stride, dilation in zip(x.shape[-2:], conv.kernel_size, conv.stride, conv.dilation, strict=True):
        total = max((-(-edge // stride) - 1) * stride + (kernel - 1) * dilation + 1 - edge, 0)
        amounts = [total // 2, total - total // 2, *amounts]
    return F.pad(x, amounts) if any(amounts) else x


def is_same(conv: nn.Module) -> bool:
    """Whether a convolution is timm's of TensorFlow's padding, whose amounts depend on the size of the map."""
    return type(conv).__name__ == "Conv2dSame"


def _replaceable(conv: nn.Module) -> bool:
    """Whether a module is a convolution that `FusedConv` computes: plain, or timm's of TensorFlow's padding."""
    if type(conv) is not nn.Conv2d and not (isinstance(conv, nn.Conv2d) and is_same(conv)):
        return False
    return isinstance(conv.padding, tuple) and conv.padding_mode == "zeros"


def _convolutions(block: BasicBlock | Bottleneck) -> list[nn.Conv2d]:
    """The block's convolutions in their order, without its shortcut's."""
    convs = [block.conv1, block.conv2]
    return [*convs, block.conv3] if isinstance(block, Bottleneck) else convs


def _replace_convolutions(parent: nn.Module) -> None:
    """Makes every plain convolution beneath `parent` a `FusedConv`, unless one of the classes above has it."""
    for name, child in parent.named_children():
        if _replaceable(child):
            conv = cast("nn.Conv2d", child)
            parent.add_module(name, FusedConv(conv, same=is_same(conv)))
        elif not isinstance(child, FusedConv):
            _replace_convolutions(child)


def _replace_products(parent: nn.Module) -> None:
    for name, child in parent.named_children():
        if isinstance(child, InnerProducts):
            parent.add_module(name, FusedProducts())
        else:
            _replace_products(child)


def _compute_in(network: YOSO, dtype: torch.dtype) -> None:
    """Makes the convolutions of a fused network compute in `dtype`, but for those of shifts."""
    for name, module in network.named_modules():
        if isinstance(module, FusedConv | FusedDeform) and not name.endswith(".offset"):
            module.dtype = dtype
    # What follows it are places and the decoder.
    cast("FusedConv", network.aggregator.output).result = torch.float32
