"""The job for Slurm, with stand-ins for Slurm's own commands: when its time is up, and when training ends."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "train.slurm"

SCONTROL = """#!/bin/bash
if [ "$1" = show ]; then echo node-a; echo node-b; else echo "scontrol $*" >> told.txt; fi
"""
# As torchrun: it lets training save, and fails.
SRUN = """#!/bin/bash
echo "srun $*" >> told.txt
if [ -n "$ENDS_WITH" ]; then exit "$ENDS_WITH"; fi
trap 'sleep 0.3; echo saved >> told.txt; exit 1' TERM
while true; do sleep 0.05; done
"""


def started(folder: Path, ends_with: str = "") -> subprocess.Popen[bytes]:
    for name, text in (("scontrol", SCONTROL), ("srun", SRUN)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "42",
        "SLURM_JOB_NODELIST": "node-[a-b]",
        "ENDS_WITH": ends_with,
    }
    return subprocess.Popen(["bash", SCRIPT], cwd=folder, env=environment)


def told(folder: Path) -> list[str]:
    path = folder / "told.txt"
    return path.read_text().splitlines() if path.exists() else []


def test_before_its_time_is_up_it_saves_and_then_asks_to_be_started_again(tmp_path: Path) -> None:
    job = started(tmp_path)
    for _ in range(400):
        if told(tmp_path):
            break
        time.sleep(0.025)
    job.send_signal(signal.SIGTERM)
    assert job.wait(20) == 0
    first, *after = told(tmp_path)
    assert "--rdzv-endpoint=node-a:29500" in first
    assert "yoso_cli train coco --into runs/coco-slurm" in first
    assert after == ["saved", "scontrol requeue 42"]


@pytest.mark.parametrize("code", [0, 3])
def test_it_ends_as_training_ends(tmp_path: Path, code: int) -> None:
    assert started(tmp_path, str(code)).wait(20) == code
    assert len(told(tmp_path)) == 1, "nothing was asked for"
