"""What a figure was measured on, without asking torch."""

import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

NOT_INSTALLED = "not installed"
"""Instead of a version."""

MODEL_PACKAGES = ("yoso-cli", "torch", "torchvision", "numpy", "pillow")
"""What has a part in a model's figures; a report and a weights file name their versions."""

SCORING_PACKAGES = ("yoso-cli", "numpy", "pillow")
"""The same where predictions are scored and no model runs."""


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
    """How many cores this process may use: a container or `taskset` may leave it fewer than the machine has."""
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
