"""`yoso runs`: what became of each run, their plot, and their removal."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from yoso_cli.cli import run
from yoso_cli.recipe import file as recipe_file
from yoso_cli.recipe.schema import Recipe
from yoso_cli.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]
RUNS = Path("runs")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test stands in a folder of its own, or in its copy of the trained one."""
    monkeypatch.chdir(tmp_path)


def a_run(name: str, *, saved: int = 0, dataset: str = "coco", pqs: tuple[float, ...] = ()) -> RunFolder:
    """A run of 100 steps, with a checkpoint after `saved` of them and evaluations."""
    made = RunFolder.at(RUNS / name)
    plan = ["train.iterations=100", f"data.name={dataset}"]
    made.write_recipe(recipe_file.with_overrides(Recipe(name=name.rpartition("-")[0] or name), plan))
    if saved:
        made.checkpoint_path(saved).mkdir(parents=True)
        (made.checkpoint_path(saved) / "weights.safetensors").write_bytes(b"")
    for place, pq in enumerate(pqs, 1):
        made.append_metrics({"iteration": place, "pq": pq})
    return made


def timed(folder: RunFolder, ms: float) -> None:
    folder.latency_paths["trained"].write_text(json.dumps({"device": "cpu", "forward": {"median_ms": ms}}))


def dated(folder: RunFolder, seconds: int) -> None:
    for path in (folder.recipe_path, folder.metrics_path, folder.path / "checkpoints"):
        if path.exists():
            os.utime(path, (seconds, seconds))


@contextmanager
def being_trained(folder: RunFolder) -> Iterator[None]:
    """While the block runs, another process trains `folder`."""
    code = "import sys; from pathlib import Path; from yoso_cli.run_folder import RunFolder\n"
    code += (
        f"lock = RunFolder(Path({str(folder.path.resolve())!r})).begin_training(Path()); print('locked', flush=True)"
    )
    command = [sys.executable, "-c", f"{code}\nsys.stdin.read()"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"locked\n"
        try:
            yield
        finally:
            process.kill()


def test_each_run_is_listed_with_what_became_of_it(printed: Any) -> None:
    finished = a_run("a-001", saved=100, pqs=(0.5, 0.25))
    stopped, failed, begun, now = (a_run(f"b-00{n}", saved=50 * (n < 3)) for n in range(1, 5))
    failed.record_failure("Step 51: loss is NaN.")
    timed(finished, 12.34)
    for age, one in enumerate((finished, stopped, failed, begun, now), 1):
        dated(one, 1_000_000 * age)
    with being_trained(now):
        value, _ = printed("runs", "--json")
        text, told = printed("runs")
    states = {one["name"]: one["state"] for one in value["runs"]}
    assert states == {
        "b-004": "training",
        "b-003": "no checkpoint",
        "b-002": "failed",
        "b-001": "interrupted",
        "a-001": "finished",
    }
    assert list(states) == sorted(states, reverse=True), "the one trained last first"
    last = value["runs"][-1]
    assert (last["iteration"], last["iterations"]) == (100, 100)
    assert (last["best_pq"], last["newest_pq"], last["network_ms"]) == (50, 25, {"trained": 12.34})
    lines = text.splitlines()
    assert lines[0].split() == ["run", "steps", "state", "best", "PQ", "PQ", "ms", "trained"]
    assert lines[-1].split() == ["a-001", "100/100", "finished", "50.0", "25.0", "12.3", "1970-01-12"]
    assert "b-002: Training failed: Step 51: loss is NaN." in told
    assert told.endswith("Next: yoso runs plot")
    # The process has ended without a word.
    assert {one["name"]: one["state"] for one in printed("runs", "--json")[0]["runs"]}["b-004"] == "no checkpoint"


def test_a_damaged_run_does_not_hide_the_others(printed: Any) -> None:
    good, recipe, metrics, latency = (a_run(f"x-00{n}", saved=100, pqs=(0.5,)) for n in range(1, 5))
    recipe.recipe_path.write_text("train: {iterations: many}\n")
    metrics.metrics_path.write_bytes(b"oops\n{}\n")
    latency.latency_paths["trained"].write_text("[]")
    value, _ = printed("runs", "--json")
    found = {one["name"]: one for one in value["runs"]}
    assert set(found) == {"x-001", "x-002", "x-003", "x-004"}
    assert found["x-001"]["problems"] == []
    for name, told in (("x-002", "iterations"), ("x-003", "metrics.jsonl:1"), ("x-004", "latency.json")):
        (problem,) = found[name]["problems"]
        assert told in problem
        assert told in printed("runs")[1]
    assert found["x-002"]["iterations"] is None
    assert good.is_finished()


@pytest.mark.parametrize("value", ["true", '"high"', "[1]", "null"])
def test_a_pq_that_is_no_number_counts_as_none(printed: Any, value: str) -> None:
    one = a_run("x-001", saved=100)
    one.metrics_path.write_text(f'{{"iteration": 1, "pq": {value}}}\n')
    assert printed("runs", "--json")[0]["runs"][0]["best_pq"] is None


def test_a_run_that_was_evaluated_afterwards_has_the_pq_of_its_report(printed: Any) -> None:
    one = a_run("x-001", saved=100)
    one.report_path.write_text('{"quality": {"all": {"pq": 38.5}}}')
    assert printed("runs", "--json")[0]["runs"][0]["newest_pq"] == 38.5
    for content in ("{}", "oops", '{"quality": [1]}'):
        one.report_path.write_text(content)
        (found,) = printed("runs", "--json")[0]["runs"]
        assert found["newest_pq"] is None
        assert "report.json" in found["problems"][0]


def test_the_table_fits_80_columns(printed: Any) -> None:
    long = "a-recipe-with-a-name-that-goes-on-and-on-for-longer-than-anybody-types"
    one = a_run(f"{long}-001", saved=50, pqs=(1.0,))
    other = a_run("an-equally-long-name-of-a-folder-that-train-into-was-given")
    other.write_recipe(recipe_file.with_overrides(Recipe(name=long), ["train.iterations=368750"]))
    timed(one, 12345.6)
    text, _ = printed("runs")
    assert max(map(len, text.splitlines())) <= 80
    assert "0/368k" in text
    assert "recipe" in text.splitlines()[0], "a folder that does not say its recipe"


def test_where_there_is_no_run_it_says_how_to_make_one(printed: Any, refused: Any) -> None:
    text, told = printed("runs")
    assert text == "runs: there is no run yet.\n"
    assert told.endswith("Next: yoso train shapes")
    assert "elsewhere: there is no such" in refused("runs", "--runs", "elsewhere", code=2)


def test_listing_runs_takes_no_torch() -> None:
    a_run("x-001", saved=100, pqs=(0.5,))
    code = "import sys; from yoso_cli.cli import run; run(['runs']); sys.exit('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False).returncode == 0
    )


def test_the_plot_has_a_point_for_each_run_that_has_both_figures(printed: Any, refused: Any) -> None:
    assert "no run has both PQ and latency" in refused("runs", "plot", code=1)
    coco, shapes = a_run("coco-001", saved=100, pqs=(0.4, 0.484)), a_run("s-001", saved=100, dataset="mine", pqs=(0.9,))
    a_run("slow-001", saved=100, pqs=(0.5,))
    never = a_run("new-001", saved=100)
    for one, ms in ((coco, 40.0), (shapes, 10.0), (never, 1.0)):
        timed(one, ms)
    value, _ = printed("runs", "plot", "--json")
    assert {tuple(point.values()) for point in value["points"]} == {
        ("coco-001", "COCO, Table 1", 48.4, 40.0),
        ("s-001", "mine", 90.0, 10.0),
    }
    assert sorted(value["left_out"]) == ["new-001: no PQ.", "slow-001: no latency."]
    assert value["picture"] == "runs/pq-over-latency.png"
    with Image.open(value["picture"]) as picture:
        assert picture.size == (1920, 560), "the paper's two panels and that of the other dataset"
    assert "Left out: new-001: no PQ." in printed("runs", "plot", "-o", "fig4.png")[0]
    assert "fig4.png: exists already" in refused("runs", "plot", "-o", "fig4.png", code=2)
    printed("runs", "plot", "-o", "fig4.png", "--force")


def test_a_bench_is_kept_for_the_list_and_the_plot(line: Path, printed: Any) -> None:
    printed("reparam", "runs/tiny-001")
    quick = ("--repeats", "2", "--warmup", "0", "--device", "cpu")
    printed("bench", "runs/tiny-001/checkpoints/iteration-0000003/weights.safetensors", *quick)
    folded, _ = printed("bench", "runs/tiny-001", "--json", *quick)
    printed("bench", "runs/tiny-001", "--set", "inference.short_edge=32", *quick)
    (one,) = printed("runs", "--json")[0]["runs"]
    assert set(one["network_ms"]) == {"trained", "reparam"}
    assert one["network_ms"]["reparam"] == folded["forward"]["median_ms"], "not that of the other settings"
    assert one["devices"] == {"trained": "cpu", "reparam": "cpu"}
    assert one["state"] == "finished"
    points = printed("runs", "plot", "--json")[0]["points"]
    assert [(point["name"], point["panel"]) for point in points] == [
        ("tiny-001", "shapes"),
        ("tiny-001 reparam", "shapes"),
    ]
    # Stale ones are no model of this run.
    Path("runs/tiny-001/reparam.safetensors").write_bytes(b"")
    value, _ = printed("runs", "plot", "--json", "--force")
    assert value["left_out"] == ["tiny-001: reparam.safetensors is damaged."]


def test_a_training_that_fails_says_so_in_the_list(line: Path, printed: Any, refused: Any) -> None:
    shutil.rmtree("runs")
    words = ("train", "tiny.yaml", "--device", "cpu", "--set", "train.lr=1e30", "--set", "train.bad_steps=1")
    assert run([*words, "--set", "train.iterations=50"]) == 1
    (one,) = printed("runs", "--json")[0]["runs"]
    assert one["state"] == "failed"
    assert "diverged" in one["problems"][0]


def test_only_what_was_named_is_removed(printed: Any) -> None:
    for name in ("a-001", "a-002", "a-003"):
        a_run(name, saved=100)
    value, _ = printed("runs", "remove", "a-001", "runs/a-003", "--yes", "--json")
    assert value["removed"] == ["runs/a-001", "runs/a-003"]
    assert [path.name for path in RUNS.iterdir()] == ["a-002"]


def test_a_folder_of_runs_may_be_named_before_and_after(printed: Any) -> None:
    for name in ("a-001", "a-002"):
        a_run(name)
    RUNS.rename("exp")
    printed("runs", "--runs", "exp", "remove", "a-001", "-y")
    printed("runs", "remove", "a-002", "-y", "--runs", "exp")
    assert list(Path("exp").iterdir()) == []


def test_what_is_no_run_of_that_folder_is_refused(refused: Any) -> None:
    a_run("a-001")
    (RUNS / "empty").mkdir()
    outside = RunFolder.at(Path("outside-001"))
    outside.write_recipe(Recipe())
    (Path() / "recipe.yaml").write_text("name: x\n")
    assert "there is no such run folder" in refused("runs", "remove", "a-002", "-y", code=1)
    assert "is not a run folder" in refused("runs", "remove", "a-001", "empty", "-y", code=1)
    for elsewhere in ("./outside-001", str(outside.path.absolute()), "runs/../outside-001", "..", "runs/..", "."):
        assert "is not in runs" in refused("runs", "remove", "a-001", elsewhere, "-y", code=2)
    assert (RUNS / "a-001").is_dir()


def test_a_run_that_is_being_trained_is_refused_with_all_others(refused: Any, printed: Any) -> None:
    a_run("a-001")
    with being_trained(a_run("a-002")):
        assert "runs/a-002: is being trained now" in refused("runs", "remove", "a-001", "a-002", "-y", code=1)
    printed("runs", "remove", "a-001", "a-002", "-y")


def test_a_linked_run_loses_its_link_alone(printed: Any) -> None:
    RunFolder.at(Path("disk/x-001")).write_recipe(Recipe())
    RUNS.mkdir()
    (RUNS / "x-001").symlink_to(Path("../disk/x-001"))
    printed("runs", "remove", "x-001", "-y")
    assert not (RUNS / "x-001").is_symlink()
    assert Path("disk/x-001/recipe.yaml").is_file()


def test_nothing_is_removed_without_a_yes(
    refused: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    a_run("a-001")
    assert "--yes" in refused("runs", "remove", "a-001", code=2), "nobody can be asked"
    for answer, left in (("n", ["a-001"]), ("y", [])):
        monkeypatch.setattr("sys.stdin", Typed(f"{answer}\n"))
        assert run(["runs", "remove", "a-001"]) == 0
        assert [path.name for path in RUNS.iterdir()] == left
    assert "Delete 1 run (runs/a-001)?" in capsys.readouterr().err


class Typed:
    """A terminal at which somebody types."""

    def __init__(self, text: str) -> None:
        self._text = text

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return self._text


def test_a_plot_is_a_png(line: Path, refused: Any) -> None:
    assert "p.gif: the plot is a PNG." in refused("runs", "plot", "-o", "p.gif", code=2)
