"""A batch may be divided, into passes or among processes: what is learnt is the same."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from training import processes, tiny

from yoso_cli.loading.batch import Batch
from yoso_cli.training.clock import Metrics


def close(ours: Any, theirs: Any, tolerance: float = 2e-4) -> None:
    torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=tolerance, atol=2e-6)


def accumulated(micro_batch: int, criterion: str) -> tuple[list[Metrics], dict[str, torch.Tensor]]:
    model = tiny.model()
    step = tiny.step(model, processes.CRITERIA[criterion], optimizer=tiny.sgd(model), micro_batch=micro_batch)
    processes.frozen_norms(model)
    # Three pictures, so that the last pass is smaller, with different numbers of targets.
    batches = tiny.batches(stop=3, pictures=3, uneven=True)
    return [step(batch, iteration, 1e-3) for iteration, batch in enumerate(batches)], model.state_dict()


@pytest.mark.parametrize("criterion", processes.CRITERIA)
@pytest.mark.parametrize("micro_batch", [1, 2])
def test_gradient_accumulation_equals_one_pass(micro_batch: int, criterion: str) -> None:
    whole, weights = accumulated(3, criterion)
    parts, own = accumulated(micro_batch, criterion)
    for one, other in zip(parts, whole, strict=True):
        assert one.keys() == other.keys()
        close(list(one.values()), list(other.values()))
    for key, tensor in weights.items():
        close(own[key].tolist(), tensor.tolist())


def test_only_batch_norms_depend_on_gradient_accumulation() -> None:
    """Of equal pictures each pass has the statistics of the whole batch, and everything else is the same then."""
    (batch,) = tiny.batches(stop=1, pictures=2)
    twins = Batch(batch.images[[0, 0]], [batch.targets[0]] * 2, ["a", "b"])

    def gradients(given: Batch, micro_batch: int) -> tuple[Metrics, torch.Tensor]:
        model = tiny.model()
        step = tiny.step(model, optimizer=tiny.sgd(model), micro_batch=micro_batch)
        model.train()
        figures = step(given, 0, 1e-3)
        return figures, torch.cat([parameter.grad.flatten() for parameter in model.parameters()])  # type: ignore[union-attr]

    (whole, exact), (parts, own) = gradients(twins, 2), gradients(twins, 1)
    close(list(parts.values()), list(whole.values()), tolerance=1e-3)
    assert float((own - exact).norm() / exact.norm()) < 5e-3
    differing = gradients(batch, 2)[1], gradients(batch, 1)[1]
    assert float((differing[0] - differing[1]).norm() / differing[0].norm()) > 0.05


@pytest.mark.parametrize("criterion", processes.CRITERIA)
def test_two_processes_train_as_one(tmp_path: Path, criterion: str) -> None:
    """The same losses, norm of gradients, weights and statistics of norms, to rounding, at every step.

    Batch norms over eight values make gradients of rounding: weights that differ by 6e-8 move their norm by 4e-4.
    """
    steps = 4
    started = [(rank, count) for count in (1, 2) for rank in range(count)]
    context = processes.context()
    running = [
        context.Process(target=processes.curve, args=(rank, count, str(tmp_path), steps, criterion))
        for rank, count in started
    ]
    for process in running:
        process.start()
    for process in running:
        process.join(120)
    assert [process.exitcode for process in running] == [0, 0, 0]
    alone, first, second = (json.loads((tmp_path / f"{count}-{rank}.json").read_text()) for rank, count in started)
    assert first == second
    assert len(alone["losses"]) == steps
    for ours, theirs in zip(first["losses"], alone["losses"], strict=True):
        assert ours.keys() == theirs.keys()
        norms = ours.pop("grad_norm"), theirs.pop("grad_norm")
        close(list(ours.values()), list(theirs.values()))
        close(*norms, tolerance=5e-3)
    for key, values in alone["state"].items():
        close(first["state"][key], values)
