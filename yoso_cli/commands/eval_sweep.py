"""The sweep of `yoso eval`: its options, its table and what to type next."""

import functools
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import click

from yoso_cli.commands import console, options
from yoso_cli.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from yoso_cli.api.evaluate import EvaluationRequest
    from yoso_cli.api.sweep import Swept


@dataclass(frozen=True)
class SweepOptions:
    """Which thresholds are swept, where the best pair is chosen, and whether it is saved.

    Attributes:
        axes: values by name, `score` and `overlap`; empty for no sweep.
        on: one of `api.sweep.PLACES`.
        save: whether to write it into the weights.
    """

    axes: Mapping[str, tuple[float, ...]]
    on: str | None
    save: bool

    def given(self) -> dict[str, object]:
        """The values of its options, by name."""
        return {"--sweep": bool(self.axes), "--sweep-on": self.on, "--save": self.save}


def sweep_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options of a sweep, and their values as its argument `sweep`."""

    @functools.wraps(command)
    def with_options(*args: Any, sweep: Sequence[str], sweep_on: str | None, save: bool, **values: Any) -> None:
        command(*args, sweep=SweepOptions(_axes(sweep), sweep_on, save), **values)

    return options.with_all(_SWEEP_OPTIONS, with_options)


_SWEEP_OPTIONS = (
    click.option(
        "--sweep",
        multiple=True,
        metavar="NAME=RANGE",
        help="Measure PQ at many thresholds with one pass of the network: score=0.1:0.9:0.05, overlap=0.5:0.9:0.1 "
        "(first, last, step), or values separated by commas. Repeatable, once for each. A pair that is chosen on few "
        "pictures flatters: see --sweep-on.",
    ),
    click.option(
        "--sweep-on",
        type=click.Choice(("half", "train")),
        help="Choose the best pair on every second picture, or on the training split, and measure it on the others.",
    ),
    click.option("--save", is_flag=True, help="Write the best pair of --sweep into the weights."),
)


def _axes(words: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """The values of each --sweep."""
    axes: dict[str, tuple[float, ...]] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if name not in ("score", "overlap") or not equals:
            hint = did_you_mean(name, ("score", "overlap"), "For example --sweep score=0.1:0.9:0.05.")
            raise UsageError(f"--sweep {word}: must be score=RANGE or overlap=RANGE.", hint=hint)
        if name in axes:
            raise UsageError(f"--sweep {word}: {name} is given twice.", hint="Separate single values by commas.")
        axes[name] = _range(word, text)
    return axes


_MOST_VALUES = 200


def _range(word: str, text: str) -> tuple[float, ...]:
    """0.1:0.9:0.05 as numbers that are exactly those written in decimals, or 0.1,0.3,0.5."""
    example = "Give FIRST:LAST:STEP or values separated by commas, from 0 to 1: 0.1:0.9:0.05 or 0.3,0.5."
    try:
        numbers = [Decimal(one.strip()) for one in text.split(":" if ":" in text else ",")]
    except InvalidOperation:
        numbers = []
    if not numbers or not all(one.is_finite() and 0 <= one <= 1 for one in numbers):
        raise UsageError(f"--sweep {word}: is no range of numbers from 0 to 1.", hint=example)
    if ":" not in text:
        return tuple(map(float, numbers))
    if len(numbers) != 3 or numbers[2] == 0 or numbers[0] > numbers[1]:
        raise UsageError(f"--sweep {word}: must be FIRST:LAST:STEP, rising.", hint=example)
    first, last, step = numbers
    if (last - first) / step > _MOST_VALUES:
        raise UsageError(f"--sweep {word}: has more than {_MOST_VALUES} values.", hint="Choose a larger step.")
    return tuple(float(first + step * place) for place in range(int((last - first) / step) + 1))


def sweep_model(request: "EvaluationRequest", asked: SweepOptions, as_json: bool) -> None:
    """Sweeps the thresholds of a model and prints the table; with several processes, the first one prints."""
    from yoso_cli.api import sweep
    from yoso_cli.evaluation.sweep import table
    from yoso_cli.runtime.distributed import process_group

    if not asked.axes:
        raise UsageError("--sweep-on and --save need --sweep.", hint="For example --sweep score=0.1:0.9:0.05.")
    not_swept = {"--metric": request.metrics, "--save-predictions": request.save_predictions}
    options.refuse(not_swept, "has no meaning for --sweep, which measures PQ alone.")
    scores, overlaps = (asked.axes.get(name, ()) for name in ("score", "overlap"))
    whole = sweep.SweepRequest(request, scores, overlaps, asked.on or sweep.PLACES[0], asked.save)
    request.options.prepare_process()
    with process_group() as group, console.silenced_unless(group.rank == 0):
        done = sweep.sweep_model(whole, group=group, progress=console.TERMINAL)
        if group.rank == 0:
            value = {**done.sweep.to_dict(), "weights": str(done.model.path), "saved": list(map(str, done.saved))}
            written = "".join(f"\nWritten into {path}." for path in done.saved)
            console.result(value, table(done.sweep) + written, as_json)
            console.next_step(_next(done))


def _next(done: "Swept") -> str:
    """Saving the pair if it is worth it, else an evaluation with all figures."""
    place = shlex.quote(str(done.model.run.path if done.model.run else done.model.path))
    best, present = done.sweep.best.cell, done.sweep.present.cell
    if done.saved or (best.pq or 0) <= (present.pq or 0):
        return f"yoso eval {place}"
    again = console.typed_command()
    return again if "--save" in again.split() else f"{again} --save"
