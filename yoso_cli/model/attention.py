"""Cross-attention between kernels and the features they have pooled: the five variants of Table 6 (Sec. 3.3).

Each takes query and value (B, N, D) and returns (B, N, D), ending in its own LayerNorm. The dynamic ones make the
weights of a 1D convolution over the D channels from the query, one set per picture.
"""

# B images, N proposals (tokens), D hidden (positions of the convolution), t kernel size

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MultiHeadCrossAttention(nn.Module):
    """MHCA (Eq. 4, 5): the usual multi-head attention."""

    def __init__(self, hidden_dim: int, *, num_proposals: int, kernel_size: int, num_heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(hidden_dim, num_heads, batch_first=True)
        self.norm = nn.LayerNorm(hidden_dim)

    def forward(self, query: Tensor, value: Tensor) -> Tensor:
        """(B, N, D) and (B, N, D) to (B, N, D)."""
        attended, _ = self.attention(query, value, value, need_weights=False)
        return self.norm(attended)


class DynamicConvAttention(nn.Module):
    """DCA (Eq. 8): each query makes a full (N, t) kernel over tokens and neighbouring channels."""

    def __init__(self, hidden_dim: int, *, num_proposals: int, kernel_size: int, num_heads: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.weights = nn.Linear(hidden_dim, num_proposals * kernel_size)
        self.norm = nn.LayerNorm(hidden_dim)

    def forward(self, query: Tensor, value: Tensor) -> Tensor:
        """(B, N, D) and (B, N, D) to (B, N, D)."""
        windows = _padded(value, self.kernel_size).unfold(-1, self.kernel_size, 1)  # (B, N, D, t)
        windows = windows.transpose(2, 3).flatten(1, 2)  # (B, N t, D)
        return self.norm(torch.bmm(self.weights(query), windows))


class SeparableDynamicConvAttention(nn.Module):
    """SDCA (Eq. 9): a depthwise kernel of t channels, ReLU, then a pointwise kernel over the N tokens.

    The ReLU between the two stands in the released model and not in Eq. 9. One linear layer makes both kernels.
    """

    def __init__(self, hidden_dim: int, *, num_proposals: int, kernel_size: int, num_heads: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.weights = nn.Linear(hidden_dim, kernel_size + num_proposals)
        self.norm = nn.LayerNorm(hidden_dim)

    def forward(self, query: Tensor, value: Tensor) -> Tensor:
        """(B, N, D) and (B, N, D) to (B, N, D)."""
        weights = self.weights(query)
        depthwise, pointwise = weights[..., : self.kernel_size], weights[..., self.kernel_size :]
        return self.norm(torch.bmm(pointwise, F.relu(_depthwise(value, depthwise))))


class PointwiseDynamicConvAttention(nn.Module):
    """PDCA: the pointwise half alone; mixes tokens, not channels."""

    def __init__(self, hidden_dim: int, *, num_proposals: int, kernel_size: int, num_heads: int) -> None:
        super().__init__()
        self.weights = nn.Linear(hidden_dim, num_proposals)
        self.norm = nn.LayerNorm(hidden_dim)

    def forward(self, query: Tensor, value: Tensor) -> Tensor:
        """(B, N, D) and (B, N, D) to (B, N, D)."""
        return self.norm(torch.bmm(self.weights(query), value))


class DepthwiseDynamicConvAttention(nn.Module):
    """DDCA: the depthwise half alone; mixes neighbouring channels, not tokens."""

    def __init__(self, hidden_dim: int, *, num_proposals: int, kernel_size: int, num_heads: int) -> None:
        super().__init__()
        self.weights = nn.Linear(hidden_dim, kernel_size)
        self.norm = nn.LayerNorm(hidden_dim)

    def forward(self, query: Tensor, value: Tensor) -> Tensor:
        """(B, N, D) and (B, N, D) to (B, N, D)."""
        return self.norm(_depthwise(value, self.weights(query)))


ATTENTIONS: dict[str, type[nn.Module]] = {
    "mhca": MultiHeadCrossAttention,
    "dca": DynamicConvAttention,
    "sdca": SeparableDynamicConvAttention,
    "pdca": PointwiseDynamicConvAttention,
    "ddca": DepthwiseDynamicConvAttention,
}


def _padded(value: Tensor, kernel_size: int) -> Tensor:
    return F.pad(value, (kernel_size // 2, kernel_size // 2))


def _depthwise(value: Tensor, kernels: Tensor) -> Tensor:
    """Convolves each token (B, N, D) over its channels with its own kernel (B, N, t).

    A sum of t shifted products: a grouped convolution has B x N groups of one channel, the slowest case of its kernel.
    """
    size = kernels.shape[-1]
    padded, width = _padded(value, size), value.shape[-1]
    out = kernels[..., :1] * padded[..., :width]
    for tap in range(1, size):
        out = out + kernels[..., tap : tap + 1] * padded[..., tap : tap + width]
    return out
