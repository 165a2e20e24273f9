"""The network in operators that every exporter knows, and the network with everything around it in one graph.

Three parts of the model are written for torch's fastest kernels, which exporters turn into loops or refuse: the
weighted sum of rows (`embedding_bag`), coordinates of a size that is a number, and a comparison into a given tensor.
Here they are gathers, arithmetic and casts: the same numbers but for rounding. And the padding of TensorFlow's networks
has amounts here: as a function of the size, tracing it for any size does not end.
"""

# B images, N proposals, K classes, D hidden, H W padded picture size, h w mask size, Q kept queries, V W' map size

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yoso_cli.errors import UsageError
from yoso_cli.inference.fused import is_same
from yoso_cli.model.aggregator import (
    TAPS,
    LocationChannels,
    ModulatedDeformConv,
    pixels,
    tap_kernels,
)
from yoso_cli.model.decoder import PreAttention
from yoso_cli.model.reparam import STEPS
from yoso_cli.model.yoso import YOSO
from yoso_cli.panoptic.types import Category

# A mask that covers nothing, and whose score is 0: merging always has one query to work on.
_NOTHING = -1e4


def require_folded(steps: tuple[str, ...], where: str, command: str) -> None:
    """Raises UsageError unless the weights have been through every step of re-parameterisation."""
    missing = [step for step in STEPS if step not in steps]
    if missing:
        what = "is not re-parameterised" if len(missing) == len(STEPS) else f"lacks the fold {missing[0]}"
        raise UsageError(
            f"{where}: {what}, and only folded weights are exported: they answer the same in less time.",
            hint=f"Type `{command}` first.",
        )


class GatheredDeform(nn.Module):
    """A deformable convolution as a product, a gather of its rows, and a product with their shares."""

    def __init__(self, deform: ModulatedDeformConv) -> None:
        super().__init__()
        self.weight = deform.weight
        self.bias = deform.bias

    def forward(self, x: Tensor, shifts: Tensor, strengths: Tensor) -> Tensor:
        """As the class it replaces."""
        height, width = shifts.shape[-2:]
        parts = F.linear(pixels(x), tap_kernels(self.weight))  # (H W, 9 O)
        table = parts.reshape(-1, self.weight.shape[0])  # (H W 9, O)
        index, share = _neighbours(shifts, strengths)  # (H W, 36)
        rows = table.index_select(0, index.flatten()).view(index.shape[0], index.shape[1], table.shape[1])
        out = torch.matmul(share[:, None], rows)[:, 0]  # (H W, O)
        out = out if self.bias is None else out + self.bias
        return out.view(1, height, width, -1).permute(0, 3, 1, 2)


def _neighbours(shifts: Tensor, strengths: Tensor) -> tuple[Tensor, Tensor]:
    """As the model's own, of one picture: all four neighbours at once, so that there are few operators."""
    height, width = shifts.shape[-2:]
    tap = torch.arange(TAPS)
    corner = torch.arange(4)
    rows = torch.arange(height, dtype=shifts.dtype)[:, None] + (tap // 3 - 1)[:, None, None]
    columns = torch.arange(width, dtype=shifts.dtype) + (tap % 3 - 1)[:, None, None]
    dy, dx = shifts.reshape(TAPS, 2, height, width).unbind(1)
    # (9, H, W, 4), or (9, H, W, 1) of what all corners have in common.
    y, x = (rows + dy)[..., None], (columns + dx)[..., None]
    row, column = y.floor() + corner // 2, x.floor() + corner % 2
    near_row, near_column = row.to(torch.int64).clamp(0, height - 1), column.to(torch.int64).clamp(0, width - 1)
    seen = (near_row == row) & (near_column == column)
    share = (1 - (y - row).abs()) * (1 - (x - column).abs()) * strengths[0][..., None] * seen
    index = (near_row * width + near_column) * TAPS + tap[:, None, None, None]
    return _by_pixel(index), _by_pixel(share)


def _by_pixel(x: Tensor) -> Tensor:
    """(9, H, W, 4) to (H W, 36)."""
    return x.permute(1, 2, 0, 3).reshape(-1, 4 * TAPS)


class ComparedMasks(PreAttention):
    """The sum of features under each hard mask; the masks are truth values that become numbers."""

    def forward(self, features: Tensor, mask_logits: Tensor) -> Tensor:
        """As the class it replaces."""
        hard = (mask_logits > 0).to(features.dtype)
        pooled: Tensor = self.products(hard.flatten(2), features.flatten(2))
        return pooled


class CountedPlaces(LocationChannels):
    """Place and ones as channels; the places are counted, so that they follow the size."""

    def forward(self, x: Tensor) -> Tensor:
        """As the class it replaces."""
        height, width = x.shape[-2:]
        ys, xs = _from_minus_one_to_one(height), _from_minus_one_to_one(width)
        place = torch.stack([xs.expand(height, width), ys[:, None].expand(height, width), torch.ones(height, width)])
        return torch.cat([x, place.to(x.dtype)[None].expand(x.shape[0], -1, -1, -1)], dim=1)


class PaddedConv(nn.Module):
    """timm's convolution of TensorFlow's padding, for maps whose edges its stride divides, as all of a backbone are.

    Padding then has one amount: that to as many outputs as strides, of which more is after the map than before it.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight = conv.weight
        self.bias = conv.bias
        self.how = (conv.stride, 0, conv.dilation, conv.groups)
        self.amounts: list[int] = []
        for kernel, stride, dilation in zip(conv.kernel_size, conv.stride, conv.dilation, strict=True):
            total = max((kernel - 1) * dilation + 1 - stride, 0)
            self.amounts = [total // 2, total - total // 2, *self.amounts]

    def forward(self, x: Tensor) -> Tensor:
        """As the class it replaces."""
        x = F.pad(x, self.amounts) if any(self.amounts) else x
        return F.conv2d(x, self.weight, self.bias, *self.how)


def exportable(model: YOSO) -> YOSO:
    """A folded network with the same tensors as `model`, which stays as it is, in operators that exporters know."""
    tensors = {id(one): one for one in (*model.parameters(), *model.buffers())}
    network = copy.deepcopy(model, tensors).eval()
    network.aggregator.location = CountedPlaces()
    for parent in network.modules():
        for name, child in parent.named_children():
            if isinstance(child, ModulatedDeformConv):
                parent.add_module(name, GatheredDeform(child))
            elif isinstance(child, PreAttention):
                parent.add_module(name, ComparedMasks())
            elif is_same(child):
                parent.add_module(name, PaddedConv(cast("nn.Conv2d", child)))
    return network


class NetworkGraph(nn.Module):
    """A padded picture to masks and classes.

    Args:
        model: a folded network.
        half: whether the backbone computes in float16; what follows it is float32, as places and sums need it.
    """

    def __init__(self, model: YOSO, *, half: bool = False) -> None:
        super().__init__()
        self.network = exportable(copy.deepcopy(model) if half else model)
        self.in_half = half
        if half:
            self.network.backbone.half()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(1, 3, H, W) RGB 0..255 to mask logits (1, N, h, w) and class logits (1, N, K + 1)."""
        network = self.network
        return self.answer((images - network.pixel_mean) / network.pixel_std)

    def answer(self, normalised: Tensor) -> tuple[Tensor, Tensor]:
        """The same of a normalised picture, (1, 3, H, W)."""
        network = self.network
        maps = network.backbone(normalised.half() if self.in_half else normalised)
        features = network.aggregator([one.float() for one in maps] if self.in_half else maps)
        mask_logits, class_logits = network.decoder(features)[-1]
        assert class_logits is not None, "the last stage classifies"
        return mask_logits, class_logits


class MergedGraph(nn.Module):
    """A picture in bytes to its segments: the rules of `inference.postprocess`, step by step the same.

    Args:
        model: a folded network.
        categories: in the order of its classes.
        score_threshold: a query must score above it; 0..1.
        overlap_threshold: the share of its mask a query must keep; 0..1.
    """

    def __init__(
        self, model: YOSO, categories: tuple[Category, ...], *, score_threshold: float, overlap_threshold: float
    ) -> None:
        super().__init__()
        self.masks_and_classes = NetworkGraph(model)
        self.score_threshold = score_threshold
        self.overlap_threshold = overlap_threshold
        self.register_buffer("published", torch.tensor([one.id for one in categories]))
        self.register_buffer("stuff", torch.tensor([not one.isthing for one in categories]))
        self.published: Tensor
        self.stuff: Tensor

    def forward(self, image: Tensor, used: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """A picture to segments.

        Args:
            image: (H, W, 3) uint8 RGB, the resized picture in its upper left corner; H and W are multiples of 32.
            used: int64 (2,), the rows and columns of the picture in it; what lies beyond is taken for the mean colour.
            size: int64 (2,), the height and width of the id map, which are those of the picture before it was resized.

        Returns:
            The id map, int32 `size`, 0 where there is no segment; and of each segment, in the order of ids 1, 2, ...:
            ids, published category ids and areas in pixels, int64; scores, float32.
        """
        network = self.masks_and_classes.network
        rows, columns = (torch.arange(edge) < used[axis] for axis, edge in enumerate(image.shape[:2]))
        normalised = (image.permute(2, 0, 1)[None].to(torch.float32) - network.pixel_mean) / network.pixel_std
        normalised = torch.where((rows[:, None] & columns)[None, None], normalised, 0.0)
        mask_logits, class_logits = self.masks_and_classes.answer(normalised)
        return self.segments(mask_logits[0], class_logits[0], used, size)

    def segments(
        self, mask_logits: Tensor, class_logits: Tensor, used: Tensor, size: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Logits (N, h, w) and (N, K + 1) to segments, as `forward` returns them."""
        mask_logits, scores, labels = self._kept(mask_logits, class_logits)
        probabilities = _at_full_size(mask_logits, used, size).sigmoid()  # (Q, V, W')
        covered = probabilities >= 0.5
        winner = (probabilities * scores[:, None, None]).argmax(0)
        inside = covered.gather(0, winner[None])[0]
        query = torch.arange(mask_logits.shape[0])
        mine = winner[None] == query[:, None, None]
        own, claimed, final = (one.sum((1, 2)) for one in (covered, mine, mine & inside))
        share = claimed.double() / own.clamp(min=1).double()
        accepted = (final > 0) & (own > 0) & (share >= self.overlap_threshold)
        leader = self._leaders(labels, accepted, query)
        leads = accepted & (leader == query)
        number = leads.to(torch.int64).cumsum(0)
        ids = torch.where(accepted, number.index_select(0, leader), 0)
        id_map = torch.where(inside, ids[winner], 0).to(torch.int32)
        first = leads.nonzero()[:, 0]
        numbers = number.index_select(0, first)
        areas = ((ids[None] == numbers[:, None]) * final[None]).sum(1)
        category_ids = self.published.index_select(0, labels.index_select(0, first))
        return id_map, numbers, category_ids, areas, scores.index_select(0, first)

    def _kept(self, mask_logits: Tensor, class_logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Masks, scores and labels of the queries above the threshold, and of one more that finds nothing."""
        scores, labels = class_logits.softmax(-1).max(-1)
        keep = (labels != class_logits.shape[-1] - 1) & (scores > self.score_threshold)
        places = torch.cat([keep, keep.new_ones(1)]).nonzero()[:, 0]
        # The class "no object" has no category; whatever fails is never looked up, but must be in range.
        labels = labels.clamp(max=class_logits.shape[-1] - 2)
        nothing = mask_logits.new_full((1, 1, 1), _NOTHING).expand(1, *mask_logits.shape[1:])
        masks = torch.cat([mask_logits, nothing]).index_select(0, places)
        scores = torch.cat([scores, scores.new_zeros(1)]).index_select(0, places)
        return masks, scores, torch.cat([labels, labels.new_zeros(1)]).index_select(0, places)

    def _leaders(self, labels: Tensor, accepted: Tensor, query: Tensor) -> Tensor:
        """The first accepted query of the segment that each belongs to: stuff of one class is one segment."""
        stuff = self.stuff.index_select(0, labels)
        shared = (labels[:, None] == labels[None]) & (stuff[:, None] & (stuff & accepted)[None])
        together = shared | (query[:, None] == query[None])
        leader: Tensor = together.to(torch.int64).argmax(1)
        return leader


def _at_full_size(mask_logits: Tensor, used: Tensor, size: Tensor) -> Tensor:
    """(Q, h, w) to (Q, V, W'): to the padded input, cropped to what is used of it, to the size of the map.

    As `postprocess.bands` does it: columns first; rows as a product with the weights of each.
    """
    height = mask_logits.shape[-2]
    mixture = _resized(torch.eye(height, dtype=mask_logits.dtype), used[0], size[0]).T  # (V, h)
    return torch.matmul(mixture, _resized(mask_logits, used[1], size[1]))


def _resized(x: Tensor, used: Tensor, wanted: Tensor) -> Tensor:
    """(..., n) to (..., 4 n), of which `used` are kept, and those to (..., wanted); linearly, as `F.interpolate`."""
    kept, count = (cast("int", one.item()) for one in (used, wanted))
    for edge in (kept, count):
        torch._check(edge >= 1)  # type: ignore[no-untyped-call,unused-ignore]
    x = _stretched(x, kept, 0.25, x.shape[-1] - 1)
    return _stretched(x, count, used.to(torch.float32) / wanted.to(torch.float32), used - 1)


def _stretched(x: Tensor, count: int, scale: Tensor | float, last: Tensor | int) -> Tensor:
    """Samples `x` (..., n) along its last axis at `count` places that are `scale` apart: (..., count)."""
    place = ((torch.arange(count, dtype=torch.float32) + 0.5) * scale - 0.5).clamp(min=0)
    low = place.to(torch.int64)
    high = (low + 1).clamp(max=last)  # type: ignore[arg-type,unused-ignore]
    share = place - low
    return x.index_select(-1, low) * (1 - share) + x.index_select(-1, high) * share


def _from_minus_one_to_one(count: int) -> Tensor:
    """`count` numbers evenly from -1 to 1; the count may be a symbol."""
    return (torch.arange(count, dtype=torch.float32) * 2 - (count - 1)) / (count - 1)
