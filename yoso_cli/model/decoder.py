"""Separable dynamic decoder: features and proposal kernels to masks and classes, stage by stage (Sec. 3.3, Fig. 3)."""

# B images, N proposals, D hidden, K classes, h w size at stride 4

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from yoso_cli.model.attention import ATTENTIONS

# A class starts with probability 1 % under a sigmoid; the released model keeps that start although it uses a softmax.
CLASS_BIAS = -4.59511985013459


class PredictionLayers(nn.Sequential):
    """`count` times linear without bias, LayerNorm, ReLU."""

    def __init__(self, hidden_dim: int, count: int) -> None:
        layers: list[nn.Module] = []
        for _ in range(count):
            layers += [nn.Linear(hidden_dim, hidden_dim, bias=False), nn.LayerNorm(hidden_dim), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class AttentionBlock(nn.Module):
    """Cross-attention of kernels to pooled features, residual on the features, LayerNorm."""

    def __init__(self, attention: nn.Module, hidden_dim: int) -> None:
        super().__init__()
        self.attention = attention
        self.norm = nn.LayerNorm(hidden_dim)

    def forward(self, kernels: Tensor, pooled: Tensor) -> Tensor:
        """(B, N, D) and (B, N, D) to (B, N, D)."""
        return self.norm(pooled + self.attention(kernels, pooled))


class PostAttention(nn.Module):
    """Self-attention among kernels, then a feed-forward network; residual and LayerNorm after each (Sec. 3.3)."""

    def __init__(self, hidden_dim: int, *, num_heads: int, feedforward_dim: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(hidden_dim, num_heads, batch_first=True)
        self.attention_norm = nn.LayerNorm(hidden_dim)
        self.feedforward = nn.Sequential(
            nn.Linear(hidden_dim, feedforward_dim), nn.ReLU(inplace=True), nn.Linear(feedforward_dim, hidden_dim)
        )
        self.feedforward_norm = nn.LayerNorm(hidden_dim)

    def forward(self, kernels: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        attended, _ = self.attention(kernels, kernels, kernels, need_weights=False)
        kernels = self.attention_norm(kernels + attended)
        return self.feedforward_norm(kernels + self.feedforward(kernels))


class InnerProducts(nn.Module):
    """Every product of two sets of vectors, in each picture. A module, so that inference can run it another way."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """(B, N, K) and (B, M, K) to (B, N, M)."""
        return torch.bmm(a, b.transpose(1, 2))


class PreAttention(nn.Module):
    """The sum of features under each hard mask (Eq. 3).

    The paper's hard sigmoid above 0.5 is a comparison with zero: no gradient passes it, and no sigmoid is computed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.products = InnerProducts()

    def forward(self, features: Tensor, mask_logits: Tensor) -> Tensor:
        """(B, D, h, w) and (B, N, h, w) to (B, N, D)."""
        logits = mask_logits.detach().to(features.dtype)
        # As floats at once: truth values made first and turned into floats take seven times as long on a CPU.
        hard = torch.gt(logits, 0, out=torch.empty_like(logits))
        pooled: Tensor = self.products(hard.flatten(2), features.flatten(2))
        return pooled  # (B, N, D)


class DynamicConvolution(nn.Module):
    """The 1x1 convolution whose kernels are the picture's own: it draws the masks."""

    def __init__(self) -> None:
        super().__init__()
        self.products = InnerProducts()

    def forward(self, kernels: Tensor, features: Tensor) -> Tensor:
        """(B, N, D) over (B, D, h, w) to (B, N, h, w)."""
        found: Tensor = self.products(kernels, features.flatten(2).transpose(1, 2))  # (B, N, h w)
        return found.unflatten(2, features.shape[-2:])


class DecoderStage(nn.Module):
    """Pre-attention, N blocks of cross-attention, post-attention, class and mask prediction."""

    def __init__(
        self,
        num_classes: int,
        *,
        hidden_dim: int,
        attention: str,
        num_blocks: int,
        kernel_size: int,
        num_proposals: int,
        num_heads: int,
        feedforward_dim: int,
        num_class_layers: int,
        num_mask_layers: int,
    ) -> None:
        super().__init__()
        self.pre_attention = PreAttention()
        kind = ATTENTIONS[attention]
        self.blocks = nn.ModuleList(
            AttentionBlock(
                kind(hidden_dim, num_proposals=num_proposals, kernel_size=kernel_size, num_heads=num_heads), hidden_dim
            )
            for _ in range(num_blocks)
        )
        self.post = PostAttention(hidden_dim, num_heads=num_heads, feedforward_dim=feedforward_dim)
        self.class_layers = PredictionLayers(hidden_dim, num_class_layers)
        self.class_logits = nn.Linear(hidden_dim, num_classes + 1)
        self.mask_layers = PredictionLayers(hidden_dim, num_mask_layers)
        self.mask_kernels = nn.Linear(hidden_dim, hidden_dim)
        self.masks = DynamicConvolution()
        # Makes hidden dimensions of what was pooled; re-parameterisation puts the location convolution here.
        self.pooled: nn.Module = nn.Identity()

    def forward(self, features: Tensor, kernels: Tensor, mask_logits: Tensor) -> tuple[Tensor, Tensor]:
        """Refines the kernels.

        Args:
            features: (B, D, h, w), or (B, C, h, w) where re-parameterisation left fewer channels.
            kernels: (B, N, D), of the stage before.
            mask_logits: (B, N, h, w), of the stage before.

        Returns:
            The next kernels (B, N, D) and their mask logits (B, N, h, w).
        """
        pooled = self.pooled(self.pre_attention(features, mask_logits))  # (B, N, D)
        for block in self.blocks:
            pooled = block(kernels, pooled)
        kernels = self.post(pooled)
        return kernels, self.masks(self.mask_kernels(self.mask_layers(kernels)), features)

    def classify(self, kernels: Tensor) -> Tensor:
        """(B, N, D) to class logits (B, N, K + 1); the last class is no object."""
        logits: Tensor = self.class_logits(self.class_layers(kernels))
        return logits


class NarrowProposals(nn.Module):
    """Proposal kernels over the features that the location convolution would have widened.

    Args:
        queries: (N, D, 1, 1), the first stage's queries.
        kernels: (N, C), the stage-0 masks' kernels, bias and widening within.
    """

    def __init__(self, queries: Tensor, kernels: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(queries)
        self.kernels = nn.Parameter(kernels)
        self.masks = DynamicConvolution()

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to the stage-0 mask logits (B, N, h, w)."""
        mask_logits: Tensor = self.masks(self.kernels.expand(features.shape[0], -1, -1), features)
        return mask_logits


class SeparableDynamicDecoder(nn.Module):
    """T stages over learnt proposal kernels."""

    def __init__(
        self,
        num_classes: int,
        *,
        num_stages: int,
        temperature: float,
        hidden_dim: int,
        num_proposals: int,
        **stage: object,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        # Its weight is both the stage-0 convolution and the first query; its bias serves the stage-0 masks only.
        self.proposals: nn.Conv2d | NarrowProposals = nn.Conv2d(hidden_dim, num_proposals, 1)
        self.stages = nn.ModuleList(
            DecoderStage(num_classes, hidden_dim=hidden_dim, num_proposals=num_proposals, **stage)  # type: ignore[arg-type]
            for _ in range(num_stages)
        )
        _initialise(self)

    def forward(self, features: Tensor) -> list[tuple[Tensor, Tensor | None]]:
        """(B, D, h, w) to mask logits (B, N, h, w) and class logits (B, N, K + 1) of stages 0..T.

        Stage 0 has no classes. In evaluation mode only the last stage has them: nothing reads the others.
        """
        mask_logits = self.proposals(features)
        kernels = self.proposals.weight.flatten(1).expand(features.shape[0], -1, -1)  # (B, N, D)
        outputs: list[tuple[Tensor, Tensor | None]] = [(mask_logits, None)]
        for index, stage in enumerate(cast("Iterable[DecoderStage]", self.stages), start=1):
            kernels, mask_logits = stage(features, kernels, mask_logits)
            classified = self.training or index == len(self.stages)
            outputs.append((mask_logits, self._classified(stage, kernels) if classified else None))
        return outputs

    def _classified(self, stage: DecoderStage, kernels: Tensor) -> Tensor:
        logits = stage.classify(kernels)
        return logits if self.temperature == 1 else logits / self.temperature


def _initialise(decoder: SeparableDynamicDecoder) -> None:
    for module in decoder.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for stage in cast("Iterable[DecoderStage]", decoder.stages):
        nn.init.constant_(stage.class_logits.bias, CLASS_BIAS)
