"""A run whose recipe.yaml was edited: what breaks the promise of the same curve is refused, all else is said."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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


def test_what_changes_no_step_is_said(line: Path, printed: Callable[..., tuple[Any, str]]) -> None:
    edit("log_every", "2")
    edit("short_edge", "32")
    _, told = printed(*RESUME)
    assert "train.log_every is 2, not 1" in told
    assert "inference.short_edge is 32, not 64" in told


def test_an_untouched_recipe_is_not_mentioned(line: Path, printed: Callable[..., tuple[Any, str]]) -> None:
    assert "edited" not in printed(*RESUME)[1]
