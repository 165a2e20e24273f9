"""Options that several commands share."""

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yoso_cli.api.predictor import OLD_PRECISIONS, EngineOptions
from yoso_cli.commands import console
from yoso_cli.drawing.style import BACKGROUNDS, COLORS, Style
from yoso_cli.errors import UsageError
from yoso_cli.media.frames import FrameChoice
from yoso_cli.runtime.progress import Progress

if TYPE_CHECKING:
    from yoso_cli.api.predict import Model
    from yoso_cli.api.weights import ModelFile
    from yoso_cli.media.inputs import Inputs

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
    metavar="DIR",
    help="Folder of all runs.",
)

set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a recipe value, as in --set train.lr=2e-4. Repeatable.",
)


def refuse(given: Mapping[str, object], why: str, hint: str = "Leave it out.") -> None:
    """Raises a UsageError that begins with the first name of `given` whose value is set, if there is one."""
    for name in (name for name, value in given.items() if value):
        raise UsageError(f"{name} {why}", hint=hint)


def found_inputs(words: Sequence[str], recursive: bool, datasets: Path) -> "Inputs":
    """What INPUTS stand for; what was passed over is said."""
    from yoso_cli.media.inputs import find_inputs

    found = find_inputs(words, recursive=recursive, datasets=datasets, stdin=sys.stdin.buffer)
    for remark in found.remarks:
        console.say(remark)
    return found


recursive_option = click.option("--recursive", "-r", is_flag=True, help="Search folders to any depth.")

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


def checked_pictures(count: int, purpose: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options `--images` and `--image`, of pictures that a network is run on before it is kept."""
    number = click.option(
        "--images",
        type=click.IntRange(1),
        default=count,
        metavar="N",
        show_default=True,
        help=f"Number of pictures to {purpose} on.",
    )
    named = click.option(
        "--image",
        "named",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        show_default="the validation split's first",
        help=f"A picture to {purpose} on. Repeatable.",
    )
    return functools.partial(with_all, [number, named])


def with_all(chosen: Sequence[Callable[..., Any]], command: Callable[..., None]) -> Callable[..., None]:
    """The command with options, in their order."""
    found = command
    for option in reversed(chosen):
        found = option(found)
    return found


_ENGINE_OPTIONS = (
    click.option(
        "--precision",
        type=_Precision(["float32", "bfloat16", "float16"]),
        show_default="float32",
        help="Precision of the network; its decoder and shifts stay float32. 16 bits moved the demo's PQ by 0.1.",
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
        show_default="fused on a CPU, but for float16",
        help="Use oneDNN convolutions with ReLU and addition fused; CPU only.",
    ),
    click.option(
        "--winograd/--no-winograd",
        default=None,
        show_default="where fused in float32",
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

    return with_all(_ENGINE_OPTIONS, with_options)


# A network of so small an input takes less time than drawing and writing what it finds: with one thread for it, the
# other cores do that meanwhile. Measured on two cores at 128x128: 28 ms a picture, and 44 with two threads.
_SMALL_INPUT = 320 * 320
# Pictures for which that pays.
_MANY = 16


@dataclass(frozen=True)
class ModelOptions:
    """Which model a command runs, and how.

    Attributes:
        source: SOURCE; None is the newest run.
        overrides: the values of --set, with that of --conf.
        runs: the folder of all runs.
        device: as `choose_device` takes it.
        engine: all inference options.
    """

    source: str | None
    overrides: tuple[str, ...]
    runs: Path
    device: str
    engine: EngineOptions

    def read(self, progress: Progress) -> "ModelFile":
        """The weights and their recipe, so that what is wrong with them is said before a network is built."""
        from yoso_cli.api.weights import fastest_weights, read_model

        return read_model(fastest_weights(self.source, self.runs, progress), self.overrides, progress)

    def build(self, file: "ModelFile", inputs: "Inputs") -> "Model":
        """The model, ready for inference of `inputs`."""
        from yoso_cli.api.predict import Model
        from yoso_cli.runtime.machine import choose_device

        engine, used = self.engine, file.recipe.inference
        small = used.short_edge * used.long_edge <= _SMALL_INPUT
        many = len(inputs.items) >= _MANY or any(one.is_video for one in inputs.items)
        if engine.threads is None and small and many and choose_device(self.device).type == "cpu":
            engine = replace(engine, threads=1)
        engine.prepare_process()
        return Model(file, file.predictor(self.device, engine))


_MODEL_OPTIONS = (
    click.option(
        "--weights",
        "source",
        metavar="SOURCE",
        show_default="the newest run, else downloaded weights",
        help="A run folder, a weights file, the name of released weights, or a URL.",
    ),
    click.option(
        "--conf",
        "score",
        type=click.FloatRange(0, 1),
        metavar="SCORE",
        show_default="the recipe's",
        help="The lowest score of a segment: short for --set inference.score_threshold=SCORE.",
    ),
    runs_option,
    device_option,
    engine_options,
    set_option,
)


def model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that choose a model, and their values as its argument `chosen`."""

    @functools.wraps(command)
    def with_options(
        *args: Any,
        source: str | None,
        score: float | None,
        runs: Path,
        device: str,
        engine_options: EngineOptions,
        overrides: tuple[str, ...],
        **values: Any,
    ) -> None:
        short = () if score is None else (f"inference.score_threshold={score}",)
        chosen = ModelOptions(source, (*overrides, *short), runs, device, engine_options)
        command(*args, chosen=chosen, **values)

    return with_all(_MODEL_OPTIONS, with_options)


_DRAWING_OPTIONS = (
    click.option(
        "--labels",
        metavar="LIST",
        show_default="name; none with --background",
        help="Text of the labels: any of name,id,score, or none.",
    ),
    click.option(
        "--color",
        type=_Choice(COLORS),
        default=Style.color,
        show_default=True,
        help="Colour of things: one for each instance, or that of their class.",
    ),
    click.option(
        "--alpha",
        type=click.FloatRange(0, 1),
        metavar="SHARE",
        show_default="0.5; 0 with --background",
        help="Opacity of the colours, 0 to 1.",
    ),
    click.option(
        "--legend/--no-legend", default=None, show_default="legend; none with --background", help="Add a legend."
    ),
    click.option("--side-by-side", is_flag=True, help="Put the photo at the left of its segments."),
    click.option(
        "--only",
        multiple=True,
        metavar="CLASSES",
        show_default="all",
        help="Draw these classes only, as in --only person,car; the rest stays the plain photo.",
    ),
    click.option(
        "--background",
        type=_Choice(BACKGROUNDS),
        help="Cut out things, or what --only names, and replace the rest. transparent needs PNG.",
    ),
)


_DRAWING_NAMES = ("labels", "color", "alpha", "legend", "side_by_side", "only", "background")


def drawing_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options of a picture's style, and their values as its argument `style`."""

    @functools.wraps(command)
    def with_style(*args: Any, **values: Any) -> None:
        command(*args, style=Style.of(**{name: values.pop(name) for name in _DRAWING_NAMES}), **values)

    return with_all(_DRAWING_OPTIONS, with_style)


_FRAME_OPTIONS = (
    click.option("--every", type=click.IntRange(1), default=1, metavar="N", help="Of a video: every Nth frame."),
    click.option("--start", type=click.FloatRange(0), metavar="SECONDS", help="Of a video: from here on."),
    click.option("--stop", type=click.FloatRange(0), metavar="SECONDS", help="Of a video: up to here."),
    click.option(
        "--fps", type=click.FloatRange(0, min_open=True), metavar="N", help="Of a video: at most N frames a second."
    ),
)


def frame_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that choose frames of a video, and their values as its argument `frames`."""

    @functools.wraps(command)
    def with_frames(
        *args: Any, every: int, start: float | None, stop: float | None, fps: float | None, **values: Any
    ) -> None:
        command(*args, frames=FrameChoice(every, start, stop, fps), **values)

    return with_all(_FRAME_OPTIONS, with_frames)


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
