"""oneDNN's operators compute what plain torch does, and plain torch takes the place of one that does not."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inference.test_predict import CPU, noise, predictor
from torch.nn import functional as F
from training import tiny

from yoso_cli.errors import RunError
from yoso_cli.inference import onednn
from yoso_cli.inference.engine import Switches, TorchEngine, default_for, switches_for
from yoso_cli.inference.onednn import CONVOLUTION, CONVOLUTION_LAYOUT, PROBES, product
from yoso_cli.model.reparam import reparameterise
from yoso_cli.model.yoso import YOSO

OPERATORS = tuple(PROBES)
Replace = Callable[[Iterable[str], object], None]


def gone(*_: object) -> None:
    raise AttributeError("no such operator")


def of_another_signature(only: object) -> object:
    return only


class Zeros:
    """An operator that runs and computes nonsense; `binary` is its form that adds."""

    def __call__(self, x: torch.Tensor, *_: object) -> torch.Tensor:
        return torch.zeros_like(x)

    def binary(self, total: torch.Tensor, *_: object) -> torch.Tensor:
        return total


@pytest.fixture
def replace(monkeypatch: pytest.MonkeyPatch) -> Iterator[Replace]:
    """Puts something in the place of operators; afterwards all is as it was."""

    def put(operators: Iterable[str], by: object) -> None:
        for operator in operators:
            monkeypatch.setattr(torch.ops.mkldnn, operator, by)
        onednn.probed.cache_clear()

    yield put
    monkeypatch.undo()
    onednn.probed.cache_clear()


@pytest.fixture(scope="module")
def model() -> YOSO:
    """Wide enough for Winograd's convolution."""
    torch.manual_seed(0)
    return reparameterise(YOSO(3, **tiny.MODEL.arguments() | {"aggregation_dim": 128}))


needs_onednn = pytest.mark.skipif(bool(onednn.missing()), reason="this build of torch has no oneDNN")


@needs_onednn
@pytest.mark.parametrize("operators", [*((one,) for one in OPERATORS), OPERATORS], ids=[*OPERATORS, "all"])
def test_without_operators_the_output_is_the_same_and_the_reason_names_them(
    operators: tuple[str, ...], replace: Replace, model: YOSO
) -> None:
    """On the default path, for pictures of two sizes."""
    sizes = {"short_edge": 64, "long_edge": 128}
    plain = predictor(model=model, switches=Switches(), **sizes)
    replace(operators, gone)
    assert set(operators) <= set(onednn.missing())
    assert all(operator in default_for(CPU).reason for operator in onednn.missing())
    ours = predictor(model=model, **sizes)
    for image in (noise(64, 100), noise(90, 64)):
        found, wanted = (one.engine(one.prepare(image).images) for one in (ours, plain))
        torch.testing.assert_close(found.mask_logits, wanted.mask_logits, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(found.class_logits, wanted.class_logits, rtol=1e-3, atol=1e-3)
        assert [one.category_id for one in ours(image).segments] == [one.category_id for one in plain(image).segments]


@needs_onednn
@pytest.mark.parametrize("by", [gone, of_another_signature, Zeros()], ids=["gone", "changed", "wrong"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_unsupported_switches_stay_off(operator: str, by: object, replace: Replace) -> None:
    """Without its convolution nothing is fused; without laid out weights Winograd's form would be slower."""
    replace([operator], by)
    wanted = {CONVOLUTION: Switches(channels_last=True), CONVOLUTION_LAYOUT: Switches(channels_last=True, fused=True)}
    assert operator in onednn.missing()
    assert switches_for(CPU) == wanted.get(operator, Switches(channels_last=True, fused=True, winograd=True))
    if operator == CONVOLUTION:
        with pytest.raises(RunError, match="--fused needs a CPU and a torch with oneDNN"):
            TorchEngine(tiny.model(), CPU, switches_for(CPU, fused=True))


@needs_onednn
def test_each_operator_is_probed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    for operator, probe in PROBES.items():
        counted = lambda operator=operator, probe=probe: calls.append(operator) or probe()  # noqa: E731
        monkeypatch.setitem(PROBES, operator, counted)
    onednn.probed.cache_clear()
    for _ in range(3):
        assert onednn.missing() == ()
    assert sorted(calls) == sorted(OPERATORS)


@needs_onednn
def test_without_memory_a_probe_says_nothing_of_its_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under `ulimit -v`, predictions would be another engine's, without a word."""

    def fails() -> list[tuple[torch.Tensor, torch.Tensor]]:
        raise RuntimeError("could not create a memory object")

    monkeypatch.setitem(PROBES, onednn.CONVOLUTION, fails)
    for limit, expected in ((None, nullcontext()), (1, pytest.raises(MemoryError, match="ulimit -v"))):
        monkeypatch.setattr("yoso_cli.runtime.address_space.limit", lambda limit=limit: limit)
        onednn.probed.cache_clear()
        with expected:
            assert not onednn.works(onednn.CONVOLUTION)
    onednn.probed.cache_clear()


@needs_onednn
def test_onednn_switched_off_is_not_used() -> None:
    x = torch.randn(3, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.backends.mkldnn, "enabled", False)
        assert onednn.missing() == OPERATORS
        assert switches_for(CPU) == Switches(channels_last=True)
        assert product(x, x).equal(F.linear(x, x))
    assert onednn.missing() == ()


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 70), st.booleans(), st.integers(0, 2**31))
@settings(max_examples=100)
def test_a_product_equals_torchs(rows: int, summed: int, columns: int, turned: bool, seed: int) -> None:
    """Also of a weight whose rows do not lie one after the other."""
    torch.manual_seed(seed)
    x = torch.randn(rows, summed)
    weight = torch.randn(summed, columns).t() if turned else torch.randn(columns, summed)
    torch.testing.assert_close(product(x, weight), F.linear(x, weight), rtol=1e-4, atol=1e-4)
