"""This machine: processor, memory and devices, and how this process uses them."""

import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from yoso_cli.errors import RunError, UsageError

if TYPE_CHECKING:
    import torch

NOT_INSTALLED = "not installed"
"""Instead of a version."""

MODEL_PACKAGES = ("yoso-cli", "torch", "torchvision", "numpy", "pillow")
"""Packages whose versions are recorded in reports and weights files."""

SCORING_PACKAGES = ("yoso-cli", "numpy", "pillow")
"""The same for scoring predictions without a model."""

# mallopt's parameters: https://man7.org/linux/man-pages/man3/mallopt.3.html
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_NEVER = (1 << 31) - 1


def describe() -> dict[str, str | int]:
    """The CPU's model, its cores that this process may use, memory in bytes (where known), Python and platform."""
    found: dict[str, str | int] = {
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    memory = _memory_bytes()
    return {**found, "memory_bytes": memory} if memory else found


def usable_cores() -> int:
    """The number of cores that this process may use, which a container or `taskset` may limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The installed version of each of `packages`, read from its metadata: nothing is imported."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = NOT_INSTALLED
    return found


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
        raise UsageError(f"--device {name}: no such device.", hint="Use auto, cpu, cuda or cuda:N.")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        found = "no CUDA GPU" if not count else f"only {count} CUDA GPU{'s' if count > 1 else ''}"
        raise RunError(f"--device {name}: torch finds {found} here.", hint="Try --device cpu.")
    return device


def keep_freed_memory() -> bool:
    """Makes glibc keep freed memory in this process for later allocations.

    A network makes and drops the same large maps for every picture. Given back to the system and fetched again, each of
    their pages is filled with zeros anew: 83,000 page faults and 8 % of the time at 800x1333 on two cores. It costs
    that the process stays as large as it once was.

    Returns:
        Whether it was done; not where the C library is another.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    import ctypes

    mallopt = ctypes.CDLL(None).mallopt
    # What is mapped by itself goes back to the system whatever the threshold.
    return bool(mallopt(_M_TRIM_THRESHOLD, _NEVER) and mallopt(_M_MMAP_MAX, 0))


def _cpu_model() -> str:
    """On Linux only /proc/cpuinfo has the model; elsewhere `platform` has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (models[0] if models else "") or platform.processor() or platform.machine() or "unknown"


def _memory_bytes() -> int:
    """Physical memory; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0
