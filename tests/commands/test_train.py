"""`yoso train` from recipe to run folder: the whole line, cut and resumed, and what it refuses."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from training import processes, tiny

from yoso_cli.api import training_parts
from yoso_cli.cli import run
from yoso_cli.commands import console
from yoso_cli.errors import UsageError
from yoso_cli.loading.batch import collate
from yoso_cli.loading.dataset import PanopticDataset, Sample
from yoso_cli.model.weights import load_weights, save_weights
from yoso_cli.model.yoso import YOSO
from yoso_cli.panoptic.files import SetWriter, read_set
from yoso_cli.panoptic.types import Category, ImageRecord, Panoptic, Segment, measured
from yoso_cli.recipe import file as recipe_file
from yoso_cli.recipe.schema import Recipe
from yoso_cli.run_folder import RunFolder
from yoso_cli.runtime.distributed import ProcessGroup

MACHINE = {"it_per_s", "data_wait", "eta_s", "memory_mib"}
# Every learning aid, with as many hidden dimensions as the start at centers needs.
AIDS = [
    *("loss.compare_at=cells", "loss.box_points=5", "loss.center_weight=2", "model.hidden_dim=24"),
    *("train.start=centers", "train.optimizer=muon", "train.batch_norms_until=0.5", "train.ema=0.5"),
]


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


@pytest.mark.parametrize("evaluate_every", [0, 1])
def test_a_resumed_run_ends_with_the_same_bytes(recipe: Path, tmp_path: Path, evaluate_every: int) -> None:
    """Whether the network that learns was evaluated in between or has just been read."""
    assert run(["train", str(recipe), f"--set=train.evaluate_every={evaluate_every}", "--device", "cpu"]) == 0
    folder = tmp_path / "runs" / "tiny-001"
    newest = RunFolder.open(folder).weights()
    expected_curve, expected_weights = losses(folder), newest.read_bytes()
    # As a kill at the end leaves it: metrics are ahead of the newest checkpoint.
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
    save_weights(start, model, recipe=tiny.RECIPE.to_dict(), categories=tiny.CATEGORIES, provenance={})
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
    assert "no such weights" in refused(capsys, [str(recipe), "--weights", "none.safetensors"], 2)
    assert "runs/none-001: there is no such" in refused(capsys, ["--resume", "runs/none-001"], 2)
    assert "train.iteration" in refused(capsys, [str(recipe), "--set", "train.iteration=3"], 2)


def test_a_resumed_run_keeps_its_own_recipe(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--set cannot be combined" in refused(capsys, ["--resume", "r", "--set", "train.lr=1"], 2)
    assert "RECIPE cannot be combined" in refused(capsys, [str(recipe), "--resume", "r"], 2)


def test_a_gpu_that_is_not_there_is_refused(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Try --device cpu" in refused(capsys, [str(recipe), "--device", "cuda:99"], 1)
    assert "auto, cpu, cuda" in refused(capsys, [str(recipe), "--device", "gpu"], 2)


def test_weights_of_another_network_and_other_classes_are_refused_by_their_shapes(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = tmp_path / "start.safetensors"
    model = YOSO(2, **replace(tiny.MODEL, hidden_dim=2 * tiny.MODEL.hidden_dim).arguments())
    save_weights(
        start, model, recipe=tiny.RECIPE.to_dict(), categories=(Category(5, "cloud", False),) * 2, provenance={}
    )
    said = refused(capsys, [str(recipe), "--weights", str(start), "--device", "cpu"], 1)
    assert "these weights do not fit the model" in said


def test_weights_of_other_classes_start_all_but_the_class_layers(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A class of the same name keeps its row; the others' rows are new. It is said in words."""
    start = tmp_path / "start.safetensors"
    model = YOSO(2, **tiny.MODEL.arguments())
    other = (tiny.CATEGORIES[2], Category(5, "cloud", False))
    save_weights(start, model, recipe=tiny.RECIPE.to_dict(), categories=other, provenance={})
    still = ["--set", "train.lr=1e-30", "--set", "train.iterations=1"]
    assert run(["train", str(recipe), "--weights", str(start), *still, "--device", "cpu"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "has 1 of this dataset's 3 classes by name, among its 2; new classes: disc, square." in said
    state = load_weights(RunFolder.newest(tmp_path / "runs").weights()).state
    for name, parameter in model.named_parameters():
        if name.endswith("class_logits.weight"):
            torch.testing.assert_close(state[name][2:], parameter.detach()[[0, 2]], rtol=0, atol=1e-20)
            assert len(state[name]) == 4
        elif "class_logits" not in name:
            torch.testing.assert_close(state[name], parameter.detach(), rtol=0, atol=1e-20)


def test_weights_of_another_network_are_refused(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = tmp_path / "start.safetensors"
    smaller = replace(tiny.MODEL, num_proposals=5)
    save_weights(
        start, YOSO(3, **smaller.arguments()), recipe=tiny.RECIPE.to_dict(), categories=tiny.CATEGORIES, provenance={}
    )
    assert "do not fit" in refused(capsys, [str(recipe), "--weights", str(start)], 1)


def test_frozen_parts_stay_as_they_are_with_the_statistics_of_their_norms(recipe: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.safetensors"
    model = tiny.model(seed=5)
    save_weights(start, model, recipe=tiny.RECIPE.to_dict(), categories=tiny.CATEGORIES, provenance={})
    words = ["--weights", str(start), "--set", "train.freeze=[backbone,aggregator]", "--device", "cpu"]
    assert run(["train", str(recipe), *words]) == 0
    state = load_weights(RunFolder.newest(tmp_path / "runs").weights()).state
    same = {name.split(".")[0]: torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items()}
    moved = {name.split(".")[0] for name, tensor in model.state_dict().items() if not torch.equal(tensor, state[name])}
    assert set(same) == {"backbone", "aggregator", "decoder"}
    assert moved == {"decoder"}


def spoil(root: Path, number: int) -> None:
    (root / "tiny" / "train" / "images" / f"{number}.png").write_bytes(b"no picture")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_picture_is_told_replaced_and_counted(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    write_set(tmp_path / "own", "train", 5)
    write_set(tmp_path / "own", "val", 1)
    spoil(tmp_path / "own", 1)
    words = [str(recipe), "--set", f"data.root={tmp_path / 'own'}", "--set", f"train.workers={workers}"]
    assert run(["train", *words, "--set", "train.unreadable=0.2", "--device", "cpu", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["unreadable"] == 1
    assert "".join(err.split()).count("images/1.png") == 1
    spoil(tmp_path / "own", 2)
    assert run(["train", *words, "--set", "train.unreadable=0.2", "--device", "cpu"]) == 1
    assert "2 of 5 pictures are unreadable, more than the 20.00%" in " ".join(capsys.readouterr().err.split())


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


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", str(recipe), "--device", "cpu"]) == 0
    folder = tmp_path / "runs" / "tiny-001"
    curve, newest = losses(folder), RunFolder.open(folder).weights()
    whole = newest.read_bytes()
    content = bytearray((newest.parent / "training.pt").read_bytes())
    content[len(content) // 2] ^= 4
    (newest.parent / "training.pt").write_bytes(content)
    capsys.readouterr()
    assert run(["train", "--resume", str(folder), "--device", "cpu"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "Warning" in said
    assert "Resuming from the previous checkpoint" in said
    assert "after step 2" in said
    assert losses(folder) == curve
    assert newest.read_bytes() == whole


def test_the_best_checkpoint_stays_beside_the_newest(recipe: Path, tmp_path: Path) -> None:
    """It is the one of the highest PQ that metrics.jsonl tells of."""
    words = ["--set", "train.keep=1", "--set", "train.checkpoint_every=1", "--device", "cpu"]
    assert run(["train", str(recipe), *words, "--set", "train.evaluate_every=1"]) == 0
    opened = RunFolder.open(tmp_path / "runs" / "tiny-001")
    measured = {line["iteration"]: line["pq"] for line in opened.metrics() if "pq" in line}
    assert sorted(measured) == [1, 2, 3, 4]
    best = max(measured, key=lambda iteration: (measured[iteration], iteration))
    assert opened.best() == opened.checkpoint_path(best)
    kept = {max(list(measured)[:-1], key=lambda iteration: (measured[iteration], iteration)), 4}
    assert {int(path.name[-7:]) for path in opened.checkpoints()} == kept


def test_figures_are_kept_for_programs_and_for_the_eye(recipe: Path, tmp_path: Path) -> None:
    assert run(["train", str(recipe), "--set", "train.evaluate_every=2", "--device", "cpu"]) == 0
    folder = tmp_path / "runs" / "tiny-001"
    rows = list(csv.DictReader((folder / "results.csv").read_text().splitlines()))
    assert [row["iteration"] for row in rows] == ["2", "4"]
    assert all(float(row["loss"]) > 0 and 0 <= float(row["pq"]) <= 1 for row in rows)
    with Image.open(folder / "curves.png") as curves:
        assert curves.size == (1280, 720)
    assert sorted(path.name for path in (folder / "samples").iterdir()) == [
        "iteration-0000002.jpg",
        "iteration-0000004.jpg",
    ]


@pytest.mark.parametrize("name", ["coco", "cityscapes", "ade20k", "mapillary"])
def test_a_dry_run_tells_what_would_be_without_the_dataset(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["train", name, "--dry-run", "--json"]) == 0
    out, err = capsys.readouterr()
    facts = json.loads(out)
    assert facts["model"]["classes"] == {"coco": 133, "cityscapes": 19, "ade20k": 150, "mapillary": 65}[name]
    assert facts["paper"]["pq"] == {"coco": 48.4, "cityscapes": 59.7, "ade20k": 38.0, "mapillary": 34.1}[name]
    assert not any(split["prepared"] for split in facts["data"]["splits"].values())
    assert all(f"yoso prepare {name}" in split["problem"] for split in facts["data"]["splits"].values())
    assert f"yoso prepare {name}" in err
    assert 10 < facts["memory"]["batch_gib"] < 400
    assert facts["memory"]["micro_batch"]["8"] <= facts["memory"]["micro_batch"]["80"] <= 16
    assert not Path("runs").exists()


def test_a_dry_run_reads_as_a_page(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", str(recipe), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    told = " ".join(out.split())
    assert "tiny train: 5 images" in told
    assert "4 steps of 2 pictures of 64x64, 1.6 epochs" in told
    assert "batch that fits a GPU of 8 GiB: 2" in told
    assert f"Loss masks compared at {recipe_file.load(str(recipe)).loss.num_points} points each Memory" in told
    aids = ["loss.compare_at=cells", "loss.center_weight=10", "train.start=centers", "model.hidden_dim=32"]
    aids += ["loss.box_points=8", "train.optimizer=muon", "train.batch_norms_until=0.5", "train.ema=0.5"]
    assert run(["train", str(recipe), "--dry-run", *(f"--set={aid}" for aid in aids)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "256 cells and 64 points in the box of each; center codes with weight 10 and a decoder" in told
    assert "Optimizer Muon for the convolutions of backbone and neck Norms keep their statistics after 2 steps" in told
    assert "Average of the weights, with decay 0.5, is evaluated and saved" in told


def test_a_dry_run_refuses_what_the_training_would(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(recipe), "--set", "loss.center_weight=10"]
    for dry in (["--dry-run"], ["--device", "cpu"]):
        assert "need model.hidden_dim of 18 or more, not 16" in refused(capsys, [*words, *dry], 2)


def test_a_dry_run_refuses_weights_that_are_not_there(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", str(recipe), "--dry-run", "--weights", "coko"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Did you mean 'coco'?" in err


@pytest.mark.parametrize("name", ["coco-512", "mapillary", "ablation/ifa", "shapes"])
def test_a_dry_run_names_the_row_it_aims_at(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its figures, and what makes its dataset, which is a command that there is."""
    monkeypatch.chdir(tmp_path)
    assert run(["train", name, "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert max(map(len, out.splitlines())) <= 80
    paper, told = recipe_file.load(name).paper, " ".join(out.split())
    for figure in (paper.pq, paper.pq_things, paper.pq_stuff, paper.fps):
        assert figure is None or f" {figure:g}" in told.split("Target")[1].replace(".0", "")
    assert (paper.pq is None) == (name == "shapes")
    next_line = err.splitlines()[-1].removeprefix("Next: yoso ").split()
    assert run([*next_line, "--help"]) == 0


def test_the_same_line_goes_on_with_a_run_that_is_there(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(recipe), "--into", "here/run", "--device", "cpu"]
    assert run(words) == 0
    curve = losses(tmp_path / "here" / "run")
    for path in RunFolder.open(Path("here/run")).weights().parent.iterdir():
        path.unlink()
    assert run(words) == 0
    assert losses(tmp_path / "here" / "run") == curve
    capsys.readouterr()
    assert run([*words, "--set", "train.lr=1"]) == 2
    assert "another recipe" in capsys.readouterr().err
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "letter.txt").write_text("dear")
    assert run(["train", str(recipe), "--into", "own", "--device", "cpu"]) == 2


@pytest.mark.parametrize(("seconds", "told"), [(0.3, 1), (0.0, 0)])
def test_waiting_for_pictures_is_measured_and_told_where_it_dominates(
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    seconds: float,
    told: int,
) -> None:
    """With the next thing to try, once, also where it begins late."""
    plain, loaded = PanopticDataset.__getitem__, iter(range(100))

    def slow(self: PanopticDataset, key: tuple[int, int]) -> Sample:
        time.sleep(seconds if next(loaded) >= 4 else 0)
        return plain(self, key)

    monkeypatch.setattr(PanopticDataset, "__getitem__", slow)
    assert run(["train", str(recipe), "--set=train.iterations=7", "--device", "cpu"]) == 0
    waits = [line["data_wait"] for line in RunFolder(tmp_path / "runs" / "tiny-001").metrics() if "data_wait" in line]
    assert len(waits) == 7
    # Two pictures of a batch are loaded one after the other, and a step of this network takes a tenth of that.
    assert all(wait > 0.5 for wait in waits[2:]) == bool(told)
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("Training waits for data") == told
    assert told == 0 or "(0 workers, " in said
    assert told == 0 or "Try `--set train.workers=" in said


def wait_for(condition: Callable[[], bool], process: Any) -> None:
    for _ in range(2400):
        if condition():
            return
        alive = process.is_alive() if hasattr(process, "is_alive") else process.poll() is None
        assert alive, "it ended by itself"
        time.sleep(0.025)
    pytest.fail("waited a minute in vain")


def test_killed_at_any_moment_and_started_again_it_ends_with_the_same_bytes(recipe: Path, tmp_path: Path) -> None:
    """Kill -9 at ten random moments, amid starting, saving and evaluating, and the same line again each time.

    With every learning aid.
    """
    changes = [*AIDS, "train.iterations=24", "train.checkpoint_every=1", "train.evaluate_every=6"]
    words = ["train", str(recipe), *(f"--set={change}" for change in changes), "--device", "cpu", "--into"]
    context, random = processes.context(), np.random.default_rng()
    whole, cut = RunFolder(tmp_path / "whole" / "run"), RunFolder(tmp_path / "cut" / "run")

    def started(one: RunFolder) -> Any:
        process = context.Process(target=processes.command, args=([*words, str(one.path)], str(tmp_path)))
        process.start()
        return process

    def finished(process: Any) -> None:
        process.join(120)
        assert process.exitcode == 0, (tmp_path / "said.txt").read_text()

    # In a process as well: another number of threads adds in another order.
    finished(started(whole))
    for _ in range(10):
        before = last_step(cut)
        process = started(cut)
        if random.random() < 0.7:
            # Most lives are let live long enough to make a step; some end before.
            wait_for(lambda: last_step(cut) > before, process)  # noqa: B023
        process.join(random.uniform(0, 0.2))
        process.kill()
        process.join()
    finished(started(cut))
    assert losses(cut.path) == losses(whole.path)
    assert cut.weights().read_bytes() == whole.weights().read_bytes()
    assert [line for line in cut.metrics() if "pq" in line] == [line for line in whole.metrics() if "pq" in line]


def last_step(folder: RunFolder) -> int:
    return max((line["iteration"] for line in folder.metrics()), default=0)


def on_two(words: list[str], folder: Path) -> None:
    """`yoso` with these words in two processes, without torchrun; to its end."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    context = processes.context()
    running = [context.Process(target=processes.member, args=(rank, 2, port, words, str(folder))) for rank in (0, 1)]
    for process in running:
        process.start()
    for process in running:
        process.join(120)
    assert [process.exitcode for process in running] == [0, 0], (folder / "said.txt").read_text()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes as Linux lists them")
def test_two_processes_train_one_run_and_survive_together(recipe: Path, tmp_path: Path) -> None:
    """The curve of one process; and the same bits when one of them is killed, and when SIGTERM ends all and they go on.

    --gpus starts them as torchrun does: one run folder, one who speaks, and a process that dies starts all again. With
    every learning aid.
    """
    changes = [*AIDS, "train.iterations=24", "train.checkpoint_every=1"]
    words = ["train", str(recipe), *(f"--set={change}" for change in changes), "--device", "cpu"]
    on_two([*words, "--into", "whole/run"], tmp_path)
    assert run([*words, "--set=train.iterations=1", "--set=train.batch_norms_until=1", "--into", "one"]) == 0
    whole, cut = RunFolder(tmp_path / "whole" / "run"), RunFolder(tmp_path / "cut" / "run")
    assert losses(whole.path)[0]["loss"] == pytest.approx(losses(tmp_path / "one")[0]["loss"], rel=1e-4)

    process = subprocess.Popen(
        [sys.executable, "-m", "yoso_cli", *words, "--gpus", "2", "--into", "cut/run", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
    )
    try:
        wait_for(lambda: last_step(cut) >= 2, process)
        killed = set(processes.children(process.pid))
        os.kill(max(killed), signal.SIGKILL)
        wait_for(lambda: bool(now := set(processes.children(process.pid))) and not now & killed, process)
        before = last_step(cut)
        wait_for(lambda: last_step(cut) > before, process)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, err
    done = json.loads(out)["iteration"]
    assert 2 < done < 24
    assert done == last_step(cut)
    assert cut.checkpoints()[-1] == cut.checkpoint_path(done)
    assert err.count("Training cut/run") == err.count("Resuming cut/run") == 1

    on_two([*words, "--into", "cut/run"], tmp_path)
    assert losses(cut.path) == losses(whole.path)
    assert cut.weights().read_bytes() == whole.weights().read_bytes()
    assert json.loads((cut.path / "report.json").read_text())["images"] == 2


def test_a_mistake_is_told_once_however_many_processes_were_asked_for(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, [str(recipe), "--gpus", "2", "--set", "train.iteration=3"], 2)
    assert said.count("train.iteration") == 1
    said = refused(capsys, [str(recipe), "--gpus", "3", "--device", "cpu"], 2)
    assert said.count("train.batch of 2 cannot be divided among 3 processes") == 1
    said = refused(capsys, [str(recipe), "--gpus", "2", "--device", "cpu", "--set", "data.val_split=gone"], 1)
    assert said.count("no such folder") == 1


def test_each_process_has_a_gpu_of_its_own(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert "torch finds 1 GPU. Give --gpus 1" in refused(capsys, [str(recipe), "--gpus", "2"], 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    said = refused(capsys, [str(recipe), "--gpus", "2"], 2)
    assert "torch finds none. Give --device cpu" in said
    assert "Warning" not in said


def test_a_batch_that_cannot_be_shared_is_refused(recipe: Path) -> None:
    with pytest.raises(UsageError, match="batch of 2 cannot be divided among 3"):
        training_parts.optimizer_step(
            tiny.model(), recipe_file.load(str(recipe)), tiny.CATEGORIES, torch.device("cpu"), ProcessGroup(0, 3)
        )


def test_passes_are_as_large_as_the_memory_allows(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half the batch fits: it is said, and the step is made in two passes. What the recipe says comes first."""
    cpu, four = torch.device("cpu"), ["train.batch=4"]
    model = tiny.model()
    taken = training_parts.footprint(model, recipe_file.load(str(recipe), four))
    monkeypatch.setattr("yoso_cli.training.memory.capacity", lambda _: round(taken.total(2) / 0.85) + 1)

    def passes(*changes: str) -> int:
        step = training_parts.optimizer_step(
            tiny.model(),
            recipe_file.load(str(recipe), [*four, *changes]),
            tiny.CATEGORIES,
            cpu,
            ProcessGroup(),
            console.TERMINAL,
        )
        forward, seen = step._forward, []
        step._forward = lambda images: (seen.append(len(images)), forward(images))[1]
        step.model.train()
        pictures = training_parts.training_dataset(recipe_file.load(str(recipe)), read_set(data_of(recipe)))
        step(collate([pictures[place, place] for place in range(4)]), 0, 1e-3)
        return len(seen)

    assert passes() == 2
    assert "2 of 4 pictures fit into GPU memory" in capsys.readouterr().err
    assert passes("train.micro_batch=1") == 4
    assert passes("train.micro_batch=4") == 1


def data_of(recipe: Path) -> Path:
    data = recipe_file.load(str(recipe)).data
    return Path(data.root) / data.name / data.train_split


@pytest.mark.parametrize(("name", "code", "workers"), [("SIGINT", 130, 1), ("SIGTERM", 0, 1)])
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


def test_pictures_beyond_the_proposals_are_told_before_and_at_the_start(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("--set", "model.num_proposals=2")
    assert run(["train", str(recipe), *few, "--dry-run", "--json"]) == 0
    told = [split["warning"] for split in json.loads(capsys.readouterr().out)["data"]["splits"].values()]
    assert all("have more segments than the network's 2 proposals, up to" in one for one in told)
    assert run(["train", str(recipe), "--dry-run"]) == 0
    assert "proposals, up to" not in capsys.readouterr().out
    assert run(["train", str(recipe), *few, "--set", "train.iterations=1", "--device", "cpu"]) == 0
    assert "Warning: train: " in capsys.readouterr().err
