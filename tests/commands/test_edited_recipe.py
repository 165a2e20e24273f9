"""A run whose recipe.yaml was edited: what breaks the promise of the same curve is refused, all else is said."""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from yoso_cli.api import edited_recipe
from yoso_cli.errors import UsageError
from yoso_cli.recipe.schema import Recipe, TrainRecipe
from yoso_cli.run_folder import RunFolder

RECIPE = Path("runs/tiny-001/recipe.yaml")
RESUME = ("train", "--resume", "runs/tiny-001", "--device", "cpu")


def edit(key: str, value: str) -> None:
    text, count = re.subn(rf"(?m)^(  {key}: )[^#\n]*", rf"\g<1>{value} ", RECIPE.read_text())
    assert count == 1
    RECIPE.write_text(text)


@pytest.mark.parametrize(("key", "value"), [("batch", "1"), ("lr", "0.5"), ("seed", "7"), ("num_points", "64")])
def test_another_curve_is_refused(line: Path, refused: Callable[..., str], key: str, value: str) -> None:
    edit(key, value)
    told = refused(*RESUME, code=2)
    assert f".{key} is {value}, not " in told
    assert "same curve" in told
    assert "--weights runs/tiny-001" in told


@pytest.mark.parametrize(
    ("schedule", "norms_until", "free"), [("step", 1.0, True), ("step", 0.8, False), ("poly", 1.0, False)]
)
def test_more_steps_are_fine_where_no_earlier_one_depends_on_their_number(
    schedule: str, norms_until: float, free: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(train=TrainRecipe(iterations=9, schedule=schedule, batch_norms_until=norms_until))
    monkeypatch.setattr(edited_recipe, "edited", lambda *_: {"train.iterations": "train.iterations is 9, not 6"})
    with contextlib.nullcontext() if free else pytest.raises(UsageError, match="is 9, not 6"):
        edited_recipe.require_same_curve(RunFolder(Path("runs/tiny-001")), recipe)


def test_what_changes_no_step_is_said(line: Path, printed: Callable[..., tuple[Any, str]]) -> None:
    edit("log_every", "2")
    edit("short_edge", "32")
    _, told = printed(*RESUME)
    assert "train.log_every is 2, not 1" in told
    assert "inference.short_edge is 32, not 64" in told


def test_an_untouched_recipe_is_not_mentioned(line: Path, printed: Callable[..., tuple[Any, str]]) -> None:
    assert "edited" not in printed(*RESUME)[1]
