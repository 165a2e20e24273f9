"""Work beside the training: a checkpoint is written while the next steps are made."""

import threading
from collections.abc import Callable


class Background:
    """One piece of work at a time in a thread of its own. What it raises comes up at the next call."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Waits for the piece before, then begins this one. Raises what the piece before has raised."""
        self.finish()
        # No daemon: a program that ends lets a checkpoint be completed.
        self._thread = threading.Thread(target=self._run, args=(work,), name="checkpoint")
        self._thread.start()

    def finish(self) -> None:
        """Waits until nothing is under way. Raises what the work has raised."""
        if self._thread:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error:
            raise error

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # handed over, not swallowed: `finish` raises it
            self._error = error
