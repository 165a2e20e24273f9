"""Switches change how the network runs and not what it says."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch._dynamo.exc import TorchDynamoException
from training import tiny

from yoso_cli.errors import RunError, UsageError
from yoso_cli.inference import engine
from yoso_cli.inference.engine import Switches, TorchEngine, default_for, switches_for

CPU = torch.device("cpu")


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 255


def test_channels_last_gives_the_same_output(images: torch.Tensor) -> None:
    wanted = TorchEngine(tiny.model().eval(), CPU, Switches())(images)
    found = TorchEngine(tiny.model().eval(), CPU, Switches(channels_last=True))(images)
    torch.testing.assert_close(found.class_logits, wanted.class_logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.mask_logits, wanted.mask_logits, rtol=1e-4, atol=1e-4)


def test_bfloat16_gives_nearly_the_same_classes(images: torch.Tensor) -> None:
    wanted = TorchEngine(tiny.model().eval(), CPU, Switches())(images)
    found = TorchEngine(tiny.model().eval(), CPU, Switches(precision="bfloat16"))(images)
    # The decoder stays in single precision; what it looks at was rounded.
    assert found.mask_logits.dtype is torch.float32
    assert not torch.equal(found.class_logits, wanted.class_logits)
    assert (found.class_logits - wanted.class_logits).abs().max() < 0.1 * wanted.class_logits.abs().max()


def test_no_gradient_is_kept_and_no_weight_is_changed(images: torch.Tensor) -> None:
    model = tiny.model().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert not TorchEngine(model, CPU, switches_for(CPU))(images).mask_logits.requires_grad
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())


def test_graphs_without_a_gpu_are_refused() -> None:
    with pytest.raises(RunError, match="need a GPU"):
        TorchEngine(tiny.model(), CPU, Switches(graphs=True))


def test_switches_are_printed_as_text() -> None:
    assert str(Switches()) == "float32"
    assert str(Switches(channels_last=True, fused=True, winograd=True)) == "float32, channels_last, fused, winograd"
    assert str(Switches("float16", compiled=True, graphs=True)) == "float16, compiled, graphs"


def test_fusing_is_off_beside_incompatible_switches() -> None:
    """Nobody who asks for bfloat16 must know that the default would stand in its way."""
    assert switches_for(CPU) == default_for(CPU).switches
    assert switches_for(CPU, precision="float16") == Switches("float16", channels_last=True)
    assert switches_for(CPU, compiled=True) == Switches(channels_last=True, compiled=True)
    own = default_for(CPU).switches
    assert switches_for(CPU, channels_last=False) == replace(own, channels_last=False)
    assert switches_for(CPU, fused=False) == Switches(channels_last=True)
    assert not switches_for(torch.device("cuda")).fused


@pytest.mark.parametrize("beside", [{"precision": "float16"}, {"compiled": True}])
def test_fusing_beside_incompatible_switches_is_refused(beside: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="--fused needs float32 or bfloat16"):
        TorchEngine(tiny.model(), CPU, switches_for(CPU, fused=True, **beside))


def test_fusing_on_a_gpu_is_refused() -> None:
    gpu = torch.device("cuda")
    with pytest.raises(RunError, match="--fused needs a CPU"):
        TorchEngine(tiny.model(), gpu, switches_for(gpu, fused=True))


@pytest.mark.parametrize("has", [True, False])
def test_bfloat16_is_fused_where_the_cpu_has_it(has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yoso_cli.inference.onednn.bfloat16_works", lambda: has)
    assert switches_for(CPU, precision="bfloat16") == Switches("bfloat16", channels_last=True, fused=has)
    if not has:
        with pytest.raises(RunError, match="needs a CPU with instructions for bfloat16"):
            TorchEngine(tiny.model(), CPU, switches_for(CPU, precision="bfloat16", fused=True))


@pytest.mark.parametrize(
    "beside", [{"fused": False}, {"precision": "float16"}, {"precision": "bfloat16"}, {"compiled": True}]
)
def test_winograd_without_fusing_is_refused(beside: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="part of the fused ones"):
        TorchEngine(tiny.model(), CPU, switches_for(CPU, winograd=True, **beside))


def test_compilation_wraps_the_model(monkeypatch: pytest.MonkeyPatch, images: torch.Tensor) -> None:
    """torch's compiler is not what is tested: only that the call goes through what it returns."""
    wrapped = []

    def compile(model: Callable[..., object]) -> Callable[..., object]:  # noqa: A001 (torch's name)
        wrapped.append(model)
        return model

    monkeypatch.setattr(torch, "compile", compile)
    model = tiny.model().eval()
    TorchEngine(model, CPU, Switches(compiled=True))(images)
    assert wrapped == [model]


def test_a_failed_compilation_is_one_sentence(monkeypatch: pytest.MonkeyPatch, images: torch.Tensor) -> None:
    def compile(model: Callable[..., object]) -> Callable[..., object]:  # noqa: A001 (torch's name)
        def program(_: torch.Tensor) -> None:
            raise TorchDynamoException("\nbackend='inductor' raised:\nno C++ compiler\n  at line 1")

        return program

    monkeypatch.setattr(torch, "compile", compile)
    with pytest.raises(RunError, match=r"here: backend='inductor' raised: no C\+\+ compiler\. On a CPU"):
        TorchEngine(tiny.model().eval(), CPU, Switches(compiled=True))(images)


def test_no_more_graphs_are_kept_than_fit_and_the_one_used_last_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU: what is recorded is only noted down."""
    recorded: list[int] = []

    class Noted:
        def __init__(self, _: object, images: torch.Tensor) -> None:
            recorded.append(images.shape[-1])

        def replay(self, images: torch.Tensor) -> int:
            return images.shape[-1]

    monkeypatch.setattr(engine, "Graph", Noted)
    ours = TorchEngine(tiny.model(), torch.device("cuda"), Switches(graphs=True))
    sizes = [32 * (size + 1) for size in range(engine.MOST_GRAPHS)]
    for size in (*sizes, sizes[0], 1024, *sizes):
        assert ours(torch.empty(1, 3, 32, size)) == size
    # The second size gave way to 1024, then each to the one before it; the first had been used again.
    assert recorded == [*sizes, 1024, *sizes[1:]]
