"""Training from Python ends as a program expects it to."""

import signal
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import build
import pytest
import torch

import yoso_cli as yoso
from yoso_cli.cli import run
from yoso_cli.errors import DataError, RunError, UsageError
from yoso_cli.model.weights import load_weights
from yoso_cli.run_folder import RunFolder
from yoso_cli.runtime.progress import Bar


class InterruptedAtFirstStep:
    """Presses Ctrl-C when the first step is shown."""

    def message(self, text: str) -> None:
        del text

    def bar(self, total: int | None, label: str, *, initial: int = 0, unit: str = "img") -> AbstractContextManager[Bar]:
        del total, label, initial, unit
        return nullcontext(self)

    def update(self, n: int = 1, **figures: float | str) -> None:
        del n, figures
        signal.raise_signal(signal.SIGINT)


def test_ctrl_c_saves_and_raises_and_the_run_can_be_resumed(line: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match=r"Saved after step 1; yoso\.resume"):
        yoso.train(build.RECIPE, into="cut", device="cpu", progress=InterruptedAtFirstStep())
    assert len(RunFolder(Path("cut")).checkpoints()) == 1
    done = yoso.resume("cut", device="cpu")
    assert done.iteration == done.iterations == build.STEPS
    assert done.report is not None
    assert done.weights is not None
    assert done.weights.is_file()


def cut(into: str) -> RunFolder:
    """A run that was stopped after its first step."""
    with pytest.raises(KeyboardInterrupt):
        yoso.train(build.RECIPE, into=into, device="cpu", progress=InterruptedAtFirstStep())
    return RunFolder(Path(into).absolute())


def test_a_run_goes_on_from_any_folder_and_with_moved_data(
    line: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = cut("cut"), cut("again")
    assert (first.is_training(), first.is_finished(), first.data_root()) == (False, False, line / "datasets")
    monkeypatch.chdir(tmp_path)
    assert yoso.resume(first.path, device="cpu").iteration == build.STEPS
    assert first.is_finished()
    (line / "datasets").rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"--set data\.root=DIR"):
        yoso.resume(second.path, device="cpu")
    assert second.failure() is None, "it has not begun"
    assert run(["train", "--resume", str(second.path), "--set", "data.root=moved", "--device", "cpu"]) == 0
    assert second.data_root() == tmp_path / "moved"
    assert load_weights(second.weights()).recipe["data"]["root"] == "datasets", "the recipe is its own"


def test_a_run_that_is_being_trained_is_not_trained_twice(line: Path) -> None:
    folder = RunFolder(Path("runs/tiny-001"))
    lock = folder.begin_training(Path("datasets"))
    with pytest.raises(RunError, match="is being trained by another yoso, process"):
        yoso.resume(folder.path, device="cpu")
    lock.release()


@pytest.mark.parametrize("at", ["begin_training", "write_recipe", "checkpoint_path"])
def test_a_run_that_was_cut_before_its_first_checkpoint_never_goes_on_without_its_weights(
    line: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """A kill in the second between the folder and the checkpoint of the weights that were named."""

    def killed(*_: object, **__: object) -> None:
        raise SystemExit("killed")

    words = {"weights": "runs/tiny-001", "into": "fine", "device": "cpu"}
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, at, killed)
        with pytest.raises(SystemExit):
            yoso.train(build.RECIPE, **words)
    folder = RunFolder(Path("fine"))
    if folder.recipe_path.exists():
        with pytest.raises(UsageError, match="Repeat the command with --weights and --into"):
            yoso.resume("fine", device="cpu")
    whole = yoso.train(build.RECIPE, **words | {"into": "whole"}).folder
    assert yoso.train(build.RECIPE, **words).iteration == build.STEPS
    ours, theirs = (load_weights(one.weights()).state for one in (folder, whole))
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in ours.items())


def test_a_seed_is_a_setting_of_the_recipe(line: Path) -> None:
    assert run(["train", build.RECIPE, "--seed", "3", "--into", "seeded", "--device", "cpu"]) == 0
    assert RunFolder(Path("seeded")).recipe().train.seed == 3
    assert run(["train", "--resume", "seeded", "--seed", "3"]) == 2
