"""A path on the command line that is not there is wrong use, in every command; and so is a name that nothing has."""

import shutil
from pathlib import Path
from typing import Any

import build
import pytest

CONVERT = ("convert", "raw", "datasets/mine/train", "--from", "maps", "--categories", "cityscapes")


@pytest.mark.parametrize(
    "words",
    [
        ["viz", "gone"],
        ["viz", "photo.png", "--weights", "gone"],
        ["viz", "photo.png", "--runs", "gone"],
        ["viz", "--augmented", "gone.yaml"],
        ["eval", "gone"],
        ["eval", "gone.safetensors"],
        ["eval", "--runs", "gone"],
        ["eval", "tiny.yaml", "--weights", "gone"],
        ["eval", "gone.yaml", "--weights", "runs/tiny-001"],
        ["eval", "--predictions", "gone", "--truth", "datasets/shapes/val"],
        ["eval", "--predictions", "datasets/shapes/val", "--truth", "gone.json"],
        ["eval", "--predictions", "gone", "--truth", "datasets/shapes/val", "--engine", "panopticapi"],
        ["eval", *["--predictions", "photo.png", "--truth", "photo.png", "--html", "a.html", "--images", "gone"]],
        ["compare", "gone", "runs/tiny-001"],
        ["compare", "runs/tiny-001", "gone.json"],
        ["compare", "runs/tiny-001", "runs/tiny-001", "--truth", "gone"],
        ["train", "gone.yaml"],
        ["train", "tiny.yaml", "--weights", "gone"],
        ["train", "--resume", "gone"],
        ["reparam", "gone"],
        ["reparam", "runs/tiny-001", "--image", "gone"],
        ["bench", "gone"],
        ["bench", "--image", "gone"],
        ["bench", "--compare", "gone,trained", "float32"],
        ["check", "gone"],
        ["check", "shapes", "--root", "gone"],
        ["stats", "gone"],
        ["convert", "gone", "datasets/mine/train", "--from", "maps"],
        *([*CONVERT, option, "gone"] for option in ("--images", "--semantic", "--instances", "--truth")),
        [*CONVERT, "--categories", "gone.yaml"],
        *(["prepare", name, "--root", "gone"] for name in ("coco", "cityscapes", "ade20k", "mapillary")),
        ["weights", "get", "coco", "--from", "gone"],
        ["weights", "import", "gone"],
        ["weights", "import", "photo.png", "--recipe", "gone"],
        ["weights", "import", "photo.png", "--categories", "gone.json"],
        ["weights", "import", "photo.png", "--categories", "gone.yaml"],
        ["weights", "show", "gone"],
        ["weights", "export", "gone"],
        ["recipe", "show", "gone"],
        ["recipe", "copy", "gone.yaml"],
    ],
    ids=" ".join,
)
def test_a_path_that_is_not_there_is_wrong_use(line: Path, refused: Any, words: list[str]) -> None:
    shutil.copy(build.picture(), "photo.png")
    Path("raw").mkdir()
    said = refused(*words, code=2)
    assert "gone" in said


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["viz", "foto.png"], "photo.png"),
        (["viz", "photo.png", "--weights", "cocco"], "coco"),
        (["viz", "photo.png", "--weights", "Cityscape"], "cityscapes"),
        (["eval", "runs/tiny-002"], "runs/tiny-001"),
        (["weights", "get", "ade20"], "ade20k"),
        (["weights", "show", "mapilary"], "mapillary"),
        (["weights", "import", "photo.png", "--recipe", "citscapes"], "cityscapes"),
        (["train", "shaps"], "shapes"),
        (["train", "tiny.yml"], "tiny.yaml"),
        (["train", "tiny.yaml", "--weights", "tinny.yaml"], "tiny.yaml"),
        (["recipe", "show", "citscapes"], "cityscapes"),
        (["check", "shaps"], "shapes"),
        (["stats", "Shape"], "shapes"),
        ([*CONVERT, "--categories", "cityscape"], "cityscapes"),
        (["compare", "run/tiny-001", "runs/tiny-01"], None),
        (["compare", "runs/tiny-001", "runs/tiny-01"], "runs/tiny-001"),
    ],
    ids=str,
)
def test_a_slip_is_answered_with_what_may_be_meant(
    line: Path, refused: Any, words: list[str], meant: str | None
) -> None:
    shutil.copy(build.picture(), "photo.png")
    Path("raw").mkdir()
    said = refused(*words, code=2)
    assert f"Did you mean '{meant}'" in said if meant else "Did you mean" not in said


def test_a_slip_in_the_name_of_a_dataset_is_answered_so(line: Path, refused: Any) -> None:
    """That it lies nowhere is no wrong use: it may still have to be made."""
    said = refused("eval", "--set", "data.name=shap", code=1)
    assert "Did you mean 'shapes'? Type `yoso convert SOURCE datasets/shap/val` to prepare it." in said
    assert "Did you mean" not in refused("eval", "--set", "data.name=coco", code=1)
