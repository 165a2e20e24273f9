"""`yoso weights`: from the authors' file to a picture and back, by name, by file and by address."""

import errno
import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import build
import numpy as np
import pytest
import torch
from commands.conftest import Printed, Refused
from PIL import Image
from releases.server import Behaviour, serving
from safetensors.torch import load_file

from yoso_cli.cli import run
from yoso_cli.datasets.spec import read_categories
from yoso_cli.model.authors import authors_state
from yoso_cli.model.weights import load_weights
from yoso_cli.model.yoso import YOSO
from yoso_cli.recipe import file as recipe_file
from yoso_cli.recipe.schema import ModelRecipe
from yoso_cli.releases import catalog
from yoso_cli.run_folder import RunFolder

SMALL = ModelRecipe(
    stem_channels=8,
    base_channels=8,
    aggregation_dim=8,
    hidden_dim=16,
    feedforward_dim=16,
    num_proposals=5,
    temperature=1.0,
)
CLASSES = 19


def small_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = YOSO(CLASSES, **SMALL.arguments()).eval()
    return authors_state(model, model, no_object_weight=0.1)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file like a released one, of a small network that tells Cityscapes' classes apart."""
    path = tmp_path_factory.mktemp("released") / "small.pth"
    torch.save({"model": small_state()}, path)
    return path.read_bytes()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> Path:
    """Stands in a folder of its own, with a cache of its own and a photo; the release called cityscapes is small."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("YOSO_HOME", str(tmp_path / "home"))
    (work / "small.pth").write_bytes(content)
    whole = replace(recipe_file.load("cityscapes"), name="small", model=SMALL)
    plain = whole.to_dict()
    plain["inference"] |= {"short_edge": 64, "long_edge": 96, "score_threshold": 0.0, "overlap_threshold": 0.0}
    (work / "small.yaml").write_text(recipe_file.to_yaml(recipe_file.from_dict(plain)))
    release = catalog.RELEASES["cityscapes"]
    small = replace(release, recipes=("small.yaml",), tensor_bytes=len(content) // 2)
    monkeypatch.setitem(catalog.RELEASES, "cityscapes", small)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    Image.fromarray(pixels).save(work / "photo.png")
    return tmp_path / "home"


@pytest.fixture
def mirror(content: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Behaviour, str]]:
    """A server that has the file, and its address."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    server = Behaviour(content)
    with serving(server) as address:
        yield server, f"{address}yoso_res50_cityscapes.pth"


def test_the_released_weights_are_listed_with_the_papers_figures(home: Path, printed: Printed) -> None:
    found, told = printed("weights", "list", "--json")
    rows = {(row["name"], row["recipe"]): row for row in found["weights"]}
    assert rows["coco", "coco-512"]["paper_pq"] == 46.4
    assert rows["mapillary", "mapillary"]["paper_fps"] == 7.1
    assert not any(row["here"] for row in rows.values())
    assert found["licence"].startswith("MIT")
    assert told.endswith("Next: yoso weights get coco")
    text, _ = printed("weights", "list")
    assert max(map(len, text.splitlines())) <= 100


def test_get_by_name_then_everything_takes_the_name(
    home: Path, mirror: tuple[Behaviour, str], printed: Printed
) -> None:
    server, address = mirror
    server.cuts = [1000]
    found, told = printed("weights", "get", "cityscapes", "--from", address, "--json")
    assert server.asked == ["", "bytes=1000-"]
    assert len(found["categories"]) == CLASSES
    assert found["provenance"]["released"]["from"] == address
    assert told.endswith("Next: yoso viz IMAGE --weights cityscapes")
    assert sorted(path.name for path in (home / "weights").iterdir()) == ["cityscapes.safetensors", "known.json"]
    for name in ("cityscapes", None):
        options = ("--weights", name) if name else ()
        drawn, told = printed("viz", "photo.png", "--force", "--json", *options)
        assert drawn["weights"] == str(home / "weights/cityscapes.safetensors")
        assert "19 classes of cityscapes" in told
    printed("weights", "show", "cityscapes")
    printed("bench", "cityscapes", "--image", "photo.png", "--repeats", "1", "--warmup", "0")
    again, told = printed("weights", "get", "cityscapes", "--json")
    assert "is downloaded already" in told
    assert again["sha256"] == found["sha256"]
    assert len(server.asked) == 2, "nothing is asked for again"


def test_a_name_that_is_not_here_is_brought(
    home: Path, mirror: tuple[Behaviour, str], printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "ADDRESS", mirror[1].rpartition("/")[0] + "/")
    _, told = printed("viz", "photo.png", "--weights", "cityscapes")
    assert "Downloading http://127.0.0.1" in told
    assert Path("photo-yoso.png").is_file()


def test_get_takes_a_file_and_leaves_it(home: Path, printed: Printed) -> None:
    found, _ = printed("weights", "get", "cityscapes", "--from", "small.pth", "--json")
    assert found["provenance"]["released"]["from"] == "small.pth"
    assert Path("small.pth").is_file()


def test_an_own_copy_is_listed_as_such(home: Path, printed: Printed) -> None:
    printed("weights", "get", "cityscapes", "--from", "small.pth")
    rows, _ = printed("weights", "list", "--json")
    assert {row["name"] for row in rows["weights"] if row["own_copy"]} == {"cityscapes"}
    text, _ = printed("weights", "list")
    assert "own copy, not verified" in next(line for line in text.splitlines() if line.startswith("cityscapes"))
    assert "own copy" not in next(line for line in text.splitlines() if line.startswith("coco"))


def test_an_import_says_what_is_not_in_the_file(home: Path, printed: Printed) -> None:
    _, told = printed("weights", "import", "small.pth")
    assert "not in the file, taken from small: temperature 1, score threshold 0, overlap threshold 0" in told
    _, told = printed("weights", "import", "small.pth", "--recipe", "small.yaml", "--force")
    assert "not in the file" not in told


def test_another_file_under_a_known_name_is_refused(
    home: Path, mirror: tuple[Behaviour, str], printed: Printed, refused: Refused
) -> None:
    printed("weights", "get", "cityscapes", "--from", "small.pth")
    kept = (home / "weights/cityscapes.safetensors").read_bytes()
    state = small_state()
    state["yoso_neck.loc_conv.bias"] += 1
    torch.save({"model": state}, "changed.pth")
    answer = refused("weights", "get", "cityscapes", "--from", "changed.pth", "--force", code=1)
    assert "differs from the file first downloaded under this name" in answer
    assert "known.json" in answer
    assert (home / "weights/cityscapes.safetensors").read_bytes() == kept


@pytest.mark.parametrize(
    ("make", "answer"),
    [
        (lambda state: {**state, "extra": torch.zeros(3)}, "extra is unknown"),
        (lambda state: {key: state[key] for key in list(state)[1:]}, "missing"),
        (lambda state: {"x": torch.zeros(10**6)}, "it has no tensors of a released YOSO"),
        (lambda state: {**state, "yoso_neck.loc_conv.bias": torch.full((16,), float("nan"))}, "not finite"),
    ],
    ids=["extra", "missing", "other", "nan"],
)
def test_a_wrong_file_from_a_mirror_is_refused_and_not_kept(
    home: Path, mirror: tuple[Behaviour, str], refused: Refused, make: Any, answer: str, tmp_path: Path
) -> None:
    server, address = mirror
    torch.save({"model": make(small_state())}, tmp_path / "wrong.pth")
    server.content = (tmp_path / "wrong.pth").read_bytes()
    assert answer in refused("weights", "get", "cityscapes", "--from", address, code=1)
    assert list((home / "weights").iterdir()) == []


def test_what_came_is_not_asked_for_again_when_only_the_disk_was_full(
    home: Path, mirror: tuple[Behaviour, str], printed: Printed, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, address = mirror
    with monkeypatch.context() as patch:
        patch.setattr("yoso_cli.model.weights.save_file", _full_disk)
        assert "No space left" in refused("weights", "get", "cityscapes", "--from", address, code=1)
    printed("weights", "get", "cityscapes", "--from", address)
    assert len(server.asked) == 1
    assert sorted(path.name for path in (home / "weights").iterdir()) == ["cityscapes.safetensors", "known.json"]


def _full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_that_is_not_there_is_told(home: Path, refused: Refused) -> None:
    assert "none.pth: there is no such file" in refused("weights", "get", "cityscapes", "--from", "none.pth", code=2)


def test_a_file_of_the_wrong_size_is_told(home: Path, mirror: tuple[Behaviour, str], refused: Refused) -> None:
    server, address = mirror
    server.content = server.content[: len(server.content) // 3]
    assert "It is truncated, or another file" in refused("weights", "get", "cityscapes", "--from", address, code=1)


def test_another_network_under_a_released_name_is_told(
    home: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        catalog.RELEASES, "cityscapes", replace(catalog.RELEASES["cityscapes"], recipes=("cityscapes",))
    )
    answer = refused("weights", "get", "cityscapes", "--from", "small.pth", code=1)
    assert "is not yoso_res50_cityscapes.pth: model.stem_channels is 8 by the shapes, not 64" in answer


def test_cached_weights_that_were_replaced_are_noticed(home: Path, printed: Printed, refused: Refused) -> None:
    printed("weights", "get", "cityscapes", "--from", "small.pth")
    state = small_state()
    state["yoso_neck.loc_conv.bias"] += 1
    torch.save({"model": state}, "changed.pth")
    printed("weights", "import", "changed.pth", "--recipe", "small.yaml")
    Path("changed.safetensors").replace(home / "weights/cityscapes.safetensors")
    answer = refused("viz", "photo.png", "--weights", "cityscapes", code=1)
    assert "`yoso weights get cityscapes --force`" in answer


def test_an_unknown_name_is_told_which_there_are(home: Path, refused: Refused) -> None:
    answer = refused("weights", "get", "cocoa", code=2)
    assert "There are coco, cityscapes, ade20k and mapillary" in answer


def test_an_address_is_fetched_once_and_held_to_its_hash(
    home: Path, mirror: tuple[Behaviour, str], printed: Printed, refused: Refused
) -> None:
    server, address = mirror
    for _ in range(2):
        printed("viz", "photo.png", "--weights", address, "--force")
    assert len(server.asked) == 1
    (kept,) = (home / "weights").glob("*.pth")
    kept.write_bytes(kept.read_bytes()[:-1])
    assert "differs from the file first downloaded" in refused(
        "viz", "photo.png", "--weights", address, "--force", code=1
    )
    printed("viz", "photo.png", "--weights", address, "--force")
    assert "is not a valid URL" in refused("viz", "photo.png", "--weights", "ftp://host/x.pth", "--force", code=2)


def test_with_nothing_trained_viz_says_what_to_do(home: Path, refused: Refused) -> None:
    answer = refused("viz", "photo.png", code=1)
    assert "there is no run, and no released weights" in answer
    assert "`yoso weights get coco`" in answer


def test_a_folder_of_the_name_does_not_hide_the_release_but_a_run_does(
    line: Path, home: Path, printed: Printed
) -> None:
    printed("weights", "get", "cityscapes", "--from", "small.pth")
    Path("cityscapes").mkdir()
    found, _ = printed("weights", "show", "cityscapes", "--json")
    assert len(found["categories"]) == CLASSES
    Path("cityscapes").rmdir()
    (line / "runs/tiny-001").rename("cityscapes")
    found, _ = printed("weights", "show", "cityscapes", "--json")
    assert found["recipe"]["name"] == "tiny"


def test_what_a_person_changes_of_the_carried_settings_is_said(home: Path, printed: Printed) -> None:
    printed("weights", "get", "cityscapes", "--from", "small.pth")
    _, told = printed("viz", "photo.png", "--weights", "cityscapes", "--set", "inference.score_threshold=0.5")
    assert "Settings that differ from those of these weights: score_threshold 0.5 instead of 0" in told
    _, told = printed("viz", "photo.png", "--weights", "cityscapes", "--force")
    assert "Not as" not in told


def test_import_viz_reparam_export_import_with_one_command_each(home: Path, printed: Printed) -> None:
    found, told = printed("weights", "import", "small.pth", "--json")
    assert found["layout"] == "released"
    assert "yoso_head.criterion.empty_weight was left out: only the loss has a use for it" in told
    assert "model.stem_channels is 8 by the shapes, not 64 as in cityscapes" not in told
    assert told.endswith("Next: yoso viz IMAGE --weights small.safetensors")
    printed("viz", "photo.png", "--weights", "small.safetensors")
    printed("reparam", "small.safetensors", "--image", "photo.png", "--output", "fast.safetensors")
    printed("weights", "export", "small.safetensors", "--output", "back.pth")
    before = torch.load("small.pth", weights_only=True)["model"]
    after = torch.load("back.pth", weights_only=True)["model"]
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    again, _ = printed("weights", "import", "back.pth", "--json")
    assert again["sha256"] == found["sha256"]


def test_a_pth_is_taken_as_it_is_wherever_weights_are(home: Path, printed: Printed) -> None:
    _, told = printed("viz", "photo.png", "--weights", "small.pth")
    assert "small.pth: read as cityscapes in the released layout." in told or "read as small" in told


def test_a_run_of_ours_is_exported_also_when_it_interpolates_first(line: Path, printed: Printed) -> None:
    printed("weights", "export", "--output", "ours.pth")
    assert load_weights(build.newest_weights()).recipe["model"]["aggregator"] == "ifa"
    state = torch.load("ours.pth", weights_only=True)["model"]
    assert "yoso_neck.deconv.conv_a5.weight" in state
    lines = [f"- {{id: {n}, name: class {n}, isthing: {str(n % 2 == 0).lower()}}}" for n in range(1, 10)]
    Path("classes.yaml").write_text("\n".join(["categories:", *lines]))
    found, told = printed(
        "weights", "import", "ours.pth", "--categories", "classes.yaml", "--recipe", "tiny.yaml", "--json"
    )
    assert "model.aggregator is cfa by the shapes, not ifa as in tiny.yaml" in told
    assert [one["name"] for one in found["categories"]][:2] == ["class 1", "class 2"]


def test_what_is_said_to_come_next_after_an_export_reads_it_back(line: Path, printed: Printed) -> None:
    _, told = printed("weights", "export", "--output", "ours.pth")
    words = shlex.split(told.rpartition("Next: yoso ")[2])
    found, _ = printed(*words, "--json")
    assert found["layout"] == "released"
    assert len(found["categories"]) == 9


@pytest.mark.parametrize("folder", [".", "..", "/"])
def test_a_folder_is_no_weights_file(home: Path, refused: Refused, folder: str) -> None:
    assert f"{folder}: is a folder, not a file." in refused("weights", "import", folder, code=1)


def test_classes_that_no_release_has_must_be_named(line: Path, printed: Printed, refused: Refused) -> None:
    printed("weights", "export", "--output", "ours.pth")
    answer = refused("weights", "import", "ours.pth", code=1)
    assert "has 9 classes; the released weights have 133 (coco), 19 (cityscapes)" in answer
    assert "--categories FILE" in answer
    Path("few.yaml").write_text("categories: [{id: 1, name: one, isthing: true}]")
    answer = refused("weights", "import", "ours.pth", "--categories", "few.yaml", code=1)
    assert "few.yaml lists 1" in answer
    Path("bad.yaml").write_text("categories: [{id: 1}]")
    assert "bad.yaml" in refused("weights", "import", "ours.pth", "--categories", "bad.yaml", code=2)


def test_an_older_format_of_ours_is_brought_up_to_date(line: Path, printed: Printed) -> None:
    from model.test_weights import as_version_1

    path = RunFolder.newest(Path("runs")).weights()
    now = load_weights(path)
    as_version_1(path)
    found, _ = printed("weights", "import", str(path), "--output", "new.safetensors", "--json")
    assert found["layout"] == "yoso"
    assert load_weights(Path("new.safetensors")).state.keys() == now.state.keys()


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_torchvision_backbone_is_imported_to_train_from(
    line: Path, printed: Printed, refused: Refused, name: str
) -> None:
    from torchvision import models

    state = getattr(models, name)().state_dict()
    torch.save(state, "backbone.pth")
    found, told = printed("weights", "import", "backbone.pth", "--json")
    assert (found["part"], found["recipe"]["model"]["backbone"]) == ("backbone", name)
    assert "fc.weight was left out" in told
    assert told.endswith("Next: yoso train coco --weights backbone.safetensors")
    kept = load_file("backbone.safetensors")
    assert kept.keys() == {key for key in state if not key.startswith("fc.")}
    assert "contains only a backbone" in refused(
        "viz", str(build.picture()), "--weights", "backbone.safetensors", code=1
    )
    assert "do not fit" in refused("train", "tiny.yaml", "--weights", "backbone.safetensors", code=1)


@pytest.mark.parametrize("command", [("import", "photo.png"), ("export", "photo.png"), ("show", "photo.png")])
def test_what_is_no_weights_file_is_told(home: Path, refused: Refused, command: tuple[str, ...]) -> None:
    answer = refused("weights", *command, code=1)
    assert answer.startswith(f"{command[1]}: ")


def test_released_weights_that_are_not_here_are_shown_without_a_download(
    home: Path, mirror: tuple[Behaviour, str], printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, address = mirror
    monkeypatch.setattr(catalog, "ADDRESS", address.removesuffix("yoso_res50_cityscapes.pth"))
    text, told = printed("weights", "show", "cityscapes")
    assert text.startswith("weights   cityscapes, not on this machine: ")
    for words in ("classes   19 (8 things, 11 stuff)", "used at   short edge 64", f"from      {address}", "MIT"):
        assert words in text
    assert told == "Next: yoso weights get cityscapes"
    shown, _ = printed("weights", "show", "coco", "--json")
    assert (shown["here"], shown["bytes"], len(shown["categories"])) == (False, 168_587_452, 133)
    assert shown["recipe"]["inference"]["short_edge"] == 800
    assert server.asked == []
    assert not home.exists()
    printed("weights", "get", "cityscapes")
    text, _ = printed("weights", "show", "cityscapes")
    assert text.startswith(f"weights   {home / 'weights/cityscapes.safetensors'}")


def test_nothing_is_overwritten_unasked(home: Path, printed: Printed, refused: Refused) -> None:
    printed("weights", "import", "small.pth")
    assert "--force" in refused("weights", "import", "small.pth", code=2)
    printed("weights", "import", "small.pth", "--force")
    assert "is the input file" in refused("weights", "import", "small.pth", "-o", "small.pth", "--force", code=2)
    assert "is a folder" in refused("weights", "export", "small.safetensors", "-o", ".", code=2)


def test_control_characters_of_a_stranger_do_not_reach_the_terminal(home: Path, printed: Printed) -> None:
    from yoso_cli.model.weights import write_weights

    printed("weights", "import", "small.pth")
    weights = load_weights(Path("small.safetensors"))
    write_weights(Path("odd.safetensors"), replace(weights, provenance={"run": "a\x1b[2Jb"}))
    text, _ = printed("weights", "show", "odd.safetensors")
    assert r"a\x1b[2Jb" in text


@pytest.mark.parametrize("config", ["coco", "cityscapes", "ade20k", "mapillary"])
def test_each_name_carries_the_released_configuration(config: str) -> None:
    """../shared/reference/README.md's table, by the names that a person types."""
    expected = {
        "coco": (100, 1, 1, 0.05, 0.7, 800, 1333, "frozen"),
        "cityscapes": (100, 3, 3, 0.05, 0.8, 1024, 2048, "batch"),
        "ade20k": (100, 1, 1, 0.5, 0.2, 640, 2560, "frozen"),
        "mapillary": (150, 3, 3, 0.1, 0.0, 2048, 2048, "frozen"),
    }
    recipe = recipe_file.load(catalog.find(config).recipe)
    model, used = recipe.model, recipe.inference
    found = (model.num_proposals, model.num_class_layers, model.num_mask_layers, model.temperature)
    assert (*found, used.score_threshold, used.short_edge, used.long_edge, model.backbone_norm) == expected[config]
    assert used.overlap_threshold == 0.8
    assert recipe.data.name == catalog.find(config).categories, "the classes are those of the dataset as prepared"
    assert len(read_categories(recipe.data.name)) == catalog.find(config).classes


def test_the_full_coco_file_comes_by_http_and_sees_what_the_authors_saw(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: Printed
) -> None:
    """168 MB made by the rule of the references: get, then viz; segments and classes are those recorded."""
    from model import reference

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("YOSO_HOME", str(tmp_path / "home"))
    torch.save({"model": reference.full_state(shared)}, "yoso_res50_coco.pth")
    server = Behaviour(Path("yoso_res50_coco.pth").read_bytes(), cuts=[100_000_000])
    with serving(server) as address:
        monkeypatch.setattr(catalog, "ADDRESS", address)
        assert run(["weights", "get", "coco"]) == 0
    assert len(server.asked) == 2
    folder = shared / "reference/full/coco"
    small = ("--set", "inference.short_edge=512", "--set", "inference.long_edge=800")
    found, told = printed("viz", str(folder / "image.png"), "--output", "seen.png", "--json", *small)
    assert "short_edge 512 instead of 800, long_edge 800 instead of 1333" in told
    meta = json.loads((folder / "meta.json").read_text())
    categories = [one.id for one in load_weights(Path(found["weights"])).categories]
    segments = found["pictures"][0]["segments"]
    wanted = [(categories[one["category_id"]], one["id"]) for one in meta["segments_info"]]
    assert [(segment["category_id"], segment["id"]) for segment in segments] == wanted
    # The authors' own code, on another number of threads, differs from itself in 83 pixels of this photo.
    assert [segment["area"] for segment in segments] == pytest.approx(meta["segment_areas"], abs=83)
