"""Export of folded weights to files that run without this package, proved before they are kept."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yoso_cli import atomic
from yoso_cli.api.dataset import first_pictures, prepared_set
from yoso_cli.api.evaluate import evaluate_predictor
from yoso_cli.api.predictor import EngineOptions, exported_predictor, make_predictor
from yoso_cli.api.weights import ModelFile, Named, fastest_weights, read_model
from yoso_cli.errors import DataError, RunError, UsageError
from yoso_cli.export.formats import Request, requested
from yoso_cli.panoptic.photos import read_image
from yoso_cli.panoptic.types import PanopticSet, Rgb
from yoso_cli.runtime import machine
from yoso_cli.runtime.progress import SILENT, Progress, tracked
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.export.metadata import Metadata
    from yoso_cli.export.network import MergedGraph, NetworkGraph
    from yoso_cli.export.proof import Proof
    from yoso_cli.inference.predict import Predictor, Resized
    from yoso_cli.model.yoso import YOSO

TOLERANCE = 1e-3
"""Of a float32 file's distance from double precision; ten times that of torch's own float32 passes too."""
MOST_LOSS = 1.0
"""PQ that a file in fewer bits may lose."""
CALIBRATION = 100
"""Pictures that int8's ranges are found on."""
PICTURES = 2
"""Pictures that a file is proved on, each at two sizes where the size is free."""

_SECOND_SIZE = 0.75


@dataclass(frozen=True)
class Judged:
    """PQ on the validation split, in percent, of the network in float32 and of the file.

    Attributes:
        before: of the network.
        after: of the file.
        images: how many were scored.
    """

    before: float
    after: float
    images: int

    @property
    def lost(self) -> float:
        """PQ lost; negative where the file is better."""
        return self.before - self.after


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path: the file; OpenVINO's .bin and TensorRT's .json lie beside it.
        metadata: what it says of itself.
        proof: how its answers compare.
        judged: its PQ, where it computes in fewer bits than float32.
        command: what makes TensorRT's engine of it, on a machine with a GPU; else empty.
    """

    path: Path
    metadata: "Metadata"
    proof: "Proof"
    judged: Judged | None
    command: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        told = self.metadata
        return {
            "file": str(self.path),
            "bytes": sum(one.stat().st_size for one in _files(self.path, told.format) if one.suffix != ".json"),
            "format": told.format,
            "precision": told.precision,
            "merge": told.merge,
            "size": list(told.size) if told.size else "dynamic",
            "pictures": self.proof.pictures,
            "sizes": [list(size) for size in self.proof.sizes],
            "distances": [asdict(one) for one in self.proof.figures],
            "pq": asdict(self.judged) | {"lost": self.judged.lost} if self.judged else None,
            "trtexec": self.command or None,
            "versions": told.versions,
        }


def export_model(
    source: Named = None,
    output: str | Path | None = None,
    *,
    to: str = "onnx",
    size: str = "dynamic",
    merge: str = "none",
    precision: str = "float32",
    compiled: bool = False,
    pictures: Sequence[str | Path] = (),
    count: int = PICTURES,
    tolerance: float = TOLERANCE,
    calibrate: int = CALIBRATION,
    most_loss: float = MOST_LOSS,
    overrides: Sequence[str] = (),
    force: bool = False,
    runs: str | Path = "runs",
    progress: Progress = SILENT,
) -> Exported:
    """Writes folded weights as a file for another runtime, and proves that it answers alike before it is kept.

    Args:
        source: the weights (see `api.weights.Named`); of a run, the re-parameterised ones.
        output: the file to write; by default named after the recipe, in the current folder.
        to: onnx, openvino, tensorrt or torch.
        size: `dynamic`, or HEIGHT,WIDTH of every input, as `512,800`.
        merge: `none` for masks and classes, `inside` for segments.
        precision: float32, bfloat16, float16 or int8, as the format can.
        compiled: with `torch`, a package of machine code by AOTInductor.
        pictures: to prove it on; by default `count` of the validation split.
        count: see `pictures`.
        tolerance: largest relative distance from double precision; ten times that of torch's own float32 passes too.
        calibrate: pictures that int8's ranges are found on.
        most_loss: PQ that may be lost in fewer bits than float32, on the validation split.
        overrides: changes of recipe values, as `inference.score_threshold=0.5`: they go into the file.
        force: overwrite `output`.
        runs: the folder of all runs.
        progress: shows what is done.

    Raises:
        UsageError: the format cannot do it, a package is missing, the weights are not folded, or `output` exists.
        DataError: there are no weights or no pictures.
        RunError: the file answers otherwise, or loses too much PQ; nothing is written then.
    """
    request = requested(to, size=size, merge=merge, precision=precision, compiled=compiled)
    model = read_model(fastest_weights(source, Path(runs), progress), overrides, progress)
    _require_folded(model, source)
    target = Path(output) if output else Path(_named(model.trained.name, request))
    _require_free(target, request, force)
    paths = [Path(one) for one in pictures] or _first_pictures(model, count)
    return _Order(model, request, tolerance, calibrate, most_loss, progress).written(target, paths)


def _first_pictures(model: ModelFile, count: int) -> list[Path]:
    try:
        return first_pictures(model.recipe, count)
    except DataError as error:
        raise DataError(error.message, hint=f"{error.hint} Or name pictures of your own with --image.") from None


@dataclass(frozen=True)
class _Order:
    """What is exported, and by which measure it is kept."""

    model: ModelFile
    request: Request
    tolerance: float
    calibrate: int
    most_loss: float
    progress: Progress

    def written(self, target: Path, pictures: Sequence[Path]) -> Exported:
        """Writes into a folder beside `target`, proves what lies there, and moves it to its place."""
        network = self.model.network()
        shown = [read_image(path) for path in pictures]
        with atomic.replacing(target) as temporary, atomic.temporary_folder(target) as folder:
            made = folder / target.name
            found = self._first_that_passes(network, made, target, shown)
            command = self._beside(found[0], made, target)
            first, *others = _files(made, self.request.format.name)
            for one in others:
                one.replace(target.with_suffix(one.suffix))
            first.replace(temporary)
        return Exported(target, *found, command)

    def _first_that_passes(
        self, network: "YOSO", made: Path, target: Path, shown: Sequence[Rgb]
    ) -> "tuple[Metadata, Proof, Judged | None]":
        """Writes the file, in int8 with fewer and fewer convolutions quantised until it loses little enough PQ."""
        exact = self.request.precision == "float32"
        # Before anything is traced: the split may not be prepared.
        truth = None if exact else self._truth()
        before = 0.0 if truth is None else self._pq("float32", self._predictor(network), truth)
        for metadata in self._written(network, made):
            proof = self._proved(network, metadata, made, target, shown)
            if truth is None:
                return metadata, proof, None
            after = self._pq(metadata.precision, self._file(metadata, made), truth)
            judged = Judged(before, after, len(truth.records))
            if judged.lost <= self.most_loss:
                return metadata, proof, judged
            part = f" ({metadata.quantised})" if metadata.quantised else ""
            self.progress.message(
                f"PQ {judged.after:.2f} instead of {judged.before:.2f} in {metadata.precision}{part}."
            )
        raise RunError(
            f"{target.name}: in {self.request.precision} it has PQ {judged.after:.2f} where the network has "
            f"{judged.before:.2f}, and may lose {self.most_loss:g}. Nothing was written.",
            hint="More pictures with --calibrate may help; --most-loss allows more."
            if self.request.precision == "int8"
            else "--most-loss allows more.",
        )

    def _written(self, network: "YOSO", made: Path) -> "Iterator[Metadata]":
        """Writes the file; where it is not taken, and there is another way, writes it that way."""
        from yoso_cli.export import onnx_file, openvino_file, program, torch_file

        request, metadata = self.request, metadata_of(self.model, self.request)
        self.progress.message(f"Tracing the network for {request.format.name} files; this takes half a minute.")
        traced = program.exported(self._graph(network), request.size)
        if request.format.name == "torch":
            torch_file.write(traced, metadata, made, compiled=request.compiled)
            yield metadata
        elif request.format.name == "openvino":
            conversion = openvino_file.Conversion(traced, network, request.size)
            calibration = self._calibration(network) if request.precision == "int8" else []
            for part in openvino_file.QUANTISED if request.precision == "int8" else ("",):
                told = replace(metadata, quantised=part)
                conversion.write(told, made, calibration)
                yield told
        else:
            onnx_file.write(traced, metadata, made)
            yield metadata

    def _graph(self, network: "YOSO") -> "NetworkGraph | MergedGraph":
        from yoso_cli.export.network import MergedGraph, NetworkGraph

        if self.request.merge == "none":
            return NetworkGraph(network, half=self.request.precision == "float16")
        used = self.model.recipe.inference
        thresholds = {"score_threshold": used.score_threshold, "overlap_threshold": used.overlap_threshold}
        return MergedGraph(network, self.model.weights.categories, **thresholds)

    def _beside(self, metadata: "Metadata", made: Path, target: Path) -> str:
        """TensorRT's JSON; the command that makes its engine."""
        if self.request.format.name != "tensorrt":
            return ""
        from yoso_cli.export.tensorrt_file import trtexec

        used = self.model.recipe.inference
        command = trtexec(target, metadata, used.short_edge, used.long_edge)
        atomic.write_json(made.with_suffix(".json"), {**metadata.to_dict(), "trtexec": command}, indent=1)
        return command

    def _predictor(self, network: "YOSO") -> "Predictor":
        """The network in float32 by torch, with what the file has as its size."""
        import torch

        predictor = make_predictor(network, self.model.weights.categories, self.model.recipe, torch.device("cpu"))
        predictor.frame = self.request.size
        return predictor

    def _file(self, metadata: "Metadata", made: Path) -> "Predictor":
        return exported_predictor(made, metadata, self.model.recipe, "cpu", options=EngineOptions())

    def _proved(self, network: "YOSO", metadata: "Metadata", made: Path, target: Path, shown: Sequence[Rgb]) -> "Proof":
        """Raises RunError where a file in float32 is no match for the network."""
        from yoso_cli.export.proof import prove

        ours = self._predictor(network)
        sizes = [one for image in shown for one in self._sizes(ours, image)]
        self.progress.message(f"Proving it on {counted(len(shown), 'picture')}, against double precision.")
        proof = prove(network, ours, self._file(metadata, made), sizes, len(shown))
        if self.request.precision == "float32":
            proof.require(self.tolerance, target.name)
        return proof

    def _sizes(self, ours: "Predictor", image: Rgb) -> "Iterator[Resized]":
        """The picture as it is used; where the size is free, also two thirds of it on their side, and smaller."""
        from yoso_cli.inference.predict import resized

        yield ours.resized(image)[0]
        if self.request.size is None:
            edges = [max(32, round(_SECOND_SIZE * edge)) for edge in (ours.short_edge, ours.long_edge)]
            turned = np.ascontiguousarray(image[: max(1, len(image) * 2 // 3)].transpose(1, 0, 2))
            yield resized(turned, short_edge=edges[0], long_edge=max(edges))

    def _truth(self) -> PanopticSet:
        """The validation split. Raises DataError where it is not prepared or has other classes."""
        truth = prepared_set(self.model.recipe, self.model.recipe.data.val_split)
        self.model.require_classes_of(truth)
        return truth

    def _pq(self, name: str, predictor: "Predictor", truth: PanopticSet) -> float:
        self.progress.message(f"PQ of {name} on {truth.name} {truth.split}:")
        report = evaluate_predictor(predictor, truth, self.model.recipe, self.model.path, progress=self.progress)
        pq = report.quality.all.pq
        if pq is None:
            raise DataError(f"{truth.name} {truth.split}: has no segments to score.", hint="Use another split.")
        return 100 * pq

    def _calibration(self, network: "YOSO") -> "list[np.ndarray]":
        """Inputs of the network from all over the training split, or the validation split where that is not here."""
        recipe = self.model.recipe
        try:
            found = prepared_set(recipe, recipe.data.train_split)
        except DataError:
            found = prepared_set(recipe, recipe.data.val_split)
            self.progress.message(f"Calibrating on {found.split}: {recipe.data.train_split} is not prepared here.")
        places = np.linspace(0, len(found.records) - 1, min(self.calibrate, len(found.records))).round().astype(int)
        predictor = self._predictor(network)
        paths = [found.image_path(found.records[place]) for place in places]
        return [
            predictor.prepare(read_image(path)).images.numpy()
            for path in tracked(paths, len(paths), "calibrate", self.progress)
        ]


def _require_folded(model: ModelFile, source: Named) -> None:
    from yoso_cli.export.network import require_folded

    model.require_weights()
    named = shlex.quote(str(model.run.path if model.run else source or model.path))
    output = "" if model.run else f" --output {shlex.quote(f'{model.trained.name}-folded.safetensors')}"
    require_folded(model.weights.steps, str(model.path), f"yoso reparam {named}{output}")


def _require_free(target: Path, request: Request, force: bool) -> None:
    if target.suffix != request.format.suffix:
        raise UsageError(
            f"{target}: {request.format.name} files end in {request.format.suffix}.",
            hint=f"Type --output {shlex.quote(str(target.with_suffix(request.format.suffix)))}.",
        )
    for one in _files(target, request.format.name):
        if one.is_dir():
            raise UsageError(f"{one}: is a folder.", hint="Name a file with --output.")
        if one.exists() and not force:
            raise UsageError(f"{one}: exists already.", hint="Add --force to overwrite it, or choose another --output.")
        atomic.require_no_link(one)


def _files(path: Path, name: str) -> list[Path]:
    """What a format writes, the named file first."""
    beside = {"openvino": [".bin"], "tensorrt": [".json"]}.get(name, [])
    return [path, *(path.with_suffix(suffix) for suffix in beside)]


def _named(recipe: str, request: Request) -> str:
    """`coco.onnx`, `coco-int8.xml`, `coco-512x800-merged.onnx`."""
    words = [recipe]
    words += [request.precision] * (request.precision != "float32")
    words += [f"{request.size[0]}x{request.size[1]}"] if request.size else []
    words += ["merged"] * (request.merge == "inside")
    words += ["compiled"] * request.compiled + ["tensorrt"] * (request.format.name == "tensorrt")
    return "-".join(words) + request.format.suffix


def metadata_of(model: ModelFile, request: Request) -> "Metadata":
    """What the file that `request` asks for says of itself."""
    from yoso_cli.export.metadata import Metadata
    from yoso_cli.model.yoso import pixel_statistics

    kept = {key: value for key, value in model.weights.provenance.items() if isinstance(value, (str, int, float))}
    packages = [*machine.MODEL_PACKAGES, *(one.module for one in request.format.writes)]
    mean, std = pixel_statistics(model.trained.model.backbone)
    return Metadata(
        format=request.format.name,
        precision=request.precision,
        merge=request.merge,
        size=request.size,
        categories=model.weights.categories,
        recipe=model.recipe.to_dict(),
        steps=model.weights.steps,
        weights={**kept, "from": str(model.path), "sha256": model.digest},
        mean=mean,
        std=std,
        versions=machine.versions(packages),
    )
