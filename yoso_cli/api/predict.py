"""Prediction: a model to call with pictures."""

# H, W height and width of a picture in pixels

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from PIL import Image

from yoso_cli.api.predictor import EngineOptions
from yoso_cli.api.result import Result
from yoso_cli.api.weights import ModelFile, Named, fastest_weights, knows, read_model
from yoso_cli.errors import DataError, RecipeError, UsageError
from yoso_cli.media.fetch import fetch_image
from yoso_cli.media.inputs import Input, read_input
from yoso_cli.panoptic.photos import read_image
from yoso_cli.panoptic.types import Category, Rgb
from yoso_cli.runtime.progress import SILENT, Progress
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    import torch

    from yoso_cli.api.video import VideoResult
    from yoso_cli.inference.predict import Predictor
    from yoso_cli.media.video_reader import VideoReader
    from yoso_cli.recipe.schema import Recipe

Picture = str | Path | Image.Image | Rgb | Input
"""A path, an http or https address, a PIL image, uint8 (H, W, 3) in RGB, or what `find_inputs` found."""


class Model:
    """A model, ready for inference: call it with a picture.

    Args:
        file: the weights with their recipe.
        predictor: their network on its device.

    Attributes:
        file: the weights with their recipe.
        predictor: maps arrays to `Panoptic`.
    """

    def __init__(self, file: ModelFile, predictor: "Predictor") -> None:
        self.file = file
        self.predictor = predictor

    def __repr__(self) -> str:
        return f"<Model {self.path}, {len(self.categories)} classes, on {self.device}>"

    @property
    def path(self) -> Path:
        """The weights file."""
        return self.file.path

    @property
    def categories(self) -> tuple[Category, ...]:
        """The classes, in the order of the network's class logits."""
        return self.predictor.categories

    @property
    def recipe(self) -> "Recipe":
        """The recipe of its training, with overrides applied."""
        return self.file.recipe

    @property
    def settings(self) -> dict[str, Any]:
        """All that a result depends on besides the picture: the hash of the weights, sizes, thresholds and switches."""
        chosen = self.predictor
        return {
            "weights": self.file.digest,
            "edges": [chosen.short_edge, chosen.long_edge],
            "thresholds": [chosen.score_threshold, chosen.overlap_threshold],
            "engine": [str(chosen.engine), chosen.merge_rule],
        }

    @property
    def device(self) -> "torch.device":
        """The device of the network."""
        return self.predictor.device

    # A str is also an iterable of str; the first overload applies then.
    @overload
    def __call__(self, pictures: Picture, *, batch: int = ...) -> Result: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, pictures: Iterable[Picture], *, batch: int = ...) -> Iterator[Result]: ...
    def __call__(self, pictures: Picture | Iterable[Picture], *, batch: int = 1) -> Result | Iterator[Result]:
        """Predicts one picture, or an iterable of pictures in order.

        Args:
            pictures: one, or any iterable of them, which is read lazily.
            batch: batch size; pictures of one padded size are batched.

        Raises:
            DataError: a picture is missing or damaged, or an array has another shape or type.
            RunError: a URL cannot be read.
        """
        if batch < 1:
            raise UsageError(f"A batch has at least one picture, not {batch}.")
        if isinstance(pictures, (str, Path, Image.Image, np.ndarray, Input)):
            pixels = read_picture(pictures)
            return Result(pixels, self.predictor(pixels), self.categories, _source(pictures))
        if not _is_several(pictures):
            raise _no_picture(pictures)
        return self._each(pictures, batch)

    def video(
        self,
        source: str | Path,
        *,
        every: int = 1,
        start: float | None = None,
        stop: float | None = None,
        fps: float | None = None,
    ) -> "Iterator[VideoResult]":
        """Predicts the frames of a video one by one; a segment's id persists from frame to frame.

        Args:
            source: a file (mp4, mov, avi, mkv, webm, gif), an `rtsp://` or `https://` address, or `camera:0`.
            every: of how many frames one is predicted.
            start: seconds from the beginning at which to begin.
            stop: seconds from the beginning at which to end.
            fps: the most frames per second that are predicted.

        Raises:
            UsageError: an option is out of range, or PyAV is not installed.
            DataError: it is no video; or, after the last frame, the file was cut short or frames did not decode.
            RunError: a stream does not answer.
        """
        from yoso_cli.media.video_reader import VideoReader

        return self._frames(VideoReader(source, every=every, start=start, stop=stop, fps=fps))

    def _frames(self, reader: "VideoReader") -> "Iterator[VideoResult]":
        from yoso_cli.api.video import predict_video

        with reader:
            yield from predict_video(self, reader)
        if reader.problem:
            raise DataError(reader.problem)

    def _each(self, pictures: Iterable[Picture], batch: int) -> Iterator[Result]:
        from yoso_cli.inference.predict import predict_stream

        stream = predict_stream(self.predictor, pictures, read_picture, batch=batch, keep_pictures=True)
        for picture, pixels, panoptic in stream:
            assert pixels is not None, "pictures are kept"
            yield Result(pixels, panoptic, self.categories, _source(picture))


def load(
    source: Named = None,
    *,
    device: str = "auto",
    precision: str | None = None,
    short_edge: int | None = None,
    long_edge: int | None = None,
    score_threshold: float | None = None,
    overlap_threshold: float | None = None,
    options: EngineOptions | None = None,
    runs: str | Path = "runs",
    progress: Progress = SILENT,
) -> Model:
    """Loads a model: released weights by name, a run folder, a weights file or a URL.

    Args:
        source: `coco`, `runs/mine-001`, `fast.safetensors` or a URL; None is the newest run. Of a run, its
            re-parameterised weights are used if they are made from its newest checkpoint. A name or a URL is
            downloaded the first time.
        device: auto, cpu, cuda or cuda:N.
        precision: of the network: float32, bfloat16 or float16.
        short_edge: pixels the short edge is scaled to; this and the next three are the recipe's unless given.
        long_edge: pixels the long edge may not exceed.
        score_threshold: the lowest score of a segment; 0..1.
        overlap_threshold: the share of its mask that a segment must keep; 0..1.
        options: all inference options.
        runs: the folder of all runs.
        progress: shows a download.

    Raises:
        UsageError: the source does not exist, or a value is out of range.
        DataError: the weights are damaged, unsafe or of another kind.
        RunError: a download fails, or there is no such device.
    """
    values: dict[str, Any] = {
        "short_edge": short_edge,
        "long_edge": long_edge,
        "score_threshold": score_threshold,
        "overlap_threshold": overlap_threshold,
    }
    overrides = [f"inference.{name}={value}" for name, value in values.items() if value is not None]
    if precision is not None and options is not None:
        raise UsageError("precision is set twice: it is part of options.", hint="Give one of the two.")
    try:
        return open_model(
            source, overrides, device, options or EngineOptions(precision=precision), Path(runs), progress
        )
    except RecipeError as error:
        told = " ".join(f"{one.removeprefix('--set inference.')}." for one in error.problems)
        raise UsageError(f"yoso.load: {told}", hint="The other values are those of the model's recipe.") from None


def open_model(
    source: Named,
    overrides: Sequence[str],
    device: str,
    options: EngineOptions,
    runs: Path,
    progress: Progress,
) -> Model:
    """As `load`, with overrides in the form of `--set`."""
    file = read_model(fastest_weights(source, runs, progress), overrides, progress)
    return Model(file, file.predictor(device, options))


def using(model: Model) -> str:
    """A sentence that names the weights, their classes, the threshold and the device."""
    from yoso_cli.api.predictor import described

    kind = "re-parameterised" if model.file.weights.steps else "as trained"
    kind = f"exported in {model.file.exported.precision}" if model.file.exported else kind
    known = knows(model.file)
    return (
        f"Using {model.path} ({kind}, {counted(len(model.categories), 'class')} of {model.recipe.data.name}), "
        f"score above {model.predictor.score_threshold:g}, on {described(model.predictor)}."
        f"{f' It {known}.' if known else ''}"
    )


def read_picture(picture: Picture) -> Rgb:
    """Reads a picture as uint8 (H, W, 3), with EXIF orientation applied.

    Raises:
        DataError: it is missing, damaged or too large, or an array of another shape or type.
        RunError: its URL cannot be read.
    """
    if isinstance(picture, np.ndarray):
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or not picture.size:
            raise DataError(f"A picture must be uint8 (H, W, 3); this array is {picture.dtype} {picture.shape}.")
        return picture
    if isinstance(picture, Input):
        return read_input(picture)
    if isinstance(picture, Image.Image):
        return np.array(picture.convert("RGB"))
    if isinstance(picture, (str, Path)):
        return fetch_image(str(picture)) if "://" in str(picture) else read_image(Path(picture))
    raise _no_picture(picture)


def _is_several(given: object) -> bool:
    """Whether pictures can be taken from it; bytes and a tensor can be iterated, but give numbers."""
    return isinstance(given, Iterable) and not isinstance(given, (bytes, bytearray)) and not hasattr(given, "dtype")


def _no_picture(given: object) -> DataError:
    kind = type(given).__name__
    return DataError(f"A picture is a path, a URL, a PIL image or a uint8 array (H, W, 3), and this is of type {kind}.")


def _source(picture: Picture) -> str:
    if isinstance(picture, Input):
        return picture.source
    return str(picture) if isinstance(picture, (str, Path)) else ""
