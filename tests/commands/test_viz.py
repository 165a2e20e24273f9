"""`yoso viz`: pictures in, overlays out, and nothing of the person's is overwritten."""

import errno
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
import torch
from media import clips
from PIL import Image
from releases.server import Behaviour, serving

import yoso_cli as yoso
from yoso_cli.api.draw_files import drawings, not_drawn
from yoso_cli.cli import run
from yoso_cli.conversion.instances import to_run_lengths
from yoso_cli.drawing.style import Style
from yoso_cli.inference.engine import default_for
from yoso_cli.media.video_reader import VideoReader
from yoso_cli.model import weights

CPU = ["--device", "cpu"]


@pytest.fixture
def photo(line: Path) -> Path:
    image = Image.open(build.picture()).resize((80, 60))
    image.save("photo.jpg")
    return Path("photo.jpg")


def test_an_overlay_is_written_beside_the_person(photo: Path, printed: Any) -> None:
    value, told = printed("viz", "photo.jpg", "--json", *CPU)
    assert set(value) == {"schema", "weights", "pictures", "videos", "skipped", "failures"}
    assert value["weights"] == str(build.newest_weights())
    (drawn,) = value["pictures"]
    assert set(drawn) == {"image", "output", "summary", "segments"}
    assert (drawn["image"], drawn["output"]) == ("photo.jpg", "photo-yoso.png")
    assert drawn["segments"], "no threshold holds a segment back"
    keys = {"id", "category_id", "name", "isthing", "area", "bbox", "iscrowd", "score", "segmentation"}
    assert set(drawn["segments"][0]) == keys
    assert sum(segment["area"] for segment in drawn["segments"]) <= 80 * 60
    with Image.open("photo-yoso.png") as overlay:
        assert overlay.width >= 80
        assert overlay.height >= 60
    assert f"Using {build.newest_weights()} (as trained, 9 classes of shapes), score above 0, " in told
    assert f"on cpu ({default_for(torch.device('cpu')).switches}, " in told
    assert told.endswith("Next: yoso bench runs/tiny-001")


def test_the_text_tells_what_is_seen(photo: Path, printed: Any) -> None:
    text, _ = printed("viz", "photo.jpg", "--set", "inference.score_threshold=1", *CPU)
    assert text == "photo.jpg: nothing above the score threshold -> photo-yoso.png\n"
    text, _ = printed("viz", "photo.jpg", "--force", *CPU)
    assert "nothing" not in text


def test_re_parameterised_weights_are_used_where_there_are_any(photo: Path, printed: Any) -> None:
    printed("reparam")
    value, told = printed("viz", "photo.jpg", "--json", *CPU)
    assert value["weights"] == "runs/tiny-001/reparam.safetensors"
    assert "(re-parameterised, 9 classes of shapes)" in told


def test_the_fast_merge_draws_nearly_the_same_segments(photo: Path, printed: Any) -> None:
    exact, _ = printed("viz", "photo.jpg", "--json", *CPU)
    fast, told = printed("viz", "photo.jpg", "--json", "--force", "--fast-merge", *CPU)
    assert ", fast merge)" in told
    assert "measures its PQ" in told
    areas = [[segment["area"] for segment in value["pictures"][0]["segments"]] for value in (exact, fast)]
    assert areas[0] != areas[1]
    assert sum(areas[0]) == pytest.approx(sum(areas[1]), rel=0.1)


def test_as_many_threads_are_taken_as_asked_for(photo: Path, printed: Any) -> None:
    before = torch.get_num_threads()
    try:
        _, told = printed("viz", "photo.jpg", "--threads", "3", *CPU)
        assert "winograd, 3 threads)" in told
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_weights_without_a_run_or_a_dataset_suffice(photo: Path, printed: Any) -> None:
    shutil.copy(build.newest_weights(), "mine.safetensors")
    shutil.rmtree("runs")
    shutil.rmtree("datasets")
    _, told = printed("viz", "photo.jpg", "--weights", "mine.safetensors", "-o", "seen.jpeg", *CPU)
    assert told.endswith("Next: yoso bench mine.safetensors --image photo.jpg")
    with Image.open("seen.jpeg") as overlay:
        assert overlay.format == "JPEG"


def test_several_pictures_go_into_one_folder(photo: Path, printed: Any, refused: Any) -> None:
    Image.open("photo.jpg").convert("L").save("grey.png")
    value, _ = printed("viz", "photo.jpg", "grey.png", "-o", "seen/all", "--json", *CPU)
    assert [one["output"] for one in value["pictures"]] == ["seen/all/photo-yoso.png", "seen/all/grey-yoso.png"]
    value, _ = printed("viz", "grey.png", "-o", "seen", "--json", *CPU)
    assert value["pictures"][0]["output"] == "seen/grey-yoso.png"
    seen = ("viz", "photo.jpg", "-o", "seen/all", "--precision", "bfloat16", *CPU)
    assert "seen/all/photo-yoso.png: exists already" in refused(*seen, code=2)
    shutil.copy("photo.jpg", "seen/photo.jpg")
    value, _ = printed("viz", "photo.jpg", "seen/photo.jpg", "-o", "both", "--json", *CPU)
    assert [one["output"] for one in value["pictures"]] == ["both/photo-yoso.png", "both/seen/photo-yoso.png"]


def test_what_stands_there_is_kept_unless_forced(photo: Path, printed: Any, refused: Any) -> None:
    Path("photo-yoso.png").write_bytes(b"precious")
    assert "photo-yoso.png: exists already" in refused("viz", "photo.jpg", code=2)
    printed("viz", "photo.jpg", "--force", *CPU)
    Image.open("photo-yoso.png").verify()


@pytest.mark.parametrize("seen", ["photo-yoso.png", "seen.jpg"])
def test_the_same_line_draws_over_its_own_picture(photo: Path, printed: Any, refused: Any, seen: str) -> None:
    """Another photo, other weights or other settings do not."""
    same = ("viz", "photo.jpg", "-o", seen, *CPU)
    printed(*same)
    printed(*same)
    other = ("--set", "inference.short_edge=32")
    assert f"{seen}: exists already" in refused(*same, *other, code=2)
    Image.open("photo.jpg").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("photo.jpg")
    assert f"{seen}: exists already" in refused(*same, code=2)


def test_a_photo_is_never_overwritten_by_its_overlay(photo: Path, refused: Any) -> None:
    for output in ("photo.jpg", "../line/photo.jpg"):
        assert "would overwrite" in refused("viz", "photo.jpg", "-o", output, code=2)
        assert "would overwrite" in refused("viz", "photo.jpg", "-o", output, "--force", code=2)


def test_pictures_that_cannot_be_drawn_are_named(photo: Path, refused: Any) -> None:
    assert "gone.jpg: there is no such file" in refused("viz", "photo.jpg", "gone.jpg", code=2)
    Path("odd.jpg").write_bytes(b"no picture")
    assert "odd.jpg" in refused("viz", "odd.jpg", code=1)
    Path("torn.jpg").write_bytes(photo.read_bytes()[:500])
    assert "torn.jpg" in refused("viz", "torn.jpg", code=1)
    assert "datasets: there is no picture or video in this folder. Its folders have" in refused(
        "viz", "datasets", code=2
    )


def test_outputs_that_are_no_pictures_are_wrong_use(photo: Path, refused: Any) -> None:
    assert "seen.gif" in refused("viz", "photo.jpg", "-o", "seen.gif", code=2)
    assert "INPUTS are missing" in refused("viz", code=2)


def test_a_full_disk_leaves_the_old_picture(photo: Path, refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    Path("photo-yoso.png").write_bytes(b"precious")
    monkeypatch.setattr("os.fsync", full)
    assert "No space left on device" in refused("viz", "photo.jpg", "--force", code=1)


@pytest.mark.parametrize("size", [(1, 1), (400, 3), (3, 400)])
def test_the_oddest_pictures_are_drawn(line: Path, printed: Any, size: tuple[int, int]) -> None:
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save("odd.png")
    printed("viz", "odd.png", *CPU)
    Image.open("odd-yoso.png").verify()


def test_pictures_of_any_mode_are_drawn(photo: Path, printed: Any) -> None:
    for mode in ("L", "RGBA", "P", "1", "I;16", "CMYK"):
        suffix = "tif" if mode == "CMYK" else "png"
        Image.open("photo.jpg").convert("L" if mode == "I;16" else mode).convert(mode).save(f"mode.{suffix}")
        printed("viz", f"mode.{suffix}", "--force", *CPU)


def test_augmented_draws_a_contact_sheet_of_the_recipes_pictures(photo: Path, printed: Any, refused: Any) -> None:
    value, err = printed("viz", "--augmented", build.RECIPE, "--json")
    assert value["output"] == "tiny-augmented.png"
    assert "yoso train tiny.yaml" in err
    with Image.open("tiny-augmented.png") as sheet:
        assert sheet.width > 4 * 500
        assert sheet.height > 4 * 500
    printed("viz", "--augmented", build.RECIPE)
    assert "exists already" in refused("viz", "--augmented", build.RECIPE, "--set", "augment.flip=0", code=2)
    assert "exclude one another" in refused("viz", "photo.jpg", "--augmented", build.RECIPE, code=2)
    assert "INPUTS are missing" in refused("viz", code=2)
    assert "yoso prepare" in refused("viz", "--augmented", "coco", code=1)


@pytest.fixture
def photos(photo: Path) -> Path:
    folder = Path("photos")
    (folder / "in").mkdir(parents=True)
    for index, name in enumerate(("a.jpg", "b.jpg", "in/a.jpg")):
        Image.open(build.picture(index)).save(folder / name)
    return folder


def test_a_folder_is_drawn_into_one_beside_it_and_keeps_its_shape(photos: Path, printed: Any) -> None:
    value, _ = printed("viz", "photos", "-r", "--json", *CPU)
    drawn = [one["output"] for one in value["pictures"]]
    assert drawn == ["photos-yoso/a-yoso.png", "photos-yoso/b-yoso.png", "photos-yoso/in/a-yoso.png"]
    assert all(Path(one).is_file() for one in drawn)


@pytest.mark.parametrize("output", ["new/", "new", "new/deep/"])
def test_an_output_with_a_slash_or_without_a_suffix_is_a_folder(photo: Path, printed: Any, output: str) -> None:
    value, _ = printed("viz", "photo.jpg", "-o", output, "--json", *CPU)
    assert value["pictures"][0]["output"] == f"{output.rstrip('/')}/photo-yoso.png"


def test_the_same_line_draws_only_what_is_missing(photos: Path, printed: Any, refused: Any) -> None:
    line = ("viz", "photos", "-o", "seen", *CPU)
    printed(*line)
    Path("seen/a-yoso.png").unlink()
    value, _ = printed(*line, "--json")
    assert [one["output"] for one in value["pictures"]] == ["seen/a-yoso.png"]
    assert value["skipped"] == 1
    text, _ = printed(*line)
    assert text == "2 inputs drawn before; --force draws them again\n"
    assert "a-yoso.png: exists already" in refused(*line, "--conf", "0.5", code=2)
    assert "a-yoso.png: exists already" in refused(*line, "--color", "class", code=2)
    value, _ = printed(*line, "--force", "--json")
    assert len(value["pictures"]) == 2


def test_a_bad_photo_is_named_and_the_others_are_drawn(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/aa.jpg").write_bytes(b"no picture")
    assert run(["viz", "photos", "photo.jpg", "-o", "seen", *CPU]) == 1
    out, err = capsys.readouterr()
    assert out.count(" -> seen/") == 3
    told = " ".join(err.split())
    assert "Error: photos/aa.jpg: is not a picture" in told
    assert "1 input passed over. The same line draws only what is missing." in told
    assert run(["viz", "photos", "-o", "other", "--fail-fast", *CPU]) == 1
    assert not Path("other/b-yoso.png").exists()


def test_of_many_pictures_only_their_number_is_printed(photos: Path, printed: Any) -> None:
    for index in range(11):
        Image.open(build.picture(0)).save(photos / f"{index}.jpg")
    text, _ = printed("viz", "photos", *CPU)
    assert text == "13 pictures -> photos-yoso\n"
    text, _ = printed("viz", "photos", "--force", "-v", *CPU)
    assert text.count("\n") == 13


def test_json_has_names_and_masks(photo: Path, printed: Any) -> None:
    value, _ = printed("viz", "photo.jpg", "--json", *CPU)
    wanted = yoso.load(device="cpu")("photo.jpg")
    names = {one.id: one.name for one in wanted.categories}
    for told in value["pictures"][0]["segments"]:
        assert told["name"] == names[told["category_id"]]
        assert told["segmentation"] == to_run_lengths(wanted.id_map == told["id"])


def test_a_style_is_drawn(photo: Path, printed: Any, refused: Any) -> None:
    printed("viz", "photo.jpg", "-o", "cut.png", "--background", "transparent", "--only", "ball,box", *CPU)
    with Image.open("cut.png") as cut:
        assert cut.mode == "RGBA"
    assert "a JPEG cannot be transparent" in refused(
        "viz", "photo.jpg", "-o", "cut.jpg", "--background", "transparent", code=2
    )
    assert "There is no class 'bal'. Did you mean 'ball'?" in refused("viz", "photo.jpg", "--only", "bal", code=2)
    printed("viz", "photo.jpg", "-o", "both.png", "--side-by-side", "--no-legend", "--labels", "name,score", *CPU)
    with Image.open("both.png") as both:
        assert both.width > 2 * 512


def test_the_labels_of_a_dataset_are_drawn_alike(line: Path, printed: Any, refused: Any) -> None:
    value, told = printed("viz", "--truth", "shapes", "--split", "train", "--count", "4", "--json")
    assert len(value["pictures"]) == 4
    assert all(Path(one["output"]).is_file() for one in value["pictures"])
    assert value["pictures"][0]["output"].startswith("shapes-truth/")
    assert told.endswith("Next: yoso stats shapes")
    assert "exclude one another" in refused("viz", "photo.jpg", "--truth", "shapes", code=2)
    assert "There is no class 'balll'" in refused("viz", "--truth", "shapes", "--class", "balll", code=2)


def test_wrong_lines_are_answered_before_what_is_there(photo: Path, refused: Any) -> None:
    """A slip in the line matters more than a picture that exists already."""
    Path("photo-yoso.png").write_bytes(b"precious")
    assert "gone.safetensors" in refused("viz", "photo.jpg", "--weights", "gone.safetensors", code=2)
    assert "unknown key" in refused("viz", "photo.jpg", "--set", "inference.nothing=1", code=2)
    assert "are for videos" in refused("viz", "photo.jpg", "--every", "2", code=2)


def test_a_url_keeps_its_slashes(photo: Path, printed: Any) -> None:
    with serving(Behaviour(photo.read_bytes())) as address:
        value, _ = printed("viz", f"{address}street.jpg", "--json", *CPU)
    assert (value["pictures"][0]["image"], value["pictures"][0]["output"]) == (
        f"{address}street.jpg",
        "street-yoso.png",
    )


def test_ctrl_c_finishes_the_picture_and_says_how_to_go_on(photos: Path) -> None:
    for index in range(60):
        Image.open(build.picture(0)).save(photos / f"{index}.jpg")
    words = [sys.executable, "-m", "yoso_cli", "viz", "photos", "-o", "seen", *CPU]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})
    while process.poll() is None and len(list(Path("seen").glob("*.png"))) < 3:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert b"The same line draws only what is missing." in err
    assert b"Traceback" not in err
    for path in Path("seen").iterdir():
        Image.open(path).verify()


def test_a_video_is_drawn_beside_photos(photo: Path, printed: Any, refused: Any) -> None:
    clips.clip(Path("clip.mp4"), 8)
    value, _ = printed("viz", "photo.jpg", "clip.mp4", "--stop", "0.2", "--json", *CPU)
    (video,) = value["videos"]
    assert video == {
        "video": "clip.mp4",
        "output": "clip-yoso.mp4",
        "frames": 5,
        "outcome": "finished",
        "reached_seconds": video["reached_seconds"],
        "problem": "",
    }
    with VideoReader("clip-yoso.mp4") as reader:
        assert len(list(reader)) == 5
    assert "clip-yoso.mp4: exists already" in refused("viz", "clip.mp4", code=2)
    assert "cannot have a legend" in refused("viz", "clip.mp4", "--legend", "-o", "a.mp4", code=2)
    assert "cannot have transparency" in refused("viz", "clip.mp4", "--background", "transparent", code=2)
    text, _ = printed("viz", "clip.mp4", "--every", "4", "-o", "few.mkv", *CPU)
    assert text == "clip.mp4: 2 frames -> few.mkv\n"


def test_a_video_cut_short_is_drawn_as_far_as_it_goes(line: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips.clip(Path("clip.mkv"), 40)
    whole = Path("clip.mkv").read_bytes()
    Path("clip.mkv").write_bytes(whole[: len(whole) * 2 // 3])
    assert run(["viz", "clip.mkv", *CPU]) == 1
    out, err = capsys.readouterr()
    assert "clip.mkv: " in out
    assert "ends before its stated end" in " ".join(err.split())
    with VideoReader("clip-yoso.mp4") as reader:
        assert 0 < len(list(reader)) < 40


def test_a_bad_video_is_named_and_the_others_are_drawn(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/a.mp4").write_bytes(b"no video")
    clips.clip(Path("photos/d.mp4"), 3)
    Path("photos/c.jpg").write_bytes(b"no picture")
    assert run(["viz", "photos", "--json", *CPU]) == 1
    out, err = capsys.readouterr()
    value = json.loads(out)
    assert [one["input"] for one in value["failures"]] == ["photos/c.jpg", "photos/a.mp4"]
    assert [one["output"] for one in value["videos"]] == ["photos-yoso/d-yoso.mp4"]
    assert len(value["pictures"]) == 2
    assert "2 inputs passed over." in " ".join(err.split())
    assert run(["viz", "photos", "--json", *CPU]) == 1
    value = json.loads(capsys.readouterr().out)
    assert (value["pictures"], value["videos"], value["skipped"]) == ([], [], 3)


def test_several_inputs_are_no_file(photo: Path, refused: Any) -> None:
    shutil.copy("photo.jpg", "other.jpg")
    assert "two.png: is the name of a file" in refused("viz", "photo.jpg", "other.jpg", "-o", "two.png", code=2)


def test_the_weights_are_hashed_once(photos: Path, printed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a tenth of a second for the weights of COCO, and a folder may have thousands of photos."""
    hashed = []
    original = weights.digest
    monkeypatch.setattr(weights, "digest", lambda state: hashed.append(1) or original(state))
    printed("viz", "photos", "-r", *CPU)
    assert len(hashed) <= 2


def test_no_photo_is_read_before_the_first_one_is_drawn(photos: Path, printed: Any) -> None:
    """But those whose pictures are there already, which are compared with what they were drawn from."""
    printed("viz", "photos", *CPU)
    Path("photos-yoso/a-yoso.png").unlink()
    model = yoso.load(device="cpu")
    inputs = yoso.find_inputs("photos").items
    wanted = drawings(model, inputs, [Path(f"photos-yoso/{one.name}-yoso.png") for one in inputs], Style())
    (todo,) = not_drawn(wanted)
    assert todo.input.name == "a"
    assert "stamp" not in vars(todo)
