"""`yoso tune`: a search of seconds, its files, and how it goes on after a stop."""

import json
from dataclasses import replace
from pathlib import Path

import build
import pytest

from yoso_cli.api import tune as search
from yoso_cli.cli import run
from yoso_cli.recipe import file as recipe_file
from yoso_cli.recipe.schema import Recipe

pytest.importorskip("optuna")


def test_a_search_from_beginning_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed in its second trial, it goes on there; nothing that was measured is measured again."""
    monkeypatch.chdir(tmp_path)
    build.write_recipe(Path(build.RECIPE))
    assert run(["prepare", "shapes", "--train", "4", "--val", "2", "--size", "64"]) == 0
    evaluated: list[Path] = []
    evaluate = search.evaluate

    def counted(folder: Path, **how: str) -> object:
        evaluated.append(folder)
        if len(evaluated) == 4:
            raise KeyboardInterrupt
        return evaluate(folder, **how)

    monkeypatch.setattr(search, "evaluate", counted)
    words = ["tune", build.RECIPE, "--trials", "2", "--steps", "9", "--minutes", "9", "--device", "cpu"]
    assert run(words) == 130
    folder = Path("runs/tune-tiny-001")
    before = json.loads((folder / "tune.json").read_text())["trials"]
    assert [one["state"] for one in before] == ["finished", "running"]
    assert list(before[0]["pq"]) == ["1", "3", "9"]
    capsys.readouterr()
    assert run(["tune", "--resume", str(folder), "--trials", "2", "--json", "--device", "cpu"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trials"][0] == before[0]
    assert found["trials"][1]["state"] in ("finished", "stopped")
    assert found["trials"][1]["params"] == before[1]["params"]
    best = recipe_file.load(str(folder / "best.yaml"))
    tiny = recipe_file.load(build.RECIPE)
    assert best == search.changed(tiny, found["trials"][found["best"]]["params"])
    assert (folder / "trials.png").stat().st_size > 1000
    kept = (folder / "tune.json").read_text()
    assert run(["tune", "--resume", str(folder), "--trials", "2"]) == 0
    assert (folder / "tune.json").read_text() == kept


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
