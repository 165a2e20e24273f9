"""`yoso eval --metric vpq,stq`: of frames on disk, whose segment ids persist."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from yoso_cli.cli import run
from yoso_cli.panoptic.files import SetWriter
from yoso_cli.panoptic.types import Category, ImageRecord, Panoptic, Segment, measured

CATEGORIES = (Category(1, "disc", True), Category(9, "ground", False))


def frame(column: int, track: int) -> Panoptic:
    id_map = np.full((20, 40), 1, np.int32)
    id_map[5:15, column : column + 10] = track
    return Panoptic(id_map, measured(id_map, [Segment(1, 9, 0), Segment(track, 1, 0)]))


def write_videos(folder: Path, *, switched: int = 99, video_ids: bool = True, frames: int = 6) -> None:
    """Two videos of a disc that moves, its track 7; from frame `switched` on it is 8."""
    writer = SetWriter(folder, folder.parent.name, folder.name, CATEGORIES)
    for video in ("a", "b"):
        for place in range(frames):
            panoptic = frame(2 * place, 7 if place < switched else 8)
            name = f"{video}/{place}.png"
            record = ImageRecord(f"{video}{place}", name, name, 20, 40, panoptic.segments)
            writer.add(replace(record, video_id=video) if video_ids else record, panoptic)
    writer.finish()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`clips/val` is the truth; `sent/val` changes a track in the middle, as its ids do."""
    monkeypatch.chdir(tmp_path)
    write_videos(Path("clips/val"))
    write_videos(Path("sent/val"), switched=3)
    return tmp_path


LINE = ["eval", "--predictions", "sent/val", "--truth", "clips/val"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_both_metrics_as_json(here: Path, capsys: pytest.CaptureFixture[str], workers: str) -> None:
    """Windows of one frame are perfect. Of two frames, those of a video with the switch inside, one of five, have a
    disc of twice 100 pixels that meets two of 100 each: no match, TP 4 of 5, FP 2, FN 1 for each video: 8 / (8 + 3).
    STQ: each track of 600 pixels is 300 and 300: AQ = (300 / 600 * 300 * 2) / 600 = 1/2, SQ = 1."""
    assert run([*LINE, "--metric", "vpq,stq", "--windows", "1,2", "--workers", workers, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["format"], told["version"], told["videos"], told["images"]) == ("yoso-video-report", 1, 2, 12)
    one, two = told["vpq"]["windows"]
    assert (one["frames"], one["windows"], one["quality"]["all"]["pq"]) == (1, 12, 100)
    assert (two["frames"], two["windows"]) == (2, 10)
    assert two["quality"]["things"]["pq"] == pytest.approx(100 * 8 / 11)
    assert told["vpq"]["all"] == pytest.approx((100 + (100 * 8 / 11 + 100) / 2) / 2)
    assert told["stq"]["aq"] == pytest.approx(50)
    assert told["stq"]["sq"] == 100
    assert told["stq"]["stq"] == pytest.approx(100 * 0.5**0.5)
    assert [(video["video"], video["frames"], video["tracks"]) for video in told["stq"]["videos"]] == [
        ("a", 6, 1),
        ("b", 6, 1),
    ]


def test_the_table_names_windows_that_no_video_has(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*LINE, "--metric", "vpq"]) == 0
    told = capsys.readouterr().out
    assert "2 videos, 12 frames" in told
    assert "No video has 10 or 15 frames: these windows are not in the mean." in told
    assert "STQ" not in told
    assert run([*LINE, "--metric", "stq"]) == 0
    told = capsys.readouterr().out
    assert "70.7   50.0  100.0" in told
    assert "VPQ" not in told


def test_folders_are_videos_where_the_json_names_none(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_videos(Path("bare/val"), video_ids=False)
    assert run(["eval", "--predictions", "sent/val", "--truth", "bare/val", "--metric", "stq", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stq"]["aq"] == pytest.approx(50)


def test_the_videos_of_the_json_come_back_as_they_were_written(here: Path) -> None:
    images = json.loads(Path("clips/val/panoptic.json").read_text())["images"]
    assert [image["video_id"] for image in images] == ["a"] * 6 + ["b"] * 6


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ([*LINE, "--metric", "vpq,miou"], "have a report of their own"),
        ([*LINE, "--metric", "vpq", "--html", "a.html"], "--html has no meaning for --metric vpq and stq"),
        ([*LINE, "--metric", "vpq", "--windows", "1,x"], "--windows 1,x: must be numbers of frames"),
        ([*LINE, "--metric", "vpq", "--windows", "0"], "must be numbers of frames"),
        ([*LINE, "--metric", "stq", "--windows", "1"], "--windows needs --metric vpq"),
        ([*LINE, "--windows", "1"], "--windows needs --metric vpq"),
        ([*LINE, "--metric", "vpd"], "there is no such metric"),
        (["eval", "runs/a", "--metric", "vpq"], "--metric vpq or stq needs --predictions"),
    ],
)
def test_wrong_combinations_are_answered(
    here: Path, capsys: pytest.CaptureFixture[str], line: list[str], said: str
) -> None:
    assert run(line) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_pictures_of_no_video_and_missing_predictions_are_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = SetWriter(Path("flat/val"), "flat", "val", CATEGORIES)
    panoptic = frame(0, 7)
    writer.add(ImageRecord("a0", "0.png", "0.png", 20, 40, panoptic.segments), panoptic)
    writer.finish()
    assert run(["eval", "--predictions", "sent/val", "--truth", "flat/val", "--metric", "vpq"]) == 1
    assert "nothing says which video the picture 0.png is a frame of" in " ".join(capsys.readouterr().err.split())
    write_videos(Path("short/val"), frames=3)
    assert run(["eval", "--predictions", "short/val", "--truth", "clips/val", "--metric", "vpq"]) == 1
    assert "6 of 12 images have no prediction" in " ".join(capsys.readouterr().err.split())
