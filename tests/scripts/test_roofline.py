"""The bound of a network is the sum of what its operators take at least, counted by hand where that can be done."""

import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import deform_conv2d
from training import tiny

from yoso_cli.inference import cost
from yoso_cli.inference.engine import Switches, TorchEngine

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
from gpu_roofline import Peak, bound, measure_peak

CPU = torch.device("cpu")
# A second for each operation, and for each byte.
SLOW = Peak({torch.float32: 1.0}, 1e30)
NARROW = Peak({torch.float32: 1e30}, 1.0)


def test_a_product_waits_for_arithmetic_or_for_memory() -> None:
    a, b = torch.rand(4, 5), torch.rand(5, 6)
    found = bound(lambda: a @ b, SLOW)
    assert (found.flops, found.bytes) == (2 * 4 * 5 * 6, 4 * (20 + 30 + 24))
    assert found.milliseconds == 1000 * found.flops
    assert bound(lambda: a @ b, NARROW).milliseconds == 1000 * found.bytes


def test_operators_take_turns() -> None:
    """A product that waits for arithmetic, then a sum that waits for memory."""
    a = torch.rand(8, 8)
    found = bound(lambda: (a @ a) + 1.0, Peak({torch.float32: 8**3}, 2 * 4 * 64))
    assert found.milliseconds == pytest.approx(2000 + 1000)


def test_a_view_moves_nothing_and_an_expanded_tensor_only_what_it_has() -> None:
    x = torch.rand(3, 4)
    assert bound(lambda: x.t().reshape(4, 3).view(4, 3, 1), NARROW).bytes == 0
    assert bound(lambda: x[:1, :1].expand(100, 100) + 1.0, NARROW).bytes == 4 * (3 * 4 + 100 * 100)


def test_linear_layers_inside_inference_mode_are_seen() -> None:
    x, weight = torch.rand(3, 4), torch.rand(5, 4)

    def call() -> None:
        with torch.inference_mode():
            F.linear(x, weight)

    assert bound(call, SLOW).flops == 2 * 3 * 4 * 5


def test_the_operator_of_torchvision_is_counted() -> None:
    inputs = torch.rand(1, 4, 5, 6), torch.rand(1, 18, 5, 6), torch.rand(3, 4, 3, 3)
    assert bound(lambda: deform_conv2d(*inputs, padding=1), SLOW).flops == 2 * 5 * 6 * 3 * 4 * 9


def test_a_network_has_the_operations_that_are_counted_otherwise() -> None:
    model = tiny.model().eval()
    images = torch.rand(1, 3, 64, 64) * 255
    found = bound(lambda: TorchEngine(model, CPU, Switches())(images), SLOW)
    assert found.flops == sum(cost.count(model, images).flops.values())
    assert found.bytes > sum(parameter.nbytes for parameter in model.parameters())


def test_a_device_has_its_limits_measured() -> None:
    peak = measure_peak(CPU, [torch.float32, torch.bfloat16], edge=32, megabytes=1, repeats=2)
    assert set(peak.flops) == {torch.float32, torch.bfloat16}
    assert min(*peak.flops.values(), peak.bytes) > 0
