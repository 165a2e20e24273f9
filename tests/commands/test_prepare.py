"""`yoso prepare` as typed: what it prints, what it leaves, what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import raw_layouts

from yoso_cli.cli import run
from yoso_cli.commands.prepare import command
from yoso_cli.datasets.catalog import DATASETS

FEW = ["--train", "3", "--val", "2", "--size", "32"]


@pytest.fixture(autouse=True)
def in_a_fresh_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_each_dataset_of_the_catalog_has_its_subcommand():
    assert set(command.commands) == set(DATASETS)


def test_shapes_are_drawn_and_the_next_command_is_told(tmp_path, capsys):
    assert run(["prepare", "shapes", *FEW]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["datasets/shapes/train: 3 images", "datasets/shapes/val: 2 images"]
    assert printed.err.splitlines()[-1] == "Next: yoso train shapes"
    assert "drawing shapes/train: 3/3 (100%)" in printed.err
    assert (tmp_path / "datasets" / "shapes" / "train" / "manifest.json").is_file()


def test_finished_work_is_said_to_be_finished(capsys):
    run(["prepare", "shapes", *FEW])
    capsys.readouterr()
    assert run(["prepare", "shapes", *FEW]) == 0
    printed = capsys.readouterr()
    assert "3 images, prepared already" in printed.out
    assert "drawing" not in printed.err


def test_other_parameters_need_force(capsys):
    run(["prepare", "shapes", *FEW])
    assert run(["prepare", "shapes", *FEW, "--seed", "1"]) == 2
    assert "--force" in capsys.readouterr().err
    assert run(["prepare", "shapes", *FEW, "--seed", "1", "--force"]) == 0


def test_json_is_one_object_on_stdout(capsys):
    assert run(["prepare", "shapes", *FEW, "--train", "0", "--output", "elsewhere", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    split = {"split": "val", "folder": "elsewhere/shapes/val", "images": 2, "status": "prepared"}
    assert value == {"schema": 2, "dataset": "shapes", "splits": [split], "skipped": []}


@pytest.mark.parametrize(
    "options", [["--train", "0", "--val", "0"], ["--size", "8"], ["--train", "-1"], ["--seed", "-1"]]
)
def test_what_cannot_be_drawn_is_a_wrong_use(tmp_path, options):
    assert run(["prepare", "shapes", *options]) == 2
    assert not list(tmp_path.iterdir())


def test_a_file_in_place_of_the_output_is_refused(tmp_path, capsys):
    (tmp_path / "datasets").write_text("mine")
    assert run(["prepare", "shapes", *FEW]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_coco_is_prepared_from_a_download(coco_sample, tmp_path, capsys):
    assert run(["prepare", "coco", "--root", str(coco_sample)]) == 0
    printed = capsys.readouterr()
    assert printed.out == "datasets/coco/val2017: 3 images\n"
    only = "--set data.train_split=val2017 --set data.val_split=val2017"
    assert printed.err.splitlines()[-1] == f"Next: yoso train coco {only}"
    assert not list((tmp_path / "datasets").rglob("*.png"))


def test_a_split_that_is_not_there_is_named(coco_sample, tmp_path, capsys):
    assert run(["prepare", "coco", "--root", str(coco_sample), "--split", "train2017"]) == 1
    report = capsys.readouterr().err
    assert "annotations/panoptic_train2017.json" in report
    assert "cocodataset.org" in report
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("coco", ["panoptic_annotations_trainval2017.zip", "821 MB", "cocodataset.org"]),
        ("cityscapes", ["gtFine_trainvaltest.zip", "11 GB", "register"]),
        ("ade20k", ["ADEChallengeData2016.zip", "annotations_instance.tar", "sceneparsing.csail.mit.edu"]),
        ("mapillary", ["mapillary.com/dataset/vistas", "register", "training/"]),
    ],
)
def test_without_a_download_it_says_what_to_get_and_where(name, words, capsys):
    assert run(["prepare", name]) == 1
    report = " ".join(capsys.readouterr().err.split())
    assert all(word in report for word in words)
    assert run(["prepare", name, "--root", "nowhere"]) == 2
    assert "nowhere: no such folder" in capsys.readouterr().err


def test_cityscapes_is_prepared_in_the_folder_it_lies_in_and_the_next_command_can_be_typed(capsys):
    raw_layouts.cityscapes(Path())
    assert run(["prepare", "cityscapes", "--semantic", "--workers", "1"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["datasets/cityscapes/train: 3 images", "datasets/cityscapes/val: 3 images"]
    assert "cityscapes/train: only 3 of the 2975 published images are there." in printed.err
    assert "converting cityscapes/val: 3/3 (100%)" in printed.err
    assert "img/s" in printed.err
    assert printed.err.splitlines()[-1] == "Next: yoso train cityscapes"
    assert run(["prepare", "cityscapes", "--semantic"]) == 0
    assert "prepared already" in capsys.readouterr().out


def test_ade20k_as_another_converter_makes_it_is_another_set(capsys):
    raw_layouts.ade20k(Path())
    assert run(["prepare", "ade20k", "--split", "val"]) == 0
    assert run(["prepare", "ade20k", "--split", "val", "--compat", "mask2former"]) == 2
    assert "--force" in capsys.readouterr().err
    assert run(["prepare", "ade20k", "--split", "val", "--compat", "mask2former", "--output", "other"]) == 0


def test_mapillary_versions_lie_side_by_side(capsys):
    for version in ("v1.2", "v2.0"):
        raw_layouts.mapillary(Path(), version, flat=False)
    for version, options in (("v1.2", ""), ("v2.0", " --set data.name=mapillary-v2.0")):
        assert run(["prepare", "mapillary", "--version", version]) == 0
        assert capsys.readouterr().err.splitlines()[-1] == f"Next: yoso train mapillary{options}"
    assert run(["prepare", "mapillary", "--version", "v2.0", "--json"]) == 0
    assert sorted(path.name for path in Path("datasets").iterdir()) == ["mapillary-v1.2", "mapillary-v2.0"]
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["dataset"] == "mapillary-v2.0"


def test_keep_going_tells_each_problem_on_its_line(capsys):
    root = raw_layouts.cityscapes(Path(), count=4)
    paths = sorted(root.rglob("train/*/*_instanceIds.png"))
    paths[0].write_bytes(b"no PNG")
    paths[2].unlink()
    assert run(["prepare", "cityscapes", "--keep-going"]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("  ")]
    assert len(lines) == 2
    assert "photo" not in lines[0]
    assert f"{paths[0].name}: is not a PNG." in lines[1]


def test_preparing_does_not_import_torch(tmp_path):
    options = ["--train", "1", "--val", "0", "--size", "32", "--output", str(tmp_path)]
    program = (
        "import sys; from yoso_cli.cli import run; code = run(['prepare', 'shapes', *sys.argv[1:]]);"
        "sys.exit(code or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program, *options], capture_output=True).returncode == 0
