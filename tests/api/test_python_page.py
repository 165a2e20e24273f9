"""The code of docs/python.md runs as it stands there, with small files in place of COCO's."""

import re
import shutil
from pathlib import Path

import build
import pytest
from conftest import oracle
from media.clips import clip

from yoso_cli.cli import run

PAGE = (Path(__file__).resolve().parents[2] / "docs/python.md").read_text(encoding="utf-8")

# What the page names, and what stands for it here.
STAND_INS = {
    '"coco"': '"runs/tiny-001"',
    "runs/coco-001": "runs/tiny-001",
    "runs/coco-002": "runs/tiny-001",
    '"val2017"': '"val"',
    "predictions.json": "datasets/shapes/val",
    "panoptic_val2017.json": "datasets/shapes/val",
    "train.iterations=200": "train.iterations=2",
    '["person"]': '["ball"]',
    "short_edge=640": "short_edge=48",
    # One size, which is traced in a fifth of the time.
    '"shapes.onnx", merge="inside"': '"shapes.onnx", size="64,64"',
    "runs/shapes-001": "runs/tiny-001",
}


@pytest.mark.timeout(300)
def test_the_pages_code_runs(line: Path) -> None:
    """All blocks in their order, as one program."""
    shutil.copy(build.picture(0), "photo.jpg")
    shutil.copy(build.picture(1), "other.jpg")
    shutil.copytree("datasets/shapes/val/images", "photos")
    shutil.copy("tiny.yaml", "mine.yaml")
    clip(Path("clip.mp4"), 6)
    assert run(["eval", "runs/tiny-001", "--device", "cpu"]) == 0
    oracle("onnxruntime")
    assert run(["reparam", "--images", "1"]) == 0
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 9
    program = "\n".join(blocks)
    for named, here in STAND_INS.items():
        assert named in program
        program = program.replace(named, here)
    exec(compile(program, "docs/python.md", "exec"), {})
