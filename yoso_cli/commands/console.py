"""Output: results on stdout, everything else on stderr, plain text where it is not a terminal."""

import contextlib
import json
import math
import os
import re
import shlex
import shutil
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yoso_cli.errors import DataError, ProblemsError, RunError
from yoso_cli.runtime.progress import SILENT, Bar
from yoso_cli.runtime.words import paragraph, printable

if TYPE_CHECKING:
    from yoso_cli.runtime.stopping import Outcome

SCHEMA = 2
"""Rises when a key of the JSON results changes its meaning or goes away."""

# Progress in a log: a line each tenth of the work, within these limits in seconds.
_SHARE = 0.1
_AT_MOST_EVERY = 3.0
_AT_LEAST_EVERY = 60.0

# Widths in columns: of a label, and of the longest line.
_LABEL = 10
_WIDEST = 100


def say(text: str) -> None:
    """Prints a message on stderr, wrapped on a terminal, above an open progress bar; not with --quiet."""
    if sys.stderr.isatty():
        # Before it is wrapped, which takes other white space for spaces.
        text = printable(text, lines=True)
        text = "\n".join(paragraph(line, _columns()) for line in text.split("\n"))
    _say(text)


def _say(text: str) -> None:
    if TERMINAL.quiet:
        return
    text = printable(text, lines=True)
    # A log on a full disk ends no training.
    with contextlib.suppress(OSError):
        if sys.modules.get("tqdm"):
            from tqdm import tqdm

            tqdm.write(text, file=sys.stderr)
        else:
            click.echo(text, err=True)


@contextlib.contextmanager
def silenced_unless(printing: bool) -> Iterator[None]:
    """Discards stdout and stderr while the block runs, unless `printing`: of several processes only one prints."""
    if printing:
        yield
        return
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def typed_command() -> str:
    """The command line that is running, ready to be typed again."""
    context = click.get_current_context()
    return shlex.join(["yoso", *context.find_root().obj])


def next_step(command: str) -> None:
    """Prints the next command to type on stderr; on a terminal it is wrapped with backslashes."""
    words = shlex.split(f"Next: {command}", posix=False) if sys.stderr.isatty() else [f"Next: {command}"]
    lines = [""]
    for word in words:
        # Room for the backslash.
        if lines[-1] and len(lines[-1]) + 1 + len(word) > _columns() - 2:
            lines.append(f"    {word}")
        else:
            lines[-1] = f"{lines[-1]} {word}".lstrip()
    _say(" \\\n".join(lines))


def _columns() -> int:
    return min(shutil.get_terminal_size().columns, _WIDEST)


def passed_over(where: str, problems: list[str], hint: str) -> DataError:
    """The error at the end of a command that has passed over some of its inputs."""
    return DataError(problems[0], hint=hint) if len(problems) == 1 else ProblemsError(where, problems, hint=hint)


def require_finished(ended: "Outcome", how_to_go_on: str) -> None:
    """Says how to go on after a signal, and ends with its exit code.

    Raises:
        KeyboardInterrupt: after Ctrl-C.
        RunError: after SIGTERM.
    """
    from yoso_cli.runtime.stopping import Outcome

    if ended is Outcome.INTERRUPTED:
        say(how_to_go_on)
        raise KeyboardInterrupt
    if ended is Outcome.TERMINATED:
        raise RunError("Stopped by SIGTERM.", hint=how_to_go_on)


def result(value: dict[str, Any], text: str, as_json: bool) -> None:
    """Prints a command's result to stdout: `value` as one JSON object with `"schema"` first, or `text`.

    A number that is not finite becomes null: JSON has no NaN.
    """
    told = json.dumps(_plain({"schema": SCHEMA, **value}), allow_nan=False) if as_json else text
    click.echo(printable(told, lines=True))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


@contextlib.contextmanager
def bar(total: int | None, label: str, *, initial: int = 0, unit: str = "img") -> Iterator[Bar]:
    """A progress bar on stderr with rate and time left; occasional lines when stderr is not a terminal.

    With `unit` B the count is of bytes, and shown in MB. With --quiet there is none.
    """
    if TERMINAL.quiet:
        with SILENT.bar(total, label, initial=initial, unit=unit) as nothing:
            yield nothing
        return
    if not sys.stderr.isatty():
        lines = _Lines(total, label, initial, unit)
        yield lines
        lines.finish()
        return
    from tqdm import tqdm

    # Its monitor thread would only redraw an idle bar, and is unsafe with fork.
    tqdm.monitor_interval = 0
    with tqdm(
        total=total, desc=label, initial=initial, unit=unit, unit_scale=unit == "B", file=sys.stderr, dynamic_ncols=True
    ) as drawn:
        yield _Drawn(drawn)


class Terminal:
    """The `Progress` of a command line.

    Attributes:
        quiet: say nothing: the option --quiet of the running command line.
    """

    quiet = False

    def speak(self) -> None:
        """Ends `quiet`."""
        self.quiet = False

    def message(self, text: str) -> None:
        """On stderr."""
        say(text)

    def bar(self, total: int | None, label: str, *, initial: int = 0, unit: str = "img") -> AbstractContextManager[Bar]:
        """On stderr as well."""
        return bar(total, label, initial=initial, unit=unit)


TERMINAL = Terminal()


class _Drawn:
    """A bar on a terminal."""

    def __init__(self, drawn: Any) -> None:
        self._drawn = drawn

    def update(self, n: int = 1, **shown: float | str) -> None:
        if shown:
            self._drawn.set_postfix_str(_figures(shown), refresh=False)
        self._drawn.update(n)


class _Lines:
    """Plain lines for a log."""

    def __init__(self, total: int | None, label: str, initial: int, unit: str) -> None:
        self._total, self._label, self._unit = total, label, unit
        self._initial = self._done = self._told = initial
        self._started = self._told_at = time.monotonic()
        self._shown: dict[str, float | str] = {}

    def update(self, n: int = 1, **shown: float | str) -> None:
        self._done += n
        self._shown.update(shown)
        now = time.monotonic()
        quiet = now - self._told_at
        far = self._total is not None and self._done - self._told >= self._total * _SHARE
        if quiet >= _AT_LEAST_EVERY or (far and quiet >= _AT_MOST_EVERY):
            self._tell(now)

    def finish(self) -> None:
        if self._done != self._told:
            self._tell(time.monotonic())

    def _tell(self, now: float) -> None:
        rate = (self._done - self._initial) / max(now - self._started, 1e-9)
        scale, unit = (1e6, "MB") if self._unit == "B" else (1, self._unit)
        done = round(self._done / scale)
        parts = [f"{done}", f"{rate / scale:.3g} {unit}/s"]
        if self._total:
            parts[0] = f"{done}/{round(self._total / scale)} ({self._done / self._total:.0%})"
            left = timedelta(seconds=round((self._total - self._done) / max(rate, 1e-9)))
            parts.append(f"{left} left" if self._done < self._total else f"took {_seconds(now - self._started)}")
        if self._shown:
            parts.append(_figures(self._shown))
        say(f"{self._label}: {', '.join(parts)}")
        self._told, self._told_at = self._done, now


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def _figures(shown: dict[str, float | str]) -> str:
    """`loss 1.234, lr 0.0001`."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in shown.items()
    )


def labelled(label: str, text: str) -> str:
    """`text` beside its label, wrapped to the terminal; a `quoted command` is not broken, so that it can be copied."""
    width = _columns()
    whole = re.sub(r"`[^`]*`", lambda quoted: quoted[0].replace(" ", "\0"), printable(text))
    lines = textwrap.wrap(whole, width - _LABEL, break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"{label if not place else '':<{_LABEL}}{line}" for place, line in enumerate(lines)).replace(
        "\0", " "
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> str:
    """A text table for `result`; numeric columns are aligned to the right.

    Floats get one decimal, None a dash. On a terminal there is a rule under the headings.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [all(_is_figure(row[place]) for row in cells) and bool(cells) for place in range(len(columns))]
    if sys.stdout.isatty():
        return _ruled(columns, cells, numeric, title)
    return _spaced(columns, cells, numeric, title)


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else printable(str(value))


def _is_figure(cell: str) -> bool:
    return cell == "-" or cell.lstrip("+-").replace(".", "", 1).isdigit()


def _spaced(columns: Sequence[str], cells: list[list[str]], numeric: list[bool], title: str) -> str:
    lines = [list(columns), *cells]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    texts = [title] if title else []
    for line in lines:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        texts.append("  ".join(padded).rstrip())
    return "\n".join(texts)


def _ruled(columns: Sequence[str], cells: list[list[str]], numeric: list[bool], title: str) -> str:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, title=title or None, title_justify="left")
    for name, right in zip(columns, numeric, strict=True):
        drawn.add_column(Text(name), justify="right" if right else "left", overflow="fold")
    for row in cells:
        drawn.add_row(*(Text(cell) for cell in row))
    console = Console(color_system=None)  # `result` escapes control characters, and colours are such
    with console.capture() as capture:
        console.print(drawn)
    return capture.get().rstrip("\n")
