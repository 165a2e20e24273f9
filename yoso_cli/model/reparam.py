"""Re-parameterisation: same predictions from fewer operations (paper Sec. 3.2, Observations I and II).

Each step changes a copy's part in place and is exact up to rounding: `verify` says by how much.

No step can be undone from its result alone: a folded batch norm is one number where there were five. What is kept is
the way back: a re-parameterised file names the file it was made from and the hash of that file's content, so the
original is known when seen, and whatever needs the trained layout (the authors' names, further training) takes that.

Considered and left out, as they cost more than they save: the 3x3 output convolution in the kernels (every mask would
be a 3x3 convolution: 100 x 9 products a channel in each stage for 128 x 9 once); laterals in the convolutions behind
them (as many products, wider maps).
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from yoso_cli.errors import RunError
from yoso_cli.model.aggregator import ConvolutionFirst, DeformableUpsample, InterpolationFirst, LocationChannels
from yoso_cli.model.decoder import DecoderStage, NarrowProposals
from yoso_cli.model.yoso import YOSO


def ifa_to_cfa(model: YOSO) -> None:
    """Divides IFA's 1x1 convolution into one per pyramid level (Sec. 3.2). A CFA model is not changed."""
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
    for conv_parent, conv, norm_parent, norm in model.backbone.conv_norms():
        _fold(conv_parent, conv, norm_parent, norm)
    for module in model.aggregator.modules():
        if isinstance(module, DeformableUpsample):
            _fold(module, "deform", module, "deform_norm")
            _fold(module, "upsample", module, "upsample_norm")


def fold_pixel_std(model: YOSO) -> None:
    """Divides the stem's weights by the pixels' standard deviation instead of the picture.

    The mean stays outside: the stem pads with zeros, which are the mean colour only after it is taken away. A backbone
    without a plain convolution there is not changed.
    """
    stem = model.backbone.stem
    if stem is None:
        return
    with torch.no_grad():
        stem.weight.div_(model.pixel_std)
        model.pixel_std.fill_(1)


def fold_temperature(model: YOSO) -> None:
    """Divides the class layers' last weights by the temperature instead of the logits."""
    with torch.no_grad():
        for stage in _stages(model):
            stage.class_logits.weight.div_(model.decoder.temperature)
            stage.class_logits.bias.div_(model.decoder.temperature)
    model.decoder.temperature = 1.0


def fold_location(model: YOSO) -> None:
    """Moves the location convolution into the decoder: the map of D channels at stride 4 is not computed.

    With S = L [x, y, place] + b, a mask is k S = (k L) [x, place] + k b, and pooling under a mask gives
    L (sum of [x, place]) + b (area): kernels take L in, pooled features go through it, N vectors instead of h w.
    """
    location = model.aggregator.location
    if not isinstance(location, nn.Conv2d):
        return
    assert location.bias is not None
    decoder = model.decoder
    proposals = decoder.proposals
    assert isinstance(proposals, nn.Conv2d)
    assert proposals.bias is not None
    # The bias is the column that meets the channel of ones.
    widen = torch.cat([location.weight.flatten(1), location.bias[:, None]], dim=1).detach()  # (D, A + 3)
    kernels = proposals.weight.detach().flatten(1) @ widen  # (N, A + 3)
    kernels[:, -1] += proposals.bias.detach()
    decoder.proposals = NarrowProposals(proposals.weight.detach().clone(), kernels)
    for stage in _stages(model):
        stage.pooled = _linear(widen, None)
        mask = stage.mask_kernels
        stage.mask_kernels = _linear(widen.T @ mask.weight.detach(), mask.bias.detach() @ widen)
    model.aggregator.location = LocationChannels()


# In the order in which they are applied. Weights files name the steps they have been through: names stay.
STEPS = {
    "ifa_to_cfa": ifa_to_cfa,
    "fold_batch_norms": fold_batch_norms,
    "fold_pixel_std": fold_pixel_std,
    "fold_temperature": fold_temperature,
    "fold_location": fold_location,
}


def reparameterise(model: YOSO, steps: tuple[str, ...] = tuple(STEPS)) -> YOSO:
    """A copy of `model` for inference, with `steps` (names in STEPS) applied in order."""
    changed = copy.deepcopy(model).eval()
    for step in steps:
        STEPS[step](changed)
    return changed


@dataclass(frozen=True)
class Difference:
    """The difference between two models' outputs on the same pictures, relative to the largest value of each tensor.

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
            worst = [max(seen, relative_difference(b, a)) for seen, (a, b) in zip(worst, pairs, strict=True)]
    difference = Difference(*worst)
    if not difference.largest <= tolerance:
        raise RunError(
            f"the re-parameterised model differs by {difference.largest:.1e}, more than {tolerance:.1e}.",
            hint="Nothing was written. A batch norm with a variance near zero can cause this: train longer.",
        )
    return difference


def relative_difference(answer: Tensor, reference: Tensor) -> float:
    """The largest difference of two tensors of one shape, as a share of the reference's largest value.

    Infinite where either has a value that is not finite.
    """
    difference = (answer - reference).abs().max() / reference.abs().max().clamp(min=1e-12)
    return float(difference) if bool(difference.isfinite()) else float("inf")


def widened(model: YOSO, features: Tensor) -> Tensor:
    """The features S (B, D, h, w) from what `model` makes instead, (B, C, h, w), where `fold_location` was applied."""
    pooled = _stages(model)[0].pooled
    return pooled(features.movedim(1, -1)).movedim(-1, 1)


def _answers(model: YOSO, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    features = model.features(images)
    mask_logits, class_logits = model.decoder(features)[-1]
    return widened(model, features), mask_logits, class_logits


def _stages(model: YOSO) -> list[DecoderStage]:
    return list(cast("Iterable[DecoderStage]", model.decoder.stages))


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None).to(weight)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer


def _fold(conv_parent: nn.Module, conv_name: str, norm_parent: nn.Module, norm_name: str) -> None:
    conv, norm = getattr(conv_parent, conv_name), getattr(norm_parent, norm_name)
    if not hasattr(norm, "running_var"):
        return  # it was folded before
    scale, shift = _scale_and_shift(norm)
    with torch.no_grad():
        # A transposed convolution's output channels are its second dimension.
        shape = (1, -1, 1, 1) if isinstance(conv, nn.ConvTranspose2d) else (-1, 1, 1, 1)
        conv.weight.mul_(scale.view(shape))
        bias = shift if conv.bias is None else conv.bias * scale + shift
        conv.bias = nn.Parameter(bias.clone())
    # timm's norms have the activation in them; in evaluation mode they drop nothing.
    setattr(norm_parent, norm_name, getattr(norm, "act", nn.Identity()))


def _scale_and_shift(norm: nn.BatchNorm2d | FrozenBatchNorm2d) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale
