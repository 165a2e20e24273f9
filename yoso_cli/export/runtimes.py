"""Exported files as engines: opened by what their suffix says, run with the same preparation as any other model."""

# B pictures, H W padded picture size

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from yoso_cli.errors import DataError, UsageError
from yoso_cli.export.formats import SUFFIXES, format_of
from yoso_cli.export.metadata import Metadata
from yoso_cli.export.onnx_file import Array
from yoso_cli.inference.predict import Answer, Predictor, Resized
from yoso_cli.inference.views import PLAIN, View
from yoso_cli.model.yoso import Output
from yoso_cli.panoptic.types import IdMap, Panoptic, Rgb, Segment, measured, present_ids


class Session(Protocol):
    """An opened file.

    Attributes:
        metadata: what it says of itself.
        version: what runs it, with its version.
    """

    metadata: Metadata
    version: str

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs for the inputs, in the order of `program.INPUTS` and `OUTPUTS`."""


def read_metadata(path: Path) -> Metadata:
    """What an exported file says of itself.

    Raises:
        UsageError: a package that reads it is not installed.
        DataError: it is missing, damaged or foreign.
    """
    kind = _kind(path)
    if kind == "openvino":
        from yoso_cli.export import openvino_file

        return openvino_file.read_metadata(path)
    if kind == "torch":
        from yoso_cli.export import torch_file

        return torch_file.read_metadata(path)
    from yoso_cli.export import onnx_file

    return onnx_file.read_metadata(path)


def opened(path: Path, told: Metadata, threads: int, precision: str | None = None) -> Session:
    """The file, ready to run on the CPU.

    Args:
        path: an exported file.
        told: what it says of itself.
        threads: for the whole network.
        precision: in which it is computed instead of its own; only OpenVINO can.

    Raises:
        UsageError: a package that runs it is not installed, or it has another precision.
        DataError: it is missing, damaged, foreign or rejected.
    """
    kind, own = _kind(path), told.precision
    free = kind == "openvino" and own != "int8" and precision in ("float32", "bfloat16")
    if precision not in (None, own) and not free:
        raise UsageError(
            f"--precision {precision}: {path} was exported in {own}.",
            hint="Leave it out, or export another file with `yoso export --precision`.",
        )
    if kind == "openvino":
        from yoso_cli.export import openvino_file

        return openvino_file.Session(path, threads, precision)
    if kind == "torch":
        from yoso_cli.export import torch_file

        return torch_file.Session(path, threads)
    from yoso_cli.export import onnx_file

    return onnx_file.Session(path, threads)


def _kind(path: Path) -> str:
    found = format_of(path)
    if found is None:
        raise UsageError(f"{path}: is no exported file.", hint=f"They end in {', '.join(SUFFIXES)}.")
    return found.name


class FileEngine:
    """An `inference.engine.Engine` over an exported file without the merge.

    Args:
        session: the opened file.
        precision: in which it is computed; None for its own.
    """

    def __init__(self, session: Session, precision: str | None = None) -> None:
        self.session = session
        self.device = torch.device("cpu")
        self.precision = precision or session.metadata.precision
        self.mean = session.metadata.mean

    def __call__(self, images: Tensor) -> Output:
        """(B, 3, H, W) to masks and classes, one picture after the other: files take one at a time."""
        found = [self.session.run([one[None].numpy()]) for one in images]
        masks, classes = (torch.from_numpy(np.concatenate(part)) for part in zip(*found, strict=True))
        return Output(masks, classes)

    def __str__(self) -> str:
        """`onnxruntime 1.32.0, float32`."""
        merged = ", merge inside" if self.session.metadata.merge == "inside" else ""
        return f"{self.session.version}, {self.precision}{merged}"

    def facts(self) -> dict[str, Any]:
        """Runtime, format, precision and size."""
        told = self.session.metadata
        size = list(told.size) if told.size else "dynamic"
        return {"runtime": self.session.version, "format": told.format, "precision": self.precision, "size": size}

    def parts(self) -> dict[str, torch.nn.Module]:
        """None: the file is one piece."""
        return {}


class MergedPredictor(Predictor):
    """A file whose outputs are segments already. Arguments are those of `Predictor`, with a `FileEngine`."""

    engine: FileEngine

    def forward_of(self, image: Rgb, batch: int = 1) -> Callable[[], object]:
        """A call of the file, merge and all, on a picture prepared beforehand."""
        shown = self._resized(image, PLAIN)
        return lambda: [self._segments(shown) for _ in range(batch)]

    def answer(self, pictures: Sequence[Sequence[Resized]]) -> Answer:
        """The segments of each picture."""
        return [self._segments(plain) for (plain,) in pictures]

    def merge(self, output: Answer, sizes: Sequence[Any], rule: str | None = None) -> list[Panoptic]:
        """What `answer` gave."""
        assert not isinstance(output, Output), "the merge is inside"
        return output

    def _segments(self, shown: Resized) -> Panoptic:
        sizes = shown.sizes
        image = np.zeros((*sizes.padded, 3), np.uint8)
        image[: sizes.resized[0], : sizes.resized[1]] = shown.pixels.numpy()
        found = self.engine.session.run([image, np.array(sizes.resized), np.array(sizes.original)])
        return panoptic_of(found)


def panoptic_of(outputs: Sequence[Array]) -> Panoptic:
    """The outputs of a merged file as segments. Raises DataError where they contradict each other."""
    id_map, ids, category_ids, areas, scores = outputs
    segments = tuple(
        Segment(int(one), int(category), int(area), score=float(score))
        for one, category, area, score in zip(ids, category_ids, areas, scores, strict=True)
    )
    whole: IdMap = id_map.astype(np.int32, copy=False)
    if whole.ndim != 2 or not set(present_ids(whole)) <= {0, *(one.id for one in segments)}:
        raise DataError("An exported file gave a map of ids that it does not list.", hint="Export it again.")
    return Panoptic(whole, measured(whole, segments))


def require_possible(metadata: Metadata, views: Sequence[View], merge: str) -> None:
    """Raises UsageError for test-time augmentation and merges that a file cannot do."""
    if metadata.merge == "inside" and (len(views) > 1 or merge != "exact"):
        raise UsageError(
            "The file has the merge inside: test-time augmentation and --fast-merge need its masks.",
            hint="Leave them out, or export it with --merge none.",
        )
    if metadata.size is not None and any(view.scale != 1 for view in views):
        raise UsageError(
            f"The file takes pictures of {metadata.size[0]}x{metadata.size[1]} alone, and no other scale.",
            hint="Leave it out, or export it with --size dynamic.",
        )
