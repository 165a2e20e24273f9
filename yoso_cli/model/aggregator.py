"""Feature pyramid aggregator: C2..C5 to one map of features at stride 4 (paper Sec. 3.2, Fig. 2).

The deformable convolution of its pyramid (https://arxiv.org/abs/1811.11168) has two forms with the same answer.
torchvision's operator is scalar on a CPU. There, sampling and convolution change places, both being linear: one matrix
product makes what each tap would contribute from every pixel, and one `embedding_bag` adds up what the shifted taps
meet, four neighbours each. Nothing is left but the product: at the sizes of an 800x1333 picture 414 ms on one core,
against 1597 ms for the operator and 757 ms when the samples are gathered first. On a GPU the operator is used.
"""

# B images, D hidden, A aggregation channels, h w size at stride 4
# C channels in, O channels out, H W size of a map, 9 taps in rows, 4 neighbours of a sampled place

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import DeformConv2d, deform_conv2d

from yoso_cli.model.precision import full_precision

TAPS = 9


class ModulatedDeformConv(DeformConv2d):
    """A 3x3 convolution, padded by 1, whose taps are shifted and weighed at each pixel."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, out_channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor, shifts: Tensor, strengths: Tensor) -> Tensor:
        """Convolves.

        Args:
            x: (B, C, H, W).
            shifts: (B, 18, H, W), (dy, dx) of each tap in pixels.
            strengths: (B, 9, H, W), the weight of each tap.

        Returns:
            (B, O, H, W). Samples beyond the border are 0, bilinear towards it.
        """
        if x.device.type == "cpu":
            return gathered_deform_conv(x, shifts, strengths, self.weight, self.bias)
        return operator_deform_conv(x, shifts, strengths, self.weight, self.bias)


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
    """C2..C5 to P2..P5: lateral 1x1 convolutions halve the channels, P5 to P3 pass a deformable step upwards.

    No level is narrower than `narrowest`: a narrow backbone is widened there.
    """

    def __init__(self, channels: Sequence[int], narrowest: int = 0) -> None:
        super().__init__()
        self.channels = tuple(max(count // 2, narrowest) for count in channels)
        self.laterals = nn.ModuleList(
            nn.Conv2d(count, out, 1) for count, out in zip(channels, self.channels, strict=True)
        )
        self.upsamples = nn.ModuleList(
            DeformableUpsample(above, below) for below, above in zip(self.channels, self.channels[1:], strict=False)
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """C2..C5 to P2..P5, each at its own stride."""
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
        # In place: at 800x1333 each new sum would move 100 MB more.
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

    def __init__(
        self, channels: Sequence[int], *, narrowest: int, aggregator: str, aggregation_dim: int, hidden_dim: int
    ) -> None:
        super().__init__()
        self.pyramid = DeformablePyramid(channels, narrowest)
        self.aggregate = AGGREGATORS[aggregator](self.pyramid.channels, aggregation_dim)
        self.output = nn.Conv2d(aggregation_dim, aggregation_dim, 3, padding=1)
        self.location: nn.Module = LocationConvolution(aggregation_dim, hidden_dim)
        _initialise(self)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """C2..C5 to (B, D, h, w)."""
        return self.location(self.output(self.aggregate(self.pyramid(maps))))  # (B, D, h, w)


class LocationConvolution(nn.Conv2d):
    """The 1x1 convolution of a map with its pixel coordinates."""

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


def gathered_deform_conv(x: Tensor, shifts: Tensor, strengths: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The same as `deform_conv2d` with padding 1: one matrix product, then a weighted sum of its rows.

    Places and shares are never rounded to half precision; the product is whatever `x` or autocast makes it.
    """
    return added_up(F.linear(pixels(x), tap_kernels(weight)), shifts, strengths, bias).to(x.dtype)


def pixels(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B H W, C)."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def tap_kernels(weight: Tensor) -> Tensor:
    """(O, C, 3, 3) to (9 O, C)."""
    return weight.permute(2, 3, 0, 1).reshape(-1, weight.shape[1])


def added_up(parts: Tensor, shifts: Tensor, strengths: Tensor, bias: Tensor | None) -> Tensor:
    """What each tap would contribute from every pixel, (B H W, 9 O), summed where the taps are: (B, O, H, W)."""
    batch, _, height, width = shifts.shape
    index, share = _neighbours(_at_least_single(shifts), _at_least_single(strengths))
    table = parts.view(-1, parts.shape[1] // TAPS).to(share.dtype)  # (B H W 9, O)
    out = F.embedding_bag(index, table, per_sample_weights=share, mode="sum")  # (B H W, O)
    out = out if bias is None else out + bias
    # A view: the next layer gets channels last, as the backbone keeps them.
    return out.view(batch, height, width, -1).permute(0, 3, 1, 2)


def operator_deform_conv(x: Tensor, shifts: Tensor, strengths: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Torchvision's operator, in single precision where `x` is bfloat16, which it has no kernel for."""
    if x.dtype != torch.bfloat16:
        return deform_conv2d(x, shifts, weight, bias, padding=1, mask=strengths)
    bias = None if bias is None else bias.float()
    single = deform_conv2d(x.float(), shifts.float(), weight.float(), bias, padding=1, mask=strengths.float())
    return single.to(x.dtype)


def _at_least_single(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _neighbours(shifts: Tensor, strengths: Tensor) -> tuple[Tensor, Tensor]:
    """Row in (B H W 9) of each tap's four neighbours and their bilinear share: both (B H W, 36)."""
    batch, _, height, width = shifts.shape
    rows, columns = _tap_places(height, width, shifts)
    dy, dx = shifts.reshape(batch, TAPS, 2, height, width).unbind(2)
    y, x = rows + dy, columns + dx  # (B, 9, H, W)
    top, left = y.detach().floor(), x.detach().floor()
    below, right = y - top, x - left
    start = (torch.arange(batch, device=x.device) * height * width).view(-1, 1, 1, 1)
    tap = torch.arange(TAPS, device=x.device).view(1, -1, 1, 1)
    indices, shares = [], []
    for down, vertical in ((0, 1 - below), (1, below)):
        for across, horizontal in ((0, 1 - right), (1, right)):
            row, column = top + down, left + across
            seen = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            # Clamped as integers: an offset that is not a number must not become an index out of range.
            place = row.long().clamp(0, height - 1) * width + column.long().clamp(0, width - 1)
            indices.append((place + start) * TAPS + tap)
            shares.append(vertical * horizontal * strengths * seen)
    return _by_pixel(indices), _by_pixel(shares)


def _tap_places(height: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of each unshifted tap: (9, H, W) by broadcasting, in the type of `like`."""
    taps = torch.arange(TAPS, device=like.device).view(-1, 1, 1)
    rows = torch.arange(height, device=like.device).view(1, -1, 1) + taps // 3 - 1
    columns = torch.arange(width, device=like.device).view(1, 1, -1) + taps % 3 - 1
    return rows.to(like.dtype), columns.to(like.dtype)


def _by_pixel(parts: list[Tensor]) -> Tensor:
    """Four (B, 9, H, W) to (B H W, 36)."""
    return torch.stack(parts, dim=-1).permute(0, 2, 3, 1, 4).reshape(-1, TAPS * len(parts))


def _joined(x: Tensor, more: Tensor) -> Tensor:
    """(B, A, h, w) and (1, C, h, w) to (B, A + C, h, w). In one memory format: mixed, it takes five times as long."""
    last = x.is_contiguous(memory_format=torch.channels_last)
    more = more.expand(x.shape[0], -1, -1, -1)
    return torch.cat(
        [x, more.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)], dim=1
    )


def coordinates(x: Tensor) -> Tensor:
    """The coordinates of each pixel of `x` (B, C, h, w) as (1, 2, h, w): x, then y, from -1 to 1."""
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
