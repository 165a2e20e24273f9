"""The example of docs/deploy.md, as it stands there, where neither torch nor this package can be imported."""

import os
import re
import subprocess
import sys
from pathlib import Path

import build
import numpy as np
import pytest
from PIL import Image

import yoso_cli

pytestmark = pytest.mark.timeout(1200)

PAGE = (Path(__file__).parents[2] / "docs/deploy.md").read_text()
BLOCKED = """
import sys
for name in ("torch", "torchvision", "yoso_cli"):
    sys.modules[name] = None
"""


def example() -> str:
    found = re.search(r"<!-- example: segment\.py -->\n```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def test_the_example_draws_the_map_that_yoso_finds(files: Path) -> None:
    Path("segment.py").write_text(example())
    Path("blocked").mkdir()
    Path("blocked/sitecustomize.py").write_text(BLOCKED)
    words = ["segment.py", "tiny-merged.onnx", str(build.picture()), "segments.png"]
    done = subprocess.run(
        [sys.executable, *words], env=os.environ | {"PYTHONPATH": "blocked"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    wanted = yoso_cli.load("tiny-merged.onnx")(build.picture())
    known = {one.id: one for one in wanted.categories}
    colors = np.zeros((len(wanted.segments) + 1, 3), np.uint8)
    lines = []
    for one in wanted.panoptic.segments:
        kind = known[one.category_id]
        lines.append(f"{one.id}: {kind.name}, {one.area} pixels, score {one.score:.2f}")
        shade = 0.7 + 0.3 * (one.id % 3) / 2 if kind.isthing else 1
        colors[one.id] = np.array(kind.color) * shade
    assert lines
    assert done.stdout.splitlines() == lines
    assert np.array_equal(np.array(Image.open("segments.png")), colors[wanted.id_map])


def test_the_example_is_short_and_needs_three_packages() -> None:
    assert len(example().splitlines()) <= 60
    imported = set(re.findall(r"^(?:import|from) (\w+)", example(), re.MULTILINE))
    assert imported - set(sys.stdlib_module_names) == {"onnxruntime", "numpy", "PIL"}
