"""A folder with a small file of every kind that a command reads."""

import contextlib
import importlib
import io
import json
import pkgutil
import shutil
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from yoso_cli.cli import run
from yoso_cli.export.formats import import_without_reports
from yoso_cli.panoptic import png
from yoso_cli.panoptic.files import MANIFEST, write_manifest
from yoso_cli.run_folder import RunFolder

TESTS = Path(__file__).resolve().parents[2] / "tests"
KEPT = TESTS / "formats" / "kept"
sys.path.insert(0, str(TESTS))  # its raw layouts of the published datasets, and its clips

RUN = "runs/tiny-001"
WEIGHTS = "weights-version-3.safetensors"
TRUTH = "datasets/shapes/val"
SCORE = ("eval", "--predictions", "pred", "--truth", TRUTH, "--json", "--workers", "1")

_YAML = """categories:
  - {id: 1, name: car, isthing: 1}
  - {id: 2, name: road, isthing: 0}
"""


_TORCH_ROOMS = ("loading", "inference", "training", "model", "export")
_LATE = (
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.font_manager", "jinja2", "contourpy"),
    *("pycocotools.mask", "PIL.JpegImagePlugin", "PIL.PngImagePlugin", "scipy.optimize", "panopticapi.evaluation"),
)


_LATE_WITH_TORCH = ("av", "safetensors.torch", "torchvision", "onnx", "onnxruntime", "openvino")


def preload(*, torch: bool) -> None:
    """Imports what commands import late, once for all forks of this process."""
    import yoso_cli

    for found in pkgutil.walk_packages(yoso_cli.__path__, "yoso_cli."):
        if not found.name.endswith("__main__") and (torch or found.name.split(".")[1] not in _TORCH_ROOMS):
            importlib.import_module(found.name)
    import_without_reports()
    for name in (*_LATE, *(_LATE_WITH_TORCH if torch else ())):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    assert torch or "torch" not in sys.modules, "a process with torch starts its workers in another way"


def build(world: Path) -> None:
    """Files for the commands that need no network, in `world`, the current folder."""
    shutil.copytree(KEPT, world, dirs_exist_ok=True)
    for folder in ("datasets/shapes/train", TRUTH, "pred"):
        write_manifest(Path(folder), json.loads((Path(folder) / MANIFEST).read_text()))
    _label_maps()
    _plain_sets()
    _downloads()
    with zipfile.ZipFile("pred.zip", "w") as archive:
        archive.write("pred/panoptic.json", "results.json")
        for file in sorted(Path("pred/panoptic").iterdir()):
            archive.write(file, f"results/{file.name}")
    recipe = Path(RUN, "recipe.yaml")
    recipe.write_text(recipe.read_text().replace("  iterations: 3 ", "  iterations: 4 "))
    # Written again with the checksums of today.
    RunFolder(Path(RUN)).truncate_metrics(after_iteration=3)
    Path("truth.cache").unlink()
    Path("report.json").write_text(told((*SCORE, "--truth-cache", "truth.cache")))
    Path("other.json").write_text(told(SCORE))
    told(("convert", TRUTH, "instances", "--from", "prepared", "--to", "coco-instances"))
    _files_of_tools()
    _journal()


def build_for_networks(world: Path) -> None:
    """Besides, predictions, videos, and weights in every layout."""
    build(world)
    from media.clips import clip

    clip(Path("clip.mp4"), 6)
    clip(Path("clip.mkv"), 4)
    clip(Path("clip.gif"), 3)
    smooth = np.asarray(Image.open("photo.png"))
    for suffix in ("jpg", "webp", "gif", "tif", "bmp", "ppm"):
        Image.fromarray(smooth).save(f"photo.{suffix}")
    Path("list.txt").write_text("photo.png\nphoto.jpg\n")
    network = ("--weights", WEIGHTS, "--device", "cpu")
    told(("predict", "photo.png", "-o", "preds", *network))
    told(("predict", "clip.gif", "-o", "frames", *network))
    _exported_files()
    told(("bench", RUN, "--repeats", "1", "--warmup", "0", "--image", "photo.png", "--device", "cpu", "--json"))
    ledger = Path("../home/yoso/weights/known.json")
    ledger.parent.mkdir(exist_ok=True)
    ledger.write_text(json.dumps({"coco": {"origin": "x", "bytes": 9, "sha256": "0" * 64, "tensors": "1" * 64}}))


def _exported_files() -> None:
    """small.onnx, small.xml with small.bin, and small.pt2, of one size: it is traced in a fifth of the time."""
    from yoso_cli.api.export import metadata_of
    from yoso_cli.api.weights import read_model
    from yoso_cli.export import onnx_file, openvino_file, torch_file
    from yoso_cli.export.formats import requested
    from yoso_cli.export.network import NetworkGraph
    from yoso_cli.export.program import exported

    told(("reparam", WEIGHTS, "-o", "folded.safetensors", "--images", "1", "--image", "photo.png"))
    model = read_model(Path("folded.safetensors"))
    network = model.network()
    how = {name: requested(name, size="64,64") for name in ("onnx", "openvino", "torch")}
    program = exported(NetworkGraph(network), how["onnx"].size)
    onnx_file.write(program, metadata_of(model, how["onnx"]), Path("small.onnx"))
    conversion = openvino_file.Conversion(program, network, how["openvino"].size)
    conversion.write(metadata_of(model, how["openvino"]), Path("small.xml"))
    torch_file.write(program, metadata_of(model, how["torch"]), Path("small.pt2"), compiled=False)


def told(words: Sequence[str], *, check: bool = True) -> str:
    """What a command prints in this process."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = run(list(words))
    if check and code:
        raise SystemExit(f"yoso {' '.join(words)}: {code}: {err.getvalue()}")
    return out.getvalue()


def _label_maps() -> None:
    chance = np.random.default_rng(0)
    for kind in ("images", "semantic", "instances"):
        Path("maps", kind).mkdir(parents=True)
    smooth = np.kron(chance.integers(0, 255, (6, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    Image.fromarray(smooth).save("maps/images/a.jpg")
    Image.fromarray(smooth).save("photo.png")
    blocks = np.kron(chance.integers(1, 3, (6, 8)), np.ones((8, 8))).astype(np.uint8)
    Path("maps/semantic/a.png").write_bytes(png.encode(blocks, [(9, 9, 9), (200, 0, 0), (0, 200, 0)]))
    numbers = np.where(blocks == 1, np.arange(64)[None] // 16 * 300 + 1, 0).astype(np.uint16)
    Path("maps/instances/a.png").write_bytes(png.encode(numbers))
    Path("maps/mine.yaml").write_text(_YAML)


def _plain_sets() -> None:
    """COCO's layout, without a manifest: truth and predictions of other tools, and frames of a video."""
    for name, folder in (("truth", Path(TRUTH)), ("result", Path("pred"))):
        shutil.copytree(folder / "panoptic", Path("plain", name))
        values = json.loads((folder / "panoptic.json").read_text())
        if name == "result":
            values = {"annotations": values["annotations"]}
        Path("plain", f"{name}.json").write_text(json.dumps(values))
    shutil.copytree(Path(TRUTH, "images"), "plain/images")
    values = json.loads(Path("plain/truth.json").read_text())
    for number, image in enumerate(values["images"]):
        image.update(video_id=1, frame_id=number)
    Path("plain/frames.json").write_text(json.dumps(values))
    Path("plain/frames").symlink_to("truth")


def _downloads() -> None:
    """The published datasets in miniature, unpacked and in their archives."""
    import raw_layouts

    raw_layouts.cityscapes(Path("raw/cityscapes"), ("val",), 1, size=(12, 20))
    raw_layouts.ade20k(Path("raw/ade20k"), ("validation",), 1)
    raw_layouts.mapillary(Path("raw/mapillary"), count=1, splits=("validation",))
    raw_layouts.coco(Path("raw/coco"), count=1)
    raw_layouts.coco(Path("raw/zipped"), count=1)
    raw_layouts.zipped(Path("raw/zipped"), "panoptic_annotations_trainval2017.zip", "annotations")
    raw_layouts.ade20k(Path("raw/tarred"), ("validation",), 1)
    raw_layouts.tarred(Path("raw/tarred"), "annotations_instance.tar", "annotations_instance")


def _files_of_tools() -> None:
    """Labels as other tools write them."""
    for form in ("labelme", "cvat", "yolo-seg", "voc", "masks"):
        told(("convert", TRUTH, form, "--from", "prepared", "--to", form, "--workers", "1"))
    Path("mapping.yaml").write_text("classes: {ball: box, sky: null}\n")
    corners = {"all_points_x": [5, 30, 30, 5], "all_points_y": [5, 5, 40, 40]}
    regions = [
        {"shape_attributes": {"name": "polygon", **corners}, "region_attributes": {"type": "car"}},
        {
            "shape_attributes": {"name": "ellipse", "cx": 40, "cy": 20, "rx": 5, "ry": 9, "theta": 0.5},
            "region_attributes": {"type": "sign"},
        },
    ]
    entry = {"filename": "a.jpg", "size": -1, "regions": regions, "file_attributes": {}}
    Path("via.json").write_text(json.dumps({"_via_settings": {}, "_via_img_metadata": {"a.jpg-1": entry}}))
    size = {"original_width": 64, "original_height": 48, "image_rotation": 0, "from_name": "a", "to_name": "b"}
    drawn = {"points": [[20, 25], [40, 25], [40, 50]], "closed": True, "polygonlabels": ["car"]}
    round_ = {"x": 60, "y": 60, "radiusX": 9, "radiusY": 7, "rotation": 30, "ellipselabels": ["sign"]}
    results = [
        {"id": "x", "type": "polygonlabels", **size, "value": drawn},
        {"id": "y", "type": "ellipselabels", **size, "value": round_},
    ]
    answer = {"id": 1, "was_cancelled": False, "result": results}
    task = {"id": 7, "data": {"image": "/data/upload/1/a.jpg"}, "annotations": [answer]}
    Path("tasks.json").write_text(json.dumps([task]))


def _journal() -> None:
    """A split that a kill has left half made: its folder, and the journal in it."""
    whole = ("prepare", "cityscapes", "--root", "raw/cityscapes", "--output", "resumed", "--workers", "1", "--json")
    from yoso_cli.datasets import split

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    kept, split._finish = split._finish, stopped
    try:
        told(whole, check=False)
    finally:
        split._finish = kept
