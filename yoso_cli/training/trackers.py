"""TensorBoard and Weights & Biases, for those who have them; metrics.jsonl has it all without them."""

import importlib.util
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from yoso_cli.atomic import write_text

Figures = Mapping[str, float]


class Tracker(Protocol):
    """Keeps the figures of a run in its own way."""

    def log(self, figures: Figures) -> None:
        """Takes the figures of an iteration, `iteration` among them."""

    def close(self) -> None:
        """Writes what it holds back."""


class Board:
    """TensorBoard's files, in `folder`/tensorboard. What was told of `start` and later, before a kill, is hidden."""

    def __init__(self, folder: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=start)

    def log(self, figures: Figures) -> None:
        """As `Tracker`: a term `s1.mask` becomes the group s1."""
        for name, figure in figures.items():
            self._writer.add_scalar(name.replace(".", "/"), figure, int(figures["iteration"]))

    def close(self) -> None:
        """As `Tracker`."""
        self._writer.close()


class WandB:
    """A run of Weights & Biases in the project that WANDB_PROJECT names; a run folder that goes on, goes on there."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        known = folder / "wandb-id.txt"
        if not known.exists():
            # Another folder may have the same name, and a project knows names of all machines.
            write_text(known, f"{folder.name}-{uuid.uuid4().hex[:8]}")
        self._run: Any = importlib.import_module("wandb").init(
            name=folder.name, id=known.read_text(), resume="allow", config=dict(settings), dir=str(folder)
        )
        # Its own count of steps never goes back, as a run does that goes on from a checkpoint.
        self._run.define_metric("iteration")
        self._run.define_metric("*", step_metric="iteration")

    def log(self, figures: Figures) -> None:
        """As `Tracker`."""
        self._run.log(dict(figures))

    def close(self) -> None:
        """As `Tracker`."""
        self._run.finish()


class Trackers:
    """Passes figures on to what is installed. Weights & Biases sends them away, so it also wants WANDB_PROJECT set.

    Args:
        folder: of the run.
        settings: what a person may want to see beside the figures.
        warn: told of a tracker that does not start; training goes on without it.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], warn: Callable[[str], None]) -> None:
        self._folder = folder
        self._settings = settings
        self._warn = warn
        self._trackers: list[Tracker] | None = None

    def log(self, figures: Figures) -> None:
        """Passes on the figures of an iteration, `iteration` among them. The first ones say where a run goes on."""
        if self._trackers is None:
            self._trackers = self._started(int(figures["iteration"]))
        for tracker in self._trackers:
            tracker.log(figures)

    def close(self) -> None:
        """Lets them write what they hold back."""
        for tracker in self._trackers or ():
            tracker.close()

    def _started(self, iteration: int) -> list[Tracker]:
        wanted: dict[str, Callable[[], Tracker]] = {}
        if importlib.util.find_spec("tensorboard"):
            wanted["TensorBoard"] = lambda: Board(self._folder, iteration)
        if importlib.util.find_spec("wandb") and os.environ.get("WANDB_PROJECT"):
            wanted["Weights & Biases"] = lambda: WandB(self._folder, self._settings)
        started = []
        for name, start in wanted.items():
            try:
                started.append(start())
            except Exception as error:  # a service that is away, or a broken install, must not end days of training
                self._warn(f"Training goes on without {name}, which does not start: {error}")
        return started
