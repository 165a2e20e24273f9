"""`yoso check` from the outside."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands.conftest import Printed, Refused
from conversion import raw
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


BOX = [[0, 0, 3, 0, 3, 4, 0, 4]]


def write_instances(folder: Path, photo: str, **changes: Any) -> Path:
    """A picture of 6x4 with a box on the left, a smaller one on it, and one that the smaller one hides."""
    annotations = [
        {"id": number, "image_id": 1, "category_id": 1, "segmentation": one}
        for number, one in enumerate((BOX, [[0, 0, 1, 0, 1, 2, 0, 2]], [[0, 0, 1, 0, 1, 2, 0, 2]]))
    ]
    content = {
        "images": [{"id": 1, "file_name": Path(photo).name, "height": 4, "width": 6}],
        "categories": [{"id": 1, "name": "box"}],
        "annotations": annotations,
    }
    raw.write_photo(folder / photo)
    path = folder / changes.pop("name", "_annotations.coco.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | changes))
    return path


def codes(value: Any) -> dict[str, list[str]]:
    return {one["code"]: [case["detail"] for case in one["cases"]] for one in value["findings"]}


@pytest.mark.parametrize(
    ("name", "photo", "named"),
    [
        ("_annotations.coco.json", "a.jpg", "_annotations.coco.json"),
        ("_annotations.coco.json", "a.jpg", "."),
        ("train/_annotations.coco.json", "train/a.jpg", "."),
        ("annotations/instances_val2017.json", "val2017/a.jpg", "."),
        ("annotations/instances_val2017.json", "val2017/a.jpg", "annotations/instances_val2017.json"),
    ],
)
def test_instance_annotations_are_checked_as_what_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: Printed, name: str, photo: str, named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_instances(Path(), photo, name=name)
    found = codes(printed("check", named, "--json")[0])
    assert set(found) == {"overlapping-instances", "hidden-instances", "things-only", "not-panoptic"}
    assert (found["overlapping-instances"], found["hidden-instances"]) == (["2 pixels"], ["1 instance"])
    _, err = printed("check", named)
    assert "Next: yoso convert " in err
    assert "--from coco-instances" in err


def test_what_is_wrong_with_instance_annotations_is_found_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    bad = {"id": 1, "image_id": 1, "category_id": 1}
    cases = {
        "malformed-entry": {"annotations": [{**bad, "segmentation": [[1, 2]]}]},
        "unknown-category": {"annotations": [{**bad, "category_id": 7, "segmentation": BOX}]},
        "annotation-without-image": {"annotations": [{**bad, "image_id": 7, "segmentation": BOX}]},
        "duplicate-id": {"annotations": [{**bad, "segmentation": BOX}] * 2},
        "path-outside": {"images": [{"id": 1, "file_name": "../a.jpg", "height": 4, "width": 6}]},
    }
    for code, changes in cases.items():
        write_instances(Path(), "a.jpg", **changes)
        assert run(["check", "_annotations.coco.json", "--json"]) == 1
        found = codes(json.loads(capsys.readouterr().out))
        assert set(found) - {"not-panoptic"} == {code}
    write_instances(Path(), "a.jpg")
    Path("a.jpg").unlink()
    assert run(["check", "_annotations.coco.json", "--json"]) == 1
    assert "image-missing" in codes(json.loads(capsys.readouterr().out))


def test_other_commands_say_what_instance_annotations_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    monkeypatch.chdir(tmp_path)
    path = str(write_instances(Path(), "a.jpg"))
    for words in (("stats", path), ("eval", "--predictions", path, "--truth", path)):
        told = refused(*words, code=1)
        assert "_annotations.coco.json: is COCO's instance annotations, not a panoptic JSON." in told
        assert "--from coco-instances" in told


def test_proposals_are_those_of_the_recipe(shapes: Path, printed: Printed) -> None:
    assert "many-segments" not in codes(printed("check", "shapes", "--json")[0])
    Path("few.yaml").write_text("extends: shapes\nmodel: {num_proposals: 2, num_heads: 2}\ndata: {name: shapes}\n")
    found = codes(printed("check", "shapes", "--recipe", "few.yaml", "--json")[0])
    assert found["many-segments"][0].endswith(" segments, 2 proposals")
    assert codes(printed("check", "shapes", "--json")[0])["many-segments"], "the folder has a recipe for it"
