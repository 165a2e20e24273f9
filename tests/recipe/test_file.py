"""YAML -> Recipe: every mistake at once, each with its place; and back without loss."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from yoso_cli.errors import RecipeError, UsageError
from yoso_cli.recipe import file as recipe_file
from yoso_cli.recipe.schema import Recipe

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a recipe in the current folder, an empty one, and gives its relative path."""
    monkeypatch.chdir(tmp_path)

    def write_one(text: str, name: str = "mine.yaml") -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write_one


def problems_of(path: Path | str, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        recipe_file.load(str(path), overrides)
    return caught.value.problems


def test_a_recipe_states_its_difference(write: Write) -> None:
    recipe = recipe_file.load(str(write("name: x\ntrain:\n  lr: 2e-4\n  milestones: [10, 20]\nmodel:\n")))
    assert recipe.train.lr == 2e-4
    assert recipe.train.milestones == (10, 20)
    assert replace(recipe, name="yoso", train=Recipe().train) == Recipe()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model:\n  temperatire: 1", "mine.yaml:2: model.temperatire: unknown key; did you mean 'temperature'?"),
        ("modle: {backbone: resnet18}", "mine.yaml:1: modle: unknown key; did you mean 'model'?"),
        ("lr: 1e-4", "mine.yaml:1: lr: unknown key; did you mean 'train.lr'?"),
        ("model: {num_stage: 1}", "mine.yaml:1: model.num_stage: unknown key; did you mean 'num_stages'?"),
        ("zzzzzz: 1", "mine.yaml:1: zzzzzz: unknown key"),
        ("train.lr: 1", "mine.yaml:1: train.lr: unknown key; write 'lr' beneath 'train:'"),
        ("train:\n  lr: fast", "mine.yaml:2: train.lr: expected a number, found 'fast'"),
        ("train: {lr: [1]}", "mine.yaml:1: train.lr: expected a number, found a list"),
        ("train: {lr: {a: 1}}", "mine.yaml:1: train.lr: expected a number, found a section"),
        ("train: {lr: true}", "mine.yaml:1: train.lr: expected a number, found true"),
        ("train: {lr: }", "mine.yaml:1: train.lr: expected a number, found nothing"),
        ("train: {lr: .inf}", "mine.yaml:1: train.lr: expected a number, found '.inf'"),
        ("train: {lr: 1e999}", "mine.yaml:1: train.lr: must be a finite number"),
        ('train: {lr: "1e-4"}', "mine.yaml:1: train.lr: expected a number, found '1e-4'"),
        ("train: {batch: 1.5}", "mine.yaml:1: train.batch: expected a whole number, found 1.5"),
        ("train: {batch: true}", "mine.yaml:1: train.batch: expected a whole number, found true"),
        ("train: {batch: 1:30}", "mine.yaml:1: train.batch: expected a whole number, found '1:30'"),
        ("train: {batch: 0x10}", "mine.yaml:1: train.batch: expected a whole number, found '0x10'"),
        ("train: {batch: 0}", "mine.yaml:1: train.batch: must be at least 1, not 0"),
        ("train: {lr: 0}", "mine.yaml:1: train.lr: must be above 0, not 0.0"),
        ("augment: {flip: 2}", "mine.yaml:1: augment.flip: must be at most 1, not 2.0"),
        (
            "train: {milestones: 5}",
            "mine.yaml:1: train.milestones: expected a list such as [1, 2], found 5",
        ),
        ("train: {milestones: [1, 0]}", "mine.yaml:1: train.milestones: must be at least 1, not 0"),
        ("train: {milestones: [a]}", "mine.yaml:1: train.milestones: expected a whole number, found 'a'"),
        ("train: {milestones: [{a: 1}]}", "mine.yaml:1: train.milestones: expected a whole number, found a section"),
        (
            "model: {attention: sdac}",
            "mine.yaml:1: model.attention: must be one of mhca, dca, sdca, pdca, ddca, not 'sdac'; "
            "did you mean 'sdca'?",
        ),
        ("name: 12", "mine.yaml:1: name: expected text, found 12; in quotes it is text"),
        ("model: resnet50", "mine.yaml:1: model: is a section; its keys go beneath it, not 'resnet50'"),
        ("name: a\nname: b", "mine.yaml:2: name: is on line 1 already; keep one"),
        ("train:\n  lr: 1\n  lr: 2", "mine.yaml:3: train.lr: is on line 2 already; keep one"),
        ("train: {lr: 1}\ntrain: {batch: 2}", "mine.yaml:2: train: is on line 1 already; keep one"),
        ("[a]: 1", "mine.yaml:1: a key must be one word"),
        ("augment: {crop_width: 100}", "mine.yaml:1: augment.crop_width: must be a multiple of 32, not 100"),
        ("model: {kernel_size: 4}", "mine.yaml:1: model.kernel_size: must be odd, not 4"),
        ("model:\n  hidden_dim: 100", "mine.yaml:2: model.num_heads: 8 heads do not divide hidden_dim 100"),
        ("augment:\n  scale_max: 0.05", "mine.yaml:2: augment.scale_min: 0.1 is above scale_max 0.05"),
        ("train: {milestones: [3, 2]}", "mine.yaml:1: train.milestones: must be in ascending order"),
        (
            "name: ../../etc",
            "mine.yaml:1: name: '../../etc' is not a valid folder name: use letters, digits, dots, dashes and "
            "underscores",
        ),
        ("model: &a {num_stages: 1}", "mine.yaml:1: anchors (&a) are not allowed here"),
        ("model: !!python/object:os.system {}", "mine.yaml:1: tags ("),
        ("name: !!str x", "mine.yaml:1: tags ("),
        ("name: x\nmodel: {a", "mine.yaml:2: is not YAML: "),
        ("name: x\n\tmodel: 1", "mine.yaml:2: is not YAML: "),
        ("name: x\n---\nname: y", "mine.yaml:2: is not YAML: "),
        ("name: \x00", "mine.yaml: is not YAML: "),
        ("[" * 200, "mine.yaml:1: is nested too deeply"),
        ("", "mine.yaml: is empty"),
        ("# nothing yet", "mine.yaml: is empty"),
        ("- a", "mine.yaml: must hold `key: value` lines"),
        ("just text", "mine.yaml: must hold `key: value` lines"),
        ("# " + "x" * 300_000, "mine.yaml: 300,002 bytes are too large for a recipe"),
        ("extends: 5", "mine.yaml:1: extends: expected the name of a recipe"),
        ("extends: cocoo", "mine.yaml:1: extends: cocoo: there is no such recipe. Did you mean 'coco'"),
        ("extends: mine", "mine.yaml:1: extends: mine: there is no such recipe."),
    ],
)
def test_a_mistake_is_told_with_its_place(write: Write, text: str, expected: str) -> None:
    (problem,) = problems_of(write(text))
    assert problem.startswith(expected)


def test_all_mistakes_are_told_at_once_in_the_order_of_lines(write: Write) -> None:
    path = write("name: 5\nmodel:\n  num_stages: 0\n  nmu_blocks: 1\n  num_stages: 1\ntrain: {lr: -1, batch: x}\n")
    assert [problem.split(": ")[:2] for problem in problems_of(path, "train.clip=0", "x")] == [
        ["mine.yaml:1", "name"],
        ["mine.yaml:3", "model.num_stages"],
        ["mine.yaml:4", "model.nmu_blocks"],
        ["mine.yaml:5", "model.num_stages"],
        ["mine.yaml:6", "train.lr"],
        ["mine.yaml:6", "train.batch"],
        ["--set train.clip", "must be above 0, not 0.0"],
        ["--set x", "must read KEY=VALUE, as in --set train.lr=2e-4"],
    ]


def test_a_conflict_is_not_made_up_from_the_default_of_a_mistaken_value(write: Write) -> None:
    (problem,) = problems_of(write("augment: {scale_min: 3, scale_max: four}"))
    assert "scale_max: expected a number" in problem


@pytest.mark.parametrize(
    ("written", "read"),
    [("1e-4", 1e-4), ("1E5", 1e5), ("2", 2.0), ("+.5", 0.5), ("1.", 1.0), ("2.5e+3", 2500.0)],
)
def test_numbers_are_read_as_people_write_them(write: Write, written: str, read: float) -> None:
    assert recipe_file.load(str(write(f"train: {{lr: {written}}}"))).train.lr == read


def test_whole_numbers_may_be_grouped_and_padded(write: Write) -> None:
    recipe = recipe_file.load(str(write("train: {iterations: 270_000, seed: 010}")))
    assert (recipe.train.iterations, recipe.train.seed) == (270_000, 10)


def test_words_that_yaml_turns_into_something_else_stay_words(write: Write) -> None:
    recipe = recipe_file.load(str(write("name: no\nmodel: {backbone_weights: none}\ndata: {train_split: on}")))
    assert (recipe.name, recipe.model.backbone_weights, recipe.data.train_split) == ("no", "none", "on")


def test_set_wins_and_the_last_one_most(write: Write) -> None:
    overrides = ["train.lr=1e-3", "train.lr=2e-3", "train.milestones=[5, 6]", "paper.pq=null", "name=123"]
    recipe = recipe_file.load(str(write("train: {lr: 1}\npaper: {pq: 5}")), overrides)
    assert (recipe.train.lr, recipe.train.milestones, recipe.paper.pq, recipe.name) == (2e-3, (5, 6), None, "123")


@pytest.mark.parametrize("text", ["a: b", "[x", "{a: 1}", "'quoted", "&a b", "# c", "a #b"])
def test_set_takes_text_as_it_is_typed(write: Write, text: str) -> None:
    assert recipe_file.load("coco", [f"description={text}"]).description == text


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.temperatire=1", "--set model.temperatire: unknown key; did you mean 'temperature'?"),
        ("lr=1", "--set lr: unknown key; did you mean 'train.lr'?"),
        ("train.lr", "--set train.lr: must read KEY=VALUE, as in --set train.lr=2e-4"),
        ("=3", "--set =3: must read KEY=VALUE, as in --set train.lr=2e-4"),
        ("train..lr=3", "--set train..lr=3: must read KEY=VALUE, as in --set train.lr=2e-4"),
        ("train.lr.x=3", "--set train.lr: expected a number, found a section"),
        ("model=3", "--set model: is a section; its keys go beneath it, not 3"),
        ("extends=coco", "--set extends: unknown key"),
        ("model.kernel_size=4", "--set model.kernel_size: must be odd, not 4"),
        ("model.attention=", "--set model.attention: must be one of mhca, dca, sdca, pdca, ddca, not ''"),
    ],
)
def test_a_mistake_after_set_is_told_as_such(override: str, expected: str) -> None:
    assert problems_of("coco", override) == [expected]


def test_the_papers_figures_stay_with_their_dataset(write: Write) -> None:
    assert recipe_file.load(str(write("extends: coco\ndata: {name: coco}"))).paper.pq == 48.4
    assert recipe_file.load(str(write("extends: coco\ndata: {name: mine}"))).paper.pq is None
    assert recipe_file.load("coco", ["data.name=mine"]).paper.pq is None
    own = "extends: coco\ndata: {name: mine}\npaper: {pq: 50}"
    assert recipe_file.load(str(write(own))).paper.pq == 50


def test_extends_takes_a_file_beside_or_a_packaged_name(write: Write) -> None:
    write("name: base\ntrain: {lr: 1, batch: 2}", "sub/base.yaml")
    for name in ("base", "base.yaml", "../sub/base"):
        recipe = recipe_file.load(str(write(f"extends: {name}\ntrain: {{lr: 3}}", "sub/mine.yaml")))
        assert (recipe.name, recipe.train.lr, recipe.train.batch) == ("base", 3.0, 2)
    assert recipe_file.load(str(write("extends: coco"))) == recipe_file.load("coco")
    assert recipe_file.load(str(write("extends: coco", "coco.yaml"))) == recipe_file.load("coco")


def test_mistakes_of_the_extended_recipe_are_told_too(write: Write) -> None:
    write("train: {lr: -1}", "base.yaml")
    assert problems_of(write("extends: base\ntrain: {batch: 0}")) == [
        "base.yaml:1: train.lr: must be above 0, not -1.0",
        "mine.yaml:2: train.batch: must be at least 1, not 0",
    ]


def test_a_conflict_between_a_recipe_and_its_base_stands_where_it_arose(write: Write) -> None:
    write("augment: {scale_min: 0.5}", "base.yaml")
    path = write("extends: base\naugment: {scale_max: 0.4}")
    assert problems_of(path) == ["mine.yaml:2: augment.scale_min: 0.5 is above scale_max 0.4"]


def test_extends_goes_one_level_and_never_round(write: Write) -> None:
    write("extends: coco", "middle.yaml")
    assert problems_of(write("extends: middle")) == [
        "mine.yaml:1: extends: middle itself extends coco; only one level is allowed"
    ]
    write("extends: b", "a.yaml")
    assert problems_of(write("extends: a", "b.yaml")) == [
        "b.yaml:1: extends: a itself extends b; only one level is allowed"
    ]


def test_recipes_of_the_checkout_load_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert recipe_file.load("recipes/coco.yaml") == recipe_file.load("coco")
    assert recipe_file.load("ablation/ifa").model.aggregator == "ifa"
    assert recipe_file.find("recipes/ablation/ifa.yaml") == recipe_file.find("ablation/ifa")


def test_a_bare_name_is_the_packaged_recipe_and_a_path_is_the_file(write: Write) -> None:
    path = write("train: {batch: 3}", "coco.yaml")
    assert recipe_file.load(str(path)).train.batch == 3
    assert recipe_file.load("coco").train.batch == 16


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("cocoo", "'coco'"),
        ("recipes/coc.yaml", "'coco'"),
        ("ifa", "'ablation/ifa'"),
        ("mine.yml", "'mine.yaml'"),
        ("qqqq", "`yoso recipe list`"),
    ],
)
def test_a_missing_recipe_is_answered_with_the_near_miss(write: Write, name: str, meant: str) -> None:
    write("name: x")
    with pytest.raises(UsageError) as caught:
        recipe_file.load(name)
    assert not isinstance(caught.value, RecipeError)
    assert meant in caught.value.hint


def test_what_is_no_text_file_is_told(write: Write) -> None:
    Path("image.yaml").write_bytes(b"\x89PNG\xff\xfe")
    assert problems_of("image.yaml") == ["image.yaml: is not UTF-8 text"]
    Path("folder.yaml").mkdir()
    with pytest.raises(UsageError):
        recipe_file.load("folder.yaml")


def test_an_anchor_bomb_costs_nothing(write: Write) -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert "anchors (&a) are not allowed" in problems_of(write(bomb))[0]


def test_from_dict_is_the_other_half_of_to_dict() -> None:
    recipe = recipe_file.load("ablation/kernel-5", ["train.milestones=[1, 2]"])
    assert recipe_file.from_dict(recipe.to_dict()) == recipe


def test_from_dict_tells_every_mistake_of_a_stored_recipe() -> None:
    with pytest.raises(RecipeError) as caught:
        recipe_file.from_dict({"model": {"num_stages": 0, 5: 1}, "train": None, "x": [1]}, "w.safetensors")
    assert caught.value.problems == [
        "w.safetensors: model.num_stages: must be at least 1, not 0",
        "w.safetensors: model.5: unknown key",
        "w.safetensors: x: unknown key",
    ]


def test_to_yaml_puts_meaning_and_default_by_a_changed_value() -> None:
    lines = recipe_file.to_yaml(recipe_file.load("ablation/ifa"), comments=True).splitlines()
    (place,) = [place for place, line in enumerate(lines) if "aggregator:" in line]
    assert lines[place].startswith("  aggregator: ifa")
    assert "# (default cfa) Table 5" in " ".join(lines[place - 2 : place + 1])
    (unchanged,) = [line for line in lines if "num_stages:" in line]
    assert "default" not in unchanged


def permitted(kind: Any, limits: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Every value that the schema permits."""
    if limits["choices"]:
        one = st.sampled_from(limits["choices"])
        return st.lists(one, unique=True).map(tuple) if get_args(kind) else one
    options = get_args(kind)
    if NoneType in options:
        return st.none() | permitted(options[0], limits)
    if options:
        return st.lists(permitted(options[0], limits), unique=True, max_size=4).map(lambda found: tuple(sorted(found)))
    low, above, high = limits["at_least"], limits["above"], limits["at_most"]
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(low, high or 10**15)
    if kind is float:
        finite = {"allow_nan": False, "allow_infinity": False}
        return st.floats(low if above is None else above, high, exclude_min=above is not None, **finite)
    return st.text()


def recipes(kind: type = Recipe) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind)
    made = {}
    for field in fields(kind):
        inner = hints[field.name]
        made[field.name] = recipes(inner) if is_dataclass(inner) else permitted(inner, dict(field.metadata))
    return st.builds(kind, **made)


@settings(max_examples=60)
@given(recipe=recipes(), comments=st.booleans())
def test_what_is_written_reads_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, recipe: Recipe, comments: bool
) -> None:
    """Any recipe survives YAML, with comments or without, and other YAML readers see the same values."""
    size = recipe.model.num_heads % 64 + 1
    model = replace(recipe.model, kernel_size=recipe.model.kernel_size | 1, num_heads=size, hidden_dim=4 * size)
    scales = sorted((recipe.augment.scale_min, recipe.augment.scale_max))
    if recipe.model.stem_channels % 2:  # half of them
        model = replace(model, stem_channels=64, base_channels=64, width_per_group=64, backbone="timm:a_b.c-1")
        model = replace(model, backbone_weights="file:a b/c.pth")
    elif model.backbone_weights == "lite":
        model = replace(model, backbone_weights="none")
    edges = sorted((recipe.inference.short_edge, recipe.inference.long_edge))
    crop = {"crop_height": 32 * recipe.augment.crop_height, "crop_width": 32 * recipe.augment.crop_width}
    short_edges = recipe.augment.short_edges or (640,)
    sound = replace(
        recipe,
        name="n",
        data=replace(recipe.data, name="d"),
        model=model,
        augment=replace(recipe.augment, scale_min=scales[0], scale_max=scales[1], short_edges=short_edges, **crop),
        inference=replace(recipe.inference, short_edge=edges[0], long_edge=edges[1]),
        paper=replace(recipe.paper, says=tuple(f"train.lr: {text}" for text in recipe.paper.says)),
    )
    assert sound.conflicts() == []
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    text = recipe_file.to_yaml(sound, comments=comments)
    path.write_text(text, encoding="utf-8")
    assert recipe_file.read(path) == sound
    assert yaml.safe_load(text) == sound.to_dict()


@settings(max_examples=80)
@given(text=st.text(st.characters(codec="utf-8")) | st.text("ab:- [],{}#'\"\n&*!|>%@`?"))
def test_any_text_gives_a_recipe_or_mistakes(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """No text makes the reader fall over."""
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        found = recipe_file.read(path)
    except RecipeError as error:
        found, problems = None, error.problems
    assert found == Recipe() if found else all("recipe.yaml" in problem for problem in problems)
