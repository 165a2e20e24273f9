"""Options that several commands share, so that they read and behave the same everywhere."""

import os
from pathlib import Path

import click

from yoso_cli.errors import UsageError, did_you_mean

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")

device_option = click.option(
    "--device",
    default="auto",
    metavar="DEVICE",
    show_default="CUDA if there is one, else the CPU",
    help="Where to compute: auto, cpu, cuda or cuda:N.",
)

runs_option = click.option(
    "--runs",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    show_default=True,
    help="Folder of run folders.",
)

set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one recipe value, as in --set train.lr=2e-4. Repeatable.",
)

weights_option = click.option(
    "--weights",
    metavar="SOURCE",
    help="A run folder, a weights file, the name of released weights, or a URL.",
)

output_option = click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Where to write.",
)

force_option = click.option("--force", is_flag=True, help="Overwrite what is there already.")

workers_option = click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    show_default="one for each core",
    help="Processes that work at a time.",
)

datasets_option = click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("datasets"),
    show_default=True,
    metavar="DIR",
    help="The folder of all datasets.",
)

keep_going_option = click.option(
    "--keep-going", is_flag=True, help="Look at all of it and tell every problem, not just the first."
)


def require_there(*typed: Path | None) -> None:
    """Raises UsageError for the first path of the command line that is not there: one rule for all commands."""
    for path in typed:
        if path is not None and not is_there(path):
            raise UsageError(f"{path}: there is no such file or folder.", hint=did_you_mean(str(path), beside(path)))


def is_there(path: Path) -> bool:
    """Whether `path` exists; False as well for a name that no file could have, for which Path.exists raises."""
    return os.path.exists(path)  # noqa: PTH110


def beside(path: Path) -> list[str]:
    """What lies where `path` should, written as `path` is: one of these may be meant."""
    try:
        return [str(path.parent / one.name) for one in path.parent.iterdir()]
    except (OSError, ValueError):
        return []


def processes(workers: int | None) -> int:
    """How many processes --workers asks for."""
    from yoso_cli.runtime.machine import usable_cores

    return workers or usable_cores()
