"""Inference options, and a predictor made from a network and a recipe."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from yoso_cli.errors import UsageError
from yoso_cli.runtime.machine import choose_device, keep_freed_memory
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    import torch

    from yoso_cli.export.metadata import Metadata
    from yoso_cli.inference.engine import Switches
    from yoso_cli.inference.predict import Predictor
    from yoso_cli.model.yoso import YOSO
    from yoso_cli.panoptic.types import Category
    from yoso_cli.recipe.schema import Recipe


@dataclass(frozen=True)
class EngineOptions:
    """Inference options; None is the default of the device, the fastest that was measured.

    Attributes:
        precision: one of `model.precision.PRECISIONS`.
        channels_last: memory format.
        compiled: use torch.compile.
        graphs: use CUDA graphs.
        fused: use fused oneDNN convolutions.
        winograd: use Winograd for wide 3x3 convolutions; needs `fused`.
        threads: CPU threads; None is one for each core.
        fast_merge: merge masks at their own resolution.
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
        """The given switches, with the device's defaults for the rest."""
        from yoso_cli.inference.engine import Switches, switches_for
        from yoso_cli.model.precision import PRECISIONS

        if self.precision not in (None, *PRECISIONS):
            raise UsageError(f"{self.precision!r} is no precision.", hint=f"There are {', '.join(PRECISIONS)}.")
        given = {one.name: getattr(self, one.name) for one in fields(Switches)}
        return switches_for(device, **{name: value for name, value in given.items() if value is not None})

    def require_none_of_torch(self, path: Path) -> None:
        """Raises UsageError where an option is one of torch's, and `path` is an exported file."""
        names = ("channels_last", "compiled", "graphs", "fused", "winograd")
        for name in (name for name in names if getattr(self, name) is not None):
            option = "compile" if name == "compiled" else name.replace("_", "-")
            raise UsageError(
                f"--{option}: is a switch of torch, and {path} is an exported file.",
                hint="Leave it out, or name the weights that the file was made from.",
            )

    def prepare_process(self) -> None:
        """Sets the number of CPU threads, and keeps freed memory in this process for reuse."""
        keep_freed_memory()
        if self.threads is not None:
            import torch

            torch.set_num_threads(self.threads)


OLD_PRECISIONS = {"single": "float32", "half": "float16"}
"""Former names, which are still accepted."""

AS_MEASURED = EngineOptions()
"""All defaults."""


def make_predictor(
    model: "YOSO",
    categories: "tuple[Category, ...]",
    recipe: "Recipe",
    device: "torch.device",
    *,
    flip: bool = False,
    scales: Sequence[float] = (),
    options: EngineOptions = AS_MEASURED,
) -> "Predictor":
    """The model with the recipe's sizes and thresholds, in evaluation mode on `device`.

    `flip` and `scales` are test-time augmentation, see `inference.views.views`.

    Raises:
        RunError: the device does not support one of `options`.
        UsageError: options contradict each other.
    """
    from yoso_cli.inference.predict import Predictor
    from yoso_cli.inference.views import views

    chosen = recipe.inference
    return Predictor(
        model,
        categories,
        short_edge=chosen.short_edge,
        long_edge=chosen.long_edge,
        score_threshold=chosen.score_threshold,
        overlap_threshold=chosen.overlap_threshold,
        device=device,
        merge=options.merge,
        views=views(flip, scales),
        switches=options.switches(device),
    )


def exported_predictor(
    path: Path,
    told: "Metadata",
    recipe: "Recipe",
    device: str,
    *,
    flip: bool = False,
    scales: Sequence[float] = (),
    options: EngineOptions = AS_MEASURED,
) -> "Predictor":
    """An exported file with the sizes and thresholds of `recipe`; other arguments are those of `make_predictor`.

    Raises:
        UsageError: the file cannot do one of `options`, or a package that runs it is missing.
        DataError: the file is damaged or rejected.
    """
    import torch

    from yoso_cli.export.runtimes import FileEngine, MergedPredictor, opened, require_possible
    from yoso_cli.inference.predict import Predictor
    from yoso_cli.inference.views import views

    shown = views(flip, scales)
    require_possible(told, shown, options.merge)
    options.require_none_of_torch(path)
    if choose_device("cpu" if device == "auto" else device).type != "cpu":
        raise UsageError(f"--device {device}: {path} runs on the CPU.", hint="Leave --device out, or run its weights.")
    engine = FileEngine(opened(path, told, torch.get_num_threads(), options.precision), options.precision)
    kind, chosen = MergedPredictor if told.merge == "inside" else Predictor, recipe.inference
    return kind(
        engine,
        told.categories,
        short_edge=chosen.short_edge,
        long_edge=chosen.long_edge,
        score_threshold=chosen.score_threshold,
        overlap_threshold=chosen.overlap_threshold,
        frame=told.size,
        merge=options.merge,
        views=shown,
    )


def described(predictor: "Predictor") -> str:
    """`cpu (float32, channels_last, 2 threads)`."""
    import torch

    threads = torch.get_num_threads()
    count = f", {counted(threads, 'thread')}" if predictor.device.type == "cpu" else ""
    merge = "" if predictor.merge_rule == "exact" else f", {predictor.merge_rule} merge"
    return f"{predictor.device} ({predictor.engine}{count}{merge})"


def reason(predictor: "Predictor") -> str:
    """A line that explains the choice of switches."""
    from yoso_cli.inference.engine import TorchEngine, default_for

    default = default_for(predictor.device)
    if not isinstance(predictor.engine, TorchEngine):
        return f"An exported file, run by {predictor.engine}."
    if predictor.engine.switches == default.switches:
        return f"Switches: {default.switches}: {default.reason}."
    return f"Switches: {predictor.engine}, as requested. By default {default.switches}: {default.reason}."
