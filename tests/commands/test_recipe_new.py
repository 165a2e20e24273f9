"""`yoso recipe new`: a recipe for one's own data, which trains as it stands."""

from pathlib import Path

import pytest
from commands.conftest import Printed, Refused

from yoso_cli.recipe import file as recipe_file


@pytest.fixture
def here(line: Path) -> Path:
    """A folder with datasets/shapes/{train,val}, called mine."""
    (line / "datasets/shapes").rename(line / "datasets/mine")
    return line


@pytest.mark.parametrize("gpu", ["0", "6", "80"])
def test_a_new_recipe_is_accepted_by_a_dry_run(here: Path, printed: Printed, gpu: str) -> None:
    out, err = printed("recipe", "new", "mine", "--for", "datasets/mine/train", "--gpu", gpu)
    assert out.startswith("mine.yaml\n\n# YOSO for mine, sized to the 6 pictures of train and to ")
    assert max(map(len, Path("mine.yaml").read_text().splitlines())) <= 80
    assert err.endswith("Next: yoso train mine.yaml --dry-run")
    facts, _ = printed("train", "mine.yaml", "--dry-run", "--json")
    assert [one["problem"] for one in facts["data"]["splits"].values()] == [None, None]
    recipe = recipe_file.load("mine.yaml")
    assert (recipe.data.train_split, recipe.data.val_split) == ("train", "val")
    assert recipe.model.backbone == ("resnet18" if gpu == "0" else "resnet50")
    assert recipe.train.lr == pytest.approx((4e-4 if gpu == "0" else 1e-4 / 16) * recipe.train.batch)
    assert recipe.paper.pq is None
    if gpu != "0":
        assert facts["memory"]["gib"]["2"] < float(gpu)


def test_what_is_printed_is_what_is_written(here: Path, printed: Printed) -> None:
    value, _ = printed("recipe", "new", "sub.yaml", "--for", "mine", "--gpu", "0", "--json")
    recipe = recipe_file.load("sub.yaml").to_dict()
    for key, told in value["values"].items():
        section, _, name = key.rpartition(".")
        assert (recipe[section] if section else recipe)[name] == told
    assert value["reasons"]["model.num_proposals"].startswith("a picture has up to")
    assert value["recipe"] == "sub.yaml"


def test_a_dataset_without_val_is_told(here: Path, printed: Printed) -> None:
    (here / "datasets/mine/val").rename(here / "datasets/mine/test")
    _, err = printed("recipe", "new", "mine", "--for", "mine", "--gpu", "0")
    assert "has no split whose name begins with val" in err
    assert "`yoso dataset split` divides a set" in err
    assert recipe_file.load("mine.yaml").data.val_split == "train"
    printed("recipe", "new", "mine", "--for", "mine", "--val", "datasets/mine/test", "--gpu", "0", "--force")
    assert recipe_file.load("mine.yaml").data.val_split == "test"


def test_mistakes_are_told_and_nothing_is_written(here: Path, printed: Printed, refused: Refused) -> None:
    new = ("recipe", "new", "mine", "--gpu", "0")
    assert "is neither a prepared dataset nor a path" in refused(*new, "--for", "none", code=2)
    assert "No network of these recipes trains in" in refused(
        "recipe", "new", "mine", "--for", "mine", "--gpu", "0.1", code=2
    )
    assert "is not a valid folder name" in refused("recipe", "new", "a b", "--for", "mine", "--gpu", "0", code=2)
    printed("prepare", "shapes", "--train", "2", "--val", "2", "--size", "64")
    told = refused(*new, "--for", "mine", "--val", "datasets/shapes/val", code=2)
    assert "is in another dataset than" in told
    Path("mine.yaml").write_text("x")
    assert "mine.yaml: exists already" in refused(*new, "--for", "mine", code=2)
    (here / "datasets/mine/train/manifest.json").unlink()
    assert "is not a whole dataset" in refused("recipe", "new", "y", "--for", "datasets/mine/train", code=1)


def test_a_listing_of_coco_must_be_prepared_first(
    coco_sample: Path, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = refused("recipe", "new", "mine", "--for", str(coco_sample), code=1)
    assert "is not prepared" in told
    assert "`yoso convert" in told


def test_lite_starts_from_weights_that_are_there(printed: Printed) -> None:
    facts, _ = printed("train", "lite", "--dry-run", "--json")
    assert (facts["model"]["backbone"], facts["model"]["backbone_weights"]) == ("timm:tf_efficientnet_lite0", "lite")
    assert facts["model"]["parameters"] < 6e6
