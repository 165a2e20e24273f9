"""Mutants of every kind of file through every command that reads it.

What must not happen, by name:

    silent   exit 0 with another answer than the whole input gives: another stdout, or other files
    bug      a traceback, or "this is a bug in yoso"
    crash    another exit code than 0, 1 or 2
    hang     more than 20 seconds
    memory   more than 1 GiB; with torch, 1 GiB more than the whole input takes
    outside  a file outside the attack's folder is written, or one inside that is not the answer
    half     an error, and files at the place of the answer
    left     temporary files are left behind

Files without a checksum (JPEG photos and videos, JSON and YAML written by hand, a state dict of other tools), and
mutants of values, whose checksums are right, may be silent; nothing else.
"""

import hashlib
import json
import os
import random
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from attack_parts.mutate import mutant
from attack_parts.process import LONGEST, MEMORY, Ended, Place, Running, Successive, limit_of, wrong
from attack_parts.world import RUN, SCORE, TRUTH, WEIGHTS
from yoso_cli.errors import DataError


@dataclass(frozen=True)
class Case:
    """One file, and a command that reads it.

    Attributes:
        file: that is changed.
        form: of the file, for mutants of its values; see mutate.VALUES.
        command: in the world's folder.
        output: a file or folder that the command writes, removed before each run; empty where stdout is the answer.
        checked: whether damage must be noticed: not of files without any checksum.
        whole: whether the output must not be there after an error.
        volatile: a folder or file that the command changes, put back before each run.
        told: words that are as good as an exit code, where the command goes on without what is damaged.
        telling: a pattern of the names of files that are the answer; by default all are, and stdout.
        seal: what makes the checksums right that other files have of it.
    """

    file: str
    form: str
    command: tuple[str, ...]
    output: str = ""
    checked: bool = True
    whole: bool = True
    volatile: str = ""
    told: str = ""
    telling: str = ""
    seal: Callable[[], None] | None = None


def _listed_anew(folder: str) -> Callable[[], None]:
    """Writes the manifest of a set again, with the checksum of its listing."""

    def seal() -> None:
        from yoso_cli.panoptic.files import MANIFEST, write_manifest

        manifest = Path(folder, MANIFEST)
        values = json.loads(manifest.read_text())
        write_manifest(Path(folder), {key: value for key, value in values.items() if not key.endswith("crc32")})

    return seal


def _hashed_anew() -> None:
    """Writes the hashes of a checkpoint again."""
    folder = Path(CHECKPOINT)
    manifest = folder / "checkpoint.json"
    values = json.loads(manifest.read_text())
    for name in values["sha256"]:
        values["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    manifest.write_text(json.dumps(values))


def _sealed_anew(name: str, *others: str) -> Callable[[], None]:
    """Writes the seal of an exported file again."""

    def again() -> None:
        from yoso_cli.export.metadata import seal

        path = Path(name)
        open_again, count = re.subn(rb"yoso-seal-[0-9a-f]{64}", b"yoso-seal-" + b"0" * 64, path.read_bytes())
        if count == 1:
            path.write_bytes(open_again)
            seal(path, [Path(one) for one in others])

    return again


CHECKPOINT = f"{RUN}/checkpoints/iteration-0000003"
PLAIN = ("eval", "--predictions", "plain/result.json", "--truth", "plain/truth.json", "--json", "--workers", "1")
ALL = (*SCORE, "--metric", "all")
VIDEO = (*PLAIN[:4], "plain/frames.json", *PLAIN[5:], "--metric", "vpq,stq")
CHECK = ("check", TRUTH, "--json", "--workers", "1")
CONVERT = ("convert", "maps", "made", "--from", "maps", "--categories", "maps/mine.yaml", "--workers", "1")
INSTANCES = (
    "convert",
    "instances/instances.json",
    "made",
    "--from",
    "coco-instances",
    "--images",
    f"{TRUTH}/images",
    "--categories",
    "instances/categories.yaml",
    "--workers",
    "1",
)
BACK = ("convert", TRUTH, "made", "--from", "prepared", "--workers", "1", "--to")
COMPARE = ("compare", "report.json", "other.json", "--json")
STATS = ("stats", TRUTH, "--output", "made", "--json")
NETWORK = ("--weights", WEIGHTS, "--device", "cpu")
DRAWN = ("viz", "photo.png", "-o", "made.png", "--device", "cpu", "--weights")
IMPORT = ("weights", "import", "tiny-released.pth", "--recipe", "tiny.yaml", "-o", "made.safetensors")
RESUME = ("train", "--resume", RUN, "--device", "cpu")
EVAL = ("eval", RUN, "--device", "cpu", "--json")
GATHERED = "Parts that are not complete"


def _prepare(name: str, root: str) -> tuple[str, ...]:
    return ("prepare", name, "--root", f"raw/{root}", "--output", "made", "--workers", "1", "--json")


_OPEN: dict[str, Any] = {"checked": False}
_MADE: dict[str, Any] = {"output": "made"}
_RESUMED: dict[str, Any] = {"volatile": RUN, "output": RUN, "whole": False, "telling": r"4/weights\.safetensors$"}
_TRAINED: dict[str, Any] = {"output": "made", "whole": False, "telling": r"weights\.safetensors$"}
_PREPARED: dict[str, Any] = {"output": "made", "whole": False}

LIGHT = {
    "truth png: eval": Case(f"{TRUTH}/panoptic/000000.png", "png", SCORE),
    "truth png: eval, all metrics": Case(f"{TRUTH}/panoptic/000000.png", "png", ALL),
    "truth png: eval, html": Case(f"{TRUTH}/panoptic/000000.png", "png", (*SCORE, "--html", "made"), **_MADE),
    "truth png: check": Case(f"{TRUTH}/panoptic/000000.png", "png", CHECK),
    "truth png: maps": Case(f"{TRUTH}/panoptic/000000.png", "png", (*BACK, "maps"), **_MADE),
    "truth png: viz": Case(
        f"{TRUTH}/panoptic/000000.png", "png", ("viz", "--truth", TRUTH, "-o", "made/", "--json"), **_MADE, whole=False
    ),
    "predicted png: eval": Case("pred/panoptic/000001.png", "png", SCORE),
    "predicted png: compare": Case(
        "plain/result/000001.png", "png", ("compare", "plain/result.json", "pred", "--truth", TRUTH, "--json")
    ),
    "semantic map: convert": Case("maps/semantic/a.png", "png", CONVERT, **_MADE),
    "instance map: convert": Case("maps/instances/a.png", "png", CONVERT, **_MADE),
    "truth json: eval": Case(f"{TRUTH}/panoptic.json", "json", ALL, seal=_listed_anew(TRUTH)),
    "truth json: check": Case(f"{TRUTH}/panoptic.json", "json", CHECK, seal=_listed_anew(TRUTH)),
    "truth json: stats": Case(f"{TRUTH}/panoptic.json", "json", STATS, **_MADE, seal=_listed_anew(TRUTH)),
    "truth json: instances": Case(
        f"{TRUTH}/panoptic.json", "json", (*BACK, "coco-instances"), **_MADE, seal=_listed_anew(TRUTH)
    ),
    "truth json: submission": Case(
        f"{TRUTH}/panoptic.json",
        "json",
        ("convert", TRUTH, "made.zip", *BACK[3:], "coco-submission"),
        output="made.zip",
        checked=False,
        seal=_listed_anew(TRUTH),
    ),
    "truth json: viz": Case(
        f"{TRUTH}/panoptic.json",
        "json",
        ("viz", "--truth", TRUTH, "-o", "made/", "--json"),
        **_MADE,
        whole=False,
        seal=_listed_anew(TRUTH),
    ),
    "truth manifest: eval": Case(f"{TRUTH}/manifest.json", "json", SCORE),
    "truth manifest: check": Case(f"{TRUTH}/manifest.json", "json", CHECK),
    "predicted json: eval": Case("pred/panoptic.json", "json", ALL, seal=_listed_anew("pred")),
    "plain truth json: eval": Case("plain/truth.json", "json", PLAIN, **_OPEN),
    "plain result json: eval": Case("plain/result.json", "json", PLAIN, **_OPEN),
    "plain result json: panopticapi": Case(
        "plain/result.json", "json", (*PLAIN[:-2], "--engine", "panopticapi"), **_OPEN
    ),
    "plain truth json: check": Case("plain/truth.json", "json", ("check", "plain/truth.json", "--json"), **_OPEN),
    "plain truth json: convert": Case(
        "plain/truth.json",
        "json",
        ("convert", "plain/truth.json", "made", "--from", "coco-panoptic", "--images", "plain/images", "--json"),
        **_MADE,
        **_OPEN,
    ),
    "frames json: eval of videos": Case("plain/frames.json", "json", VIDEO, **_OPEN),
    "truth cache: eval": Case("truth.cache", "cache", (*SCORE, "--truth-cache", "truth.cache"), volatile="truth.cache"),
    "report: compare": Case("report.json", "json", COMPARE),
    "run's report: compare": Case(f"{RUN}/report.json", "json", ("compare", RUN, "report.json", "--json"), **_OPEN),
    "result zip: convert": Case(
        "pred.zip", "zip", ("convert", "pred.zip", "made", "--from", "submission", "--truth", TRUTH), **_MADE
    ),
    "result zip: eval": Case("pred.zip", "zip", ("eval", "--predictions", "pred.zip", *SCORE[3:]), **_OPEN),
    "jpeg photo: check": Case(f"{TRUTH}/images/000000.jpg", "jpeg", CHECK, **_OPEN),
    "jpeg photo: convert": Case("maps/images/a.jpg", "jpeg", CONVERT, **_MADE, **_OPEN),
    "jpeg photo: viz": Case(
        f"{TRUTH}/images/000000.jpg",
        "jpeg",
        ("viz", "--truth", TRUTH, "-o", "made/", "--json"),
        **_MADE,
        **_OPEN,
        whole=False,
    ),
    "categories yaml: convert": Case("maps/mine.yaml", "yaml", CONVERT, **_MADE, **_OPEN),
    "instances json: convert": Case("instances/instances.json", "json", INSTANCES, **_MADE, **_OPEN),
    "instances json: check": Case(
        "instances/instances.json", "json", ("check", "instances/instances.json", "--json"), **_OPEN
    ),
    "recipe yaml: recipe check": Case("tiny.yaml", "yaml", ("recipe", "check", "tiny.yaml"), **_OPEN),
    "recipe yaml: recipe show": Case("tiny.yaml", "yaml", ("recipe", "show", "tiny.yaml", "--json"), **_OPEN),
    "recipe yaml: recipe copy": Case(
        "tiny.yaml", "yaml", ("recipe", "copy", "tiny.yaml", "made.yaml"), output="made.yaml", **_OPEN
    ),
    "run's recipe: runs": Case(f"{RUN}/recipe.yaml", "yaml", ("runs", "--json"), **_OPEN),
    "metrics: runs": Case(f"{RUN}/metrics.jsonl", "jsonl", ("runs", "--json"), told="Remove that line to continue"),
    "run's report: runs": Case(f"{RUN}/report.json", "json", ("runs", "--json"), **_OPEN),
    "results.csv: runs": Case(f"{RUN}/results.csv", "csv", ("runs", "--json"), **_OPEN),
    "cityscapes ids: prepare": Case(
        "raw/cityscapes/gtFine/val/aachen/aachen_000000_000019_gtFine_instanceIds.png",
        "png",
        _prepare("cityscapes", "cityscapes"),
        **_PREPARED,
    ),
    "cityscapes ids: convert": Case(
        "raw/cityscapes/gtFine/val/aachen/aachen_000000_000019_gtFine_instanceIds.png",
        "png",
        (
            "convert",
            "raw/cityscapes/gtFine/val",
            "made",
            "--from",
            "cityscapes",
            "--images",
            "raw/cityscapes/leftImg8bit/val",
            "--categories",
            "cityscapes",
        ),
        **_MADE,
    ),
    "ade20k semantic: prepare": Case(
        "raw/ade20k/ADEChallengeData2016/annotations/validation/ADE_valid_00000000.png",
        "png",
        _prepare("ade20k", "ade20k"),
        **_PREPARED,
    ),
    "ade20k instances: prepare": Case(
        "raw/ade20k/annotations_instance/validation/ADE_valid_00000000.png",
        "png",
        _prepare("ade20k", "ade20k"),
        **_PREPARED,
    ),
    "ade20k tar: prepare": Case(
        "raw/tarred/annotations_instance.tar", "tar", _prepare("ade20k", "tarred"), **_PREPARED, **_OPEN
    ),
    "mapillary instances: prepare": Case(
        "raw/mapillary/validation/instances/_val000000000000000000.png",
        "png",
        _prepare("mapillary", "mapillary"),
        **_PREPARED,
    ),
    "coco json: prepare": Case(
        "raw/coco/annotations/panoptic_val2017.json", "json", _prepare("coco", "coco"), **_PREPARED, **_OPEN
    ),
    "coco zip: prepare": Case(
        "raw/zipped/panoptic_annotations_trainval2017.zip", "zip", _prepare("coco", "zipped"), **_PREPARED
    ),
    **{
        f"{name}: convert from {form}": Case(
            file,
            kind,
            ("convert", source, "made", "--from", form, "--images", f"{TRUTH}/images", "--workers", "1"),
            **_MADE,
            **_OPEN,
        )
        for name, form, source, file, kind in (
            ("json", "labelme", "labelme", "labelme/000000.json", "json"),
            ("xml", "cvat", "cvat", "cvat/annotations.xml", "xml"),
            ("text", "yolo-seg", "yolo-seg", "yolo-seg/labels/000000.txt", "list"),
            ("yaml", "yolo-seg", "yolo-seg", "yolo-seg/data.yaml", "yaml"),
            ("class map", "voc", "voc", "voc/SegmentationClass/000000.png", "png"),
            ("object map", "voc", "voc", "voc/SegmentationObject/000000.png", "png"),
            ("labelmap", "voc", "voc", "voc/labelmap.txt", "list"),
            ("json", "masks", "masks", "masks/masks.json", "json"),
            ("mask", "masks", "masks", "masks/000000/001-sky.png", "png"),
        )
    },
    **{
        f"json: convert from {form}": Case(
            file,
            "json",
            ("convert", file, "made", "--from", form, "--images", "maps/images", "--workers", "1"),
            **_MADE,
            **_OPEN,
        )
        for form, file in (("via", "via.json"), ("label-studio", "tasks.json"))
    },
    **{
        f"truth json: dataset {words[0]}": Case(
            f"{TRUTH}/panoptic.json", "json", ("dataset", *words), **_MADE, seal=_listed_anew(TRUTH)
        )
        for words in (
            ("split", TRUTH, "made", "--into", "train=1,val=1"),
            ("subset", TRUTH, "made/small", "--count", "1"),
            ("merge", TRUTH, "datasets/shapes/train", "made/both", "--workers", "1"),
            ("remap", TRUTH, "made/other", "--mapping", "mapping.yaml", "--workers", "1"),
            ("size", TRUTH, "--json"),
        )
    },
    "mapping yaml: dataset remap": Case(
        "mapping.yaml",
        "yaml",
        ("dataset", "remap", TRUTH, "made/other", "--mapping", "mapping.yaml", "--workers", "1"),
        **_MADE,
        **_OPEN,
    ),
    "truth png: view": Case(
        f"{TRUTH}/panoptic/000000.png", "png", ("view", TRUTH, "--html", "made.html"), output="made.html", **_OPEN
    ),
    "predicted json: view": Case(
        "pred/panoptic.json",
        "json",
        ("view", TRUTH, "--predictions", "pred", "--html", "made.html"),
        output="made.html",
        **_OPEN,
        seal=_listed_anew("pred"),
    ),
    "journal: prepare": Case(
        "JOURNAL",
        "jsonl",
        ("prepare", "cityscapes", "--root", "raw/cityscapes", "--output", "resumed", "--workers", "1", "--json"),
        volatile="resumed",
        output="resumed",
        whole=False,
    ),
}
"""Cases of commands that need no torch."""

HEAVY = {
    "metrics: runs plot": Case(
        f"{RUN}/metrics.jsonl", "jsonl", ("runs", "plot", "-o", "made.png"), **_OPEN, output="made.png"
    ),
    "latency: runs plot": Case(
        f"{RUN}/latency-reparam.json", "json", ("runs", "plot", "-o", "made.png"), **_OPEN, output="made.png"
    ),
    "latency: runs": Case(f"{RUN}/latency-reparam.json", "json", ("runs", "--json"), **_OPEN),
    "weights: show": Case(WEIGHTS, "safetensors", ("weights", "show", WEIGHTS, "--json")),
    "weights: export": Case(
        WEIGHTS, "safetensors", ("weights", "export", WEIGHTS, "-o", "made.pth"), output="made.pth"
    ),
    "weights: import": Case(
        "weights-version-1.safetensors",
        "safetensors",
        ("weights", "import", "weights-version-1.safetensors", "-o", "made.safetensors"),
        output="made.safetensors",
        **_OPEN,
    ),
    "weights: predict": Case(
        WEIGHTS, "safetensors", ("predict", "photo.png", "-o", "made", *NETWORK), **_MADE, whole=False
    ),
    "weights: viz": Case(WEIGHTS, "safetensors", ("viz", "photo.png", "-o", "made.png", *NETWORK), output="made.png"),
    "weights: eval": Case(f"{CHECKPOINT}/weights.safetensors", "safetensors", EVAL, volatile=RUN),
    "weights: reparam": Case(
        WEIGHTS,
        "safetensors",
        ("reparam", WEIGHTS, "-o", "made.safetensors", "--images", "1", "--image", "photo.png"),
        output="made.safetensors",
        telling="made",
    ),
    "weights: train": Case(
        WEIGHTS,
        "safetensors",
        (
            "train",
            "tiny.yaml",
            "--weights",
            WEIGHTS,
            "--into",
            "made",
            "--device",
            "cpu",
            "--set",
            "train.iterations=1",
            "--json",
        ),
        **_TRAINED,
    ),
    "weights: dry run": Case(
        WEIGHTS,
        "safetensors",
        ("train", "tiny.yaml", "--weights", WEIGHTS, "--dry-run", "--device", "cpu", "--json"),
        **_OPEN,
    ),
    "pth: weights import": Case(
        "tiny-released.pth", "zip", (*IMPORT, "--categories", f"{TRUTH}/panoptic.json"), output="made.safetensors"
    ),
    "categories json: weights import": Case(
        "plain/truth.json", "json", (*IMPORT, "--categories", "plain/truth.json"), output="made.safetensors", **_OPEN
    ),
    "recipe yaml: weights import": Case(
        "tiny.yaml", "yaml", (*IMPORT, "--categories", f"{TRUTH}/panoptic.json"), output="made.safetensors", **_OPEN
    ),
    "onnx: weights show": Case(
        "small.onnx", "onnx", ("weights", "show", "small.onnx"), seal=_sealed_anew("small.onnx")
    ),
    "onnx: viz": Case("small.onnx", "onnx", (*DRAWN, "small.onnx"), output="made.png", seal=_sealed_anew("small.onnx")),
    "onnx: bench": Case(
        "small.onnx",
        "onnx",
        ("bench", "small.onnx", "--repeats", "1", "--warmup", "0", "--image", "photo.png", "--device", "cpu"),
        **_OPEN,
        seal=_sealed_anew("small.onnx"),
    ),
    "openvino xml: viz": Case(
        "small.xml", "xml", (*DRAWN, "small.xml"), output="made.png", seal=_sealed_anew("small.xml", "small.bin")
    ),
    "openvino bin: viz": Case("small.bin", "bin", (*DRAWN, "small.xml"), output="made.png"),
    "openvino xml: weights show": Case(
        "small.xml", "xml", ("weights", "show", "small.xml"), seal=_sealed_anew("small.xml", "small.bin")
    ),
    "torch archive: weights show": Case("small.pt2", "zip", ("weights", "show", "small.pt2")),
    "torch archive: viz": Case("small.pt2", "zip", (*DRAWN, "small.pt2"), output="made.png"),
    "ledger: weights get": Case(
        "../home/yoso/weights/known.json",
        "json",
        ("weights", "get", "coco", "--from", "tiny-released.pth", "--force"),
        **_OPEN,
    ),
    "png photo: predict": Case(
        "photo.png", "png", ("predict", "photo.png", "-o", "made", *NETWORK), **_MADE, whole=False
    ),
    **{
        f"{suffix} photo: predict": Case(
            f"photo.{suffix}",
            suffix,
            ("predict", f"photo.{suffix}", "-o", "made", *NETWORK),
            **_MADE,
            **_OPEN,
            whole=False,
        )
        for suffix in ("jpg", "webp", "gif", "tif", "bmp", "ppm")
    },
    "jpeg photo: viz": Case(
        "photo.jpg", "jpeg", ("viz", "photo.jpg", "-o", "made.png", *NETWORK), output="made.png", **_OPEN
    ),
    "list: predict": Case(
        "list.txt", "list", ("predict", "@list.txt", "-o", "made", *NETWORK), **_MADE, **_OPEN, whole=False
    ),
    "set's json: predict": Case(
        f"{TRUTH}/panoptic.json",
        "json",
        ("predict", "shapes/val", "-o", "made", *NETWORK),
        **_MADE,
        whole=False,
        seal=_listed_anew(TRUTH),
    ),
    "mp4: predict": Case(
        "clip.mp4", "mp4", ("predict", "clip.mp4", "-o", "made", *NETWORK), **_MADE, **_OPEN, whole=False
    ),
    "mkv: viz": Case(
        "clip.mkv", "mkv", ("viz", "clip.mkv", "-o", "made.mp4", *NETWORK), output="made.mp4", **_OPEN, whole=False
    ),
    "gif: predict as a video": Case(
        "clip.gif", "gif", ("predict", "clip.gif", "-o", "made", *NETWORK), **_MADE, **_OPEN, whole=False
    ),
    "parts: gather": Case(
        "preds/parts/1-of-1.jsonl", "jsonl", ("predict", "-o", "preds", "--gather"), volatile="preds", told=GATHERED
    ),
    "predictions.json: gather": Case(
        "preds/predictions.json", "json", ("predict", "-o", "preds", "--gather"), volatile="preds", told=GATHERED
    ),
    "parts: resume": Case(
        "preds/parts/1-of-1.jsonl",
        "jsonl",
        ("predict", "photo.png", "-o", "preds", *NETWORK),
        volatile="preds",
        output="preds",
        whole=False,
        **_OPEN,
    ),
    "predictions.json: resume": Case(
        "preds/predictions.json",
        "json",
        ("predict", "photo.png", "-o", "preds", *NETWORK),
        volatile="preds",
        output="preds",
        whole=False,
        **_OPEN,
    ),
    "parts of frames: resume": Case(
        "frames/parts/1-of-1.jsonl",
        "jsonl",
        ("predict", "clip.gif", "-o", "frames", *NETWORK),
        volatile="frames",
        **_OPEN,
    ),
    "parts: force": Case(
        "preds/parts/1-of-1.jsonl",
        "jsonl",
        ("predict", "photo.png", "-o", "preds", "--force", *NETWORK),
        volatile="preds",
        **_OPEN,
    ),
    "predicted manifest: convert": Case(
        "preds/manifest.json", "json", ("convert", "preds", "made", "--from", "prepared"), **_MADE, **_OPEN
    ),
    "truth png: train": Case(
        "datasets/shapes/train/panoptic/000000.png",
        "png",
        (
            "train",
            "tiny.yaml",
            "--into",
            "made",
            "--device",
            "cpu",
            "--set",
            "train.iterations=2",
            "--set",
            "train.evaluate_every=0",
            "--json",
        ),
        **_TRAINED,
        **_OPEN,
    ),
    "jpeg: train": Case(
        "datasets/shapes/train/images/000000.jpg",
        "jpeg",
        ("train", "tiny.yaml", "--into", "made", "--device", "cpu", "--set", "train.iterations=2", "--json"),
        **_TRAINED,
        **_OPEN,
    ),
    "truth json: train": Case(
        "datasets/shapes/train/panoptic.json",
        "json",
        ("train", "tiny.yaml", "--into", "made", "--device", "cpu", "--set", "train.iterations=1", "--json"),
        **_TRAINED,
        **_OPEN,
        seal=_listed_anew("datasets/shapes/train"),
    ),
    "truth json: viz augmented": Case(
        "datasets/shapes/train/panoptic.json",
        "json",
        ("viz", "--augmented", "tiny.yaml", "-o", "made.png"),
        output="made.png",
        **_OPEN,
        seal=_listed_anew("datasets/shapes/train"),
    ),
    "truth json: eval a model": Case(f"{TRUTH}/panoptic.json", "json", EVAL, volatile=RUN, seal=_listed_anew(TRUTH)),
    "photo: bench": Case(
        "photo.jpg",
        "jpeg",
        ("bench", WEIGHTS, "--repeats", "1", "--warmup", "0", "--image", "photo.jpg", "--device", "cpu"),
        **_OPEN,
    ),
    "recipe yaml: train, dry run": Case(
        "tiny.yaml", "yaml", ("train", "tiny.yaml", "--dry-run", "--device", "cpu"), **_OPEN
    ),
    "training state: resume": Case(f"{CHECKPOINT}/training.pt", "zip", RESUME, **_RESUMED, seal=_hashed_anew),
    "checkpoint weights: resume": Case(
        f"{CHECKPOINT}/weights.safetensors", "safetensors", RESUME, **_RESUMED, seal=_hashed_anew
    ),
    "checkpoint manifest: resume": Case(f"{CHECKPOINT}/checkpoint.json", "json", RESUME, **_RESUMED),
    "metrics: resume": Case(f"{RUN}/metrics.jsonl", "jsonl", RESUME, **_RESUMED),
    "run's recipe: resume": Case(f"{RUN}/recipe.yaml", "yaml", RESUME, **_RESUMED, **_OPEN),
    "truth manifest: doctor": Case(f"{TRUTH}/manifest.json", "json", ("doctor", "--json"), **_OPEN),
}
"""Cases of commands that need torch."""


def _listing(case: Case) -> tuple[tuple[str, str], ...]:
    """Each file that a command has made, with its digest; of weights without where they come from."""
    path = Path(case.output)
    if not case.output:
        return ()
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    return tuple((str(one), _digest(one)) for one in files if re.search(case.telling, str(one)))


def _digest(path: Path) -> str:
    """What tells two answers apart; not the times in them."""
    with suppress(DataError):  # of a mutant that is still there
        if path.suffix == ".pth":
            from yoso_cli.model.pickled import read_state
            from yoso_cli.model.weights import digest

            return digest(read_state(path))  # the archive has its temporary name in it
        if path.suffix == ".safetensors":
            from yoso_cli.model.weights import read_header

            header = read_header(path)
            # It names the file that it comes from by its hash, which damage between an archive's members changes.
            return json.dumps({key: header.get(key) for key in ("sha256", "recipe", "categories", "steps")})
    return hashlib.sha256(path.read_bytes()).hexdigest()


def verdict(case: Case, found: Ended, files: Any, whole: "Answer", *, forged: bool) -> str:
    """What is wrong, as the text at the top names it; empty for nothing."""
    if told := wrong(found, 0, 1, 2, memory=max(MEMORY, whole.ended.memory + MEMORY * whole.with_torch)):
        return told
    if found.code and case.whole and files:
        return f"half: {[name for name, _ in files][:3]}"
    passed = case.told and case.told.encode() in found.err + found.out
    if found.code or not case.checked or forged or passed:
        return ""
    same = files == whole.files and (bool(case.telling) or found.out == whole.ended.out)
    return "" if same else "silent"


@dataclass(frozen=True)
class Answer:
    """How a command ended on the whole input, and the files that it made."""

    ended: Ended
    files: tuple[tuple[str, str], ...]
    with_torch: bool


class Readers:
    """Runs cases on mutants of their files, in a world that is the current folder.

    Args:
        place: of the attack.
        world: the folder of files.
        cases: by name.
        seed: the same seed gives each case the same mutants.
    """

    def __init__(self, place: Place, world: Path, cases: dict[str, Case], seed: int) -> None:
        self.place, self.world = place, world
        self.master = place.root / "master"
        shutil.copytree(world, self.master, symlinks=True)
        self.cases = {name: _resolved(case) for name, case in cases.items()}
        self.chances = {name: random.Random(f"{seed} {name}") for name in cases}  # noqa: S311
        self.order = random.Random(seed)  # noqa: S311
        self.with_torch = "torch" in sys.modules
        self.counts: Counter[str] = Counter()
        self.noticed: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        self.slowest = 0.0
        self.largest = 0
        self.findings: list[dict[str, Any]] = []
        self.unconfirmed: list[str] = []
        self.successive = Successive(place, world)
        self.state = self._state()
        self.whole: dict[str, Answer] = {}

    def _next(self) -> str:
        """A case by chance: slow commands get more of the time, and fewer mutants."""
        usual = 0.3 if self.with_torch else 0.03
        mean = {name: self.seconds[name] / self.counts[name] if self.counts[name] else usual for name in self.cases}
        return self.order.choices(list(mean), [max(0.01, one) ** -0.75 for one in mean.values()])[0]

    def _undamaged(self, name: str, case: Case) -> Answer:
        """The answer to the whole input, twice the same unless its damage may be silent anyway."""
        content = Path(case.file).read_bytes()
        first, files = self._run(case, content, False, LONGEST, fresh=True)
        if not case.checked:
            return Answer(first, files, self.with_torch)
        second, again = self._run(case, content, False, LONGEST, fresh=True)
        if first.code != 0:
            raise SystemExit(f"{name}, undamaged: {first.code}: {first.said[-3000:]}")
        if files != again or (first.out != second.out and not case.telling):
            odd = {
                one for one in dict(files).keys() | dict(again).keys() if dict(files).get(one) != dict(again).get(one)
            }
            raise SystemExit(f"{name}, undamaged, has two answers: {sorted(odd)[:4]} {first.out!r} {second.out!r}")
        return Answer(first, files, self.with_torch)

    def _run(
        self, case: Case, content: bytes, forged: bool, limit: float, *, fresh: bool
    ) -> tuple[Ended, tuple[tuple[str, str], ...]]:
        """How the command ends where the file has this content; then everything is as it was before."""
        file, times = Path(case.file), Path(case.file).stat()
        kept = file.read_bytes()
        file.write_bytes(content)
        # Damage does not change the time, which predictions keep of their inputs and the cache of its PNGs.
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        sealed = forged and case.seal is not None
        if forged and case.seal:
            case.seal()
        before = self._state() if sealed else self.state | ({case.file: _seen(file)} if case.file in self.state else {})
        if fresh:
            ended = Running(self.place, case.command, self.world).wait(limit)
        else:
            ended = self.successive.run(case.command, limit)
        files = _listing(case)
        if changed := self._elsewhere(case, before):
            ended = replace(ended, outside=(*ended.outside, *changed))
        self._restore(case, kept, sealed=sealed or bool(changed))
        return ended, files

    def _state(self) -> dict[str, tuple[int, int]]:
        """Every file of the world with its size and time."""
        found: dict[str, tuple[int, int]] = {}
        waiting = ["."]
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    seen = entry.stat(follow_symlinks=False)
                    found[entry.path[2:]] = (0, 0) if entry.is_dir() else (seen.st_size, seen.st_mtime_ns)
        return found

    def _elsewhere(self, case: Case, before: dict[str, tuple[int, int]]) -> list[str]:
        """Files that changed and are not the command's to change."""
        after = self._state()
        if after == before:
            return []
        own = tuple(one for one in (case.output, case.volatile) if one)
        changed = {name for name in after.keys() | before.keys() if after.get(name) != before.get(name)}
        return sorted(name for name in changed if not any(name == one or name.startswith(f"{one}/") for one in own))

    def _restore(self, case: Case, kept: bytes, *, sealed: bool) -> None:
        for name in (case.output, case.volatile):
            if name:
                shutil.rmtree(name, ignore_errors=True)
                Path(name).unlink(missing_ok=True)
            if name and (self.master / name).exists():
                copy = shutil.copytree if (self.master / name).is_dir() else shutil.copy2
                copy(self.master / name, name)
        if case.file.startswith("../"):  # it is not in the world
            Path(case.file).write_bytes(kept)
        else:
            Path(case.file).unlink(missing_ok=True)
            shutil.copy2(self.master / case.file, case.file)
        if sealed:
            for manifest in (
                *Path(case.file).parent.glob("manifest.json"),
                *Path(case.file).parent.glob("checkpoint.json"),
            ):
                shutil.copy2(self.master / manifest, manifest)
        if (sealed or case.volatile) and self._state() != self.state:
            self._rebuild()

    def _rebuild(self) -> None:
        for inner in self.world.iterdir():
            shutil.rmtree(inner) if inner.is_dir() and not inner.is_symlink() else inner.unlink()
        shutil.copytree(self.master, self.world, symlinks=True, dirs_exist_ok=True)
        self.state = self._state()

    def one(self, name: str = "") -> None:
        """Runs the next mutant of a case, by default of one by chance."""
        name = name or self._next()
        if name not in self.whole:
            self.whole[name] = self._undamaged(name, self.cases[name])
        case, chance, began = self.cases[name], self.chances[name], time.monotonic()
        before = Path(case.file).read_bytes()
        content, how, forged = mutant(before, case.form, chance)
        if content == before:
            return
        told, found = self._told(name, content, forged, fresh=False)
        self.counts[name] += 1
        self.noticed[name] += bool(found.code)
        self.slowest, self.largest = max(self.slowest, found.seconds), max(self.largest, found.memory)
        if told:
            # What earlier commands left in the process may have been wrong, and not this one.
            self.successive.end()
            again, found = self._told(name, content, forged, fresh=True)
            self.unconfirmed += [] if again else [f"{name} {self.counts[name]}: {told}"]
            told = again
        if told:
            self._keep(name, told, how, content, found)
        self.seconds[name] += time.monotonic() - began

    def _told(self, name: str, content: bytes, forged: bool, *, fresh: bool) -> tuple[str, Ended]:
        """What is wrong with how a case ends on a mutant, and how it ends."""
        case, whole = self.cases[name], self.whole[name]
        found, files = self._run(case, content, forged, limit_of(whole.ended.seconds), fresh=fresh)
        told = verdict(case, found, files, whole, forged=forged)
        if not told and (left := self.place.leftovers()):
            told = f"left: {left[:3]}"
        return told, found

    def _keep(self, name: str, told: str, how: str, content: bytes, found: Ended) -> None:
        kept = self.place.findings / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}-{self.counts[name]}"
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(content)
        said = found.err.decode(errors="replace")[-1500:]
        self.findings.append(
            {
                "case": name,
                "number": self.counts[name],
                "wrong": told,
                "mutation": how,
                "file": str(kept),
                "stderr": said,
            }
        )

    def figures(self) -> dict[str, Any]:
        """Counts as plain values."""
        return {
            "counts": {"mutant": sum(self.counts.values())},
            "unconfirmed": self.unconfirmed,
            "noticed": sum(self.noticed.values()),
            "slowest_s": round(self.slowest, 1),
            "largest_mib": self.largest >> 20,
            "cases": {
                name: {"mutants": count, "noticed": self.noticed[name]} for name, count in sorted(self.counts.items())
            },
        }


def _seen(file: Path) -> tuple[int, int]:
    """Size and time of a file."""
    seen = file.stat()
    return seen.st_size, seen.st_mtime_ns


def _resolved(case: Case) -> Case:
    """With the path of the journal, whose folder has a name of chance."""
    if case.file != "JOURNAL":
        return case
    (found,) = Path("resumed").rglob("journal.jsonl")
    return replace(case, file=str(found))
