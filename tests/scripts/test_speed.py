"""The scripts behind the figures of speed: both sides find the same segments, and the GPU's suite runs as a whole."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from inference.test_postprocess import pictures, query_by_query
from training import tiny

from yoso_cli.model.reparam import reparameterise

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture(scope="module")
def straightforward() -> ModuleType:
    spec = importlib.util.spec_from_file_location("straightforward", SCRIPTS / "straightforward.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["straightforward"] = module
    spec.loader.exec_module(module)
    return module


def test_the_straightforward_network_says_what_ours_says(straightforward: ModuleType) -> None:
    torch.manual_seed(0)
    model = tiny.model().double().eval()
    images = torch.rand(2, 3, 64, 96, dtype=torch.double) * 255
    with torch.no_grad():
        theirs = straightforward.plain(model)(images)
        for ours in (model, reparameterise(model)):
            for one, other in zip(ours(images), theirs, strict=True):
                torch.testing.assert_close(one.mask_logits, other.mask_logits)
            torch.testing.assert_close(ours(images)[-1].class_logits, theirs[-1].class_logits)


@settings(deadline=None, max_examples=50)
@given(picture=pictures())
def test_the_straightforward_merge_is_the_plain_loop(straightforward: ModuleType, picture: dict) -> None:
    told = query_by_query(**picture)
    thresholds = straightforward.Thresholds(picture["score_threshold"], picture["overlap_threshold"])
    isthing = [category.isthing for category in picture["categories"]]
    id_map, segments = straightforward.plain_panoptic(
        picture["mask_logits"], picture["class_logits"], picture["sizes"], isthing, thresholds
    )
    assert np.array_equal(id_map, told.id_map)
    assert [(one, picture["categories"][label].id) for one, label in segments] == [one[:2] for one in told.segments]


def test_the_suite_of_the_gpu_runs_in_miniature(tmp_path: Path) -> None:
    """Every section on the CPU: what a GPU will find is not in it, but no slip of the script waits for one."""
    done = subprocess.run(
        [sys.executable, SCRIPTS / "gpu_suite.py", "--small", "--output", tmp_path / "out.json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    sections = {"end_to_end", "forward", "merge", "deformable", "tables"}
    assert sections <= set(found)
    assert [name for name in sections if "failed" in found[name] or "left out" in found[name]] == []
    assert all(run["differing_pixels"] < 0.05 for name, run in found["end_to_end"].items() if "single" in name)
