"""A background thread, which writes a checkpoint while training continues."""

import threading
from collections.abc import Callable


class Background:
    """Runs one task at a time in a thread. Its exception is raised by the next call."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Waits for the previous task, then starts this one. Raises the exception of the previous one."""
        self.finish()
        # Not a daemon: the program exits only when the checkpoint is complete.
        self._thread = threading.Thread(target=self._run, args=(work,), name="checkpoint")
        self._thread.start()

    def finish(self) -> None:
        """Waits for the task. Raises its exception."""
        if self._thread:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error:
            raise error

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # `finish` raises it
            self._error = error
