"""A run's checkpoints: written beside the training, and read back after a kill."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from yoso_cli.commands import console, wiring
from yoso_cli.errors import DataError

if TYPE_CHECKING:
    from yoso_cli.panoptic.types import PanopticSet
    from yoso_cli.recipe.schema import Recipe
    from yoso_cli.run_folder import RunFolder
    from yoso_cli.training.checkpoint import Loop
    from yoso_cli.training.step import Step


class Keeping:
    """The checkpoints of one run."""

    def __init__(self, run: "RunFolder", recipe: "Recipe", train_set: "PanopticSet", step: "Step") -> None:
        from yoso_cli.training.background import Background

        self._run = run
        self._recipe = recipe
        self._set = train_set
        self._step = step
        self._background = Background()

    def save(self, loop: "Loop") -> None:
        """Copies what a checkpoint holds; writing it goes on beside the training.

        Raises:
            RunError: the checkpoint before could not be written.
        """
        from yoso_cli.training import checkpoint

        moment = checkpoint.snapshot(self._step, loop)
        self._background.start(self._writing(moment, loop.iteration))

    def finish(self) -> None:
        """Waits until all is written. Raises RunError where it could not be."""
        self._background.finish()

    def newest(self) -> "Loop":
        """Fills the step from the newest checkpoint that is whole. Raises DataError where none is."""
        from yoso_cli.training import checkpoint

        folders = self._run.checkpoints()
        for folder in reversed(folders):
            try:
                return checkpoint.load(folder, self._step)
            except DataError as error:
                if folder == folders[0]:
                    raise
                console.say(f"Warning: {error.message} Going on from the checkpoint before it.")
        return checkpoint.Loop()

    def _writing(self, moment: Any, iteration: int) -> Callable[[], None]:
        from yoso_cli.runtime import machine
        from yoso_cli.training import checkpoint

        provenance = {
            "run": self._run.path.name,
            "iteration": iteration,
            "dataset": self._set.name,
            "split": self._set.split,
            "images": len(self._set.records),
            "versions": machine.versions(wiring.PACKAGES),
        }

        def write() -> None:
            folder = self._run.checkpoint_path(iteration)
            categories = self._set.categories
            checkpoint.save(folder, moment, recipe=self._recipe.to_dict(), categories=categories, provenance=provenance)
            checkpoint.prune(self._run.checkpoints(), keep=self._recipe.train.keep, best=self._run.best())

        return write
