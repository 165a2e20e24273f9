"""`yoso prepare` as typed: what it prints, what it leaves, what it refuses."""

import json
import subprocess
import sys

import pytest

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
    assert "3 images, prepared before" in printed.out
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
    assert value == {"schema": 1, "dataset": "shapes", "splits": [split], "skipped": []}


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


def test_coco_without_a_download_says_where_to_get_it(capsys):
    assert run(["prepare", "coco"]) == 2
    assert run(["prepare", "coco", "--root", "nowhere"]) == 1
    assert "panoptic_annotations_trainval2017.zip (821" in capsys.readouterr().err


def test_preparing_does_not_import_torch(tmp_path):
    options = ["--train", "1", "--val", "0", "--size", "32", "--output", str(tmp_path)]
    program = (
        "import sys; from yoso_cli.cli import run; code = run(['prepare', 'shapes', *sys.argv[1:]]);"
        "sys.exit(code or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program, *options], capture_output=True).returncode == 0
