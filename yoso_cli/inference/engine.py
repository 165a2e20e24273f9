"""Running the network: what an engine is, and torch's: precision, memory format, compilation, fusion."""

# B pictures, H W padded picture size

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from yoso_cli.errors import RunError, UsageError
from yoso_cli.inference import onednn
from yoso_cli.inference.fused import fused
from yoso_cli.inference.winograd import use_winograd
from yoso_cli.model.precision import PRECISIONS
from yoso_cli.model.yoso import YOSO, Output

# Each keeps the memory of a whole forward pass: pictures of many sizes would fill a GPU.
MOST_GRAPHS = 8


class Engine(Protocol):
    """What runs a network: torch, or the runtime of an exported file (`export.runtimes`).

    Attributes:
        device: where its input lies.
        precision: of its convolutions, as in `export.formats.PRECISIONS`.
        mean: of its pixels, RGB 0..255, which pads pictures.
    """

    device: torch.device
    precision: str
    mean: tuple[float, ...]

    def __call__(self, images: Tensor) -> Output:
        """(B, 3, H, W) RGB 0..255, H and W multiples of 32, to the last stage's output."""

    def __str__(self) -> str:
        """What runs, and how: `float32, channels_last`, or `onnxruntime 1.32.0, float32`."""

    def facts(self) -> dict[str, Any]:
        """The same as plain values."""

    def parts(self) -> dict[str, nn.Module]:
        """The modules within that can be timed one by one, in their order; none where there are no modules."""


@dataclass(frozen=True)
class Switches:
    """Inference options of the network.

    Attributes:
        precision: one of PRECISIONS; the 16-bit ones round every map of the backbone (docs/speed.md has what that
            costs), float16 and what is not fused by autocast.
        channels_last: weights and maps with channels innermost.
        compiled: through torch.compile; the first picture of each size takes minutes.
        graphs: a CUDA graph for each input size; GPU only.
        fused: convolutions and products by oneDNN, together with ReLUs and sums; CPU, not compiled, float32, or
            bfloat16 where the CPU has instructions for it.
        winograd: of these, wide ones of 3x3 with a quarter of the multiplications; float32.
    """

    precision: str = "float32"
    channels_last: bool = False
    compiled: bool = False
    graphs: bool = False
    fused: bool = False
    winograd: bool = False

    def __str__(self) -> str:
        """`float32, channels_last`."""
        return ", ".join([self.precision, *(name for name, on in asdict(self).items() if on is True)])


@dataclass(frozen=True)
class Default:
    """The default switches of a device type, and the reason."""

    switches: Switches
    reason: str


# The fastest that change no prediction; docs/measurements/ has the effect of each switch.
_ON_CPU = Default(
    Switches(channels_last=True, fused=True, winograd=True),
    "the fastest that change no prediction, measured on two cores",
)
_ON_GPU = Default(Switches(), "nothing has been measured on a GPU yet, so nothing is switched on")


def default_for(device: torch.device) -> Default:
    """The fastest switches for the device that change no prediction and are supported by this torch."""
    if device.type == "cuda":
        return _ON_GPU
    missing = onednn.missing()
    if not missing:
        return _ON_CPU
    fused = onednn.CONVOLUTION not in missing
    return Default(
        replace(_ON_CPU.switches, fused=fused, winograd=fused and onednn.CONVOLUTION_LAYOUT not in missing),
        f"the fastest of what this build of torch has, without oneDNN's {', '.join(missing)}",
    )


def switches_for(device: torch.device, **given: Any) -> Switches:
    """The device's defaults, overridden by those `given`, without defaults that contradict them."""
    chosen = replace(default_for(device).switches, **given)
    if "fused" not in given and chosen.fused and not _fusible(chosen, device):
        chosen = replace(chosen, fused=False)
    if "winograd" not in given and not (chosen.fused and chosen.precision == "float32"):
        chosen = replace(chosen, winograd=False)
    return chosen


def _fusible(switches: Switches, device: torch.device) -> bool:
    works = onednn.bfloat16_works() if switches.precision == "bfloat16" else onednn.works(onednn.CONVOLUTION)
    return _alone(switches) and device.type == "cpu" and works


def _alone(switches: Switches) -> bool:
    """Whether the other switches allow fusion."""
    return switches.precision != "float16" and not switches.compiled


def _require_possible(switches: Switches, device: torch.device) -> None:
    if switches.graphs and device.type != "cuda":
        raise RunError(f"CUDA graphs need a GPU, and the device is {device}.", hint="Leave --graphs out.")
    if switches.fused and not _alone(switches):
        raise UsageError(
            "--fused needs float32 or bfloat16, and cannot be combined with --compile.",
            hint="Leave --fused out, or --precision and --compile.",
        )
    if switches.fused and not _fusible(switches, device):
        what = "instructions for bfloat16" if switches.precision == "bfloat16" and device.type == "cpu" else ""
        raise RunError(
            f"--fused needs a CPU{' with ' * bool(what)}{what} and a torch with oneDNN; the device is {device}.",
            hint="Leave --fused out.",
        )
    if switches.winograd and not (switches.fused and switches.precision == "float32"):
        raise UsageError(
            "Winograd's convolutions are part of the fused ones, which are not switched on: those are float32 and not "
            "compiled.",
            hint="Leave --winograd out, or whichever of --no-fused, --precision and --compile was given.",
        )


class TorchEngine:
    """Runs a model with torch.

    Args:
        model: on its device, in evaluation mode; its memory format is changed in place.
        device: where it is.
        switches: how to run it.

    Attributes:
        network: what runs, over the weights of `model`.

    Raises:
        RunError: the device cannot do what is switched on.
        UsageError: the switches exclude each other.
    """

    def __init__(self, model: YOSO, device: torch.device, switches: Switches) -> None:
        _require_possible(switches, device)
        if switches.channels_last:
            model.to(memory_format=torch.channels_last)
        self.device = device
        self.switches = switches
        self.precision = switches.precision
        self.mean = model.backbone.pixel_mean
        self.network = fused(model, PRECISIONS[switches.precision]) if switches.fused else model
        if switches.winograd:
            use_winograd(self.network)
        self._run: Callable[[Tensor], list[Output]] = _compiled(model) if switches.compiled else self.network
        # The least recently used first.
        self._graphs: dict[torch.Size, Graph] = {}

    def __call__(self, images: Tensor) -> Output:
        """(B, 3, H, W) to the last stage's output, without gradients."""
        if not self.switches.graphs:
            return self._forward(images)
        graph = self._graphs.pop(images.shape, None) or Graph(self._forward, images)
        self._graphs[images.shape] = graph
        if len(self._graphs) > MOST_GRAPHS:
            del self._graphs[next(iter(self._graphs))]
        return graph.replay(images)

    def __str__(self) -> str:
        """`float32, channels_last`."""
        return str(self.switches)

    def facts(self) -> dict[str, Any]:
        """The switches."""
        return asdict(self.switches)

    def parts(self) -> dict[str, nn.Module]:
        """Backbone, pyramid, the rest of the aggregator, decoder."""
        network = self.network
        return {
            "backbone": network.backbone,
            "pyramid": network.aggregator.pyramid,
            "aggregation": network.aggregator,
            "decoder": network.decoder,
        }

    def _forward(self, images: Tensor) -> Output:
        precision = PRECISIONS[self.switches.precision]
        half = precision is not torch.float32
        autocast = torch.autocast(self.device.type, dtype=precision) if half else contextlib.nullcontext()
        with torch.inference_mode(), autocast:
            return self._run(images)[-1]


def _compiled(model: YOSO) -> Callable[[Tensor], list[Output]]:
    """`model` through torch.compile, which works when it is first called."""
    from torch._dynamo.exc import TorchDynamoException

    program = torch.compile(model)

    def run(images: Tensor) -> list[Output]:
        try:
            return program(images)
        except TorchDynamoException as error:
            # The rest is a traceback and advice for torch developers.
            reason = " ".join([line.strip() for line in str(error).splitlines() if line.strip()][:2])
            raise RunError(
                f"torch.compile cannot compile the network here: {reason}.",
                hint="On a CPU it needs a C++ compiler, on a GPU triton. Otherwise leave --compile out.",
            ) from error

    return run


class Graph:
    """The CUDA graph of one input size: kernels are captured once and replayed without launch overhead."""

    def __init__(self, forward: Callable[[Tensor], Output], images: Tensor) -> None:
        self._input = images.clone()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            # Libraries select kernels in the first calls, which must not be captured.
            for _ in range(3):
                forward(self._input)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads use the GPU at the same time, for pictures and merging; their work must not be captured.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._output = forward(self._input)

    def replay(self, images: Tensor) -> Output:
        """The output for (B, 3, H, W) of the captured size."""
        self._input.copy_(images)
        self._graph.replay()
        # Copies: the next replay overwrites outputs that the merge of this picture may still read.
        assert self._output.class_logits is not None, "the last stage classifies"
        return Output(self._output.mask_logits.clone(), self._output.class_logits.clone())
