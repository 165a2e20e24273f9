"""Feature pyramid aggregator: C2..C5 to one map of features at stride 4 (paper Sec. 3.2, Fig. 2)."""

# B images, D hidden, A aggregation channels, h w size at stride 4

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yoso_cli.model.deform import TAPS, ModulatedDeformConv
from yoso_cli.model.precision import full_precision


class DeformableUpsample(nn.Module):
    """One step up the deformable pyramid: modulated deformable 3x3 convolution, then twice the size.

    The first 18 channels of `offset` are (dy, dx) per tap, row by row; the other 9, through a sigmoid, weigh the taps.
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.offset = nn.Conv2d(channels, 3 * TAPS, 3, padding=1)
        self.deform = ModulatedDeformConv(channels, out_channels)
        self.deform_norm = nn.BatchNorm2d(out_channels)
        self.upsample = nn.ConvTranspose2d(out_channels, out_channels, 4, stride=2, padding=1, bias=False)
        self.upsample_norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, out_channels, 2H, 2W)."""
        # Shifts are places: in half precision they would be off by hundredths of a pixel.
        with full_precision(x) as exact:
            shifts, weights = self.offset(exact).split((2 * TAPS, TAPS), dim=1)
            x = self.deform(exact, shifts, weights.sigmoid())
        x = F.relu(self.deform_norm(x))
        return F.relu(self.upsample_norm(self.upsample(x)))


class DeformablePyramid(nn.Module):
    """C2..C5 to P2..P5: lateral 1x1 convolutions halve the channels, P5 to P3 pass a deformable step upwards."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = tuple(count // 2 for count in channels)
        self.laterals = nn.ModuleList(nn.Conv2d(count, count // 2, 1) for count in channels)
        self.upsamples = nn.ModuleList(
            DeformableUpsample(above, below) for below, above in zip(self.channels, self.channels[1:], strict=False)
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """C2..C5 to P2..P5, each at its own stride, with half the channels."""
        x = self.laterals[-1](maps[-1])
        pyramid = [x]
        for level in (2, 1, 0):
            x = self.laterals[level](maps[level]) + self.upsamples[level](x)
            pyramid.insert(0, x)
        return pyramid


class InterpolationFirst(nn.Module):
    """IFA: upsample each map to stride 4, concatenate, one 1x1 convolution without bias (Sec. 3.2, Eq. 2 numerator).

    The bias is added after the sum, where interpolation cannot touch it: so IFA equals CFA exactly.
    """

    def __init__(self, channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(sum(channels), out_channels, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(1, out_channels, 1, 1))

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """P2..P5 to (B, A, h, w)."""
        size = pyramid[0].shape[-2:]
        maps = [pyramid[0], *(_upsampled(x, size) for x in pyramid[1:])]
        return self.conv(torch.cat(maps, dim=1)) + self.bias  # (B, A, h, w)


class ConvolutionFirst(nn.Module):
    """CFA: a 1x1 convolution per map at its own size, upsample, sum (Sec. 3.2, Eq. 2 denominator)."""

    def __init__(self, channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(count, out_channels, 1, bias=False) for count in channels)
        self.bias = nn.Parameter(torch.zeros(1, out_channels, 1, 1))

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """P2..P5 to (B, A, h, w)."""
        total = self.convs[0](pyramid[0])
        size = total.shape[-2:]
        # In place: at 800x1333 each sum made anew would move 100 MB more.
        total += self.bias
        for conv, x in zip(self.convs[1:], pyramid[1:], strict=True):
            total += _upsampled(conv(x), size)
        return total


AGGREGATORS: dict[str, type[InterpolationFirst] | type[ConvolutionFirst]] = {
    "ifa": InterpolationFirst,
    "cfa": ConvolutionFirst,
}


class FeaturePyramidAggregator(nn.Module):
    """C2..C5 to the features S that masks are made from.

    Beyond the paper's text, as its released code has it: a 3x3 convolution after the aggregation, then the pixel's
    place (x, y in -1..1 over the padded picture) joins as two channels, and a 1x1 convolution makes D of them.
    """

    def __init__(self, channels: Sequence[int], *, aggregator: str, aggregation_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.pyramid = DeformablePyramid(channels)
        self.aggregate = AGGREGATORS[aggregator](self.pyramid.channels, aggregation_dim)
        self.output = nn.Conv2d(aggregation_dim, aggregation_dim, 3, padding=1)
        self.location: nn.Module = LocationConvolution(aggregation_dim, hidden_dim)
        _initialise(self)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """C2..C5 to (B, D, h, w)."""
        return self.location(self.output(self.aggregate(self.pyramid(maps))))  # (B, D, h, w)


class LocationConvolution(nn.Conv2d):
    """The 1x1 convolution of a map and the place of its pixels."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels + 2, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, A, h, w) to (B, D, h, w)."""
        return super().forward(_joined(x, coordinates(x)))


class LocationChannels(nn.Module):
    """What is left of the location convolution when the decoder has taken it over: place and ones as channels.

    Through the ones a mask's bias is one more number of its kernel, and pooling counts the mask's area.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, A, h, w) to (B, A + 3, h, w)."""
        place = coordinates(x)
        return _joined(x, torch.cat([place, torch.ones_like(place[:, :1])], dim=1))


def _joined(x: Tensor, more: Tensor) -> Tensor:
    """(B, A, h, w) and (1, C, h, w) to (B, A + C, h, w). In one memory format: mixed, it takes five times as long."""
    last = x.is_contiguous(memory_format=torch.channels_last)
    more = more.expand(x.shape[0], -1, -1, -1)
    return torch.cat(
        [x, more.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)], dim=1
    )


def coordinates(x: Tensor) -> Tensor:
    """The place of each pixel of `x` (B, C, h, w) as (1, 2, h, w): x then y, -1 at the first pixel, 1 at the last."""
    height, width = x.shape[-2:]
    columns = torch.linspace(-1, 1, width, device=x.device, dtype=x.dtype)
    rows = torch.linspace(-1, 1, height, device=x.device, dtype=x.dtype)
    ys, xs = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([xs, ys])[None]


def _upsampled(x: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _initialise(aggregator: FeaturePyramidAggregator) -> None:
    """Xavier for whatever has more than one dimension, deformable offsets and the aggregation bias among them."""
    for parameter in aggregator.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
    for module in aggregator.modules():
        if isinstance(module, DeformableUpsample):
            assert module.offset.bias is not None
            nn.init.zeros_(module.offset.bias)
