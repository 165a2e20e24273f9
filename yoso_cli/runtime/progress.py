"""Reporting messages and progress; passed down as an argument."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Bar(Protocol):
    """A progress bar."""

    def update(self, n: int = 1, **figures: float | str) -> None:
        """Adds `n` to the items done; the figures are shown beside the count."""


class Progress(Protocol):
    """Shows progress and messages: on a terminal, in a notebook, or not at all."""

    def message(self, text: str) -> None:
        """Shows a message."""

    def bar(self, total: int | None, label: str, *, initial: int = 0, unit: str = "img") -> AbstractContextManager[Bar]:
        """Opens a bar over `total` items (None: unknown), `initial` of which are done; `unit` B is of bytes."""


class Silent:
    """Shows no bars; messages go to the logger `yoso_cli`, at level INFO."""

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
"""The default."""


def tracked(
    items: Iterable[Item],
    total: int | None,
    label: str,
    progress: Progress,
    *,
    unit: str = "img",
    size: Callable[[Item], int] = lambda _: 1,
) -> Iterator[Item]:
    """Yields `items` while `progress` shows how many of `total` are done; `size` is that of one item."""
    with progress.bar(total, label, unit=unit) as bar:
        for item in items:
            yield item
            bar.update(size(item))
