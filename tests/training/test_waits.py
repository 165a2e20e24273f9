"""How often a step waits for the device: whoever reads one of its numbers lets it stand still until it is caught up."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from training import tiny

from yoso_cli.model.yoso import Output
from yoso_cli.training.losses import SetLoss
from yoso_cli.training.points import seeded_rand

READING = ("cpu", "item", "tolist", "__float__", "__int__", "__bool__", "__index__")


class _Watch(TorchDispatchMode):
    """Notes operations whose result cannot be known without looking at numbers."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self._seen = seen

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.data_dependent_output in function.tags or "nonzero" in str(function):
            self._seen.append(str(function))
        return function(*args, **kwargs or {})


@contextmanager
def waits() -> Iterator[list[str]]:
    """What is read of tensors while the block runs."""
    seen: list[str] = []

    def noting(name: str) -> Any:
        plain = getattr(Tensor, name)
        return lambda self: (seen.append(name), plain(self))[1]

    with pytest.MonkeyPatch.context() as patch, _Watch(seen):
        for name in READING:
            patch.setattr(Tensor, name, noting(name))
        yield seen


def test_all_stages_and_pictures_are_matched_in_one_wait() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(3, 6, 16, 16, generator=generator, requires_grad=True) for _ in range(3)]
    classes = [torch.randn(3, 6, 4, generator=generator, requires_grad=True) for _ in range(2)]
    outputs = [Output(*pair) for pair in zip(logits, [None, *classes], strict=True)]
    (batch,) = tiny.batches(stop=1, pictures=3, uneven=True)
    with waits() as seen:
        terms = SetLoss(num_points=64)(outputs, batch.targets, seeded_rand(0, 0, torch.device("cpu")))
        torch.stack(list(terms.values())).sum().backward()
    assert seen == ["cpu"]


@pytest.mark.parametrize(("micro_batch", "passes"), [(3, 1), (1, 3)])
def test_a_step_waits_once_for_each_pass_and_once_for_its_figures(micro_batch: int, passes: int) -> None:
    model = tiny.model()
    step = tiny.step(model, micro_batch=micro_batch)
    model.train()
    (batch,) = tiny.batches(stop=1, pictures=3)
    with waits() as seen:
        step(batch, 0, 1e-3)
    assert seen == ["cpu"] * passes + ["tolist"]
