"""How a network runs: the same switches for every command that runs one, with the device's own where none is given."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import click

from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    import torch

    from yoso_cli.inference.engine import Switches
    from yoso_cli.inference.predict import Predictor


@dataclass(frozen=True)
class Running:
    """What the command line says; None leaves it to what was measured on such a device.

    Attributes:
        precision: one of `model.precision.PRECISIONS`.
        channels_last: memory format.
        compiled: through torch.compile.
        graphs: CUDA graphs.
        fused: convolutions by oneDNN.
        winograd: of these, some with fewer multiplications.
        threads: of the CPU; None is one for each core.
        fast_merge: whether masks are merged at their own size.
    """

    precision: str | None = None
    channels_last: bool | None = None
    compiled: bool | None = None
    graphs: bool | None = None
    fused: bool | None = None
    winograd: bool | None = None
    threads: int | None = None
    fast_merge: bool = False

    @property
    def merge(self) -> str:
        """One of `inference.postprocess.MERGES`."""
        return "fast" if self.fast_merge else "exact"

    def switches(self, device: "torch.device") -> "Switches":
        """Those given, and the device's own for the rest."""
        from yoso_cli.inference.engine import Switches, switches_for

        given = {one.name: getattr(self, one.name) for one in fields(Switches)}
        return switches_for(device, **{name: value for name, value in given.items() if value is not None})

    def asked(self) -> dict[str, bool]:
        """Each option's name, and whether it was given."""
        return {
            "--precision": self.precision is not None,
            "--channels-last": self.channels_last is not None,
            "--compile": self.compiled is not None,
            "--graphs": self.graphs is not None,
            "--fused": self.fused is not None,
            "--winograd": self.winograd is not None,
            "--threads": self.threads is not None,
            "--fast-merge": self.fast_merge,
        }

    def begin(self) -> None:
        """Takes as many CPU threads as were asked for, and keeps memory for the next picture; from here on."""
        import torch

        from yoso_cli.runtime.memory import keep_freed_memory

        keep_freed_memory()
        if self.threads is not None:
            torch.set_num_threads(self.threads)


AS_MEASURED = Running()
"""Nothing said: every switch as it was measured to be best."""

# Names of before, which are still understood wherever one is typed.
OLD_PRECISIONS = {"single": "float32", "half": "float16"}


class _Precision(click.Choice[str]):
    """A choice that also understands OLD_PRECISIONS."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The precision by its name of today."""
        return super().convert(OLD_PRECISIONS.get(value, value), param, ctx)


_OPTIONS = (
    click.option(
        "--precision",
        type=_Precision(["float32", "bfloat16", "float16"]),
        show_default="float32",
        help="Of the network, but for its decoder and shifts; 16 bits move a few pixels.",
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
        help="Run through torch.compile, which takes minutes at each new size.",
    ),
    click.option("--graphs/--no-graphs", default=None, show_default="no", help="Replay CUDA graphs; GPU only."),
    click.option(
        "--fused/--no-fused",
        "fused",
        default=None,
        show_default="fused on a CPU in float32",
        help="Convolutions by oneDNN, with their ReLUs and sums in one pass; CPU only.",
    ),
    click.option(
        "--winograd/--no-winograd",
        default=None,
        show_default="where fused",
        help="Wide 3x3 convolutions with a quarter of the multiplications; part of --fused.",
    ),
    click.option(
        "--threads", type=click.IntRange(1), metavar="N", show_default="one for each core", help="Of the CPU."
    ),
    click.option(
        "--fast-merge", is_flag=True, help="Merge masks at their own size: quicker, with coarser borders, other PQ."
    ),
)


def options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command all switches as options, and what they say as its argument `running`."""
    names = [one.name for one in fields(Running)]

    @functools.wraps(command)
    def with_running(*args: Any, **values: Any) -> None:
        command(*args, running=Running(**{name: values.pop(name) for name in names}), **values)

    found: Callable[..., None] = with_running
    for option in reversed(_OPTIONS):
        found = option(found)
    return found


def reason(predictor: "Predictor") -> str:
    """A line that says why the network runs as it does."""
    from yoso_cli.inference.engine import default_for

    default = default_for(predictor.device)
    if predictor.engine.switches == default.switches:
        return f"Switches: {default.switches}: {default.reason}."
    return f"Switches: {predictor.engine.switches}, as asked for. By default {default.switches}: {default.reason}."


def shown(predictor: "Predictor") -> str:
    """`cpu (float32, channels_last, 2 threads)`."""
    import torch

    threads = torch.get_num_threads()
    count = f", {counted(threads, 'thread')}" if predictor.device.type == "cpu" else ""
    merge = "" if predictor.merge_rule == "exact" else f", {predictor.merge_rule} merge"
    return f"{predictor.device} ({predictor.engine.switches}{count}{merge})"
