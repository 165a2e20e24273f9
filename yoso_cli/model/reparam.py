"""Re-parameterisation: the same answers from fewer operations (paper Sec. 3.2, Observations I and II).

Each step returns a changed copy's part in place and is exact up to rounding: `verify` says by how much.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops import FrozenBatchNorm2d

from yoso_cli.errors import RunError
from yoso_cli.model.aggregator import ConvolutionFirst, DeformableUpsample, InterpolationFirst
from yoso_cli.model.yoso import YOSO


def ifa_to_cfa(model: YOSO) -> None:
    """Divides IFA's 1x1 convolution into one per pyramid level (Sec. 3.2). A CFA model is left as it is."""
    ifa = model.aggregator.aggregate
    if not isinstance(ifa, InterpolationFirst):
        return
    channels = model.aggregator.pyramid.channels
    cfa = ConvolutionFirst(channels, ifa.conv.out_channels).to(ifa.bias)
    with torch.no_grad():
        for conv, weight in zip(cfa.convs, ifa.conv.weight.split(channels, dim=1), strict=True):
            assert isinstance(conv, nn.Conv2d)
            conv.weight.copy_(weight)
        cfa.bias.copy_(ifa.bias)
    model.aggregator.aggregate = cfa.train(ifa.training)


def fold_batch_norms(model: YOSO) -> None:
    """Folds every batch norm's statistics into the convolution before it: plain, deformable and transposed."""
    _fold(model.backbone, "conv1", "bn1")
    for module in model.modules():
        if isinstance(module, BasicBlock | Bottleneck):
            for index in (1, 2, 3) if isinstance(module, Bottleneck) else (1, 2):
                _fold(module, f"conv{index}", f"bn{index}")
            if module.downsample is not None:
                _fold(module.downsample, "0", "1")
        elif isinstance(module, DeformableUpsample):
            _fold(module, "deform", "deform_norm")
            _fold(module, "upsample", "upsample_norm")


# In the order in which they are applied.
STEPS = {"ifa_to_cfa": ifa_to_cfa, "fold_batch_norms": fold_batch_norms}


def reparameterise(model: YOSO, steps: tuple[str, ...] = tuple(STEPS)) -> YOSO:
    """A copy of `model` for inference, with `steps` (names in STEPS) applied in order."""
    changed = copy.deepcopy(model).eval()
    for step in steps:
        STEPS[step](changed)
    return changed


@dataclass(frozen=True)
class Difference:
    """How far two models' answers lie apart on the same pictures, as a share of the largest value of each tensor.

    Attributes:
        features: of the features S; a sharp check, as nothing before them is discrete.
        mask_logits: of the last stage's mask logits.
        class_logits: of the last stage's class logits.
    """

    features: float
    mask_logits: float
    class_logits: float

    @property
    def largest(self) -> float:
        """The largest of the three."""
        return max(self.features, self.mask_logits, self.class_logits)


def verify(original: YOSO, changed: YOSO, batches: list[Tensor], *, tolerance: float) -> Difference:
    """Runs both models over `batches`, each (B, 3, H, W) RGB 0..255, in double precision.

    In single precision the decoder's hard masks make rounding jump when a pixel flips, which says nothing about the
    algebra; in double precision what is seen is the algebra and the rounding of the changed weights.

    Raises:
        RunError: an answer differs by more than `tolerance`, or is not a number.
    """
    first, second = copy.deepcopy(original).double().eval(), copy.deepcopy(changed).double().eval()
    worst = [0.0, 0.0, 0.0]
    with torch.inference_mode():
        for images in batches:
            pairs = zip(_answers(first, images.double()), _answers(second, images.double()), strict=True)
            worst = [max(seen, _relative(a, b)) for seen, (a, b) in zip(worst, pairs, strict=True)]
    difference = Difference(*worst)
    if not difference.largest <= tolerance:
        raise RunError(
            f"the re-parameterised model differs by {difference.largest:.1e}, more than {tolerance:.1e}.",
            hint="Nothing was written. A batch norm with a variance near zero can do this: train longer.",
        )
    return difference


def _answers(model: YOSO, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    features = model.features(images)
    mask_logits, class_logits = model.decoder(features)[-1]
    return features, mask_logits, class_logits


def _relative(a: Tensor, b: Tensor) -> float:
    difference = (a - b).abs().max() / a.abs().max().clamp(min=1e-12)
    return float(difference) if bool(difference.isfinite()) else float("inf")


def _fold(parent: nn.Module, conv_name: str, norm_name: str) -> None:
    conv, norm = getattr(parent, conv_name), getattr(parent, norm_name)
    if isinstance(norm, nn.Identity):
        return
    scale, shift = _scale_and_shift(norm)
    with torch.no_grad():
        # A transposed convolution's output channels are its second dimension.
        shape = (1, -1, 1, 1) if isinstance(conv, nn.ConvTranspose2d) else (-1, 1, 1, 1)
        conv.weight.mul_(scale.view(shape))
        bias = shift if conv.bias is None else conv.bias * scale + shift
        conv.bias = nn.Parameter(bias.clone())
    setattr(parent, norm_name, nn.Identity())


def _scale_and_shift(norm: nn.BatchNorm2d | FrozenBatchNorm2d) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale
