"""Training from Python ends as a program expects it to."""

import signal
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import build
import pytest

import yoso_cli as yoso
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
    run = yoso.resume("cut", device="cpu")
    assert run.iteration == run.iterations == build.STEPS
    assert run.report is not None
    assert run.weights is not None
    assert run.weights.is_file()
