"""A batch may be divided, into passes or among processes: what is learnt is the same."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from training import processes, tiny

from yoso_cli.loading.batch import Batch
from yoso_cli.training.clock import Metrics


def close(ours: Any, theirs: Any, tolerance: float = 2e-4, absolute: float = 2e-6) -> None:
    torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=tolerance, atol=absolute)


def accumulated(micro_batch: int, name: str) -> tuple[list[Metrics], dict[str, torch.Tensor]]:
    """Four steps, the first on one picture, which no division changes; after it batch norms keep their statistics.

    In training they would see whether a batch comes at once.
    """
    step = processes.step(name, iterations=4, batch_norms_until=0.25, micro_batch=micro_batch)
    figures = []
    # Then three pictures, so that the last pass is smaller, with different numbers of targets.
    for iteration, batch in enumerate(tiny.batches(stop=4, pictures=3, uneven=True)):
        step.model.train()  # as after an evaluation
        (only, *_) = batch.parts(1)
        figures.append(step(batch if iteration else only[0], iteration, 1e-3))
    return figures, processes.weights(step)


@pytest.mark.parametrize("name", processes.RECIPES)
@pytest.mark.parametrize("micro_batch", [1, 2])
def test_gradient_accumulation_equals_one_pass(micro_batch: int, name: str) -> None:
    whole, weights = accumulated(3, name)
    parts, own = accumulated(micro_batch, name)
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


@pytest.mark.parametrize("name", processes.RECIPES)
def test_two_processes_train_as_one(tmp_path: Path, name: str) -> None:
    """The same losses, norm of gradients, weights and statistics of norms, to rounding, at every step.

    Batch norms over eight values make gradients of rounding: weights that differ by 6e-8 move their norm by 4e-4. Muon,
    one of the aids, makes weak directions as strong as others, and rounding with them: 1e-5 is a fiftieth of its step.
    """
    steps, absolute = 4, {"released": 2e-6, "aided": 1e-5}[name]
    started = [(rank, count) for count in (1, 2) for rank in range(count)]
    context = processes.context()
    running = [
        context.Process(target=processes.curve, args=(rank, count, str(tmp_path), steps, name))
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
        close(first["state"][key], values, absolute=absolute)
