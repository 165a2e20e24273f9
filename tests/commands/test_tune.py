"""`yoso tune`: a search of seconds, its files, and how it goes on after a stop."""

import itertools
import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import build
import numpy as np
import pytest
from training import processes

from yoso_cli.api import tune as search
from yoso_cli.cli import run
from yoso_cli.errors import RunError, StepError
from yoso_cli.recipe import file as recipe_file
from yoso_cli.recipe.schema import Recipe
from yoso_cli.run_folder import TrainingLock

pytest.importorskip("optuna")


WORDS = ["tune", build.RECIPE, "--trials", "3", "--steps", "9", "--minutes", "9", "--device", "cpu", "--runs"]


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A recipe of seconds with its set, in the folder that the test stands in."""
    monkeypatch.chdir(tmp_path)
    build.write_recipe(Path(build.RECIPE))
    assert run(["prepare", "shapes", "--train", "4", "--val", "2", "--size", "64"]) == 0
    return recipe_file.load(build.RECIPE)


def test_killed_at_any_moment_and_resumed_a_search_makes_the_same_choice(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lives end when something is about to change on disk: before there is a search, early, late, and amid a trial."""
    context, random = processes.context(), np.random.default_rng()
    whole, cut = Path("whole/tune-tiny-001"), Path("cut/tune-tiny-001")
    resumed = ["tune", "--resume", str(cut), "--device", "cpu"]

    def lived(words: list[str], changes: int = 100_000) -> int | None:
        process = context.Process(target=processes.searching, args=(words, str(tmp_path), changes))
        process.start()
        process.join(300)
        return process.exitcode

    said = tmp_path / "said.txt"
    assert lived([*WORDS, "whole"]) == 0, said.read_text()
    for changes in itertools.count(2):
        shutil.rmtree("cut", ignore_errors=True)
        assert lived([*WORDS, "cut"], changes) == -signal.SIGKILL
        if (cut / "tune.json").is_file():
            break
        assert run(resumed) == 2
    for changes in [0, 6, *random.integers(2, 60, 4).tolist()]:
        assert lived(resumed, changes) in (-signal.SIGKILL, 0), said.read_text()
    assert lived(resumed) == 0, said.read_text()

    first, other = (json.loads((folder / "tune.json").read_text()) for folder in (whole, cut))
    assert first == other
    assert len(first["trials"]) == first["wanted"] == 3
    assert len({pq for one in first["trials"] for pq in one["pq"].values()}) == sum(
        len(one["pq"]) for one in first["trials"]
    )
    assert (cut / "best.yaml").read_bytes() == (whole / "best.yaml").read_bytes()
    assert (cut / "trials.png").stat().st_size > 1000

    capsys.readouterr()
    assert run([*resumed, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trials"] == first["trials"]
    best = found["trials"][found["best"]]
    assert recipe_file.load(str(cut / "best.yaml")) == search.changed(recipe, best["params"])


def test_a_trial_that_cannot_go_on_ends_and_any_other_failure_ends_the_search(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A trial is bad if it diverges, and not because a disk is full or another process is there."""
    failures = [StepError("Training has diverged."), RunError("The disk is full.")]

    def failing(*_: object, **__: object) -> None:
        raise failures.pop(0)

    monkeypatch.setattr(search, "open_training", failing)
    assert run([*WORDS, "runs"]) == 1
    assert "The disk is full." in capsys.readouterr().err
    folder = Path("runs/tune-tiny-001")
    trials = json.loads((folder / "tune.json").read_text())["trials"]
    assert [one["state"] for one in trials] == ["stopped", "running"]
    lock = TrainingLock(folder)
    assert run(["tune", "--resume", str(folder)]) == 1
    assert "is being trained by another yoso" in capsys.readouterr().err
    lock.release()
    assert json.loads((folder / "tune.json").read_text())["trials"] == trials


def test_without_a_dataset_no_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    build.write_recipe(Path(build.RECIPE))
    assert run([*WORDS, "runs"]) == 1
    assert "yoso prepare shapes" in capsys.readouterr().err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [([], "Name a RECIPE"), (["--resume", "runs"], "no search of"), (["shapes", "--resume", "runs"], "Name a RECIPE")],
)
def test_mistakes_are_told(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    assert run(["tune", *words]) == 2
    assert told in " ".join(capsys.readouterr().err.split())


def test_sizes_stay_multiples_of_the_stride() -> None:
    recipe = replace(Recipe(), name="a")
    params = {"lr": 1e-3, "scale": "some", "color": "ssd", "size": 0.75}
    made = search.changed(recipe, params)
    assert (made.augment.crop_height, made.inference.short_edge, made.train.lr) == (768, 608, 1e-3)
    assert not made.conflicts()
    own = {"lr": recipe.train.lr, "scale": "own", "color": "none", "size": 1.0}
    assert search.changed(recipe, own) == recipe
