"""The device that a name stands for on this machine."""

import os
from typing import TYPE_CHECKING

from yoso_cli.errors import RunError, UsageError

if TYPE_CHECKING:
    import torch


def choose_device(name: str) -> "torch.device":
    """The device called auto, cpu, cuda or cuda:N; `auto` is CUDA where there is a GPU, else the CPU.

    Under torchrun, which starts one process for each GPU of a machine, cuda is the one of this process.

    Raises:
        UsageError: it is none of these.
        RunError: there is no such GPU here.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name}: no such device.", hint="It may be auto, cpu, cuda or cuda:N.")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        found = "no CUDA GPU" if not count else f"only {count} CUDA GPU{'s' if count > 1 else ''}"
        raise RunError(f"--device {name}: torch finds {found} here.", hint="Try --device cpu.")
    return device
