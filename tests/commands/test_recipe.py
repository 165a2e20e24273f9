"""`yoso recipe`: list, show, check and copy."""

import json
from pathlib import Path
from typing import Any

import pytest

from yoso_cli.cli import run
from yoso_cli.recipe import file as recipe_file

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def json_of(capsys: Captured, *words: str) -> dict[str, Any]:
    capsys.readouterr()
    run(["recipe", *words, "--json"])
    streams = capsys.readouterr()
    assert streams.err == ""
    value: dict[str, Any] = json.loads(streams.out)
    assert next(iter(value)) == "schema"
    assert value["schema"] == 2
    return value


def test_list_names_every_packaged_recipe_with_the_papers_pq(capsys: Captured) -> None:
    assert run(["recipe", "list"]) == 0
    streams = capsys.readouterr()
    lines = streams.out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == [name for name, _ in recipe_file.packaged()]
    assert ["coco", "48.4"] in [line.split()[:2] for line in lines]
    assert streams.err == "Next: yoso recipe show coco\n"
    listed = json_of(capsys, "list")["recipes"]
    assert {"name": "coco", "description": "YOSO-R50 on COCO at 800,1333 (Table 1)", "paper_pq": 48.4} in listed


def test_list_puts_figures_in_the_order_of_people(capsys: Captured) -> None:
    names = [one["name"] for one in json_of(capsys, "list")["recipes"]]
    assert names.index("ablation/proposals-50") < names.index("ablation/proposals-100")
    assert names.index("coco") < names.index("ablation/cfa")


def test_show_prints_a_recipe_that_can_be_trained(capsys: Captured, here: Path) -> None:
    assert run(["recipe", "show", "ablation/ifa", "--set", "train.batch=2"]) == 0
    shown = here / "shown.yaml"
    shown.write_text(capsys.readouterr().out)
    assert recipe_file.load(str(shown)) == recipe_file.load("ablation/ifa", ["train.batch=2"])
    value = json_of(capsys, "show", "ablation/ifa")
    assert recipe_file.from_dict(value["recipe"]) == recipe_file.load("ablation/ifa")


def test_check_tells_all_mistakes_of_all_files_and_exits_with_2(capsys: Captured, here: Path) -> None:
    (here / "bad.yaml").write_text("modle: 1\ntrain: {lr: x}\n")
    assert run(["recipe", "check", "coco", "bad.yaml", "none.yaml"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "bad.yaml:1: modle: unknown key; did you mean 'model'?"
    assert lines[1] == "bad.yaml:2: train.lr: expected a number, found 'x'"
    assert lines[2].startswith("none.yaml: there is no such recipe.")
    assert lines[3] == "3 checked, 1 good, 3 mistakes"
    value = json_of(capsys, "check", "coco", "bad.yaml", "none.yaml")
    assert (value["checked"], value["good"], value["problems"]) == (3, 1, lines[:3])


def test_check_says_how_many_it_checked(capsys: Captured) -> None:
    assert run(["recipe", "check", "coco", "ablation/ifa"]) == 0
    assert capsys.readouterr().out == "2 checked, 2 good, 0 mistakes\n"


def test_copy_gives_a_recipe_to_edit(capsys: Captured, here: Path) -> None:
    assert run(["recipe", "copy", "ablation/ifa"]) == 0
    streams = capsys.readouterr()
    assert (streams.out, streams.err) == ("ifa.yaml\n", "Next: yoso train ifa.yaml\n")
    assert recipe_file.load("ifa.yaml") == recipe_file.load("ablation/ifa")
    assert run(["recipe", "copy", "coco", "sub/mine"]) == 0
    assert (here / "sub" / "mine.yaml").read_text().startswith("# YOSO with ResNet-50 on COCO")
    assert run(["recipe", "copy", "coco-512", "sub"]) == 0
    assert (here / "sub" / "coco-512.yaml").is_file()
    assert json_of(capsys, "copy", "coco", "x.yml") == {"schema": 2, "recipe": "coco", "copy": "x.yml"}


def test_copy_overwrites_only_when_told(capsys: Captured, here: Path) -> None:
    mine = here / "coco.yaml"
    mine.write_text("name: mine")
    assert run(["recipe", "copy", "coco"]) == 2
    assert capsys.readouterr().err.startswith("Error: coco.yaml: exists already.")
    assert mine.read_text() == "name: mine"
    assert run(["recipe", "copy", "coco", "--force"]) == 0
    assert recipe_file.load("coco.yaml") == recipe_file.load("coco")


def test_copy_never_replaces_a_recipe_by_itself(capsys: Captured, here: Path) -> None:
    (here / "mine.yaml").write_text("name: mine")
    assert run(["recipe", "copy", "mine.yaml", ".", "--force"]) == 2
    assert "is the recipe itself" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["show", "cocoo"], ["copy", "cocoo"], ["show", "coco", "--set", "lr=1"]])
def test_a_mistake_is_told_on_stderr_also_with_json(capsys: Captured, words: list[str]) -> None:
    assert run(["recipe", *words, "--json"]) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.startswith("Error: ")
    assert "did you mean" in streams.err.lower()
