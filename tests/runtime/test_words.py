"""A count is said with its noun as a person says it."""

from pathlib import Path

import pytest

from yoso_cli.cli import run
from yoso_cli.runtime.words import counted, shortened


def test_one_thing_and_many() -> None:
    assert [counted(count, "image") for count in (0, 1, 118287)] == ["0 images", "1 image", "118,287 images"]
    assert [counted(count, "class") for count in (1, 133)] == ["1 class", "133 classes"]


def test_a_split_of_one_picture_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["prepare", "shapes", "--train", "2", "--val", "1"], ["check", "shapes"], ["stats", "shapes"]):
        assert run(words) == 0
    told = capsys.readouterr().out
    assert told.count("1 image") == 3
    assert "1 images" not in told


def test_of_many_names_the_first_are_given() -> None:
    assert shortened("abcde") == "a, b, c, d, e"
    assert shortened([1, 2, 3, 4, 5], 3) == "1, 2, 3 and 2 more"
    assert shortened([1, 2, 3], 2, more=", ...") == "1, 2, ..."
