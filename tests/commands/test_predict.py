"""`yoso predict`: pictures in, files for other tools out, and what is done stays done."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import build
import numpy as np
import pytest
from media import clips
from PIL import Image

import yoso_cli as yoso
from yoso_cli.cli import run
from yoso_cli.panoptic.files import read_panoptic, read_set

CPU = ["--device", "cpu"]


@pytest.fixture
def photos(line: Path) -> Path:
    """Three scenes, two of them with one name in two folders."""
    for index, name in enumerate(("a", "in/a", "in/b")):
        path = Path("photos") / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(build.picture(index), path)
    return Path("photos")


def test_a_folder_becomes_a_prepared_split_with_what_the_model_sees(photos: Path, printed: Any) -> None:
    value, told = printed("predict", "photos", "-r", "-o", "preds", "--json", *CPU)
    assert value["predicted"] == 3
    assert value["failures"] == []
    assert value["complete"]
    assert f"Using {build.newest_weights()} (as trained, 9 classes of shapes)" in told
    found = read_set(Path("preds"))
    assert [record.image_file for record in found.records] == ["a.jpg", "in/a.jpg", "in/b.jpg"]
    model = yoso.load(device="cpu")
    for record in found.records:
        panoptic = read_panoptic(found, record)
        wanted = model(found.image_path(record)).panoptic
        assert np.array_equal(panoptic.id_map, wanted.id_map)
        assert panoptic.segments == wanted.segments
    assert told.endswith("Next: yoso convert preds datasets/pseudo/train --from prepared")
    printed("convert", "preds", "datasets/pseudo/train", "--from", "prepared")
    assert len(read_set(Path("datasets/pseudo/train")).records) == 3


def test_a_prepared_split_keeps_its_ids_and_scores_as_eval_does(line: Path, printed: Any) -> None:
    printed("predict", "shapes/val", "-o", "preds", *CPU)
    scored, _ = printed("eval", "--predictions", "preds/panoptic.json", "--truth", "datasets/shapes/val", "--json")
    wanted, _ = printed("eval", "--json", *CPU)
    assert scored["quality"] == wanted["quality"]


def test_numbers_are_ids_as_coco_has_them(photos: Path, printed: Any) -> None:
    shutil.move("photos/a.jpg", "photos/000000000139.jpg")
    printed("predict", "photos", "photos/in", "-o", "preds", *CPU)
    assert [record.image_id for record in read_set(Path("preds")).records] == [139, "in/a", "in/b"]


def test_the_same_line_does_only_what_is_missing(photos: Path, printed: Any) -> None:
    line = ("predict", "photos", "-r", "-o", "preds", "--json", *CPU)
    printed(*line)
    before = {path: path.stat().st_mtime_ns for path in Path("preds/panoptic").rglob("*.png")}
    Path("preds/panoptic/in/a.png").unlink()
    Image.open("photos/in/b.jpg").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("photos/in/b.jpg")
    shutil.copy("photos/a.jpg", "photos/new.jpg")
    value, _ = printed(*line)
    assert (value["predicted"], value["skipped"]) == (3, 1)
    after = {path: path.stat().st_mtime_ns for path in Path("preds/panoptic").rglob("*.png")}
    assert [path.stem for path in after if after[path] == before.get(path)] == ["a"]
    assert len(read_set(Path("preds")).records) == 4


def test_other_settings_are_refused_unless_forced(photos: Path, printed: Any, refused: Any) -> None:
    line = ("predict", "photos", "-r", "-o", "preds", *CPU)
    printed(*line)
    assert "with other thresholds" in refused(*line, "--conf", "0.4", code=2)
    assert "with other formats" in refused(*line, "--format", "masks", code=2)
    printed(*line, "--format", "masks", "--force")
    assert sorted(path.name for path in Path("preds").iterdir()) == ["masks", "parts", "predictions.json"]


def test_a_folder_with_other_files_is_left_alone(photos: Path, refused: Any) -> None:
    assert "photos: has other files" in refused("predict", "photos/a.jpg", "-o", "photos", *CPU, code=2)
    assert "photos: has other files" in refused("predict", "photos/a.jpg", "-o", "photos", "--force", *CPU, code=2)


def test_what_cannot_be_read_is_named_and_passed_over(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/in/bad.jpg").write_bytes(b"no picture")
    Path("photos/in/torn.jpg").write_bytes(Path("photos/a.jpg").read_bytes()[:500])
    assert run(["predict", "photos", "-r", "-o", "preds", "--json", *CPU]) == 1
    out, err = capsys.readouterr()
    value = json.loads(out)
    assert value["predicted"] == 3
    assert [one["input"] for one in value["failures"]] == ["photos/in/bad.jpg", "photos/in/torn.jpg"]
    told = " ".join(err.split())
    assert "Error: preds: 2 problems: photos/in/bad.jpg: is not a picture" in told
    assert "2 inputs passed over; the same line tries again." in told
    assert len(read_set(Path("preds")).records) == 3


def test_the_first_that_cannot_be_read_may_be_the_end(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/bad.jpg").write_bytes(b"no picture")
    assert run(["predict", "photos", "-o", "preds", "--fail-fast", *CPU]) == 1
    assert "photos/bad.jpg: is not a picture" in capsys.readouterr().err
    assert not Path("preds/manifest.json").exists()


def test_uncertain_segments_can_be_left_void(photos: Path, printed: Any) -> None:
    printed("predict", "photos/a.jpg", "-o", "all", *CPU)
    scores = sorted(one.score or 0.0 for one in read_set(Path("all")).records[0].segments)
    middle = scores[len(scores) // 2]
    printed("predict", "photos/a.jpg", "-o", "some", "--min-score", str(middle), *CPU)
    found = read_set(Path("some"))
    assert sorted(one.score or 0.0 for one in found.records[0].segments) == [one for one in scores if one >= middle]
    read_panoptic(found, found.records[0])


def test_several_formats_come_at_once(photos: Path, printed: Any) -> None:
    formats = "coco-instances,labelme,yolo-seg,cvat"
    value, told = printed(
        "predict", "photos/a.jpg", "-o", "p", "--format", formats, "--format", "masks", "--json", *CPU
    )
    assert value["formats"] == ["coco-instances", "labelme", "yolo-seg", "cvat", "masks"]
    made = {str(path.relative_to("p").parts[0]) for path in Path("p").rglob("*") if path.is_file()}
    assert made == {"parts", "predictions.json", *value["formats"]}
    assert told.endswith("Next: ls p")


def test_shards_are_joined_by_the_last_one_and_by_gather(photos: Path, printed: Any, refused: Any) -> None:
    line = ("predict", "photos", "-r", "-o", "preds", "--json", *CPU)
    value, told = printed(*line, "--shard", "2/2")
    assert (value["predicted"], value["complete"]) == (1, False)
    assert "the last one to finish joins" in told
    value, told = printed("predict", "-o", "preds", "--gather", "--json")
    assert (value["pictures"], value["incomplete_parts"]) == (1, ["1 of 2"])
    value, _ = printed(*line, "--shard", "1/2")
    assert (value["predicted"], value["complete"]) == (2, True)
    printed("predict", "photos", "-r", "-o", "whole", "--json", *CPU)
    both = [json.loads(Path(name, "panoptic.json").read_text()) for name in ("preds", "whole")]
    assert both[0] == both[1]
    for shard in ("0/2", "3/2", "1", "a/b"):
        assert "is not I/N" in refused(*line, "--shard", shard, code=2)


def test_torchruns_processes_share_the_work(photos: Path, printed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = []
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        value, _ = printed("predict", "photos", "-r", "-o", "preds", "--json", *CPU)
        done.append((value["predicted"], value["complete"]))
    assert done == [(1, False), (2, True)]


def test_a_kill_loses_no_picture_that_was_done(photos: Path, printed: Any) -> None:
    for index in range(40):
        shutil.copy(build.picture(index % 3), f"photos/{index:03d}.jpg")
    words = [sys.executable, "-m", "yoso_cli", "predict", "photos", "-o", "preds", *CPU]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    lines = Path("preds/parts/1-of-1.jsonl")
    while process.poll() is None and (not lines.exists() or lines.read_bytes().count(b"\n") < 3):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = lines.read_bytes().count(b"\n")
    value, _ = printed("predict", "photos", "-o", "preds", "--json", *CPU)
    assert value["skipped"] >= min(done, 3)
    assert value["skipped"] + value["predicted"] == 41
    assert len(read_set(Path("preds")).records) == 41


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "p"], "INPUTS are missing"),
        (["gone", "-o", "p"], "gone: there is no such file"),
        (["photos", "-o", "p", "--format", "labelm"], "Did you mean 'labelme'"),
        (["photos", "-o", "p", "--weights", "gone.safetensors"], "gone.safetensors: there is no such weights file"),
        (["photos", "-o", "p", "--set", "inference.nothing=1"], "unknown key"),
        (["photos", "-o", "p", "--gather"], "--gather takes no INPUTS"),
        (["ftp://host/a.jpg", "-o", "p"], "is not a valid URL"),
    ],
)
def test_wrong_lines_are_answered_before_anything_is_made(
    photos: Path, refused: Any, words: list[str], said: str
) -> None:
    assert said in refused("predict", *words, *CPU, code=2)


def test_a_picture_and_a_list_may_come_on_stdin(photos: Path) -> None:
    words = [sys.executable, "-m", "yoso_cli", "predict", "-", "-o"]
    for folder, given, name in (("one", Path("photos/a.jpg").read_bytes(), "stdin"), ("two", b"photos/in\n", "a")):
        subprocess.run([*words, folder, *CPU], input=given, check=True, capture_output=True)
        assert Path(folder, "panoptic", f"{name}.png").is_file()


def test_a_video_becomes_frames_whose_segments_persist(line: Path, printed: Any) -> None:
    clips.clip(Path("clip.mp4"), 12)
    value, _ = printed("predict", "clip.mp4", str(build.picture()), "-o", "preds", "--json", *CPU)
    assert (value["predicted"], value["frames"]) == (1, 12)
    content = json.loads(Path("preds/panoptic.json").read_text())
    frames = [one for one in content["images"] if "video_id" in one]
    assert [one["frame_index"] for one in frames] == list(range(12))
    assert {one["video_id"] for one in frames} == {frames[0]["id"].rpartition("/")[0]}
    assert frames[-1]["time"] > frames[0]["time"] == 0
    ids = {one["id"] for one in frames}
    infos = [info for one in content["annotations"] if one["image_id"] in ids for info in one["segments_info"]]
    assert infos
    assert all(info["track_id"] == info["id"] for info in infos)
    found = read_set(Path("preds"))
    for record in found.records:
        read_panoptic(found, record)
    value, _ = printed("predict", "clip.mp4", str(build.picture()), "-o", "preds", "--json", *CPU)
    assert (value["frames"], value["skipped"]) == (0, 2)


def test_a_video_cut_short_keeps_its_frames_and_is_named(line: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips.clip(Path("clip.mkv"), 40)
    whole = Path("clip.mkv").read_bytes()
    Path("clip.mkv").write_bytes(whole[: len(whole) * 2 // 3])
    assert run(["predict", "clip.mkv", "-o", "preds", "--json", *CPU]) == 1
    out, err = capsys.readouterr()
    value = json.loads(out)
    assert 0 < value["frames"] < 40
    assert "clip.mkv: ends before its stated end" in " ".join(err.split())
    assert len(read_set(Path("preds")).records) == value["frames"]


def test_some_frames_may_be_chosen(line: Path, printed: Any) -> None:
    clips.clip(Path("clip.mp4"), 12)
    value, _ = printed("predict", "clip.mp4", "-o", "preds", "--every", "4", "--json", *CPU)
    assert value["frames"] == 3


def test_a_line_is_printed_for_each_frame_if_asked_for(line: Path, printed: Any) -> None:
    clips.clip(Path("clip.mp4"), 3)
    _, told = printed("predict", "clip.mp4", "-o", "preds", "-v", *CPU)
    assert told.count("clip.mp4 -> panoptic/clip/") == 3
