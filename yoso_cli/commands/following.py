"""What a person sees of a training that runs: the bar, the files of its figures, pictures, and hints."""

import math
import os
from typing import TYPE_CHECKING, Any

from yoso_cli.commands import console, pages
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.evaluation.report import Report
    from yoso_cli.inference.predict import Predictor
    from yoso_cli.panoptic.types import PanopticSet
    from yoso_cli.recipe.schema import Recipe
    from yoso_cli.run_folder import RunFolder

# Waiting this share of the time for pictures, three readings in a row, is worth a word.
_WAITING = 0.3
_READINGS = 3
_KINDS = ("class", "mask", "dice")


class Following:
    """Keeps and shows the figures of one run. Of several processes only the first keeps them."""

    def __init__(self, run: "RunFolder", recipe: "Recipe", *, keeps: bool) -> None:
        from yoso_cli.training.trackers import Trackers

        self._run = run
        self._recipe = recipe
        self._keeps = keeps
        self._trackers = Trackers(run.path, recipe.to_dict(), console.say) if keeps else None
        self._waits: list[float] = []
        self._hinted = False
        self._shown: dict[str, float | str] = {}

    def shown(self, metrics: dict[str, float]) -> dict[str, float | str]:
        """What stands beside the bar: the loss, its kinds by stage, the rate, waiting and memory."""
        if "loss" not in metrics:
            return self._shown
        self._shown |= {
            "loss": metrics["loss"],
            **{kind: _by_stage(metrics, kind) for kind in _KINDS},
            "lr": metrics["lr"],
            "mem": f"{metrics['memory_mib']:.0f} MiB",
        }
        return self._shown

    def log(self, metrics: dict[str, float]) -> None:
        """Keeps the figures of a step."""
        self._shown["wait"] = f"{metrics['data_wait']:.0%}"
        self._keep({name: figure for name, figure in metrics.items() if math.isfinite(figure)})
        self._waits.append(metrics["data_wait"])
        recent = self._waits[-_READINGS:]
        if not self._hinted and len(recent) == _READINGS and min(recent) > _WAITING:
            self._hinted = True
            console.say(self._hint(sum(recent) / len(recent)))

    def evaluated(self, iteration: int, report: "Report", predictor: "Predictor", truth: "PanopticSet") -> None:
        """Keeps PQ, the table and the curves so far, and pictures of what the network sees."""
        from yoso_cli.evaluation.report import write_report
        from yoso_cli.panoptic.draw import write_picture
        from yoso_cli.training.curves import write_curves, write_results

        if not self._keeps:
            return
        write_report(self._run.report_path, report)
        quality = report.quality
        groups = {"pq": quality.all.pq, "pq_things": quality.things.pq, "pq_stuff": quality.stuff.pq}
        self._keep({"iteration": iteration, **{name: pq for name, pq in groups.items() if pq is not None}})
        lines = self._run.metrics()
        write_results(self._run.results_path, lines)
        write_curves(self._run.curves_path, lines)
        write_picture(self._run.samples_path(iteration), pages.side_by_side(predictor, truth))

    def close(self) -> None:
        """Ends what passes figures on to others."""
        if self._trackers:
            self._trackers.close()

    def _keep(self, figures: dict[str, Any]) -> None:
        if self._trackers:
            self._run.append_metrics(figures)
            self._trackers.log(figures)

    def _hint(self, share: float) -> str:
        """What to try: each process of a machine has loaders of its own, and shares its cores with the others."""
        from yoso_cli.runtime import machine

        processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        workers, cores = self._recipe.train.workers, int(machine.describe()["cores"]) // processes
        more = f"`--set train.workers={cores}`" if workers < cores else "smaller pictures on disk, or more cores"
        has = f"{counted(workers, 'worker')}, {counted(cores, 'core')}"
        return f"The network waits for pictures {share:.0%} of the time ({has}). Try {more}."


def _by_stage(metrics: dict[str, float], kind: str) -> str:
    """`0.31/0.25/0.22`: that kind of loss at each stage that has it."""
    return "/".join(f"{value:.2f}" for name, value in sorted(metrics.items()) if name.endswith(f".{kind}"))
