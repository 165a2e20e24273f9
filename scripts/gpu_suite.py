#!/usr/bin/env python3
"""Measures inference and training speed on a GPU in under eight minutes; prints JSON.

    python scripts/gpu_suite.py --output docs/measurements/speed_gpu.json

Needs only the package and its dependencies. If a section fails, its error is recorded and the others continue; sections
beyond the time limit are skipped and listed. With --output the file is written after each section, so that an aborted
run leaves its results. On a machine without a GPU, `--small` runs small versions of the sections on the CPU, to test
the script; their figures are meaningless.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gpu_roofline
import torch
from gpu_subject import Subject, named, spread, straightforward, straightforward_segments, written
from gpu_training import SECTION_SECONDS as TRAINING_SECTION_SECONDS
from gpu_training import TRAINING
from PIL import Image
from straightforward import CATEGORIES, Thresholds, plain_panoptic
from torch import Tensor
from torchvision.ops import deform_conv2d

from yoso_cli.api.predictor import EngineOptions, make_predictor
from yoso_cli.api.weights import ModelFile, read_model
from yoso_cli.evaluation.counting import counts_from_stream
from yoso_cli.evaluation.measures import score_counts
from yoso_cli.inference import paper
from yoso_cli.inference.engine import PRECISIONS, Switches
from yoso_cli.inference.predict import predict_set
from yoso_cli.model.aggregator import ModulatedDeformConv
from yoso_cli.model.reparam import relative_difference, reparameterise
from yoso_cli.panoptic.files import read_set
from yoso_cli.panoptic.photos import read_image
from yoso_cli.panoptic.types import ImageRecord, Panoptic, PanopticSet, Segment, measured
from yoso_cli.run_folder import RunFolder
from yoso_cli.runtime import machine

SECONDS = 420
# Of one section at most; the training within `pq` has a limit of its own.
SECTION_SECONDS = 80
TRAINING_SECONDS = 100
# What torch.compile may take for its first call; with less left it is not begun.
COMPILING_SECONDS = 75
# C5, C4 and C3 of a picture: stride and channels of each deformable convolution's input.
LEVELS = ((32, 1024), (16, 512), (8, 256))
PACKAGES = ("yoso-cli", "torch", "torchvision", "numpy", "pillow", "scipy", "safetensors")
Found = dict[str, Any]


def forward(subject: Subject) -> Found:
    """The network alone: FPS, peak memory, and how far from the roofline, whose two limits are measured first."""
    size = {"edge": 64, "megabytes": 1, "repeats": 1} if subject.small else {}
    peak = gpu_roofline.measure_peak(
        subject.device, [PRECISIONS[one.precision] for one in subject.precisions()], **size
    )
    found: Found = {
        "limits": {
            "tera_flops": {one.precision: peak.flops[PRECISIONS[one.precision]] / 1e12 for one in subject.precisions()},
            "single_is": "TF32 where the device has it",
            "giga_bytes_per_s": peak.bytes / 1e9,
        }
    }
    for edges, switches in subject.each(subject.combinations()):
        images = subject.images(edges)
        engine = subject.engine(switches)
        # A replayed graph calls no operator: those are counted that it recorded.
        issued = subject.engine(Switches(switches.precision, switches.channels_last))
        least = gpu_roofline.bound(lambda run=issued, batch=images: run(batch), peak)
        taken = subject.milliseconds(lambda run=engine, batch=images: run(batch))
        found[named(edges, switches)] = {
            "ms": taken,
            "fps": 1000 / taken,
            "tera_flops": least.flops / taken / 1e9,
            "roofline_ms": least.milliseconds,
            "times_the_roofline": taken / least.milliseconds,
            "peak_mib": subject.peak_mib(lambda run=engine, batch=images: run(batch)),
        }
    return found


def end_to_end(subject: Subject) -> Found:
    """Picture in memory to segments, against the straightforward side in single precision, in turn."""
    found: Found = {}
    for edges, switches in subject.each(subject.combinations()):
        ours = subject.predictor(edges, switches)
        theirs = straightforward(subject.model, ours)
        ratio = subject.in_turn(lambda call=theirs: call(subject.picture), lambda call=ours: call(subject.picture))
        found[named(edges, switches)] = {
            "straightforward_single_ms": ratio.first.median,
            "ours_ms": ratio.second.median,
            "ours_p90_ms": ratio.second.p90,
            **spread(ratio),
            "differing_pixels": float((ours(subject.picture).id_map != theirs(subject.picture)).mean()),
            "straightforward_peak_mib": subject.peak_mib(lambda call=theirs: call(subject.picture)),
            "ours_peak_mib": subject.peak_mib(lambda call=ours: call(subject.picture)),
        }
    return found


def merge(subject: Subject) -> Found:
    """Postprocessing alone, ms: the plain loop, ours, and the fast one."""
    found: Found = {}
    isthing = [category.isthing for category in CATEGORIES]
    for edges, _ in subject.each([Switches()]):
        predictor = subject.predictor(edges)
        images, sizes = predictor.prepare(subject.picture)
        last = predictor.engine(images)
        thresholds = Thresholds(predictor.score_threshold, predictor.overlap_threshold)
        calls: dict[str, Callable[[], object]] = {
            "straightforward": lambda last=last, sizes=sizes, limits=thresholds: plain_panoptic(
                last.mask_logits[0], last.class_logits[0], sizes, isthing, limits
            ),
            "exact": lambda last=last, sizes=sizes, ours=predictor: ours.merge(last, (sizes,), "exact"),
            "fast": lambda last=last, sizes=sizes, ours=predictor: ours.merge(last, (sizes,), "fast"),
        }
        found[named(edges, "ms")] = {name: subject.milliseconds(call) for name, call in calls.items()}
    return found


def deformable(subject: Subject) -> Found:
    """The three deformable convolutions of a picture, ours against torchvision's operator, in turn."""
    found: Found = {}
    for edges, switches in subject.each(subject.precisions()):
        kind = PRECISIONS[switches.precision]
        maps = [_deformable_input(subject, edges, stride, channels, kind) for stride, channels in LEVELS]
        # Its kernel knows no bfloat16.
        known = [[one.float() for one in each] for each in maps] if kind is torch.bfloat16 else maps
        modules = [_convolution(weight) for _, _, _, weight in maps]

        def ours(maps: Any = maps, modules: Any = modules) -> list[Tensor]:
            return [module(x, shifts, mask) for module, (x, shifts, mask, _) in zip(modules, maps, strict=True)]

        def theirs(maps: Any = known) -> list[Tensor]:
            return [deform_conv2d(x, shifts, weight, padding=1, mask=mask) for x, shifts, mask, weight in maps]

        ratio = subject.in_turn(theirs, ours)
        found[named(edges, switches)] = {
            "torchvision_ms": ratio.first.median,
            "ours_ms": ratio.second.median,
            **spread(ratio),
            "largest_difference": max(
                relative_difference(a.float(), b.float()) for a, b in zip(ours(), theirs(), strict=True)
            ),
        }
    return found


def decoder_precision(subject: Subject) -> Found:
    """What it costs that the decoder runs in single precision under autocast, and what it would say otherwise."""
    found: Found = {}
    model = reparameterise(subject.model)
    for edges, switches in subject.each(subject.precisions()[1:]):
        kind = PRECISIONS[switches.precision]
        images = subject.images(edges)
        with torch.autocast(subject.device.type, dtype=kind):
            features = model.features(images)

        def half(features: Tensor = features, kind: torch.dtype = kind) -> tuple[Tensor, Tensor]:
            with torch.autocast(subject.device.type, dtype=kind):
                return model.decoder(features)[-1]

        def single(features: Tensor = features) -> tuple[Tensor, Tensor]:
            return model.decoder(features.float())[-1]

        ratio = subject.in_turn(single, half)
        masks, others = single()[0], half()[0]
        found[named(edges, switches)] = {
            "single_ms": ratio.first.median,
            "half_ms": ratio.second.median,
            **spread(ratio),
            "differing_mask_cells": float(((masks > 0) != (others > 0)).float().mean()),
            "half_is_finite": bool(others.isfinite().all()),
        }
    return found


def each_switch(subject: Subject) -> Found:
    """The network alone: each switch by itself against none, in turn; and pictures in a batch."""
    found: Found = {}
    alone = [*subject.precisions()[1:], Switches(channels_last=True)]
    alone += [Switches(graphs=True)] * (subject.device.type == "cuda")
    for edges, switches in subject.each(alone):
        images = subject.images(edges)
        off, on = subject.engine(Switches()), subject.engine(switches)
        ratio = subject.in_turn(lambda run=off, batch=images: run(batch), lambda run=on, batch=images: run(batch))
        found[named(edges, switches)] = {"off_ms": ratio.first.median, "on_ms": ratio.second.median, **spread(ratio)}
    best = subject.likely_best()
    images, engine = subject.images(subject.sizes[0]), subject.engine(best)
    for batch in (1, 2) if subject.small else (1, 2, 4, 8):
        several = images.repeat(batch, 1, 1, 1)
        taken = subject.milliseconds(lambda batch=several: engine(batch))
        found[named(subject.sizes[0], f"{best}, batch {batch}")] = {"ms": taken, "fps": 1000 * batch / taken}
    return found


def transfer(subject: Subject) -> Found:
    """A resized picture to the device, ms: floats and bytes from ordinary memory, bytes from page-locked one."""
    pixels = subject.predictor(subject.sizes[0]).resized(subject.picture)[0].pixels
    sides = {"floats": pixels.float(), "bytes": pixels}
    if subject.device.type == "cuda":
        sides["locked bytes"] = pixels.cpu().pin_memory()
    return {
        name: subject.milliseconds(lambda one=one: one.to(subject.device, non_blocking=True))
        for name, one in sides.items()
    }


def stream(subject: Subject) -> Found:
    """Files to segments, the stages at once as in `yoso eval`: pictures per second."""
    found: Found = {}
    many, best = (6, subject.likely_best()) if subject.small else (96, subject.likely_best())
    with tempfile.TemporaryDirectory() as folder:
        Image.fromarray(subject.picture).save(Path(folder) / "picture.jpg", quality=95)
        height, width = subject.picture.shape[:2]
        records = tuple(ImageRecord(index, "picture.jpg", "", height, width, ()) for index in range(many))
        pictures = PanopticSet("noise", "val", CATEGORIES, records, Path(folder), Path(folder))
        for batch in (1, 4, 8):
            predictor = subject.predictor(subject.sizes[0], best)
            for warmed in (False, True):
                began = time.perf_counter()
                for _ in predict_set(predictor, pictures, batch=batch, readers=os.cpu_count() or 1):
                    pass
                if warmed:
                    found[f"batch {batch}"] = many / (time.perf_counter() - began)
    return {"size": subject.sizes[0], "switches": str(best), "pictures_per_second": found}


def pq(subject: Subject) -> Found:
    """PQ on the demo's scenes of a network trained here: of the straightforward side, and of ours with each switch."""
    with tempfile.TemporaryDirectory() as folder:
        source = _trained(Path(folder), subject)
        truth = read_set(Path(folder) / "datasets/shapes/val")
        predictor = source.predictor(str(subject.device))
        theirs = straightforward_segments(source.network().to(subject.device), predictor)
        found: Found = {"straightforward": _pq(truth, ((one, _segments(theirs, truth, one)) for one in truth.records))}
        for switches in subject.combinations():
            model, options = reparameterise(source.network()), EngineOptions(**asdict(switches))
            ours = make_predictor(model, truth.categories, source.recipe, subject.device, options=options)
            found[str(switches)] = _pq(truth, predict_set(ours, truth))
        return found


def tables(subject: Subject) -> Found:
    """The paper's efficiency columns; their shapes are what they are, so there is no miniature of them."""
    if subject.small:
        return {"notes": paper.NOTES}
    rows = paper.measure(subject.device, repeats=subject.repeats, tell=lambda _: None)
    return {"rows": [asdict(row) for row in rows], "notes": paper.NOTES}


def compiled(subject: Subject) -> Found:
    """torch.compile against none, the network alone at the first size."""
    images = subject.images(subject.sizes[0])
    found: Found = {}
    for one in subject.precisions()[: 1 if subject.small else 2]:
        if subject.seconds_left() < COMPILING_SECONDS:
            subject.left_out = f"{one}, and what follows"
            break
        off, on = subject.engine(one), subject.engine(Switches(one.precision, compiled=True))
        began = time.perf_counter()
        on(images)
        first_call = time.perf_counter() - began
        ratio = subject.in_turn(lambda run=off: run(images), lambda run=on: run(images))
        found[one.precision] = {"first_call_s": first_call, "on_ms": ratio.second.median, **spread(ratio)}
    return found


# In the order in which they matter, should the time not suffice.
SECTIONS = {
    one.__name__: one
    for one in (
        *(forward, end_to_end, pq, deformable, merge, decoder_precision, transfer, each_switch, *TRAINING),
        *(stream, tables, compiled),
    )
}


def main() -> None:
    """Runs the sections and writes what was found, also when some failed."""
    options = _options()
    began = time.monotonic()
    device = torch.device("cpu" if options.small else "cuda")
    name = "cpu" if options.small else torch.cuda.get_device_name(device)
    found: Found = {"device": name, "machine": machine.describe(), "versions": machine.versions(PACKAGES)}
    with torch.no_grad():
        subject = Subject(device, options.small)
        for section in options.only or SECTIONS:
            found[section] = _run(SECTIONS[section], subject, began + SECONDS)
            found["seconds"] = time.monotonic() - began
            print(f"{section}: {found['seconds']:.0f} s", file=sys.stderr)
            written(options.output, json.dumps(found, indent=1))
    print(json.dumps(found, indent=1))


def _run(section: Callable[[Subject], Found], subject: Subject, end: float) -> Found:
    """What a section found, or why it did not."""
    if time.monotonic() > end:
        return {"left out": f"{SECONDS} s were over"}
    seconds = TRAINING_SECTION_SECONDS if section in TRAINING else SECTION_SECONDS
    subject.deadline, subject.left_out = min(end, time.monotonic() + seconds), ""
    began = time.monotonic()
    try:
        with torch.set_grad_enabled(section in TRAINING):
            found = section(subject)
    except Exception as error:
        found = {"failed": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
    if subject.device.type == "cuda":
        torch.cuda.empty_cache()
    return {**found, **({"left out": subject.left_out} if subject.left_out else {}), "took_s": time.monotonic() - began}


def _trained(folder: Path, subject: Subject) -> ModelFile:
    """The demo's network after as many steps as the time allows, with its weights as trained."""
    scenes, steps = ("12", 3) if subject.small else ("600", 600)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}

    def yoso(*words: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "yoso_cli", *words],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TRAINING_SECONDS,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"yoso {' '.join(words)}: {done.stderr[-2000:]}")

    yoso("prepare", "shapes", "--train", scenes, "--val", "3" if subject.small else "100")
    yoso("train", "shapes", "--device", subject.device.type, "--set", f"train.iterations={steps}")
    return read_model(RunFolder.newest(folder / "runs").weights(), [f"data.root={folder / 'datasets'}"])


def _pq(truth: PanopticSet, predicted: Iterable[tuple[ImageRecord, Panoptic]]) -> float | None:
    """In percent."""
    quality = score_counts(counts_from_stream(predicted, truth), truth).quality.all.pq
    return None if quality is None else 100 * quality


def _segments(theirs: Callable[..., Any], truth: PanopticSet, record: ImageRecord) -> Panoptic:
    id_map, segments = theirs(read_image(truth.image_path(record)))
    listed = [Segment(one, truth.categories[label].id, 0) for one, label in segments]
    return Panoptic(id_map, measured(id_map, listed))


def _deformable_input(
    subject: Subject, edges: tuple[int, int], stride: int, channels: int, kind: torch.dtype
) -> list[Tensor]:
    size = [-(-edge // 32) * 32 // stride for edge in edges]
    shapes = [(1, channels, *size), (1, 18, *size), (1, 9, *size), (channels // 2, channels, 3, 3)]
    return [torch.randn(shape, device=subject.device).to(kind) for shape in shapes]


def _convolution(weight: Tensor) -> ModulatedDeformConv:
    module = ModulatedDeformConv(weight.shape[1], weight.shape[0]).to(weight).eval()
    module.weight.copy_(weight)
    return module


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--small", action="store_true", help="in miniature, on the CPU")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="this section; repeatable")
    return parser.parse_args()


if __name__ == "__main__":
    main()
