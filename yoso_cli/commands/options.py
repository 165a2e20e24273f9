"""Options that several commands share."""

import functools
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yoso_cli.api.predictor import OLD_PRECISIONS, EngineOptions

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")

device_option = click.option(
    "--device",
    default="auto",
    metavar="DEVICE",
    show_default="CUDA if available, else the CPU",
    help="Where to compute: auto, cpu, cuda or cuda:N.",
)

runs_option = click.option(
    "--runs",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    show_default=True,
    help="Folder of all runs.",
)

set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a recipe value, as in --set train.lr=2e-4. Repeatable.",
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

force_option = click.option("--force", is_flag=True, help="Overwrite existing output.")

workers_option = click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    show_default="one for each core",
    help="Number of worker processes.",
)

datasets_option = click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("datasets"),
    show_default=True,
    metavar="DIR",
    help="The folder of all datasets.",
)

keep_going_option = click.option("--keep-going", is_flag=True, help="Report all problems, not just the first.")


# click knows the type of its choices from 8.2 on.
if TYPE_CHECKING:
    _Choice = click.Choice[str]
else:
    _Choice = click.Choice


class _Precision(_Choice):
    """A choice that also accepts OLD_PRECISIONS."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The precision under its present name."""
        return super().convert(OLD_PRECISIONS.get(value, value), param, ctx)


_ENGINE_OPTIONS = (
    click.option(
        "--precision",
        type=_Precision(["float32", "bfloat16", "float16"]),
        show_default="float32",
        help="Precision of the network; its decoder and shifts stay float32. 16 bits change a few pixels.",
    ),
    click.option(
        "--channels-last/--channels-first",
        default=None,
        show_default="last on a CPU, first on a GPU",
        help="Memory format of the network.",
    ),
    click.option(
        "--compile/--no-compile",
        "compiled",
        default=None,
        show_default="no",
        help="Use torch.compile, which takes minutes for each new input size.",
    ),
    click.option("--graphs/--no-graphs", default=None, show_default="no", help="Use CUDA graphs; GPU only."),
    click.option(
        "--fused/--no-fused",
        "fused",
        default=None,
        show_default="fused on a CPU in float32",
        help="Use oneDNN convolutions with ReLU and addition fused; CPU only.",
    ),
    click.option(
        "--winograd/--no-winograd",
        default=None,
        show_default="where fused",
        help="Use Winograd for wide 3x3 convolutions: a quarter of the multiplications; needs --fused.",
    ),
    click.option(
        "--threads", type=click.IntRange(1), metavar="N", show_default="one for each core", help="CPU threads."
    ),
    click.option(
        "--fast-merge",
        is_flag=True,
        help="Merge masks at their own resolution: faster, with coarser borders and a different PQ.",
    ),
)


def engine_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command all inference options, and their values as its argument `engine_options`."""
    names = [one.name for one in fields(EngineOptions)]

    @functools.wraps(command)
    def with_options(*args: Any, **values: Any) -> None:
        command(*args, engine_options=EngineOptions(**{name: values.pop(name) for name in names}), **values)

    found: Callable[..., None] = with_options
    for option in reversed(_ENGINE_OPTIONS):
        found = option(found)
    return found


def given(options: EngineOptions) -> dict[str, bool]:
    """Each inference option, and whether it was given."""
    return {
        "--precision": options.precision is not None,
        "--channels-last": options.channels_last is not None,
        "--compile": options.compiled is not None,
        "--graphs": options.graphs is not None,
        "--fused": options.fused is not None,
        "--winograd": options.winograd is not None,
        "--threads": options.threads is not None,
        "--fast-merge": options.fast_merge,
    }
