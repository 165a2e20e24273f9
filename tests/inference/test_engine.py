"""Switches change how the network runs and not what it says."""

from collections.abc import Callable

import pytest
import torch
from training import tiny

from yoso_cli.errors import RunError
from yoso_cli.inference.engine import Engine, Switches, default_switches

CPU = torch.device("cpu")


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 255


def test_channels_last_says_the_same(images: torch.Tensor) -> None:
    wanted = Engine(tiny.model().eval(), CPU, Switches())(images)
    found = Engine(tiny.model().eval(), CPU, Switches(channels_last=True))(images)
    torch.testing.assert_close(found.class_logits, wanted.class_logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.mask_logits, wanted.mask_logits, rtol=1e-4, atol=1e-4)


def test_bfloat16_says_nearly_the_same_classes(images: torch.Tensor) -> None:
    wanted = Engine(tiny.model().eval(), CPU, Switches())(images)
    found = Engine(tiny.model().eval(), CPU, Switches(precision="bfloat16"))(images)
    # The decoder stays in single precision; what it looks at was rounded.
    assert found.mask_logits.dtype is torch.float32
    assert not torch.equal(found.class_logits, wanted.class_logits)
    assert (found.class_logits - wanted.class_logits).abs().max() < 0.1 * wanted.class_logits.abs().max()


def test_no_gradient_is_kept_and_no_weight_is_changed(images: torch.Tensor) -> None:
    model = tiny.model().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert not Engine(model, CPU, default_switches(CPU))(images).mask_logits.requires_grad
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())


def test_graphs_without_a_gpu_are_refused() -> None:
    with pytest.raises(RunError, match="need a GPU"):
        Engine(tiny.model(), CPU, Switches(graphs=True))


def test_a_choice_can_be_read() -> None:
    assert str(Switches()) == "single"
    assert str(default_switches(CPU)) == "single, channels_last"
    assert str(Switches("half", compiled=True, graphs=True)) == "half, compiled, graphs"


def test_compilation_wraps_the_model(monkeypatch: pytest.MonkeyPatch, images: torch.Tensor) -> None:
    """torch's compiler is not what is tested: only that the call goes through what it returns."""
    wrapped = []

    def compile(model: Callable[..., object]) -> Callable[..., object]:  # noqa: A001 (torch's name)
        wrapped.append(model)
        return model

    monkeypatch.setattr(torch, "compile", compile)
    model = tiny.model().eval()
    Engine(model, CPU, Switches(compiled=True))(images)
    assert wrapped == [model]
