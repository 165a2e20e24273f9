"""SOURCE: which weights a command takes, by file, by run, or by being the newest."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import build
import pytest

from yoso_cli.api.reparam import reparameterize
from yoso_cli.api.weights import fastest_weights, knows, read_model, trained_weights
from yoso_cli.errors import DataError, UsageError
from yoso_cli.model.weights import load_weights, save_weights, write_weights
from yoso_cli.panoptic.files import read_set
from yoso_cli.panoptic.types import Category, PanopticSet
from yoso_cli.recipe.schema import Recipe
from yoso_cli.run_folder import RunFolder
from yoso_cli.runtime.progress import SILENT

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


class Heard:
    """A progress that remembers what it was told."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def bar(self, *given: Any, **more: Any) -> Any:
        return SILENT.bar(*given, **more)


@pytest.mark.parametrize("source", [None, FIRST])
def test_re_parameterised_weights_count_by_what_they_were_made_from(line: Path, source: Path | None) -> None:
    """Not by the times of files, which a copy does not keep."""
    trained, folded = RunFolder(FIRST).weights(), FIRST / "reparam.safetensors"
    assert fastest_weights(source, RUNS) == trained
    reparameterize(FIRST, count=1)
    for seconds in (-1000, 1000):
        age(folded, seconds)
        assert fastest_weights(source, RUNS) == folded
    assert trained_weights(source, RUNS) == trained


def test_weights_folded_before_a_later_training_are_passed_over_and_told(line: Path) -> None:
    reparameterize(FIRST, count=1)
    later = RunFolder(FIRST).checkpoint_path(9)
    shutil.copytree(RunFolder(FIRST).weights().parent, later)
    before = load_weights(later / "weights.safetensors")
    state = {key: value + 1 if value.is_floating_point() else value for key, value in before.state.items()}
    write_weights(later / "weights.safetensors", replace(before, state=state))
    age(FIRST / "reparam.safetensors", -1000)
    heard = Heard()
    assert fastest_weights(FIRST, RUNS, heard) == later / "weights.safetensors"
    (told,) = heard.messages
    assert "reparam.safetensors was made from other weights" in told
    assert "`yoso reparam runs/tiny-001`" in told


@pytest.mark.parametrize(
    ("made_from", "why"), [(b"", "is damaged"), (None, "does not say which weights it was made from")]
)
def test_folded_weights_of_unknown_origin_are_passed_over_and_told(
    line: Path, made_from: bytes | None, why: str
) -> None:
    trained, folded = RunFolder(FIRST).weights(), FIRST / "reparam.safetensors"
    if made_from is None:
        shutil.copy(trained, folded)
    else:
        folded.write_bytes(made_from)
    heard = Heard()
    assert fastest_weights(FIRST, RUNS, heard) == trained
    assert why in heard.messages[0]


def test_the_newest_finished_run_is_taken_and_what_is_passed_over_is_told(line: Path) -> None:
    second = later_run()
    shutil.rmtree(second.path / "checkpoints")
    heard = Heard()
    assert trained_weights(None, RUNS, heard) == RunFolder(FIRST).weights()
    assert heard.messages == ["Using runs/tiny-001: newer, but not finished: runs/tiny-002."]
    # Named, or alone, it is what was asked for.
    with pytest.raises(DataError, match="runs/tiny-002: this run has no checkpoint yet"):
        trained_weights(second.path, RUNS)
    shutil.rmtree(FIRST)
    with pytest.raises(DataError, match="runs/tiny-002: this run has no checkpoint yet"):
        trained_weights(None, RUNS)


def test_a_run_finds_its_data_from_any_folder(line: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As written, then beside the run, then where it was trained; a root of --set is looked at alone."""
    monkeypatch.chdir(tmp_path)
    weights = RunFolder(line / FIRST).weights()

    def root(*overrides: str, path: Path = weights) -> str:
        return read_model(path, overrides).recipe.data.root

    assert root() == str(line / "datasets")
    assert root("data.root=elsewhere") == "elsewhere"
    assert read_model(weights).trained.data.root == "datasets"
    moved = tmp_path / "far" / "away" / "from" / "it" / "tiny-001"
    shutil.move(line / FIRST, moved)
    moved_weights = RunFolder(moved).weights()
    assert root(path=moved_weights) == str(line / "datasets"), "where it was trained"
    shutil.copytree(line / "datasets", tmp_path / "far/away/from/datasets")
    assert root(path=moved_weights) == str(tmp_path / "far/away/from/datasets")
    shutil.copytree(line / "datasets", tmp_path / "datasets")
    assert root(path=moved_weights) == "datasets", "as written, from here"


def test_a_run_of_an_earlier_version_finds_its_data_beside_it(line: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (FIRST / "training.json").unlink()
    monkeypatch.chdir("/")
    assert read_model(RunFolder(line / FIRST).weights()).recipe.data.root == str(line / "datasets")


def test_weights_of_drawn_shapes_say_that_they_know_no_photos(line: Path) -> None:
    model = read_model(RunFolder(FIRST).weights())
    assert knows(model) == "knows 9 classes of drawn shapes; for photos: --weights coco"
    photos = replace(model.trained, data=replace(model.trained.data, name="coco"))
    assert knows(replace(model, trained=photos)) == ""


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
