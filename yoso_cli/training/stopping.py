"""How training ends, and the signals that end it early."""

import signal
import threading
from enum import Enum
from types import FrameType
from typing import Any


class Outcome(Enum):
    """How training ended."""

    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"

    @property
    def exit_code(self) -> int:
        """What a shell or a scheduler expects: a job that is told to go and has saved all it did has not failed."""
        return 130 if self is Outcome.INTERRUPTED else 0


class Stopping:
    """While it is open, Ctrl-C and SIGTERM only leave a wish in `outcome`; a second Ctrl-C is a KeyboardInterrupt."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Stopping":
        # Python delivers signals to the main thread alone and lets no other one listen.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._wish)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _wish(self, number: int, _: FrameType | None) -> None:
        if self.outcome and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.outcome = Outcome.INTERRUPTED if number == signal.SIGINT else Outcome.TERMINATED
