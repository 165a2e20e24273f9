"""Metrics of a running training: progress bar, metrics.jsonl, trackers; and a hint when data loading is slow."""

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

from yoso_cli.run_folder import RunFolder
from yoso_cli.runtime.machine import usable_cores
from yoso_cli.runtime.words import counted
from yoso_cli.training.trackers import Trackers

# A hint is given when this share of the time is spent waiting for data, three readings in a row.
_WAITING = 0.3
_READINGS = 3
_KINDS = ("class", "mask", "dice")


class RunLog:
    """Records and shows the metrics of one run.

    Args:
        run: the run folder; None in all processes but the first, which records them.
        recipe: the resolved one, for trackers, as plain values.
        workers: data loader processes.
        say: shows hints and warnings.
    """

    def __init__(
        self, run: RunFolder | None, recipe: Mapping[str, Any], *, workers: int, say: Callable[[str], None]
    ) -> None:
        self._run = run
        self._workers = workers
        self._say = say
        self._trackers = Trackers(run.path, recipe, say) if run else None
        self._waits: list[float] = []
        self._hinted = False
        self._shown: dict[str, float | str] = {}

    def shown(self, metrics: Mapping[str, float]) -> dict[str, float | str]:
        """What the bar shows: the loss, its terms by stage, learning rate, data waiting time and memory."""
        if "loss" not in metrics:
            return self._shown
        self._shown |= {
            "loss": metrics["loss"],
            **{kind: _by_stage(metrics, kind) for kind in _KINDS},
            "lr": metrics["lr"],
            "mem": f"{metrics['memory_mib']:.0f} MiB",
        }
        return self._shown

    def log(self, metrics: Mapping[str, float]) -> None:
        """Records the metrics of a step."""
        self._shown["wait"] = f"{metrics['data_wait']:.0%}"
        self.keep({name: figure for name, figure in metrics.items() if math.isfinite(figure)})
        self._waits.append(metrics["data_wait"])
        recent = self._waits[-_READINGS:]
        if not self._hinted and len(recent) == _READINGS and min(recent) > _WAITING:
            self._hinted = True
            self._say(self._hint(sum(recent) / len(recent)))

    def keep(self, figures: dict[str, Any]) -> None:
        """Adds a line to metrics.jsonl and sends it to the trackers; `figures` include `iteration`."""
        if self._run and self._trackers:
            self._run.append_metrics(figures)
            self._trackers.log(figures)

    def close(self) -> None:
        """Closes the trackers."""
        if self._trackers:
            self._trackers.close()

    def _hint(self, share: float) -> str:
        """The hint: each training process has its own loaders, and shares the machine's cores with the others."""
        cores = usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        more = f"`--set train.workers={cores}`" if self._workers < cores else "smaller pictures on disk, or more cores"
        has = f"{counted(self._workers, 'worker')}, {counted(cores, 'core')}"
        return f"Training waits for data {share:.0%} of the time ({has}). Try {more}."


def _by_stage(metrics: Mapping[str, float], kind: str) -> str:
    """`0.31/0.25/0.22`: that kind of loss at each stage that has it."""
    return "/".join(f"{value:.2f}" for name, value in sorted(metrics.items()) if name.endswith(f".{kind}"))
