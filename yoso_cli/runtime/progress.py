"""How a long piece of work reports messages and its progress; passed down as an argument."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Bar(Protocol):
    """Shows how far one piece of work is."""

    def update(self, n: int = 1, **figures: float | str) -> None:
        """Counts `n` more items done and shows the figures beside the count."""


class Progress(Protocol):
    """Where progress is shown: a terminal, a notebook, or nowhere."""

    def message(self, text: str) -> None:
        """Reports a sentence."""

    def bar(self, total: int | None, label: str, *, initial: int = 0, unit: str = "img") -> AbstractContextManager[Bar]:
        """Opens a bar over `total` items (None: unknown), `initial` of which are done; `unit` B is of bytes."""


class Silent:
    """Shows no bar; sentences go to the log `yoso_cli`, at the level INFO."""

    def message(self, text: str) -> None:
        """Logs it."""
        import logging

        logging.getLogger("yoso_cli").info(text)

    def bar(self, total: int | None, label: str, *, initial: int = 0, unit: str = "img") -> AbstractContextManager[Bar]:
        """A bar that shows nothing."""
        del total, label, initial, unit
        return nullcontext(_NoBar())


class _NoBar:
    def update(self, n: int = 1, **figures: float | str) -> None:
        del n, figures


SILENT = Silent()
"""What every function takes that is not given another."""


def tracked(
    items: Iterable[Item],
    total: int | None,
    label: str,
    progress: Progress,
    *,
    unit: str = "img",
    size: Callable[[Item], int] = lambda _: 1,
) -> Iterator[Item]:
    """Passes `items` on while `progress` shows how much of `total` has gone by; `size` is of one item."""
    with progress.bar(total, label, unit=unit) as bar:
        for item in items:
            yield item
            bar.update(size(item))
