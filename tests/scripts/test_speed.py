"""The scripts behind the figures of speed: both sides find the same segments, and the GPU's suite runs as a whole."""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

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


@settings(max_examples=50)
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


def test_a_recipes_network_is_timed_from_a_picture_in_memory_to_its_segments() -> None:
    command = [sys.executable, str(SCRIPTS / "speed_bench"), "--recipe", "shapes", "--threads", "1", "--repeats", "2"]
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS.parent)}
    found = json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    assert (found["recipe"], found["size"], found["threads"], found["repeats"]) == ("shapes", [128, 128], 1, 2)
    assert 0 < found["median_ms"] <= found["p90_ms"]
    assert found["per_second"] == pytest.approx(1000 / found["median_ms"], rel=0.1)


SECTIONS = (
    *("forward", "end_to_end", "pq", "deformable", "merge", "decoder_precision", "transfer", "each_switch"),
    *("training_precision", "training_throughput", "training_memory", "training_processes", "training_compiled"),
    *("stream", "tables", "compiled"),
)


# It trains, evaluates and measures a whole line: two minutes on two free cores.
@pytest.mark.timeout(900)
def test_the_suite_of_the_gpu_runs_in_miniature(tmp_path: Path) -> None:
    """Every section but torch.compile on the CPU: no slip of the script waits for a GPU.

    The paper's tables have no miniature, and test_paper runs each of their rows.
    """
    tried = [name for name in SECTIONS if not name.endswith("compiled") and name != "tables"]
    only = [word for name in tried for word in ("--only", name)]
    done = subprocess.run(
        [sys.executable, SCRIPTS / "gpu_suite.py", "--small", "--output", tmp_path / "out.json", *only],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert set(tried) <= set(found)
    assert [found[name] for name in tried if "failed" in found[name] or "left out" in found[name]] == []
    assert all(run["differing_pixels"] < 0.05 for name, run in found["end_to_end"].items() if "float32" in name)
    assert found["training_processes"]["relative_distance"][0] < 1e-5
    losses = found["training_precision"]["loss"]
    assert losses["bfloat16"][0] == pytest.approx(losses["float32"][0], rel=0.05)
    assert found["forward"]["limits"]["giga_bytes_per_s"] > 0


@pytest.fixture(scope="module")
def suite(straightforward: ModuleType) -> ModuleType:
    """The script as a module; it finds its neighbours as a script does."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        return importlib.import_module("gpu_suite")
    finally:
        sys.path.remove(str(SCRIPTS))


@pytest.fixture
def subject() -> SimpleNamespace:
    return SimpleNamespace(device=torch.device("cpu"), left_out="", deadline=0.0)


def test_a_section_that_fails_says_why_and_the_others_go_on(suite: ModuleType, subject: SimpleNamespace) -> None:
    def broken(_: object) -> dict:
        raise ValueError("no such kernel")

    assert tuple(suite.SECTIONS) == SECTIONS
    found = suite._run(broken, subject, time.monotonic() + 100)
    assert found["failed"] == "ValueError: no such kernel"
    assert "in broken" in found["trace"]
    assert suite._run(lambda _: {"ms": 1.0}, subject, time.monotonic() + 100)["ms"] == 1.0


def test_what_the_time_does_not_suffice_for_is_named(suite: ModuleType, subject: SimpleNamespace) -> None:
    assert suite._run(lambda _: {}, subject, time.monotonic() - 1) == {"left out": "420 s were over"}
    short = suite.Subject.__new__(suite.Subject)
    short.sizes, short.deadline, short.left_out = [(64, 96)], time.monotonic() - 1, ""
    assert list(short.each([suite.Switches("float16")])) == []
    assert short.left_out == "64x96, float16, and what follows"


def test_switches_are_measured_on_and_off(tmp_path: Path) -> None:
    """Pieces are added to what the file holds already."""
    names = ["fold_location", "bfloat16", "threads", "fast merge"]
    (tmp_path / "out.json").write_text(json.dumps({"measured": {"small, 2 threads": {"kept": 1}}}))
    only = [word for name in names for word in ("--only", name)]
    arguments = [*only, "--threads", "2", "--seconds", "0", "--output", tmp_path / "out.json"]
    done = subprocess.run(
        [sys.executable, SCRIPTS / "switch_bench", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())["measured"]["small, 2 threads"]
    assert set(found) == {"kept", *names}
    assert all(found[name]["ratio"] > 0 and found[name]["rounds"] == 3 for name in names)
