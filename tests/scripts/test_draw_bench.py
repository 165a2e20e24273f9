"""The bench of drawing draws, whatever the size."""

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "draw_bench"


def test_every_side_is_timed() -> None:
    line = [sys.executable, str(BENCH), "--height", "90", "--width", "130", "--runs", "1"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert (found["height"], found["width"]) == (90, 130)
    assert {"yoso, default", "former, colours and outlines"} <= set(found["median_ms"])
    assert all(time > 0 for time in found["median_ms"].values())
