"""3x3 convolutions with a quarter of the multiplications: Winograd's minimal filtering F(4x4, 3x3).

The sixteen outputs of a tile take 36 multiplications instead of the 144 of the direct convolution (Lavin and Gray,
arXiv:1509.09308). Algebraically this is exact; numerically the rounding error depends on the six interpolation points.
With those chosen here, a layer's rounding error is twice that of the direct convolution (with the usual 0, 1, -1, 2, -2
four times), and that of the whole network does not change.
"""

# B pictures, C channels in, O channels out, H W size of the map, T tiles, N values of a transformed tile (36)

import math

import torch
from torch import Tensor, nn

from yoso_cli.inference import onednn
from yoso_cli.inference.fused import FusedBlock, FusedConv
from yoso_cli.inference.onednn import Geometry, KeptLayout
from yoso_cli.model.yoso import YOSO

TILE = 4
TAPS = 3
_INPUT = TILE + TAPS - 1
PLACES = _INPUT * _INPUT
# One matrix per transformed value, computed as the groups of a 1x1 convolution.
_AT_EACH_PLACE = Geometry((0, 0), (1, 1), (1, 1), PLACES)
# Values of tiles per strip, with up to three copies: at stride 4, a whole map's tiles would dominate peak memory. A
# quarter of this is slower, more is not faster.
AT_A_TIME = 1 << 22
# Interpolation points; the sixth is infinity. They are near 1 and come with their inverses, so that their powers stay
# small (see Barabasz et al., arXiv:1803.10986).
_AT = (0.0, math.sqrt(0.5), -math.sqrt(0.5), math.sqrt(2.0), -math.sqrt(2.0))
# With fewer channels, the transforms cost more than is saved: two threads take 4.7 ms instead of 7.9 for 256 channels
# at 32x44, 26.6 instead of 30.8 for 128 at 128x176, but 13.2 instead of 8.2 for 64 there.
LEAST_CHANNELS = 128
# With fewer tiles, reading four times the weights costs more than is saved.
LEAST_TILES = 16


def use_winograd(network: YOSO) -> None:
    """Makes the wide 3x3 convolutions of a `fused` network `WinogradConv`, but for those that add to a shortcut."""
    for parent in [block.first for block in network.modules() if isinstance(block, FusedBlock)] + [network.aggregator]:
        for name, child in parent.named_children():
            if isinstance(child, FusedConv) and _suited(child.conv):
                parent.add_module(name, WinogradConv(child))


def _suited(conv: nn.Conv2d) -> bool:
    plain = (conv.kernel_size, conv.stride, conv.padding, conv.dilation) == ((3, 3), (1, 1), (1, 1), (1, 1))
    return plain and conv.groups == 1 and min(conv.in_channels, conv.out_channels) >= LEAST_CHANNELS


class WinogradConv(nn.Module):
    """A 3x3 convolution of stride 1 that keeps the map's size.

    Args:
        direct: the direct convolution, whose weights are used; it also computes small maps.
    """

    def __init__(self, direct: FusedConv) -> None:
        super().__init__()
        self.direct = direct
        # Both axes in one matrix product: the operands of two would be too small to be fast.
        self._filters, self._inputs, self._outputs = (torch.kron(one, one).float() for one in _transforms())
        self._layout = KeptLayout()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, O, H, W)."""
        batch, channels, height, width = x.shape
        down, across = -(-height // TILE), -(-width // TILE)
        if batch * down * across < LEAST_TILES:
            return self.direct(x)
        strips = -(-down * batch * across * PLACES * channels // AT_A_TIME)
        rows = -(-down // min(strips, down))
        map_ = x.new_empty(batch, down * TILE, across * TILE, self.direct.conv.out_channels)
        for top in range(0, down, rows):
            # The last strip overlaps the previous one: for another size, the weights would have to be packed again.
            first = min(top, down - rows)
            part = map_[:, first * TILE : (first + rows) * TILE].view(batch, rows, TILE, across, TILE, -1)
            torch.add(self._filtered(_tiles(x, first, rows, across)), self._bias, out=part)
            if self.direct.relu:
                part.clamp_(min=0, max=self.direct.most)
        map_ = map_[:, :height, :width].permute(0, 3, 1, 2)
        return map_.contiguous(memory_format=torch.channels_last)

    @property
    def _bias(self) -> Tensor | float:
        bias = self.direct.conv.bias
        return 0.0 if bias is None else bias

    def _filtered(self, tiles: Tensor) -> Tensor:
        """(B, down, across, N, C) to (B, down, 4, across, 4, O), as a view."""
        flat = tiles.flatten(0, 2)
        products = self._products(self._inputs.expand(len(flat), -1, -1) @ flat)  # (T, N, O)
        found = self._outputs.expand(len(flat), -1, -1) @ products  # (T, 16, O)
        return found.view(*tiles.shape[:3], TILE, TILE, -1).transpose(2, 3)

    def _products(self, tiles: Tensor) -> Tensor:
        """(T, N, C) to (T, N, O): one matrix per transformed value, computed as a convolution with N groups."""
        count, _, channels = tiles.shape
        x = tiles.view(1, 1, count, PLACES * channels).permute(0, 3, 1, 2)
        laid_out = self._layout.of(
            self.direct.conv.weight,
            x.shape,
            lambda: onednn.convolution_layout(self._matrices(), _AT_EACH_PLACE, x.shape),
        )
        found = onednn.convolution(x, laid_out, None, _AT_EACH_PLACE)
        return found.permute(0, 2, 3, 1).reshape(count, PLACES, -1)

    def _matrices(self) -> Tensor:
        """(N O, C, 1, 1): not stored, as they are four times as large as the weights and oneDNN keeps a packed copy."""
        weight = self.direct.conv.weight
        out_channels, channels = weight.shape[:2]
        filters = weight.reshape(out_channels * channels, TAPS * TAPS)
        return (self._filters @ filters.T).view(PLACES * out_channels, channels, 1, 1)


def _tiles(x: Tensor, first: int, rows: int, across: int) -> Tensor:
    """Of (B, C, H, W) some rows of tiles, (B, rows, across, N, C): pieces of 6x6 that overlap by two, zeros around."""
    batch, channels, height, width = x.shape
    top = first * TILE - 1
    padded = x.new_zeros(batch, rows * TILE + 2, across * TILE + 2, channels)
    start, stop = max(top, 0), min(top + rows * TILE + 2, height)
    padded[:, start - top : stop - top, 1 : width + 1] = x[:, :, start:stop].permute(0, 2, 3, 1)
    windows = padded.unfold(1, _INPUT, TILE).unfold(2, _INPUT, TILE)  # (B, rows, across, C, 6, 6)
    return windows.permute(0, 1, 2, 4, 5, 3).reshape(batch, rows, across, PLACES, channels)


def _transforms() -> tuple[Tensor, Tensor, Tensor]:
    """The transforms of filters (6, 3), of a tile's inputs (6, 6) and outputs (4, 6), along one axis, in float64.

    Those of Toom and Cook: filters and outputs are evaluations of polynomials at the points, where infinity gives the
    last coefficient. Inputs are transformed by the transposed inverse of an evaluation with six coefficients.
    """
    inputs = torch.linalg.inv(_values(_INPUT)).T
    return _values(TAPS), inputs, _values(TILE).T


def _values(coefficients: int) -> Tensor:
    """(6, coefficients): the Vandermonde matrix of the points, with a row for infinity."""
    places = torch.tensor(_AT, dtype=torch.double)
    infinity = torch.zeros(1, coefficients, dtype=torch.double)
    infinity[0, -1] = 1
    return torch.cat([places[:, None] ** torch.arange(coefficients), infinity])
