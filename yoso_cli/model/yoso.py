"""You Only Segment Once: a picture to masks and classes (paper Fig. 1d)."""

# B images, N proposals, K classes, H W padded picture size

from typing import NamedTuple

import torch
from torch import Tensor, nn

from yoso_cli.model.aggregator import FeaturePyramidAggregator
from yoso_cli.model.backbone import Backbone, ResNet
from yoso_cli.model.decoder import SeparableDynamicDecoder
from yoso_cli.model.precision import full_precision
from yoso_cli.model.timm_backbone import PREFIX, TimmBackbone, layout_of

STRIDE = 32
MASK_STRIDE = 4
NARROWEST = 64
"""Channels of the narrowest level of the pyramid over a backbone of timm: half of EfficientNet's 24 would be 12."""


class Output(NamedTuple):
    """What one stage predicts.

    Attributes:
        mask_logits: (B, N, H/4, W/4); a mask is where they are above 0.
        class_logits: (B, N, K + 1), already divided by the temperature; the last class is no object. None for stage 0,
            and in evaluation mode for every stage but the last.
        features: (B, D, H/4, W/4), that masks are made from; only for stage 0 in training mode.
    """

    mask_logits: Tensor
    class_logits: Tensor | None
    features: Tensor | None = None


class YOSO(nn.Module):
    """The network. Arguments are those of `ModelRecipe`, with the same meanings."""

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: str = "resnet50",
        backbone_norm: str = "frozen",
        stem_channels: int = 64,
        base_channels: int = 64,
        width_per_group: int = 64,
        pyramid_min: int = 0,
        aggregator: str = "cfa",
        aggregation_dim: int = 128,
        hidden_dim: int = 256,
        attention: str = "sdca",
        num_blocks: int = 2,
        kernel_size: int = 3,
        num_stages: int = 2,
        num_proposals: int = 100,
        num_heads: int = 8,
        feedforward_dim: int = 2048,
        num_class_layers: int = 1,
        num_mask_layers: int = 1,
        temperature: float = 0.05,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.backbone = _backbone(
            backbone,
            norm=backbone_norm,
            stem_channels=stem_channels,
            base_channels=base_channels,
            width_per_group=width_per_group,
        )
        self.aggregator = FeaturePyramidAggregator(
            self.backbone.channels,
            narrowest=pyramid_min or (0 if isinstance(self.backbone, ResNet) else NARROWEST),
            aggregator=aggregator,
            aggregation_dim=aggregation_dim,
            hidden_dim=hidden_dim,
        )
        self.decoder = SeparableDynamicDecoder(
            num_classes,
            num_stages=num_stages,
            temperature=temperature,
            hidden_dim=hidden_dim,
            num_proposals=num_proposals,
            attention=attention,
            num_blocks=num_blocks,
            kernel_size=kernel_size,
            num_heads=num_heads,
            feedforward_dim=feedforward_dim,
            num_class_layers=num_class_layers,
            num_mask_layers=num_mask_layers,
        )
        self.register_buffer("pixel_mean", torch.tensor(self.backbone.pixel_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(self.backbone.pixel_std).view(3, 1, 1), persistent=False)
        self.pixel_mean: Tensor
        self.pixel_std: Tensor

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) RGB 0..255 to the features S that masks are made from, (B, D, H/4, W/4)."""
        features: Tensor = self.aggregator(self.backbone((images - self.pixel_mean) / self.pixel_std))
        return features

    def forward(self, images: Tensor) -> list[Output]:
        """One output per stage, 0..T.

        Args:
            images: (B, 3, H, W) float, RGB, 0..255; H and W are multiples of 32. Padding counts: coordinates span it.
        """
        # The decoder sums features over whole masks, which half precision cannot hold; it is 6 % of the network's work.
        with full_precision(self.features(images)) as features:
            outputs = [Output(mask_logits, class_logits) for mask_logits, class_logits in self.decoder(features)]
            if self.training:
                outputs[0] = outputs[0]._replace(features=features)
            return outputs


def pixel_statistics(backbone: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the pixels, RGB 0..255, that a network with this backbone takes."""
    if backbone.startswith(PREFIX):
        layout = layout_of(backbone.removeprefix(PREFIX))
        return layout.mean, layout.std
    return ResNet.pixel_mean, ResNet.pixel_std


def _backbone(name: str, *, norm: str, **widths: int) -> Backbone:
    """A ResNet of `widths`, or `timm:NAME`, which has its own."""
    if name.startswith(PREFIX):
        return TimmBackbone(name.removeprefix(PREFIX), norm=norm)
    return ResNet(name, norm=norm, **widths)
