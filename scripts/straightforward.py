"""The baseline of speed measurements: a straightforward YOSO, with nothing folded or rearranged.

It computes the same as the released implementation, as described in the paper, from the weights of a trained `yoso_cli`
model: batch norms are separate, deformable convolution is torchvision's operator, masks pass through a sigmoid before
they are compared with 0.5, every query is resized twice at full resolution, and queries are processed one by one with
`.item()`.
"""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d, deform_conv2d

from yoso_cli.inference.postprocess import Sizes
from yoso_cli.model import decoder as decoder_file
from yoso_cli.model.aggregator import ConvolutionFirst, ModulatedDeformConv, coordinates
from yoso_cli.model.yoso import YOSO
from yoso_cli.panoptic.types import Category

CATEGORIES = tuple(Category(index + 1, str(index), index < 80) for index in range(133))
"""As COCO's: 80 things, 53 stuff."""


@dataclass(frozen=True)
class Thresholds:
    """What a query must score, and the share of its mask it must keep; 0..1."""

    score: float
    overlap: float


def random_network(kept: int, size: tuple[int, int] = (480, 640), **network: Any) -> tuple[YOSO, float]:
    """YOSO-R50 on COCO with random weights, and the score threshold that keeps `kept` queries of a noise picture.

    `network` are other arguments of YOSO.
    """
    model = YOSO(len(CATEGORIES), **network).eval()
    hooks = [
        module.register_forward_pre_hook(_fit)
        for module in model.modules()
        if isinstance(module, nn.BatchNorm2d | FrozenBatchNorm2d)
    ]
    with torch.no_grad():
        for stage in model.decoder.stages:
            stage.class_logits.bias.zero_()
        images = noise(*size).permute(2, 0, 1)[None].float()
        model(images)
        for hook in hooks:
            hook.remove()
        last = model(images)[-1]
    return model, keeping(kept, last.class_logits[0])


def keeping(kept: int, class_logits: Tensor) -> float:
    """The score threshold at which about `kept` queries of one picture's (N, K + 1) pass, where as many name a class.

    It lies in the widest gap between neighbouring scores nearby, so that rounding moves no query across it.
    """
    scores, labels = class_logits.softmax(-1).max(-1)
    found = scores[labels != class_logits.shape[-1] - 1].sort(descending=True).values
    if kept >= len(found):
        return 0.0
    first = kept - kept // 4
    nearby = found[first - 1 : kept + kept // 4 + 1]
    widest = int((nearby[:-1] - nearby[1:]).argmax())
    return float(nearby[widest : widest + 2].mean())


def _fit(norm: nn.Module, inputs: tuple[Tensor]) -> None:
    """Statistics of what the norm sees, as training would have left them."""
    variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3))
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance.clamp(min=1e-3))


def noise(height: int, width: int) -> Tensor:
    """A picture of noise, (H, W, 3) uint8, always the same one."""
    return torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


class PlainDeformConv(ModulatedDeformConv):
    """torchvision's operator on every device."""

    def forward(self, x: Tensor, shifts: Tensor, strengths: Tensor) -> Tensor:
        """As the class it stands for."""
        return deform_conv2d(x, shifts, self.weight, self.bias, padding=1, mask=strengths)


class PlainConvolutionFirst(ConvolutionFirst):
    """Each sum made anew."""

    def forward(self, pyramid: list[Tensor]) -> Tensor:
        """As the class it stands for."""
        maps = [conv(x) for conv, x in zip(self.convs, pyramid, strict=True)]
        size = maps[0].shape[-2:]
        maps[1:] = [F.interpolate(x, size=size, mode="bilinear", align_corners=False) for x in maps[1:]]
        return maps[3] + maps[2] + maps[1] + maps[0] + self.bias


class PlainStage(decoder_file.DecoderStage):
    """Masks by a sigmoid and einsum."""

    def forward(self, features: Tensor, kernels: Tensor, mask_logits: Tensor) -> tuple[Tensor, Tensor]:
        """As the class it stands for."""
        hard = (mask_logits.sigmoid() > 0.5).to(features.dtype)
        pooled = torch.einsum("bnhw,bchw->bnc", hard, features)
        for block in self.blocks:
            pooled = block(kernels, pooled)
        kernels = self.post(pooled)
        return kernels, torch.einsum("bnc,bchw->bnhw", self.mask_kernels(self.mask_layers(kernels)), features)


def plain(model: YOSO) -> YOSO:
    """A copy of a trained `model` (not re-parameterised) that computes everything the plain way."""
    changed = copy.deepcopy(model).eval()
    stands_for = {ModulatedDeformConv: PlainDeformConv, ConvolutionFirst: PlainConvolutionFirst}
    for module in changed.modules():
        # Another class over the same weights: only `forward` differs.
        if type(module) in stands_for:
            module.__class__ = stands_for[type(module)]
        elif type(module) is decoder_file.DecoderStage:
            module.__class__ = PlainStage
    return changed


def plain_features(model: YOSO, images: Tensor) -> Tensor:
    """(B, 3, H, W) to the features S (B, D, h, w)."""
    neck = model.aggregator
    x = neck.output(neck.aggregate(neck.pyramid(model.backbone((images - model.pixel_mean) / model.pixel_std))))
    location = neck.location
    assert isinstance(location, nn.Conv2d)
    place = coordinates(x).expand(x.shape[0], -1, -1, -1)
    return F.conv2d(torch.cat([x, place], dim=1), location.weight, location.bias)


def plain_panoptic(
    mask_logits: Tensor, class_logits: Tensor, sizes: Sizes, isthing: list[bool], thresholds: Thresholds
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """One picture's id map (H, W) and (id, class) of its segments, one query after the other.

    Args:
        mask_logits: (N, h, w).
        class_logits: (N, K + 1).
        sizes: of the picture.
        isthing: of each class.
        thresholds: for scores and overlaps.
    """
    masks = F.interpolate(mask_logits[None], size=sizes.padded, mode="bilinear", align_corners=False)
    masks = masks[:, :, : sizes.resized[0], : sizes.resized[1]]
    masks = F.interpolate(masks, size=sizes.original, mode="bilinear", align_corners=False)[0]
    scores, labels = class_logits.softmax(-1).max(-1)
    masks = masks.sigmoid()
    keep = labels.ne(len(isthing)) & (scores > thresholds.score)
    scores, labels, masks = scores[keep], labels[keep], masks[keep]
    id_map = torch.zeros(sizes.original, dtype=torch.int32, device=masks.device)
    segments: list[tuple[int, int]] = []
    stuff: dict[int, int] = {}
    if not len(scores):
        return id_map.cpu().numpy(), segments
    winners = (scores.view(-1, 1, 1) * masks).argmax(0)
    for query in range(len(labels)):
        label = labels[query].item()
        mask_area = (winners == query).sum().item()
        original_area = (masks[query] >= 0.5).sum().item()
        mask = (winners == query) & (masks[query] >= 0.5)
        if mask_area > 0 and original_area > 0 and mask.sum().item() > 0:
            if mask_area / original_area < thresholds.overlap:
                continue
            if not isthing[label]:
                if label in stuff:
                    id_map[mask] = stuff[label]
                    continue
                stuff[label] = len(segments) + 1
            segments.append((len(segments) + 1, label))
            id_map[mask] = len(segments)
    return id_map.cpu().numpy(), segments
