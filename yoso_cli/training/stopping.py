"""How training ends, and the signals that end it early."""

import contextlib
import signal
import threading
from collections.abc import Iterator
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


class Stopped(BaseException):
    """A signal came while all that had been done was saved. No error: what catches those must not catch this."""


class Stopping:
    """While it is open, Ctrl-C and SIGTERM only leave a wish in `outcome`; a second Ctrl-C is a KeyboardInterrupt."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self._at_once = False
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

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Around work that saves nothing, such as an evaluation of minutes: a signal ends it there and then.

        Raises:
            Stopped: a signal came, here or before.
        """
        if self.outcome:
            raise Stopped
        self._at_once = True
        try:
            yield
        except RuntimeError as error:
            # Of several processes one hears the signal first and goes; to the others its connection breaks.
            if self.outcome:
                raise Stopped from error
            raise
        finally:
            self._at_once = False

    def _wish(self, number: int, _: FrameType | None) -> None:
        if self.outcome and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.outcome = Outcome.INTERRUPTED if number == signal.SIGINT else Outcome.TERMINATED
        if self._at_once:
            self._at_once = False
            raise Stopped
