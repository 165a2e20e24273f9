"""`yoso stats` from the outside."""

from pathlib import Path

import pytest
from commands.conftest import Printed, Refused
from conversion import raw
from PIL import Image

from yoso_cli.cli import run


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert run(["prepare", "shapes", "--train", "6", "--val", "3", "--size", "64"]) == 0
    return tmp_path


def test_a_table_and_a_picture_for_each_split(shapes: Path, printed: Printed) -> None:
    out, err = printed("stats", "shapes")
    assert "shapes train\nclass     kind   segments  crowds  images  % of pixels  median px\nball      thing" in out
    assert "shapes val" in out
    assert "picture: shapes-val-stats.png" in out
    for name in ("train", "val"):
        with Image.open(f"shapes-{name}-stats.png") as picture:
            assert picture.width > 800
    assert err.endswith("Next: yoso train shapes --dry-run")


@pytest.mark.usefixtures("shapes")
def test_a_second_look_shows_the_figures_and_leaves_the_picture(printed: Printed) -> None:
    printed("stats", "shapes")
    picture = Path("shapes-train-stats.png")
    picture.write_bytes(b"mine")
    out, err = printed("stats", "shapes")
    assert "shapes train\nclass     kind" in out
    assert "shapes-train-stats.png: exists already and is kept; --force draws it again." in err
    assert picture.read_bytes() == b"mine"
    printed("stats", "shapes", "--force")
    assert picture.read_bytes() != b"mine"


def test_json_has_the_same_figures(shapes: Path, printed: Printed) -> None:
    value, _ = printed("stats", "shapes", "--split", "val", "--json", "--output", "pictures")
    (split,) = value["splits"]
    assert (split["split"], split["images"], split["picture"]) == ("val", 3, "pictures/shapes-val-stats.png")
    assert sum(one["segments"] for one in split["classes"]) == split["segments"]
    assert sum(split["pixel_shares"].values()) == pytest.approx(1)


@pytest.mark.usefixtures("shapes")
def test_what_cannot_be_is_refused(refused: Refused, printed: Printed) -> None:
    assert "shapes: has no split test." in refused("stats", "shapes", "--split", "test", code=2)
    Path("datasets/shapes/val/panoptic.json").write_text("{")
    words = refused("stats", "shapes", "--split", "val", "--output", "other", code=1)
    assert "datasets/shapes/val/panoptic.json: is not valid JSON" in words


def test_the_recipe_for_the_dataset_is_suggested(shapes: Path, printed: Printed) -> None:
    """One's own goes before the packaged one, whatever it is called; without any, one is made."""
    Path("mine.yaml").write_text("extends: shapes\n")
    Path("classes.yaml").write_text("categories:\n  - {id: 1, name: car, isthing: true}\n")
    _, err = printed("stats", "shapes")
    assert err.endswith("Next: yoso train mine.yaml --dry-run")
    Path("datasets/shapes").rename("datasets/other")
    _, err = printed("stats", "other")
    assert err.endswith("Next: yoso recipe new other --for datasets/other")
    Path("mine.yaml").write_text("extends: shapes\ndata: {name: other, train_split: a, val_split: b}\n")
    _, err = printed("stats", "other")
    assert err.endswith("Next: yoso train mine.yaml --set data.train_split=train --set data.val_split=val --dry-run")


def test_segments_and_crowds_are_those_of_convert_and_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: Printed
) -> None:
    monkeypatch.chdir(tmp_path)
    raw.write_maps(Path("raw"))
    words = ("convert", "raw", "datasets/mine/train", "--from", "maps", "--categories", "raw/mine.yaml")
    made, _ = printed(*words, "--json")
    (counted,) = printed("stats", "mine", "--json")[0]["splits"]
    assert [made[key] for key in ("images", "segments", "crowds")] == [3, 15, 3]
    assert [counted[key] for key in ("images", "segments", "crowds")] == [3, 15, 3]
    assert "15 segments, 3 crowds" in printed("stats", "mine", "--force")[0]
    value, _ = printed("dataset", "subset", "mine", "datasets/some/all", "--count", "3", "--json")
    assert [value["sets"][0][key] for key in ("images", "segments", "crowds")] == [3, 15, 3]
