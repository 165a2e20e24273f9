"""`yoso convert` of labels that people draw, as a person types it: without saying what they are."""

from pathlib import Path

import pytest
from commands.conftest import Printed, Refused
from conversion.test_labelme import SQUARE, shape, write_labels
from conversion.test_yolo_seg import SQUARE as SHARES
from conversion.test_yolo_seg import write_picture, write_yaml

from yoso_cli.panoptic.files import read_set


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_labelme_folder_becomes_a_prepared_split(here: Path, printed: Printed) -> None:
    write_labels(Path("labels/a.json"), shape("car", SQUARE), shape("lane", [[0, 0], [5, 5]], "line"))
    write_labels(Path("labels/b.json"), shape("person", SQUARE))
    out, err = printed("convert", "labels", "datasets/mine/train")
    assert "labels: taken for labelme, by the content of a.json and others." in err
    assert "2 classes by name, all taken for things: car, person." in err
    assert "datasets/mine/train: 2 images, 2 segments" in out
    assert "1 lines and points are left out (1 image)" in out
    assert [category.name for category in read_set(Path("datasets/mine/train")).categories] == ["car", "person"]
    printed("check", "datasets/mine/train")


def test_each_split_of_a_data_yaml_goes_where_it_is_called_like(here: Path, printed: Printed, refused: Refused) -> None:
    root = write_yaml(Path("set"), train="images/train", val="images/val")
    for split, count in (("train", 3), ("val", 2)):
        for index in range(count):
            write_picture(root / f"images/{split}/{index}.jpg", root / f"labels/{split}/{index}.txt", f"0 {SHARES}")
    for split, count in (("train", 3), ("val", 2)):
        assert printed("convert", "set", f"datasets/mine/{split}", "--json")[0]["images"] == count
    assert printed("convert", "set", "out", "--split", "val", "--to", "labelme", "--json")[0]["images"] == 2
    assert "set/data.yaml: has several splits: train, val. Name one with --split." in refused(
        "convert", "set", "datasets/mine/all", code=2
    )


def test_what_is_no_label_is_asked_about(here: Path, refused: Refused) -> None:
    Path("photos").mkdir()
    assert "photos: no label format is recognised there. Name it with --from" in refused(
        "convert", "photos", "out", code=2
    )


def test_keep_going_reports_every_wrong_file(here: Path, refused: Refused) -> None:
    write_labels(Path("labels/a.json"), shape("car", SQUARE[:2]))
    write_labels(Path("labels/b.json"), shape("car", SQUARE, shape_type="star"))
    write_labels(Path("labels/c.json"), shape("car", SQUARE), photo="gone.jpg")
    Path("labels/c.jpg").unlink()
    words = refused("convert", "labels", "datasets/mine/train", "--keep-going", code=1)
    for name in ("a.json: shapes[0] ('car')", "b.json: shapes[0] ('car')", "c.json: names the picture 'gone.jpg'"):
        assert name in words


def test_repair_leaves_out_what_cannot_be_read_and_lists_it(here: Path, printed: Printed) -> None:
    write_labels(Path("labels/a.json"), shape("car", SQUARE))
    write_labels(Path("labels/b.json"), shape("car", SQUARE), shape("car", SQUARE[:2]))
    write_labels(Path("labels/c.json"), shape("car", SQUARE), photo="gone.jpg")
    Path("labels/c.jpg").unlink()
    Path("labels/._a.json").write_bytes(b"\0\5")
    value, _ = printed("convert", "labels", "datasets/mine/train", "--repair", "--json")
    assert (value["images"], value["segments"]) == (2, 2)
    assert "c.json: names the picture 'gone.jpg'" in value["repairs"][0]
    assert "b.json: shapes[1] ('car') has a polygon that is not three" in value["repairs"][1]


def test_a_background_and_a_list_are_for_every_form(here: Path, printed: Printed) -> None:
    for name in ("a", "b"):
        write_labels(Path(f"labels/{name}.json"), shape("car", SQUARE))
    Path("some.txt").write_text("b\n")
    options = ("--background", "ground", "--list", "some.txt", "--json")
    value, _ = printed("convert", "labels", "datasets/mine/train", *options)
    assert (value["images"], value["void_share"], value["background"]["name"]) == (1, 0, "ground")


def test_photos_elsewhere_are_one_mistake(here: Path, refused: Refused, printed: Printed) -> None:
    for name in ("a", "b", "c", "d"):
        write_labels(Path(f"labels/{name}.json"), shape("car", SQUARE))
    Path("photos").mkdir()
    for name in ("a", "b", "c", "d"):
        Path(f"labels/{name}.jpg").rename(f"photos/{name}.jpg")
    assert refused("convert", "labels", "datasets/mine/train", code=1) == (
        "labels: none of its pictures is in labels; it names 'a.jpg', 'b.jpg', 'c.jpg'. "
        "Name the folder of the pictures with --images."
    )
    assert printed("convert", "labels", "datasets/mine/train", "--images", "photos", "--json")[0]["images"] == 4
