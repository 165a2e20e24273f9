"""`yoso train` from recipe to run folder: the whole line, cut and resumed, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training import tiny

from yoso_cli import recipe_file
from yoso_cli.cli import run
from yoso_cli.model.weights import load_weights, save_weights
from yoso_cli.model.yoso import YOSO
from yoso_cli.panoptic.files import SetWriter
from yoso_cli.panoptic.types import ImageRecord, Panoptic, Segment, measured
from yoso_cli.recipe import Recipe
from yoso_cli.run_folder import RunFolder

MACHINE = {"it_per_s", "data_wait", "eta_s", "memory_mib"}


def write_set(root: Path, split: str, count: int) -> None:
    """Noise with a bright disc's place and a dark square's, both rectangles: enough to learn something from."""
    writer = SetWriter(root / "tiny" / split, "tiny", split, tiny.CATEGORIES)
    for number in range(count):
        random = np.random.default_rng((len(split), number))
        ids = np.full((48, 64), 3, np.int32)
        for segment_id in (1, 2):
            top, left = random.integers(0, 24, 2)
            ids[top : top + 20, left : left + 24] = segment_id
        image = random.integers(90, 160, (48, 64, 3))
        image[ids == 1] += 80
        image[ids == 2] -= 80
        segments = measured(ids, [Segment(1, 1, 0), Segment(2, 2, 0), Segment(3, 9, 0)])
        record = ImageRecord(number, f"{number}.png", f"{number}.png", 48, 64, segments)
        writer.add(record, Panoptic(ids, segments), image.astype(np.uint8))
    writer.finish()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("datasets")
    write_set(root, "train", 5)
    write_set(root, "val", 2)
    return root


@pytest.fixture
def recipe(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe of seconds, in the folder that the test stands in."""
    monkeypatch.chdir(tmp_path)
    plain = Recipe(name="tiny", model=tiny.MODEL).to_dict()
    plain["data"] = {"name": "tiny", "root": str(data), "train_split": "train", "val_split": "val"}
    plain["augment"] |= {"crop_height": 64, "crop_width": 64, "scale_min": 0.8, "scale_max": 1.2}
    plain["loss"]["num_points"] = 128
    plain["train"] |= {"iterations": 4, "batch": 2, "lr": 1e-3, "workers": 0, "log_every": 1, "checkpoint_every": 2}
    plain["inference"] |= {"short_edge": 48, "long_edge": 64, "score_threshold": 0.1}
    path = tmp_path / "tiny.yaml"
    path.write_text(recipe_file.to_yaml(recipe_file.from_dict(plain)))
    return path


def losses(folder: Path) -> list[dict[str, Any]]:
    lines = [line for line in RunFolder.open(folder).metrics() if "loss" in line]
    return [{name: value for name, value in line.items() if name not in MACHINE} for line in lines]


def test_a_run_leaves_recipe_metrics_checkpoints_and_a_report(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", str(recipe), "--set", "train.evaluate_every=3", "--json", "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    value = json.loads(printed.out)
    folder = tmp_path / "runs" / "tiny-001"
    assert Path(value["run"]).resolve() == folder
    assert value["iteration"] == value["iterations"] == 4
    assert value["report"]["images"] == 2
    assert json.loads((folder / "report.json").read_text())["quality"] == value["report"]["quality"]
    assert "yoso reparam runs/tiny-001" in printed.err

    opened = RunFolder.open(folder)
    assert opened.recipe().train.evaluate_every == 3
    assert [path.name for path in opened.checkpoints()] == ["iteration-0000003", "iteration-0000004"]
    assert [line["iteration"] for line in losses(folder)] == [1, 2, 3, 4]
    assert [line["iteration"] for line in opened.metrics() if "pq" in line] == [3, 4]
    weights = load_weights(opened.weights())
    assert weights.categories == tiny.CATEGORIES
    assert weights.provenance["iteration"] == 4


def test_a_resumed_run_ends_with_the_same_bytes(recipe: Path, tmp_path: Path) -> None:
    assert run(["train", str(recipe), "--device", "cpu"]) == 0
    folder = tmp_path / "runs" / "tiny-001"
    newest = RunFolder.open(folder).weights()
    expected_curve, expected_weights = losses(folder), newest.read_bytes()
    # As a kill after step 3 leaves it: metrics are ahead of the checkpoint of step 2.
    for path in newest.parent.iterdir():
        path.unlink()
    newest.parent.rmdir()
    (folder / "report.json").unlink()

    assert run(["train", "--resume", str(folder), "--device", "cpu"]) == 0
    assert losses(folder) == expected_curve
    assert newest.read_bytes() == expected_weights
    assert (folder / "report.json").is_file()


def test_a_run_without_a_checkpoint_starts_again(recipe: Path, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "runs", "tiny")
    folder.write_recipe(recipe_file.load(str(recipe), ["train.iterations=1"]))
    assert run(["train", "--resume", str(folder.path), "--device", "cpu"]) == 0
    assert [line["iteration"] for line in losses(folder.path)] == [1]


def test_resuming_a_finished_run_only_evaluates_it(recipe: Path, tmp_path: Path) -> None:
    assert run(["train", str(recipe), "--set", "train.iterations=1", "--device", "cpu"]) == 0
    folder = tmp_path / "runs" / "tiny-001"
    (folder / "report.json").unlink()
    assert run(["train", "--resume", str(folder), "--device", "cpu"]) == 0
    assert len(losses(folder)) == 1
    assert (folder / "report.json").is_file()


def test_training_can_start_from_weights(recipe: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.safetensors"
    model = tiny.model(seed=5)
    save_weights(start, model, recipe=tiny.RECIPE, categories=tiny.CATEGORIES, provenance={})
    # At next to no rate only the statistics of norms move, so the parameters tell where training began.
    still = ["--set", "train.lr=1e-30", "--set", "train.iterations=1"]
    assert run(["train", str(recipe), "--weights", str(start), *still, "--device", "cpu"]) == 0
    state = load_weights(RunFolder.newest(tmp_path / "runs").weights()).state
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(state[name], parameter.detach(), rtol=0, atol=1e-20)


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int) -> str:
    """What is said of a command line that fails with `code`, as one line; it leaves no run folder behind."""
    assert run(["train", *arguments]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    assert not any(Path("runs").glob("*"))
    return " ".join(printed.err.split())


def test_missing_things_are_named_with_what_to_do(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "RECIPE" in refused(capsys, [], 2)
    assert "nowhere" in refused(capsys, ["nowhere"], 2)
    assert "yoso prepare shapes" in refused(capsys, [str(recipe), "--set", "data.name=shapes"], 1)
    assert "no such weights" in refused(capsys, [str(recipe), "--weights", "none.safetensors"], 1)
    assert "no such run folder" in refused(capsys, ["--resume", "runs/none-001"], 1)
    assert "train.iteration" in refused(capsys, [str(recipe), "--set", "train.iteration=3"], 2)


def test_a_resumed_run_keeps_its_own_recipe(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--set has no meaning" in refused(capsys, ["--resume", "r", "--set", "train.lr=1"], 2)
    assert "RECIPE has no meaning" in refused(capsys, [str(recipe), "--resume", "r"], 2)


def test_a_gpu_that_is_not_there_is_refused(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Try --device cpu" in refused(capsys, [str(recipe), "--device", "cuda:99"], 1)
    assert "auto, cpu, cuda" in refused(capsys, [str(recipe), "--device", "gpu"], 2)


def test_weights_of_other_classes_are_refused(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = tmp_path / "start.safetensors"
    model = YOSO.from_recipe(tiny.MODEL, 2)
    save_weights(start, model, recipe=tiny.RECIPE, categories=tiny.CATEGORIES[:2], provenance={})
    assert "2 classes" in refused(capsys, [str(recipe), "--weights", str(start)], 1)


def test_an_unreadable_picture_stops_with_its_name(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_set(tmp_path / "own", "train", 2)
    write_set(tmp_path / "own", "val", 1)
    arguments = ["train", str(recipe), "--set", f"data.root={tmp_path / 'own'}", "--device", "cpu"]
    (tmp_path / "own" / "tiny" / "train" / "images" / "1.png").write_bytes(b"no picture")
    for workers in (0, 1):
        assert run([*arguments, "--set", f"train.workers={workers}"]) == 1
        said = "".join(capsys.readouterr().err.split())
        assert "images/1.png" in said
        assert "Traceback" not in said


def wait_for(condition: Any, process: "subprocess.Popen[str]") -> None:
    for _ in range(600):
        if condition():
            return
        assert process.poll() is None, "it ended by itself"
        time.sleep(0.05)
    pytest.fail("waited half a minute in vain")


@pytest.mark.parametrize(("name", "code", "workers"), [("SIGINT", 130, 1), ("SIGTERM", 143, 0)])
def test_a_stopped_run_is_saved_and_says_how_to_go_on(
    recipe: Path, tmp_path: Path, name: str, code: int, workers: int
) -> None:
    endless = ["train.iterations=100000", "train.checkpoint_every=100000", f"train.workers={workers}"]
    settings = [word for setting in endless for word in ("--set", setting)]
    process = subprocess.Popen(
        [sys.executable, "-m", "yoso_cli", "train", str(recipe), "--device", "cpu", *settings],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    metrics = tmp_path / "runs" / "tiny-001" / "metrics.jsonl"
    try:
        wait_for(lambda: metrics.is_file() and metrics.read_text().count("\n") >= 2, process)
        # Ctrl-C reaches every process of the terminal, the loaders of pictures too.
        os.killpg(process.pid, getattr(signal, name))
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == code, err
    opened = RunFolder.open(metrics.parent)
    done = opened.metrics()[-1]["iteration"]
    assert [path.name for path in opened.checkpoints()] == [f"iteration-{done:07d}"]
    assert f"Stopped after step {done}" in out
    assert "yoso train --resume runs/tiny-001" in err
    assert "Traceback" not in err
