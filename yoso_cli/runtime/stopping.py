"""How long work ends, and the signals that stop it early."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from enum import Enum
from types import FrameType
from typing import Any


class Outcome(Enum):
    """How it ended."""

    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C; 0 after SIGTERM, as a scheduler's job that has saved its state has not failed."""
        return 130 if self is Outcome.INTERRUPTED else 0


class Stopped(BaseException):
    """A signal came while nothing was unsaved. A BaseException, so that `except Exception` does not catch it."""


class Stopping:
    """While open, Ctrl-C and SIGTERM only set `outcome`; a second Ctrl-C raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self._interruptible = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Stopping":
        # Python allows signal handlers only in the main thread.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """For work that needs no saving, such as an evaluation of minutes: a signal aborts it immediately.

        Raises:
            Stopped: a signal came, here or before.
        """
        if self.outcome:
            raise Stopped
        self._interruptible = True
        try:
            yield
        except RuntimeError as error:
            # The process that receives the signal first exits, which breaks the connections of the others.
            if self.outcome:
                raise Stopped from error
            raise
        finally:
            self._interruptible = False

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.outcome and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.outcome = Outcome.INTERRUPTED if number == signal.SIGINT else Outcome.TERMINATED
        if self._interruptible:
            self._interruptible = False
            raise Stopped
