"""The recipes that come with the package: all of them load, and each says what the paper says."""

from pathlib import Path

import pytest
import yaml

from yoso_cli.errors import RecipeError
from yoso_cli.recipe import file as recipe_file
from yoso_cli.recipe.schema import Recipe

FOLDER = Path(__file__).resolve().parent.parent / "recipes"
NAMES = [name for name, _ in recipe_file.packaged()]
ABLATIONS = [name for name in NAMES if name.startswith("ablation/")]

# Table -> (recipe, PQ, PQ of things, PQ of stuff, FPS) of each of its lines.
TABLES = {
    5: [("ifa", 47.5, 52.7, 39.7, 23.3), ("cfa", 47.0, 52.3, 39.0, 29.2)],
    6: [
        ("mhca", 46.0, 51.5, 37.7, 27.3),
        ("sdca", 47.0, 52.3, 39.0, 29.2),
        ("dca", 46.9, 51.9, 38.7, 30.0),
        ("pdca", 43.7, 49.3, 35.3, 30.2),
        ("ddca", 46.6, 52.3, 38.4, 30.3),
    ],
    7: [
        ("blocks-1", 46.4, 52.1, 37.9, 30.1),
        ("blocks-2", 47.0, 52.3, 39.0, 29.2),
        ("blocks-3", 47.5, 52.6, 39.7, 28.9),
        ("blocks-4", 47.2, 52.5, 39.3, 28.7),
    ],
    8: [
        ("kernel-1", 46.8, 52.4, 38.5, 30.6),
        ("kernel-3", 47.0, 52.3, 39.0, 29.2),
        ("kernel-5", 47.3, 52.2, 40.0, 28.3),
        ("kernel-7", 47.1, 52.4, 39.8, 27.6),
    ],
    9: [
        ("stages-1", 45.7, 50.3, 36.5, 30.1),
        ("stages-2", 47.0, 52.3, 39.0, 29.2),
        ("stages-3", 47.5, 52.8, 39.4, 28.9),
    ],
    10: [
        ("proposals-50", 44.2, 49.8, 36.1, 33.7),
        ("proposals-100", 47.0, 52.3, 39.0, 29.2),
        ("proposals-150", 46.9, 52.0, 38.9, 26.3),
        ("proposals-200", 46.7, 51.5, 38.7, 24.3),
    ],
}
ROWS = [(table, *row) for table, rows in TABLES.items() for row in rows]


def differences(one: Recipe, other: Recipe) -> set[str]:
    """The dotted keys in which two recipes differ."""
    mine, theirs = one.to_dict(), other.to_dict()
    found = set()
    for name, value in mine.items():
        if isinstance(value, dict):
            found |= {f"{name}.{key}" for key in value if value[key] != theirs[name][key]}
        elif value != theirs[name]:
            found.add(name)
    return found


def test_every_file_is_a_packaged_recipe() -> None:
    """As many recipes as files, so that a test over them cannot quietly pass over some."""
    assert len(NAMES) == len(list(FOLDER.rglob("*.yaml"))) >= 25
    assert {"coco", "coco-512", "coco-270k"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_recipe_loads_by_name_and_by_path(name: str) -> None:
    recipe = recipe_file.load(name)
    assert recipe == recipe_file.load(str(FOLDER / f"{name}.yaml")) == recipe_file.load(f"recipes/{name}.yaml")
    assert recipe.description


@pytest.mark.parametrize("name", NAMES)
def test_recipe_is_a_document(name: str) -> None:
    """A recipe begins with what it is, and other YAML readers can read it."""
    text = (FOLDER / f"{name}.yaml").read_text()
    assert text.startswith("# ")
    assert isinstance(yaml.safe_load(text), dict)
    if name in ABLATIONS:
        assert len(text.splitlines()) <= 6
    else:
        head = [line for line in text.splitlines() if line.startswith("#")]
        for word in ("Trains", "Needs", "Run", "Expect"):
            assert any(line.startswith(f"# {word}") for line in head), word


def test_run_folders_of_different_recipes_have_different_names() -> None:
    names = [recipe_file.load(name).name for name in NAMES]
    assert len(set(names)) == len(names)


def test_ablations_are_the_lines_of_tables_5_to_10() -> None:
    assert sorted(ABLATIONS) == sorted(f"ablation/{name}" for _, name, *_ in ROWS)


@pytest.mark.parametrize(("table", "name", "pq", "things", "stuff", "fps"), ROWS)
def test_ablation_aims_at_its_line(table: int, name: str, pq: float, things: float, stuff: float, fps: float) -> None:
    """An ablation carries its line's figures and changes one value of the model at most."""
    recipe = recipe_file.load(f"ablation/{name}")
    paper = recipe.paper
    assert (paper.pq, paper.pq_things, paper.pq_stuff, paper.fps) == (pq, things, stuff, fps)
    assert paper.table.startswith(f"Table {table}, ")
    changed = {key for key in differences(recipe, recipe_file.load("coco-270k")) if not key.startswith("paper.")}
    assert {"name", "description"} <= changed
    assert len({key for key in changed if key.startswith("model.")}) == (pq != 47.0)
    assert len(changed) <= 3


def test_coco_is_the_released_configuration() -> None:
    """The defaults are YOSO-R50 on COCO, so the recipe of that name changes none of them."""
    changed = differences(recipe_file.load("coco"), Recipe())
    assert {key for key in changed if not key.startswith("paper.")} == {"name", "description"}


def test_coco_512_only_evaluates_differently() -> None:
    changed = differences(recipe_file.load("coco-512"), recipe_file.load("coco"))
    assert {key.partition(".")[0] for key in changed} == {"name", "description", "inference", "paper"}


def test_few_is_the_network_of_the_demo() -> None:
    """With as many proposals as photos need: what the demo's figures say of learning holds for it."""
    changed = differences(recipe_file.load("few"), recipe_file.load("shapes"))
    assert {key for key in changed if key.startswith(("model.", "loss."))} == {"model.num_proposals"}


# Recipe -> (iterations, sizes of the short edge, crop, proposals, layers before classes and masks, temperature,
# thresholds): the table of configurations as the authors released them.
RELEASED = {
    "cityscapes": (180000, 1024, (512, 1024), 100, 3, 0.05, (0.8, 0.8)),
    "ade20k": (160000, 640, (640, 640), 100, 1, 0.5, (0.2, 0.8)),
    "mapillary": (300000, 2048, (1024, 1024), 150, 3, 0.1, (0.0, 0.8)),
}


@pytest.mark.parametrize("name", RELEASED)
def test_recipe_is_the_released_configuration(name: str) -> None:
    recipe = recipe_file.load(name)
    iterations, edge, crop, proposals, layers, temperature, thresholds = RELEASED[name]
    augment, model, inference = recipe.augment, recipe.model, recipe.inference
    assert (augment.resize, augment.color, augment.category_share) == ("short_edge", "ssd", 1.0)
    assert augment.short_edges == tuple(int(tenths * 0.1 * edge) for tenths in range(5, 21))
    assert augment.long_edge == 4 * edge
    assert (augment.crop_height, augment.crop_width) == crop
    assert (recipe.train.iterations, recipe.train.schedule, recipe.train.power) == (iterations, "poly", 0.9)
    assert (model.num_proposals, model.num_class_layers, model.num_mask_layers) == (proposals, layers, layers)
    assert model.temperature == temperature
    assert (inference.score_threshold, inference.overlap_threshold) == thresholds


@pytest.mark.parametrize("name", ["coco", *RELEASED])
def test_the_papers_variant_changes_what_the_paper_says_otherwise_and_nothing_else(name: str) -> None:
    released, paper = recipe_file.load(name), recipe_file.load(f"{name}-paper")
    changed = {key for key in differences(paper, released) if key.partition(".")[0] in ("model", "train", "augment")}
    assert changed == set(released.paper.said())
    assert paper.paper.says == ()
    assert (paper.paper.table, paper.paper.pq) == (released.paper.table, released.paper.pq)


def test_a_value_that_the_paper_has_otherwise_says_so_where_the_recipe_is_shown() -> None:
    shown = recipe_file.to_yaml(recipe_file.load("ade20k"), comments=True).splitlines()
    (place,) = (place for place, line in enumerate(shown) if line.strip().startswith("iterations:"))
    assert "# (default 368750) (paper says 30k (Sec. 4.2)) optimizer steps" in " ".join(shown[place - 1 : place + 1])
    assert max(map(len, shown[: place + 1])) <= 80, "as wide as a terminal"


def test_what_the_paper_says_is_said_of_a_value_that_there_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text('paper:\n  says: ["train.iteration: 30k"]\n')
    with pytest.raises(RecipeError, match=r"mine.yaml:2: paper.says: 'train.iteration' is not a key"):
        recipe_file.read(path)
