"""SOURCE: which weights a command takes, by file, by run, or by being the newest."""

import os
import shutil
from pathlib import Path

import build
import pytest

from yoso_cli.api.weights import fastest_weights, read_model, trained_weights
from yoso_cli.errors import DataError, UsageError
from yoso_cli.model.weights import load_weights, save_weights
from yoso_cli.panoptic.files import read_set
from yoso_cli.panoptic.types import Category, PanopticSet
from yoso_cli.recipe.schema import Recipe
from yoso_cli.run_folder import RunFolder

RUNS = Path("runs")
FIRST = RUNS / "tiny-001"


def age(path: Path, seconds: int) -> None:
    """Makes `path` as old as that."""
    then = build.newest_weights().stat().st_mtime - seconds
    os.utime(path, (then, then))


def later_run() -> RunFolder:
    shutil.copytree(FIRST, RUNS / "tiny-002")
    for path in (FIRST / "recipe.yaml", FIRST / "metrics.jsonl", FIRST / "checkpoints"):
        age(path, 100)
    return RunFolder.open(RUNS / "tiny-002")


def test_without_a_name_the_newest_run_is_taken(line: Path) -> None:
    assert trained_weights(None, RUNS) == RunFolder(FIRST).weights()
    second = later_run()
    assert trained_weights(None, RUNS) == second.weights()
    assert trained_weights(FIRST, RUNS) == RunFolder(FIRST).weights()
    assert (
        trained_weights(FIRST / "checkpoints/iteration-0000003/weights.safetensors", RUNS).parent.parent.parent == FIRST
    )


@pytest.mark.parametrize("source", [None, FIRST])
def test_re_parameterised_weights_count_while_they_are_newer(line: Path, source: Path | None) -> None:
    trained = RunFolder(FIRST).weights()
    assert fastest_weights(source, RUNS) == trained
    folded = FIRST / "reparam.safetensors"
    folded.write_bytes(b"")
    assert fastest_weights(source, RUNS) == folded
    assert trained_weights(source, RUNS) == trained
    age(folded, 10)
    assert fastest_weights(source, RUNS) == trained, "the run was trained on since"


def test_a_file_is_taken_at_its_word(line: Path) -> None:
    (FIRST / "reparam.safetensors").write_bytes(b"")
    trained = RunFolder(FIRST).weights()
    assert fastest_weights(trained, RUNS) == trained
    with pytest.raises(UsageError, match="no such weights file"):
        fastest_weights(Path("gone.safetensors"), RUNS)


def test_what_is_no_source_is_named(line: Path) -> None:
    for choose in (trained_weights, fastest_weights):
        with pytest.raises(UsageError, match=r"runs/gone: there is no such run folder"):
            choose(RUNS / "gone", RUNS)
        with pytest.raises(DataError, match=r"runs: is not a run folder"):
            choose(RUNS, RUNS)
        with pytest.raises(UsageError, match="elsewhere: there is no such"):
            choose(None, Path("elsewhere"))
        with pytest.raises(DataError, match="there is no run, and"):
            choose(None, Path("datasets"))


def test_weights_know_their_run_wherever_one_stands(line: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = RunFolder(FIRST).weights()
    for path in (weights, weights.resolve()):
        run = read_model(path).run
        assert run is not None
        assert run.path.resolve() == FIRST.resolve()
    monkeypatch.chdir(FIRST)
    run = read_model(trained_weights(Path(), RUNS)).run
    assert run is not None
    assert run.recipe_path.is_file()


def test_weights_that_only_lie_in_a_run_are_not_its_own(line: Path) -> None:
    weights = RunFolder(FIRST).weights()
    for place in ("mine.safetensors", FIRST / "mine.safetensors", FIRST / "checkpoints/mine.safetensors"):
        shutil.copy(weights, place)
        assert read_model(Path(place)).run is None


def test_set_changes_the_recipe_but_not_what_the_weights_were_trained_with(line: Path) -> None:
    source = read_model(RunFolder(FIRST).weights(), ["inference.short_edge=32", "data.root=elsewhere"])
    assert (source.recipe.inference.short_edge, source.trained.inference.short_edge) == (32, 64)
    assert (source.recipe.data.root, source.trained.data.root) == ("elsewhere", "datasets")
    assert source.predictor("cpu").short_edge == 32
    with pytest.raises(UsageError, match="cannot be changed for trained weights"):
        read_model(RunFolder(FIRST).weights(), ["model.num_blocks=1"])
    assert read_model(RunFolder(FIRST).weights(), ["model.num_blocks=2"]).recipe.model == source.recipe.model


def with_categories(truth: PanopticSet, categories: tuple[Category, ...]) -> PanopticSet:
    return PanopticSet(truth.name, truth.split, categories, truth.records, truth.image_dir, truth.panoptic_dir)


def test_classes_must_be_the_same_in_the_same_order(line: Path) -> None:
    source = read_model(RunFolder(FIRST).weights())
    truth = read_set(Path("datasets/shapes/val"))
    source.require_classes_of(truth)
    with pytest.raises(DataError, match=r"has 9 classes, shapes val has 8; not shared: \w+"):
        source.require_classes_of(with_categories(truth, truth.categories[:-1]))
    with pytest.raises(DataError, match="reordered"):
        source.require_classes_of(with_categories(truth, truth.categories[::-1]))
    others = tuple(Category(category.id, f"other {category.id}", category.isthing) for category in truth.categories)
    with pytest.raises(DataError, match=r"not shared: .*, \.\.\."):
        source.require_classes_of(with_categories(truth, others))


def test_weights_of_another_class_count_than_their_table_are_named(line: Path) -> None:
    weights = load_weights(RunFolder(FIRST).weights())
    source = read_model(weights.path)
    path = Path("odd.safetensors")
    recipe, model = source.trained, source.network()
    save_weights(path, model, recipe=recipe.to_dict(), categories=weights.categories[:-1], provenance={})
    with pytest.raises(DataError, match=r"odd\.safetensors: these weights do not fit the model"):
        read_model(path).network()


def test_weights_of_another_recipe_than_their_own_are_named(line: Path) -> None:
    weights = load_weights(RunFolder(FIRST).weights())
    source = read_model(weights.path)
    path = Path("odd.safetensors")
    save_weights(path, source.network(), recipe=Recipe().to_dict(), categories=weights.categories, provenance={})
    with pytest.raises(DataError, match=r"odd\.safetensors: these weights do not fit the model"):
        read_model(path).predictor("cpu")
