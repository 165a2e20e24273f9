"""`yoso doctor`: what this machine has and lacks."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from yoso_cli.commands import console, options
from yoso_cli.runtime.words import counted, shortened

if TYPE_CHECKING:
    from yoso_cli.api.doctor import Checkup, FoundPackage

_GIB = 1 << 30


@click.command(name="doctor")
@options.json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Tell what this machine has and lacks: packages, devices, room, weights, data.

    Each package that is used is imported, so a broken installation is named with what brings it. The exit code is 1
    when something is missing without which nothing works, and 0 otherwise. Nothing is written.

    \b
    Example:
      yoso doctor
      yoso doctor --json
    """
    from yoso_cli.api.doctor import doctor

    found = doctor()
    console.result(found.to_dict(), _text(found), as_json)
    if not as_json:
        console.next_step(_next(found))
    if found.broken:
        ctx.exit(1)


def _text(found: "Checkup") -> str:
    """Blocks of facts with their labels, none wider than the terminal."""
    here = found.machine
    lines = [
        ("Machine", f"{here['platform']}, Python {here['python']}"),
        *_listed("Devices", [f"{one.device}: {one.name}{_gib(one.memory_bytes)}" for one in found.devices]),
        ("", f"{counted(int(here['cores']), 'core')}; {_onednn(found.onednn)}"),
        ("Packages", ", ".join(f"{one.name} {one.version}" for one in found.packages if not one.problem)),
        *_listed("Broken", [_problem(one) for one in found.broken]),
        *_listed("Missing", [_problem(one) for one in found.missing]),
        *_listed("Weights", [_weights(found)]),
        *_listed("Datasets", [_datasets(found)]),
        *_listed("Runs", [_runs(found)]),
        *_listed("Room", [f"{one.path}: {one.free_bytes / _GIB:.1f} GiB free, for {one.use}" for one in found.room]),
    ]
    return "\n".join(console.labelled(label, text) for label, text in lines)


def _onednn(operators: dict[str, bool] | None) -> str:
    if operators is None:
        return "torch cannot be asked for oneDNN"
    failing = [name for name, works in operators.items() if not works]
    if failing:
        return f"without oneDNN's {', '.join(failing)}, so that networks run slower on the CPU"
    return "oneDNN's operators work"


def _listed(label: str, texts: Iterable[str]) -> list[tuple[str, str]]:
    return [(label if not place else "", text) for place, text in enumerate(texts)]


def _gib(size: int) -> str:
    return f", {size / _GIB:.1f} GiB" if size else ""


def _problem(one: "FoundPackage") -> str:
    why = "" if not one.version else f" ({one.version} is installed and fails: {one.problem})"
    return f"{one.name}{why}, for {one.use}: `{one.command}`"


def _weights(found: "Checkup") -> str:
    if not found.weights:
        return f"none in {found.cache}"
    size = sum(one.bytes for one in found.weights) / _GIB
    return f"{counted(len(found.weights), 'file')}, {size:.2f} GiB, in {found.cache}"


def _datasets(found: "Checkup") -> str:
    splits = [f"{one.name}/{one.split} ({one.problem or counted(one.images, 'image')})" for one in found.datasets]
    return shortened(splits, more=", ...") if splits else "none in ./datasets"


def _runs(found: "Checkup") -> str:
    if not found.runs:
        return "none in ./runs"
    newest = found.runs[-1]
    reached = "without a checkpoint" if newest.iteration is None else f"at iteration {newest.iteration}"
    report = "with a report" if newest.report else "not evaluated yet"
    return f"{len(found.runs)}; the newest is {newest.path}, {reached}, {report}"


def _next(found: "Checkup") -> str:
    """What a person would type: the repair, else the first step, else the next one."""
    if found.broken:
        return found.broken[0].command
    trained = [one for one in found.runs if one.iteration is not None]
    if trained:
        return "yoso bench" if trained[-1].report else "yoso eval"
    return "yoso recipe list" if found.datasets else "yoso demo"
