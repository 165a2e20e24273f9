"""What test processes run: importable, so that they can be started anew instead of forked with torch's threads."""

import contextlib
import json
import multiprocessing
import os
from multiprocessing.context import ForkServerContext
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from training import tiny

from yoso_cli.cli import run
from yoso_cli.loading.batch import Batch
from yoso_cli.runtime.distributed import ProcessGroup
from yoso_cli.training import distributed
from yoso_cli.training.cells import CellLoss
from yoso_cli.training.centers import CenterLoss, WithCenters
from yoso_cli.training.losses import SetLoss
from yoso_cli.training.step import Criterion

# The released loss, and the one with all aids; codes of 64x64 pictures need no more than the tiny network has.
CRITERIA: dict[str, Criterion] = {
    "released": SetLoss(num_points=128),
    "aided": WithCenters(CellLoss(box_points=5), 2.0, CenterLoss((True, True, False))),
}


def context() -> ForkServerContext:
    """Processes that have torch imported already, without having used it."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["training.processes", "torchvision", "scipy.optimize", "yoso_cli.commands.training"])
    return found


def command(words: list[str], folder: str) -> None:
    """`yoso` with these words in that folder."""
    os.chdir(folder)
    torch.set_num_threads(1)
    with Path("said.txt").open("a") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        raise SystemExit(run(words))


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


def curve(rank: int, count: int, folder: str, steps: int, criterion: str) -> None:
    """Losses and last weights of `steps` steps on batches of two pictures, shared by `count` processes."""
    torch.set_num_threads(1)
    if count > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=count)
    model = tiny.model()
    if count > 1:
        distributed.convert_batch_norms(model)
    forward = distributed.wrap_ddp(model, torch.device("cpu")) if count > 1 else model
    step = tiny.step(
        model, CRITERIA[criterion], optimizer=tiny.sgd(model), forward=forward, group=ProcessGroup(rank, count)
    )
    model.train()
    losses = []
    for iteration, batch in enumerate(tiny.batches(stop=steps, uneven=True)):
        own = slice(rank * 2 // count, (rank + 1) * 2 // count)
        part = Batch(batch.images[own], batch.targets[own], batch.image_ids[own])
        losses.append(step(part, iteration, 1e-3))
    state = {key: tensor.tolist() for key, tensor in model.state_dict().items()}
    Path(folder, f"{count}-{rank}.json").write_text(json.dumps({"losses": losses, "state": state}))
    if count > 1:
        dist.destroy_process_group()


def frozen_norms(model: nn.Module) -> nn.Module:
    """`model` in training, but for batch norms, which would see whether a batch comes at once."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return model
