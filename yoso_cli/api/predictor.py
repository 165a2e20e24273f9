"""A network with a recipe's sizes and thresholds, run as asked: what every use case that predicts starts from."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from yoso_cli.runtime.machine import keep_freed_memory
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    import torch

    from yoso_cli.inference.engine import Switches
    from yoso_cli.inference.predict import Predictor
    from yoso_cli.model.yoso import YOSO
    from yoso_cli.panoptic.types import Category
    from yoso_cli.recipe.schema import Recipe


@dataclass(frozen=True)
class EngineOptions:
    """How a network runs; None leaves a switch to what was measured to be fastest on the device.

    Attributes:
        precision: one of `model.precision.PRECISIONS`.
        channels_last: memory format.
        compiled: through torch.compile.
        graphs: CUDA graphs.
        fused: convolutions by oneDNN.
        winograd: of these, wide ones of 3x3 with fewer multiplications.
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

    def prepare_process(self) -> None:
        """Sets the number of CPU threads and keeps freed memory for the next picture, from here on in this process."""
        keep_freed_memory()
        if self.threads is not None:
            import torch

            torch.set_num_threads(self.threads)


OLD_PRECISIONS = {"single": "float32", "half": "float16"}
"""Names of before, which are still understood wherever one is typed."""

AS_MEASURED = EngineOptions()
"""Every switch as it was measured to be fastest."""


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
        RunError: the device cannot do what `options` ask for.
        UsageError: the options rule each other out.
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


def described(predictor: "Predictor") -> str:
    """`cpu (float32, channels_last, 2 threads)`."""
    import torch

    threads = torch.get_num_threads()
    count = f", {counted(threads, 'thread')}" if predictor.device.type == "cpu" else ""
    merge = "" if predictor.merge_rule == "exact" else f", {predictor.merge_rule} merge"
    return f"{predictor.device} ({predictor.engine.switches}{count}{merge})"


def reason(predictor: "Predictor") -> str:
    """A line that says why the network runs as it does."""
    from yoso_cli.inference.engine import default_for

    default = default_for(predictor.device)
    if predictor.engine.switches == default.switches:
        return f"Switches: {default.switches}: {default.reason}."
    return f"Switches: {predictor.engine.switches}, as asked for. By default {default.switches}: {default.reason}."
