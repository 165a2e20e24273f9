"""Laterals that begin alike: the initial weights of the pyramid over a pretrained backbone."""

# B pictures, H W size

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yoso_cli.model.yoso import YOSO

_EDGE = 256


def even_laterals(model: YOSO) -> None:
    """Divides each lateral convolution's weights by the spread of the map that it reads.

    Maps of a ResNet end in a ReLU behind a norm, and their spread is about 1. Those of networks whose blocks end in a
    linear projection have any: of EfficientNet-Lite0's 9, 7, 5 and 2, so that masks begin as those of features some
    times too large. The spread is measured on a picture of noise whose detail falls off as in photos (1/f), so that it
    depends on no data: 8.8, 7.0, 4.5 and 1.7 where three photos of COCO have 8.7, 7.1, 5.7 and 2.5 on average.

    Args:
        model: with its pretrained backbone, on the CPU; whatever mode it is in.
    """
    backbone, training = model.backbone, model.backbone.training
    with torch.no_grad():
        maps = backbone.eval()(0.5 * photo_like(_EDGE))
        for lateral, seen in zip(model.aggregator.pyramid.laterals, maps, strict=True):
            cast("nn.Conv2d", lateral).weight.div_(seen.std().clamp(min=1e-3))
    backbone.train(training)


def photo_like(edge: int) -> Tensor:
    """(1, 3, edge, edge) of noise with mean 0 and standard deviation 1: grey and less colour, at every scale."""
    random = torch.Generator().manual_seed(0)
    total = torch.zeros(1, 3, edge, edge)
    size = 4
    while size <= edge:
        grey = torch.randn(1, 1, size, size, generator=random) + 0.5 * torch.randn(1, 3, size, size, generator=random)
        total += F.interpolate(grey, (edge, edge), mode="bicubic", align_corners=False) * size**-0.5
        size *= 2
    return (total - total.mean()) / total.std()
