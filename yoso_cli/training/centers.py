"""Center codes: initial weights and a loss by which things are told apart by the place of their center.

A kernel draws its mask by inner products with the features, so things that look alike must differ in their features.
The network's own coordinates are linear: by them a kernel can only cut the picture in two. What is finer must be
learnt from the padding, and takes most of a short training.

A center code is a vector of sines and cosines of a place (Fourier features, https://arxiv.org/abs/2006.10739): the
inner product of two codes depends on the distance of the places alone, and is largest where they are the same. The
loss asks the first channels of the features to be, at every pixel of a thing, the code of that thing's center, as in
the pixel embeddings of https://arxiv.org/abs/1906.11109, and elsewhere the code of the pixel's own place. The initial
weights make the decoder use it: each proposal begins as a blob around a place of its own, and each stage draws the
pixels whose code is close to the mean code of the mask before it. That is a step of mean shift, as in
https://arxiv.org/abs/1712.08273, except that here all of it is trained from there on.

Nothing is added to the network: these are initial values of its own weights, and channels that it has.
"""

# B images, M segments of an image, T things among them, D hidden, C code channels, N proposals, h w size at stride 4

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yoso_cli.loading.dataset import Target
from yoso_cli.model.aggregator import LocationConvolution
from yoso_cli.model.decoder import DecoderStage
from yoso_cli.model.yoso import MASK_STRIDE, STRIDE, YOSO, Output
from yoso_cli.training.cells import centers_of_cells, covered_cells, visible_cells
from yoso_cli.training.points import Rand
from yoso_cli.training.share import Share
from yoso_cli.training.step import Criterion

# Initial values, found on features that are as the loss wants them: most things have a mask at once then
# (tests/training/test_centers.py). Shares are of the largest inner product.
_BLOB = 0.5  # share at the edge of a proposal's blob
_NEAR = 0.75  # share at the edge of a stage's mask
_GAIN = 1.15  # of a stage's kernel over the code of the mask before it
_THING = 2.0  # logits for and against being a thing
_PLAIN_PROPOSALS = 0.2  # share of proposals that keep their random start: for stuff
_QUIET = 0.3  # factor on the random weights of all other channels
_ATTENTION = 0.1  # factor on what attention adds, whose random start would drown the pooled features


class CenterCode:
    """The code of places in pictures of one size: sines and cosines of periods from 32 pixels to the whole picture.

    The shortest period is the stride of the deepest features, which repeat with it.

    Args:
        height: of the padded picture, pixels.
        width: of the padded picture, pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        octaves = math.ceil(math.log2(max(height, width) / STRIDE))
        self.periods = tuple(STRIDE * 2.0**octave for octave in range(octaves + 1))
        self.size = (width, height)

    @property
    def channels(self) -> int:
        """Length of a code, C."""
        return 4 * len(self.periods)

    @property
    def largest(self) -> float:
        """The inner product of a code with itself."""
        return 2.0 * len(self.periods)

    def __call__(self, places: Tensor) -> Tensor:
        """(..., 2), x and y in 0..1 over the padded picture, to (..., C)."""
        turns = [2 * math.pi * places * places.new_tensor(self.size) / period for period in self.periods]
        angles = torch.cat(turns, -1)
        return torch.cat([angles.sin(), angles.cos()], -1)


@dataclass(frozen=True)
class CenterLoss:
    """How far the first C + 1 channels are from the center codes, and from 1 in things and -1 elsewhere.

    Things and the rest count alike, however small. A cell at the border of a thing belongs to it in part.

    Attributes:
        things: of each class, whether it is one of things.
    """

    things: Sequence[bool]

    def __call__(self, features: Tensor, targets: Sequence[Target], share: Share | None = None) -> Tensor:
        """The mean over the images of the whole batch; of a divided batch the parts add up to it.

        Args:
            features: (B, D, h, w), D above C.
            targets: one per image, masks of the padded picture's size.
            share: which part of a divided batch these images are; all of it if None.
        """
        height, width = features.shape[-2:]
        code = CenterCode(height * MASK_STRIDE, width * MASK_STRIDE)
        cells = centers_of_cells(height, width, features.device)  # (h w, 2)
        own = code(cells)  # (h w, C), the same in all images
        flags = torch.tensor(self.things, device=features.device)
        found = features[:, : code.channels + 1].float().flatten(2).transpose(1, 2)  # (B, h w, C + 1)
        losses = [
            _distance(row, target, flags[target.labels], code, cells, own, (height, width))
            for row, target in zip(found, targets, strict=True)
        ]
        return torch.stack(losses).sum() / (len(share.masks) if share else len(targets))


def _distance(
    found: Tensor,
    target: Target,
    chosen: Tensor,
    code: CenterCode,
    cells: Tensor,
    own: Tensor,
    size: tuple[int, int],
) -> Tensor:
    """One image's loss: `found` (h w, C + 1) against what is wanted, the `chosen` of its targets being things.

    Where there is no thing, each of the `cells` (h w, 2) is to have its `own` code (h w, C).
    """
    parts = covered_cells(target.masks[chosen], *size)  # (T, h w)
    thing = parts.sum(0)  # (h w,), 0..1: things do not overlap
    centers = (parts @ cells) / parts.sum(1, keepdim=True).clamp(min=1e-6)
    codes = parts.T @ code(centers) + (1 - thing)[:, None] * own
    distance = F.smooth_l1_loss(found, torch.cat([codes, 2 * thing[:, None] - 1], 1), reduction="none", beta=0.5)
    rest = (1 - thing) * visible_cells(target, *size)
    weights = thing / thing.sum().clamp(min=1) + rest / rest.sum().clamp(min=1)
    # The channels of the code together count as much as the one for things.
    each = (distance[:, :-1].mean(1) + distance[:, -1]) / 2
    return (each * weights).sum()


@dataclass(frozen=True)
class WithCenters:
    """A criterion, and the center loss as one more term, `s0.center`.

    Attributes:
        criterion: the other terms.
        weight: of the center loss.
        centers: the center loss.
    """

    criterion: Criterion
    weight: float
    centers: CenterLoss

    def __call__(
        self, outputs: Sequence[Output], targets: Sequence[Target], rand: Rand, share: Share
    ) -> dict[str, Tensor]:
        """The weighted terms. In evaluation mode the network gives no features, and there is no center loss."""
        terms = self.criterion(outputs, targets, rand, share)
        features = outputs[0].features
        if features is not None:
            terms["s0.center"] = self.weight * self.centers(features, targets, share)
        return terms


@torch.no_grad()
def start_at_centers(model: YOSO, code: CenterCode) -> None:
    """Initial weights by which the decoder compares center codes.

    Changes the features' last layer, the proposals, and of each stage the mask layers and the scale of attention.

    Args:
        model: with one mask layer per stage and at least 2 C + 2 hidden dimensions, not re-parameterised.
        code: for pictures of the size trained on.
    """
    location, decoder = cast("LocationConvolution", model.aggregator.location), model.decoder
    thing, one = code.channels, code.channels + 1
    location.weight[thing + 1 :] *= _QUIET
    # A channel that is 1 everywhere: kernels of the stages have no bias, and get it from this.
    location.weight[one] = 0
    assert location.bias is not None
    location.bias.zero_()
    location.bias[one] = 1
    _start_proposals(cast("nn.Conv2d", decoder.proposals), code)
    for stage in cast("list[DecoderStage]", list(decoder.stages)):
        _start_stage(stage, code)


def _start_proposals(proposals: nn.Conv2d, code: CenterCode) -> None:
    """Most proposals become blobs, spread evenly over the picture, and so wide that together they cover it."""
    count = max(1, int(len(proposals.weight) * (1 - _PLAIN_PROPOSALS)))
    weight, bias = proposals.weight[:count, :, 0, 0], proposals.bias
    assert bias is not None
    weight[:, code.channels :] *= _QUIET
    # Halfway to its neighbour, a blob of twice that period and longer ones has half of its height left.
    spacing = math.sqrt(math.prod(code.size) / count)
    long = [period >= 2 * spacing or period == max(code.periods) for period in code.periods]
    used = torch.tensor(long).repeat_interleave(2).repeat(2)  # (C,)
    weight[:, : code.channels] = code(_spread(count).to(weight)) * used / used.float().mean()
    weight[:, code.channels] = _THING
    bias[:count] = -_BLOB * code.largest - _THING


def _spread(count: int) -> Tensor:
    """(count, 2) places in 0..1, evenly spread for any count: the R2 sequence, https://doi.org/10.1145/3386569.3392400."""
    plastic = 1.32471795724474602596
    steps = torch.arange(1, count + 1, dtype=torch.float64)
    return torch.stack([(0.5 + steps / plastic) % 1, (0.5 + steps / plastic**2) % 1], -1)


def _start_stage(stage: DecoderStage, code: CenterCode) -> None:
    """A stage's mask kernel becomes the mean code of the mask before it.

    Through a ReLU a number passes as two rows, itself and its negative. Both norms on the way leave vectors of length
    sqrt(D): of a thing's features, code and thing channel, then of these rows, half of which the ReLU leaves.
    """
    thing, one = code.channels, code.channels + 1
    for block in stage.blocks:
        cast("nn.LayerNorm", block.attention.norm).weight.fill_(_ATTENTION)
    layer, kernels = cast("nn.Linear", stage.mask_layers[0]), stage.mask_kernels
    layer.weight *= 0.5
    kernels.weight *= 0.5
    layer.weight[: 2 * one] = 0
    for channel in range(one):
        layer.weight[2 * channel, channel], layer.weight[2 * channel + 1, channel] = 1, -1
    gain = _GAIN * math.sqrt((code.largest + 1) / (layer.in_features / 2))
    kernels.weight[:one] = 0
    for channel in range(thing):
        kernels.weight[channel, 2 * channel], kernels.weight[channel, 2 * channel + 1] = gain, -gain
    kernels.bias[thing] = _THING
    kernels.bias[one] = -_GAIN * _NEAR * code.largest - _THING
