"""A count is said with its noun as a person says it."""

from pathlib import Path

import pytest

from yoso_cli.cli import run
from yoso_cli.runtime.words import counted


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
