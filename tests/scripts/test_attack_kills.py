"""A few seconds of the attack: kills, planted links, two writers and killed workers leave nothing wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("prepare", "prepare-force", "shapes", "convert", "convert-force", "submission", "score")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_nothing_goes_wrong_in_a_few_cases(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    chosen = [word for name in COMMANDS for word in ("--command", name)]
    kinds = ["--kind", "kill", "--kind", "link", "--kind", "two"]
    words = [sys.executable, "scripts/attack_kills", "--cases", "12", *kinds, "--output", str(told), *chosen]
    done = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(told.read_text())
    assert found["failures"] == []
    assert sum(found["cases"].values()) >= 6
