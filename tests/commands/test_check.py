"""`yoso check` from the outside."""

import json
from pathlib import Path

import numpy as np
import pytest
from commands.conftest import Printed, Refused
from PIL import Image

from yoso_cli.cli import run


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert run(["prepare", "shapes", "--train", "30", "--val", "20", "--size", "64"]) == 0
    return tmp_path


def test_a_whole_set_passes_with_a_line_and_the_next_command(shapes: Path, printed: Printed) -> None:
    out, err = printed("check", "shapes", "--workers", "1")
    assert out == "shapes: 30 images in train, 20 images in val; no errors, no warnings\n"
    assert err.endswith("Next: yoso stats shapes")


def test_an_error_exits_with_1_and_names_code_and_file(shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("datasets/shapes/train/panoptic/000007.png").unlink()
    assert run(["check", "shapes"]) == 1
    out, err = capsys.readouterr()
    assert "error    png-missing (train, 1): Panoptic PNGs are missing." in out
    assert "\n           datasets/shapes/train/panoptic/000007.png\n" in out
    assert out.endswith("1 error, no warnings\n")
    assert "Next:" not in err


def test_a_label_png_that_is_cut_off_is_named_and_not_its_photo(
    shapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, pixels in (("000007", None), ("000008", np.zeros((8, 8, 3), np.uint8))):
        png = Path(f"datasets/shapes/train/panoptic/{name}.png")
        if pixels is None:
            png.write_bytes(png.read_bytes()[:-30])
        else:
            Image.fromarray(pixels).save(png)
    assert run(["check", "shapes"]) == 1
    out, _ = capsys.readouterr()
    assert "\n           datasets/shapes/train/panoptic/000007.png: is truncated" in out
    assert "\n           datasets/shapes/train/panoptic/000008.png: 8x8, listed as 64x64\n" in out
    assert ".jpg" not in out
    assert run(["check", "shapes", "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert [case["image"] for one in findings for case in one["cases"]] == ["000007.jpg", "000008.jpg"]


def test_json_tells_every_case(shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in range(7):
        Path(f"datasets/shapes/train/images/00000{name}.jpg").unlink()
    assert run(["check", "shapes", "--json"]) == 1
    value = json.loads(capsys.readouterr().out)
    (finding,) = value["findings"]
    assert (value["errors"], value["warnings"], value["images"]) == (1, 0, {"train": 30, "val": 20})
    assert (finding["code"], finding["layer"], finding["severity"]) == ("image-missing", "structure", "error")
    assert [case["image"] for case in finding["cases"]] == [f"00000{name}.jpg" for name in range(7)]


def test_strict_takes_warnings_for_errors(shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save("datasets/shapes/train/images/stray.jpg")
    assert run(["check", "shapes"]) == 0
    assert "warning  unlisted-image (train, 1)" in capsys.readouterr().out
    assert run(["check", "shapes", "--strict"]) == 1
    assert "error    unlisted-image (train, 1)" in capsys.readouterr().out


def test_workers_find_the_same(
    shapes: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yoso_cli.runtime.workers._TOO_FEW", 2)
    Path("datasets/shapes/val/images/000003.jpg").write_bytes(b"no picture")
    outputs = []
    for count in "12":
        assert run(["check", "shapes", "--workers", count, "--json"]) == 1
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


def test_what_is_no_dataset_is_refused(shapes: Path, refused: Refused) -> None:
    assert "nothing: is neither a prepared dataset nor a path" in refused("check", "nothing", code=2)
    Path("empty").mkdir()
    assert "empty: holds no panoptic dataset" in refused("check", "empty", code=2)
