"""TensorBoard and Weights & Biases, used where installed."""

import importlib.util
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from yoso_cli.atomic import write_text

Figures = Mapping[str, float]


class Tracker(Protocol):
    """An experiment tracker."""

    def log(self, figures: Figures) -> None:
        """Records the metrics of an iteration, which include `iteration`."""

    def close(self) -> None:
        """Flushes and closes."""


class Board:
    """TensorBoard event files in `folder`/tensorboard. Earlier entries from iteration `start` on are purged."""

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
    """A Weights & Biases run in the project WANDB_PROJECT; a resumed run folder resumes its run there."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        known = folder / "wandb-id.txt"
        if not known.exists():
            # Unique: run folders of other machines may have the same name.
            write_text(known, f"{folder.name}-{uuid.uuid4().hex[:8]}")
        self._run: Any = importlib.import_module("wandb").init(
            name=folder.name, id=known.read_text(), resume="allow", config=dict(settings), dir=str(folder)
        )
        # Its own step counter cannot go back, as a run resumed from a checkpoint does.
        self._run.define_metric("iteration")
        self._run.define_metric("*", step_metric="iteration")

    def log(self, figures: Figures) -> None:
        """As `Tracker`."""
        self._run.log(dict(figures))

    def close(self) -> None:
        """As `Tracker`."""
        self._run.finish()


class Trackers:
    """Sends metrics to the installed trackers. Weights & Biases is used only if WANDB_PROJECT is set.

    Args:
        folder: the run folder.
        settings: the recipe, recorded with the run.
        warn: reports a tracker that does not start; training continues without it.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], warn: Callable[[str], None]) -> None:
        self._folder = folder
        self._settings = settings
        self._warn = warn
        self._trackers: list[Tracker] | None = None

    def log(self, figures: Figures) -> None:
        """Sends the metrics of an iteration, which include `iteration`; the first one starts the trackers there."""
        if self._trackers is None:
            self._trackers = self._started(int(figures["iteration"]))
        for tracker in self._trackers:
            tracker.log(figures)

    def close(self) -> None:
        """Flushes and closes them."""
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
            except Exception as error:  # a service that is down must not end days of training
                self._warn(f"Training continues without {name}, which does not start: {error}")
        return started
