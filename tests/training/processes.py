"""What test processes run: importable, so that they can be started anew instead of forked with torch's threads."""

import contextlib
import functools
import itertools
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from training import tiny

from yoso_cli.api import training_parts, tune
from yoso_cli.cli import run
from yoso_cli.loading.batch import Batch
from yoso_cli.model.weights import read_header
from yoso_cli.run_folder import RunFolder
from yoso_cli.runtime.distributed import ALONE, ProcessGroup
from yoso_cli.training.step import Step

RECIPES = {"released": tiny.RECIPE, "aided": tiny.AIDED}


def context() -> ForkServerContext:
    """Processes that have torch imported already, without having used it."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["training.processes", "torchvision", "scipy.optimize", "yoso_cli.commands.train"])
    return found


def command(words: list[str], folder: str) -> None:
    """`yoso` with these words in that folder."""
    os.chdir(folder)
    torch.set_num_threads(1)
    with Path("said.txt").open("a") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        raise SystemExit(run(words))


def searching(words: list[str], folder: str, changes: int) -> None:
    """`yoso tune` with these words, killed when it is about to rename a file or make a folder after so many `changes`.

    Between two of these, all that a kill leaves is lines of metrics.jsonl and files that are not in their place. PQ is
    made of the hash of the weights, so that networks that differ in one bit lead to another choice.
    """
    left = itertools.count(-changes)
    for name in ("replace", "mkdir"):
        setattr(os, name, functools.partial(_while_alive, getattr(os, name), left))
    tune.evaluate = _evaluated_by_hash  # type: ignore[assignment]
    command(words, folder)


def _while_alive(do: Callable[..., None], left: Iterator[int], *arguments: Any, **how: Any) -> None:
    if not next(left):
        os.kill(os.getpid(), signal.SIGKILL)
    do(*arguments, **how)


def _evaluated_by_hash(folder: Path, **_: object) -> Any:
    pq = int(read_header(RunFolder(folder).weights())["sha256"][:8], 16) / 16**8
    return SimpleNamespace(quality=SimpleNamespace(all=SimpleNamespace(pq=pq)))


def member(rank: int, count: int, port: int, words: list[str], folder: str) -> None:
    """`yoso` with these words as one of `count` processes, as torchrun starts it."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    command(words, folder)


def children(pid: int) -> list[int]:
    """Processes that `pid` has started. Linux keeps that count."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            # Of `pid (name) state parent ...` the name may hold anything.
            parent = stat.read_text().rpartition(")")[2].split()[1]
            found += [int(stat.parent.name)] if int(parent) == pid else []
    return sorted(found)


def step(name: str, group: ProcessGroup = ALONE, **train: object) -> Step:
    """The step of one of `RECIPES`, with other values of its training.

    AdamW makes whole steps of gradients that are all rounding; with this epsilon it follows them as they are.
    """
    recipe = RECIPES[name]
    recipe = replace(recipe, train=replace(recipe.train, **train))
    model = training_parts.build_network(recipe, len(tiny.CATEGORIES))
    made = training_parts.optimizer_step(model, recipe, tiny.CATEGORIES, torch.device("cpu"), group)
    for group_of_weights in made.optimizer.param_groups:
        group_of_weights["eps"] = 1.0
    return made


def weights(step: Step) -> dict[str, torch.Tensor]:
    """All of the network, and of its moving average where there is one."""
    both = {"model": step.model, **({"average": step.average} if step.average else {})}
    return {f"{which}.{key}": tensor for which, one in both.items() for key, tensor in one.state_dict().items()}


def curve(rank: int, count: int, folder: str, steps: int, name: str) -> None:
    """Losses and last weights of `steps` steps on batches of two pictures, shared by `count` processes."""
    torch.set_num_threads(1)
    if count > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=count)
    made = step(name, ProcessGroup(rank, count), iterations=steps)
    losses = []
    for iteration, batch in enumerate(tiny.batches(stop=steps, uneven=True)):
        made.model.train()  # as after an evaluation
        own = slice(rank * 2 // count, (rank + 1) * 2 // count)
        part = Batch(batch.images[own], batch.targets[own], batch.image_ids[own])
        losses.append(made(part, iteration, 1e-3))
    state = {key: tensor.tolist() for key, tensor in weights(made).items()}
    Path(folder, f"{count}-{rank}.json").write_text(json.dumps({"losses": losses, "state": state}))
    if count > 1:
        dist.destroy_process_group()
