"""Counted operations are those that can be counted by hand."""

import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import deform_conv2d
from training import tiny

from yoso_cli.inference import cost
from yoso_cli.model.reparam import reparameterise
from yoso_cli.model.yoso import YOSO


def test_yoso_r50_costs_what_its_layers_cost() -> None:
    """Shapes alone, without arithmetic; the figures are the reference's, in multiply-adds, at 800x1344."""
    with torch.device("meta"):
        model = YOSO(133).eval()
        found = cost.count(model, torch.empty(1, 3, 800, 1344))
    giga = {name: flops / 2e9 for name, flops in found.flops.items()}
    assert abs(giga["backbone"] - 87.6) < 0.1
    assert abs(giga["aggregator"] - 52.9) < 0.6
    assert abs(giga["decoder"] - 8.9) < 0.1
    assert [round(count / 1e6, 2) for count in found.parameters.values()] == [23.45, 15.35, 3.23]


def test_the_operator_of_torchvision_counts_as_a_convolution() -> None:
    counter = FlopCounterMode(display=False, custom_mapping=cost.UNCOUNTED_BY_TORCH)
    with counter:
        deform_conv2d(torch.rand(2, 4, 5, 6), torch.rand(2, 18, 5, 6), torch.rand(3, 4, 3, 3), padding=1)
    assert counter.get_total_flops() == 2 * 2 * 5 * 6 * 3 * 4 * 9


def test_folding_saves_operations() -> None:
    model = tiny.model().eval()
    images = torch.rand(1, 3, 64, 64)
    whole, folded = (sum(cost.count(each, images).flops.values()) for each in (model, reparameterise(model)))
    assert folded < whole
