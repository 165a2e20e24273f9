"""TensorBoard and Weights & Biases, for those who have them; metrics.jsonl has it all without them."""

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Trackers:
    """Passes figures on to what is installed.

    TensorBoard writes into `folder`. Weights & Biases sends figures away, so it also needs WANDB_PROJECT to be set.

    Args:
        folder: of the run.
        settings: what a person may want to see beside the figures.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._board: Any = None
        self._wandb: Any = None
        if importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"))
        if importlib.util.find_spec("wandb") and os.environ.get("WANDB_PROJECT"):
            self._wandb = importlib.import_module("wandb").init(
                name=folder.name, id=folder.name, resume="allow", config=dict(settings), dir=str(folder)
            )

    def log(self, figures: Mapping[str, float]) -> None:
        """Passes on the figures of an iteration, `iteration` among them."""
        step = int(figures["iteration"])
        if self._board:
            for name, figure in figures.items():
                self._board.add_scalar(name.replace(".", "/"), figure, step)
        if self._wandb:
            self._wandb.log(dict(figures), step=step)

    def close(self) -> None:
        """Lets them write what they hold back."""
        if self._board:
            self._board.close()
        if self._wandb:
            self._wandb.finish()
