"""TensorBoard and Weights & Biases, with stand-ins that take exactly the arguments of the real ones."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from yoso_cli.training.trackers import Trackers

Told = list[tuple[str, Any]]


def first() -> dict[str, float]:
    return {"iteration": 20, "loss": 1.5, "s1.mask": 0.5}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Told:
    """What both were told; both are installed."""
    told: Told = []

    class SummaryWriter:
        def __init__(self, log_dir: str | None = None, comment: str = "", purge_step: int | None = None) -> None:
            told.append(("board", (Path(log_dir or "").name, purge_step)))

        def add_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> None:
            told.append(("scalar", (tag, scalar_value, global_step)))

        def close(self) -> None:
            told.append(("board closed", None))

    class Run:
        def define_metric(self, name: str, step_metric: str | None = None) -> None:
            told.append(("metric", (name, step_metric)))

        def log(self, data: dict[str, float], step: int | None = None) -> None:
            told.append(("log", (json.dumps(data), step)))

        def finish(self, exit_code: int | None = None) -> None:
            told.append(("finished", exit_code))

    def init(*, name: str, id: str, resume: str, config: dict[str, Any], dir: str) -> Run:  # noqa: A002 (its own names)
        told.append(("init", (name, id, resume, config, Path(dir).name)))
        return Run()

    for name in ("tensorboard", "wandb"):
        (tmp_path / "site" / name).mkdir(parents=True)
        (tmp_path / "site" / name / "__init__.py").write_text("")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path / "site")
    board, wandb = ModuleType("torch.utils.tensorboard"), ModuleType("wandb")
    board.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    wandb.init = init  # type: ignore[attr-defined]
    wandb.__spec__ = __spec__
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setenv("WANDB_PROJECT", "panoptic")
    return told


def begun(folder: Path, warn: Callable[[str], None] = pytest.fail) -> Trackers:
    folder.mkdir(exist_ok=True)
    return Trackers(folder, {"name": "tiny"}, warn)


def test_both_get_every_figure_at_its_iteration(told: Told, tmp_path: Path) -> None:
    trackers = begun(tmp_path / "tiny-001")
    trackers.log(first())
    trackers.close()
    assert [what for name, what in told if name == "scalar"] == [
        ("iteration", 20, 20),
        ("loss", 1.5, 20),
        ("s1/mask", 0.5, 20),
    ]
    assert [what for name, what in told if name == "log"] == [(json.dumps(first()), None)]
    assert ("metric", ("*", "iteration")) in told
    assert told[-2:] == [("board closed", None), ("finished", None)]


def test_a_resumed_run_is_resumed_in_the_trackers(told: Told, tmp_path: Path) -> None:
    """Under the same id, and what was told after the checkpoint is hidden."""
    for iteration in (20, 41):
        trackers = begun(tmp_path / "tiny-001")
        trackers.log({**first(), "iteration": iteration})
        trackers.close()
    begun(tmp_path / "tiny-002").log(first())
    ids = [what[1] for name, what in told if name == "init"]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0].startswith("tiny-001-")
    assert [what for name, what in told if name == "board"][:2] == [("tensorboard", 20), ("tensorboard", 41)]


def test_figures_are_uploaded_only_on_request(told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_PROJECT")
    begun(tmp_path / "tiny-001").log(first())
    assert {name for name, _ in told} == {"board", "scalar"}


def test_training_continues_without_a_tracker_that_does_not_start(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: Any) -> None:
        raise ConnectionError("no such host")

    monkeypatch.setattr(sys.modules["wandb"], "init", broken)
    said: list[str] = []
    trackers = begun(tmp_path / "tiny-001", said.append)
    trackers.log(first())
    trackers.log({**first(), "iteration": 40})
    trackers.close()
    assert said == ["Training continues without Weights & Biases, which does not start: no such host"]
    assert sum(name == "scalar" for name, _ in told) == 6
