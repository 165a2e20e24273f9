"""The training sections of gpu_suite.py: precisions, throughput, memory, compilation, two processes.

Pictures are synthetic and no checkpoint is written: no dataset or disk is needed.
"""

import multiprocessing
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from gpu_subject import Subject

from yoso_cli.api import training_parts
from yoso_cli.loading.batch import Batch
from yoso_cli.loading.dataset import Target
from yoso_cli.panoptic.types import Category
from yoso_cli.recipe import file as recipe_file
from yoso_cli.recipe.schema import Recipe
from yoso_cli.runtime.distributed import ALONE, ProcessGroup
from yoso_cli.training.clock import peak_memory
from yoso_cli.training.step import NotFiniteError, Step

# Of the 450 seconds of the suite.
SECTION_SECONDS = 25
PICTURES = 4
Found = dict[str, Any]


def training_precision(subject: Subject) -> Found:
    """The small network's curve in each precision, from the same weights on the same pictures."""
    steps = 4 if subject.small else 200
    curves = {name: _curve(subject, name, steps) for name in ("float32", "bfloat16", "float16")}
    exact = curves["float32"]
    apart = {
        name: statistics.mean(abs(one - other) / other for one, other in zip(curve, exact, strict=True))
        for name, curve in curves.items()
    }
    return {"loss": curves, "mean_relative_distance_to_float32": apart, "steps": steps}


def training_throughput(subject: Subject) -> Found:
    """Pictures per second of whole steps, of YOSO-R50 at the paper's crop, in each precision and layout."""
    found: Found = {}
    for precision in ("float32", "bfloat16", "float16"):
        for last in (False, True):
            name = f"{precision}{', channels last' if last else ''}"
            step, batch = _paper_size(subject, [f"train.precision={precision}", f"train.channels_last={last}".lower()])
            found[name] = {"pictures_per_s": PICTURES / _seconds(step, batch, subject), "waits": _waits(step, batch)}
            if time.monotonic() > subject.deadline:
                subject.left_out = f"what follows {name}"
                return found
    return found


def training_memory(subject: Subject) -> Found:
    """The most memory that a step takes, for each number of pictures at a time, beside the estimate of a dry run."""
    found: Found = {}
    for precision in ("float32", "bfloat16"):
        for count in (1, 2, 4, 8, 16):
            changes = [f"train.precision={precision}", f"train.batch={count}", f"train.micro_batch={count}"]
            name = f"{precision}, {count} at a time"
            try:
                found[name] = _memory(subject, changes, count)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                found[name] = {"does not fit": str(error)[:200]}
                break
            if time.monotonic() > subject.deadline:
                subject.left_out = f"what follows {name}"
                return found
    return found


def training_compiled(subject: Subject) -> Found:
    """torch.compile on and off: seconds of the first step, and of those after it."""
    found: Found = {}
    for switch in ("false", "true"):
        step, batch = _paper_size(subject, [f"train.compile={switch}", "train.precision=bfloat16"])
        began = time.monotonic()
        step(batch, 0, 1e-4)
        _settle(subject)
        found[f"compile={switch}"] = {"first_s": time.monotonic() - began, "s": _seconds(step, batch, subject)}
    return found


def training_processes(subject: Subject) -> Found:
    """Two processes that share the device, and one alone: the same curve to rounding. NCCL wants a GPU each: gloo."""
    steps = 2 if subject.small else 30
    device = str(subject.device)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, context.Pool(3) as pool:
        members = [pool.apply_async(_member, (rank, 2, device, folder, steps)) for rank in (0, 1)]
        pair = [one.get(timeout=5 * SECTION_SECONDS) for one in members]
        alone = pool.apply(_member, (0, 1, device, folder, steps))
    assert pair[0] == pair[1], "both tell the figures of both"
    apart = [abs(one - other) / other for one, other in zip(pair[0], alone, strict=True)]
    return {"two": pair[0], "one": alone, "relative_distance": apart}


def _curve(subject: Subject, precision: str, steps: int) -> list[float]:
    recipe = _recipe("shapes", [f"train.precision={precision}"], subject.small)
    step = _step(recipe, 9, subject.device, ALONE)
    losses = []
    for iteration, batch in enumerate(_drawn(recipe, 9, steps)):
        try:
            losses.append(step(batch, iteration, recipe.train.lr)["loss"])
        except NotFiniteError:
            losses.append(float("nan"))
    return losses


def _member(rank: int, count: int, device: str, folder: str, steps: int) -> list[float]:
    """The losses that one of `count` processes tells; batch norms of a step see the pictures of all."""
    if count > 1:
        meeting = Path(folder) / "meeting"
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=count)
    recipe = _recipe("shapes", ["train.batch=4"], small=False)
    step = _step(recipe, 9, torch.device(device), ProcessGroup(rank, count))
    losses = []
    for iteration, batch in enumerate(_drawn(recipe, 9, steps)):
        own = slice(4 * rank // count, 4 * (rank + 1) // count)
        part = Batch(batch.images[own], batch.targets[own], batch.image_ids[own])
        losses.append(step(part, iteration, recipe.train.lr)["loss"])
    if count > 1:
        dist.destroy_process_group()
    return losses


def _recipe(name: str, changes: list[str], small: bool) -> Recipe:
    smaller = ["augment.crop_height=64", "augment.crop_width=64", "loss.num_points=128"] if small else []
    return recipe_file.load("shapes" if small else name, ["model.backbone_weights=none", *smaller, *changes])


def _step(recipe: Recipe, classes: int, device: torch.device, group: ProcessGroup) -> Step:
    model = training_parts.build_network(recipe, classes)
    categories = tuple(Category(number, str(number), True) for number in range(1, classes + 1))
    step = training_parts.optimizer_step(model, recipe, categories, device, group)
    model.train()
    return step


def _paper_size(subject: Subject, changes: list[str]) -> tuple[Step, Batch]:
    """A learner and a batch at the paper's size, or the small network's in miniature."""
    recipe = _recipe("coco", [f"train.batch={PICTURES}", "train.micro_batch=0", *changes], subject.small)
    step = _step(recipe, 133, subject.device, ALONE)
    return step, next(_drawn(recipe, 133, 1))


def _memory(subject: Subject, changes: list[str], count: int) -> Found:
    step, batch = _paper_size(subject, changes)
    recipe = _recipe("coco", changes, subject.small)
    estimate = training_parts.footprint(step.model, recipe).total(count) / 2**20
    if subject.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(subject.device)
    step(batch, 0, 1e-4)
    return {"peak_mib": peak_memory(subject.device), "estimate_mib": estimate}


def _seconds(step: Step, batch: Batch, subject: Subject) -> float:
    """Median of some steps after a first one."""
    taken = []
    for iteration in range(2 if subject.small else 6):
        _settle(subject)
        began = time.monotonic()
        step(batch, iteration, 1e-4)
        _settle(subject)
        taken.append(time.monotonic() - began)
    return statistics.median(taken[1:])


def _waits(step: Step, batch: Batch) -> int | None:
    """How often a step reads a number of the GPU, as torch itself counts it."""
    if step.device.type != "cuda":
        return None
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            step(batch, 0, 1e-4)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(one.message) for one in seen)


def _settle(subject: Subject) -> None:
    if subject.device.type == "cuda":
        torch.cuda.synchronize(subject.device)


def _drawn(recipe: Recipe, classes: int, steps: int) -> Iterator[Batch]:
    """Noise with a dozen rectangles, each as bright as its class says."""
    height, width = recipe.augment.crop_height, recipe.augment.crop_width
    for step in range(steps):
        random = torch.Generator().manual_seed(step)
        images = torch.randint(100, 156, (recipe.train.batch, 3, height, width), dtype=torch.uint8, generator=random)
        targets = []
        for image in images:
            labels = torch.randint(0, classes, (12,), generator=random)
            masks = torch.zeros(len(labels), height, width, dtype=torch.bool)
            for label, mask in zip(labels.tolist(), masks, strict=True):
                top, left = (
                    int(torch.randint(0, size - size // 4, (1,), generator=random)) for size in (height, width)
                )
                place = (slice(top, top + height // 4), slice(left, left + width // 4))
                masks[(slice(None), *place)] = False
                mask[place] = True
                image[(slice(None), *place)] = 255 * label // classes
            targets.append(Target(labels, masks))
        yield Batch(images, targets, list(range(recipe.train.batch)))


TRAINING = (training_precision, training_throughput, training_memory, training_processes, training_compiled)
