"""What a command says to type next can be typed: its paths are there, and a word in capitals stands for what is not."""

import shutil
from pathlib import Path
from typing import Any

import build
import pytest

from yoso_cli.commands import next_step
from yoso_cli.recipe.file import load


def test_the_first_picture_that_was_not_drawn_is_advised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pictures = [Path("gone.jpg"), tmp_path / "photos/my first.jpg", Path("b.jpg")]
    assert next_step.viz("coco", pictures) == "yoso viz IMAGE --weights coco"
    Path("photos").mkdir()
    for picture in pictures[1:]:
        picture.touch()
    assert next_step.viz("runs/a b", pictures) == "yoso viz 'photos/my first.jpg' --weights 'runs/a b'"
    Path("my first-yoso.png").touch()
    assert next_step.viz("coco", pictures) == "yoso viz b.jpg --weights coco"
    Path("b-yoso.png").touch()
    assert next_step.viz("coco", pictures) == "yoso viz IMAGE --weights coco"


def test_weights_are_shown_with_a_picture_of_their_own_dataset(line: Path, printed: Any) -> None:
    _, told = printed("weights", "show", "runs/tiny-001")
    assert told.endswith(f"Next: yoso viz {build.picture()} --weights runs/tiny-001")
    shutil.rmtree("datasets")
    _, told = printed("weights", "show")
    assert told.endswith(f"Next: yoso viz IMAGE --weights {build.newest_weights()}")


def test_a_root_that_no_path_can_have_has_no_pictures() -> None:
    recipe = load("shapes", [f"data.root={'x' * 5000}"])
    assert next_step.validation_pictures(recipe) == []
