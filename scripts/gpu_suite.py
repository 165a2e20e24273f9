#!/usr/bin/env python3
"""All speed figures of a GPU in one call of under eight minutes, as JSON: both sides, each switch, the paper's tables.

    python scripts/gpu_suite.py --output docs/measurements/speed_gpu.json

Needs the package and its dependencies, and nothing from outside. On a machine without a GPU `--small` runs every
section in miniature on the CPU: a test of the script, whose figures mean nothing. A section that fails says why and the
others go on; one that would begin after the time is up is left out and named.
"""

import argparse
import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from straightforward import CATEGORIES, Thresholds, noise, plain, plain_panoptic, random_network

from yoso_cli import machine
from yoso_cli.inference import cost, paper
from yoso_cli.inference.engine import Engine, Switches
from yoso_cli.inference.latency import compare, milliseconds
from yoso_cli.inference.postprocess import to_panoptics
from yoso_cli.inference.predict import Predictor
from yoso_cli.model.deform import gathered_deform_conv, operator_deform_conv
from yoso_cli.model.reparam import reparameterise
from yoso_cli.model.yoso import YOSO

SECONDS = 450
OVERLAP = 0.8
PACKAGES = ("yoso-cli", "torch", "torchvision", "numpy", "pillow", "scipy", "safetensors")
PRECISIONS = {"single": torch.float32, "half": torch.float16, "bfloat16": torch.bfloat16}


class Suite:
    """What every section needs, and what they have found."""

    def __init__(self, device: torch.device, small: bool) -> None:
        self.device = device
        self.repeats = 1 if small else 30
        self.sizes = [(64, 96)] if small else [(800, 1333), (512, 800), (1024, 2048)]
        self.picture = (48, 64) if small else (480, 640)
        torch.manual_seed(0)
        model, self.threshold = random_network(30, (64, 96) if small else (480, 640))
        self.model: YOSO = model.to(device)

    def predictor(self, edges: tuple[int, int], switches: Switches, merge: str = "exact") -> Predictor:
        """Ours at one size."""
        return Predictor(
            reparameterise(self.model),
            CATEGORIES,
            short_edge=edges[0],
            long_edge=edges[1],
            score_threshold=self.threshold,
            overlap_threshold=OVERLAP,
            device=self.device,
            merge=merge,
            switches=switches,
        )

    def switches(self) -> list[Switches]:
        """Every combination worth a look on this device."""
        gpu = self.device.type == "cuda"
        found = []
        for precision in PRECISIONS if gpu else ("single", "bfloat16"):
            for last in (False, True):
                found += [Switches(precision, last, graphs=graphs) for graphs in ((False, True) if gpu else (False,))]
        return found

    def end_to_end(self) -> dict[str, Any]:
        """Picture in memory to segments, against the straightforward side, with each choice of switches."""
        found: dict[str, Any] = {}
        simple = plain(self.model)
        image = noise(*self.picture).numpy()
        thresholds = Thresholds(self.threshold, OVERLAP)
        isthing = [category.isthing for category in CATEGORIES]
        for edges in self.sizes:
            reference = self.predictor(edges, Switches())

            def theirs(reference: Predictor = reference) -> np.ndarray:
                images, sizes = reference.prepare(image)
                last = simple(images)[-1]
                return plain_panoptic(last.mask_logits[0], last.class_logits[0], sizes, isthing, thresholds)[0]

            their_map = theirs()
            for switches in self.switches():
                ours = self.predictor(edges, switches)
                ratio = compare(
                    lambda _, call=theirs: _drop(call()),
                    lambda _, call=ours: _drop(call(image)),
                    self.device,
                    repeats=self.repeats,
                    warmup=3,
                )
                found[f"{edges[0]}x{edges[1]}, {switches}"] = {
                    "straightforward_single_ms": ratio.first.median,
                    "ours_ms": ratio.second.median,
                    "ours_p90_ms": ratio.second.p90,
                    "ratio": ratio.median,
                    "ratio_p10_p90": [ratio.low, ratio.high],
                    "differing_pixels": float((ours(image).id_map != their_map).mean()),
                }
        return found

    def forward(self) -> dict[str, Any]:
        """The network alone: FPS, peak memory, and how much of what a matrix product reaches it reaches."""
        found: dict[str, Any] = {}
        reach = {name: self._reached(kind) for name, kind in PRECISIONS.items()}
        for edges in self.sizes:
            size = [-(-edge // 32) * 32 for edge in edges]
            images = torch.rand(1, 3, *size, device=self.device) * 255
            flops = sum(cost.count(reparameterise(self.model), images).flops.values())
            for switches in self.switches():
                if self.device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats(self.device)
                engine = Engine(reparameterise(self.model), self.device, switches)
                taken = milliseconds(lambda run=engine, batch=images: run(batch), self.device, self.repeats)
                found[f"{size[0]}x{size[1]}, {switches}"] = {
                    "ms": taken,
                    "fps": 1000 / taken,
                    "tflops": flops / taken / 1e9,
                    "share_of_a_matrix_product": flops / taken / 1e9 / reach[switches.precision],
                    "peak_mib": self._peak_mib(),
                }
        return {"matrix_product_tflops": reach, "runs": found}

    def merge(self) -> dict[str, Any]:
        """Postprocessing alone: the plain loop, ours, and the fast one."""
        found = {}
        isthing = [category.isthing for category in CATEGORIES]
        thresholds = Thresholds(self.threshold, OVERLAP)
        for edges in self.sizes:
            predictor = self.predictor(edges, Switches())
            images, sizes = predictor.prepare(noise(*self.picture).numpy())
            last = predictor.engine(images)
            calls: dict[str, Callable[[], object]] = {
                "straightforward": lambda o=last, s=sizes: plain_panoptic(
                    o.mask_logits[0], o.class_logits[0], s, isthing, thresholds
                )
            }
            for rule in ("exact", "fast"):
                calls[rule] = lambda o=last, s=sizes, rule=rule: to_panoptics(
                    o.mask_logits,
                    o.class_logits,
                    [s],
                    CATEGORIES,
                    score_threshold=self.threshold,
                    overlap_threshold=OVERLAP,
                    merge=rule,
                )
            found[f"{edges[0]}x{edges[1]}"] = {
                name: milliseconds(call, self.device, self.repeats) for name, call in calls.items()
            }
        return found

    def deformable(self) -> dict[str, Any]:
        """Both forms of the operator in each precision, ms for the three maps of a picture."""
        found = {}
        for edges in self.sizes[:2]:
            for name, kind in PRECISIONS.items():
                if self.device.type == "cpu" and kind is torch.float16:
                    continue
                inputs = []
                for stride, channels in ((32, 1024), (16, 512), (8, 256)):
                    size = [-(-edge // 32) * 32 // stride for edge in edges]
                    shapes = [(1, channels, *size), (1, 18, *size), (1, 9, *size), (channels // 2, channels, 3, 3)]
                    inputs.append([torch.randn(shape, device=self.device).to(kind) for shape in shapes])
                for form in (operator_deform_conv, gathered_deform_conv):
                    found[f"{edges[0]}x{edges[1]}, {name}, {form.__name__}"] = milliseconds(
                        lambda run=form, maps=inputs: [run(*one, None) for one in maps], self.device, self.repeats
                    )
        return found

    def tables(self) -> dict[str, Any]:
        """The paper's efficiency columns."""
        if self.repeats == 1:
            return {"notes": "not in miniature: the paper's shapes are what they are"}
        rows = paper.measure(self.device, repeats=self.repeats, tell=lambda _: None)
        return {"rows": [vars(row) for row in rows], "notes": paper.NOTES}

    def _reached(self, kind: torch.dtype) -> float:
        edge = 256 if self.repeats == 1 else 8192
        first = torch.randn(edge, edge, device=self.device).to(kind)
        return 2 * edge**3 / milliseconds(lambda: first @ first, self.device, self.repeats) / 1e9

    def _peak_mib(self) -> float | None:
        return torch.cuda.max_memory_allocated(self.device) / 2**20 if self.device.type == "cuda" else None


def main() -> None:
    """Runs every section and writes what was found, also when some failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--small", action="store_true", help="in miniature, on the CPU")
    options = parser.parse_args()
    began = time.monotonic()
    device = torch.device("cpu" if options.small else "cuda")
    name = "cpu" if options.small else torch.cuda.get_device_name(device)
    found: dict[str, Any] = {"device": name, "machine": machine.describe(), "versions": machine.versions(PACKAGES)}
    with torch.inference_mode():
        suite = Suite(device, options.small)
        for section in (suite.end_to_end, suite.forward, suite.merge, suite.deformable, suite.tables):
            if time.monotonic() - began > SECONDS:
                found[section.__name__] = {"left out": f"{SECONDS} s were over"}
                continue
            try:
                found[section.__name__] = section()
            except Exception as error:
                found[section.__name__] = {"failed": str(error), "trace": traceback.format_exc()}
    found["seconds"] = time.monotonic() - began
    text = json.dumps(found, indent=1)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")


def _drop(_: object) -> None:
    """A call is timed for its time alone."""


if __name__ == "__main__":
    main()
