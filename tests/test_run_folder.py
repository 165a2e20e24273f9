"""Run folders: numbered, torn nowhere, and the newest is the one that was trained last."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from yoso_cli.errors import DataError, RunError, UsageError
from yoso_cli.recipe.schema import Recipe
from yoso_cli.run_folder import RunFolder, checkpoint_iteration

ROOT = Path(__file__).resolve().parent.parent


def a_run(root: Path, name: str = "x") -> RunFolder:
    run = RunFolder.create(root, name)
    run.write_recipe(Recipe(name=name))
    return run


def a_checkpoint(run: RunFolder, iteration: int) -> Path:
    folder = run.checkpoint_path(iteration)
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(b"")
    return folder


def dated(run: RunFolder, seconds: int) -> None:
    for path in [*run.path.rglob("*"), run.path]:
        os.utime(path, (seconds, seconds))


def test_runs_are_numbered_for_each_name(tmp_path: Path) -> None:
    made = [RunFolder.create(tmp_path / "runs", name).path.name for name in ("x", "x", "y", "x-y", "x")]
    assert made == ["x-001", "x-002", "y-001", "x-y-001", "x-003"]


def test_a_number_is_not_used_again_while_later_ones_stand(tmp_path: Path) -> None:
    for name in ("x-001", "x-009", "x-0999"):
        (tmp_path / name).mkdir()
    assert RunFolder.create(tmp_path, "x").path.name == "x-1000"


def test_runs_that_start_together_get_folders_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: RunFolder.create(tmp_path, "x").path, range(24)))
    assert len(set(made)) == 24


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "-x", "a b"])
def test_a_run_cannot_be_named_out_of_its_place(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        RunFolder.create(tmp_path, name)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(RunError, match="runs: cannot be written"):
        RunFolder.create(tmp_path / "runs", "x")


def test_the_recipe_comes_back_as_it_was(tmp_path: Path) -> None:
    run = a_run(tmp_path, "some.name_1")
    assert RunFolder.open(run.path).recipe() == Recipe(name="some.name_1")


def test_what_is_no_run_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such run folder") as caught:
        RunFolder.open(tmp_path / "no")
    assert "yoso train" in caught.value.hint
    with pytest.raises(DataError, match="it has no recipe"):
        RunFolder.open(tmp_path)
    for root in (tmp_path, tmp_path / "no"):
        with pytest.raises(DataError, match="there is no run yet") as caught:
            RunFolder.newest(root)
        assert "yoso demo" in caught.value.hint


def test_the_newest_run_is_the_one_trained_last(tmp_path: Path) -> None:
    first, second, other = a_run(tmp_path), a_run(tmp_path), a_run(tmp_path, "other")
    for run in (first, second, other):
        dated(run, 1000)
    assert RunFolder.newest(tmp_path) == second, "the higher number where time does not tell"
    dated(other, 2000)
    assert RunFolder.newest(tmp_path) == other
    first.append_metrics({"iteration": 1})
    assert RunFolder.newest(tmp_path) == first


def test_evaluating_an_old_run_does_not_make_it_the_newest(tmp_path: Path) -> None:
    old, new = a_run(tmp_path), a_run(tmp_path)
    dated(old, 1000)
    dated(new, 2000)
    old.report_path.write_text("{}")
    old.reparameterised.write_bytes(b"")
    assert RunFolder.newest(tmp_path) == new


def test_the_newest_run_is_a_finished_one_before_one_with_a_checkpoint_before_any(tmp_path: Path) -> None:
    trained, begun, stopped = a_run(tmp_path), a_run(tmp_path), a_run(tmp_path)
    for age, run in enumerate((trained, stopped, begun), 1):
        dated(run, 1000 * age)
    assert RunFolder.newest(tmp_path) == begun
    a_checkpoint(trained, 10)
    dated(trained, 1000)
    assert RunFolder.newest(tmp_path) == trained, "the only one with weights"
    a_checkpoint(stopped, 10)
    dated(stopped, 2000)
    assert RunFolder.newest(tmp_path) == stopped, "neither is finished"
    a_checkpoint(trained, Recipe().train.iterations)
    dated(trained, 1000)
    assert [run.is_finished() for run in (trained, stopped, begun)] == [True, False, False]
    assert RunFolder.newest(tmp_path) == trained
    assert RunFolder.all(tmp_path) == [begun, stopped, trained], "the one trained last first, finished or not"


def test_a_run_with_an_invalid_recipe_is_not_taken_for_a_finished_one(tmp_path: Path) -> None:
    good, edited = a_run(tmp_path), a_run(tmp_path)
    for age, run in enumerate((good, edited), 1):
        a_checkpoint(run, Recipe().train.iterations)
        dated(run, 1000 * age)
    edited.recipe_path.write_text("train: {iterations: many}\n")
    assert not edited.is_finished()
    assert RunFolder.newest(tmp_path) == good


def test_a_run_in_a_folder_of_any_name_counts_and_a_hidden_one_does_not(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path / "mine")
    run.write_recipe(Recipe())
    aside = RunFolder.at(tmp_path / ".mine.removed")
    aside.write_recipe(Recipe())
    assert RunFolder.all(tmp_path) == [run]


def test_a_folder_in_which_a_kill_ended_the_first_writing_is_as_good_as_empty(tmp_path: Path) -> None:
    """So the same line goes on; of anything else in it that is no run nothing is touched."""
    code = f"""
import os, signal
from pathlib import Path
from yoso_cli.recipe.schema import Recipe
from yoso_cli.run_folder import RunFolder
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
RunFolder.at(Path({str(tmp_path / "run")!r})).write_recipe(Recipe())
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == -signal.SIGKILL
    assert len(list((tmp_path / "run").iterdir())) == 2, "the file that was written, and its lock"
    RunFolder.at(tmp_path / "run").write_recipe(Recipe())
    assert [one.name for one in (tmp_path / "run").iterdir()] == ["recipe.yaml"]
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / ".letter.txt.abcdefgh.partial").touch()
    with pytest.raises(UsageError, match="is not empty and not a run"):
        RunFolder.at(tmp_path / "own")


def locked_elsewhere(run: RunFolder, then: str) -> "subprocess.Popen[str]":
    """Another process that trains `run`, has said so, and then does `then`."""
    code = f"""
import os, time
from pathlib import Path
from yoso_cli.run_folder import RunFolder
lock = RunFolder(Path({str(run.path)!r})).begin_training(Path("datasets"))
print("locked", flush=True)
{then}
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "locked\n"
    return process


def test_a_run_is_being_trained_while_a_process_lives_that_trains_it(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    assert not run.is_training()
    with locked_elsewhere(run, "time.sleep(60)") as process:
        assert run.is_training()
        with pytest.raises(RunError, match="is being trained by another yoso, process"):
            run.begin_training(tmp_path)
        with pytest.raises(RunError, match="is being trained by another yoso, process"):
            run.remove()
        process.kill()
    assert not run.is_training()
    lock = run.begin_training(tmp_path)
    assert run.is_training()
    lock.release()
    assert not run.is_training()


def test_a_loader_that_outlives_its_training_does_not_hold_the_run(tmp_path: Path) -> None:
    """Killed with its children alive, as the out-of-memory killer does, a training can be resumed at once."""
    run = a_run(tmp_path)
    forking = "if not os.fork(): print(os.getpid(), flush=True)\ntime.sleep(60)"
    with locked_elsewhere(run, forking) as process:
        assert process.stdout
        child = int(process.stdout.readline())
        process.kill()
    try:
        assert not run.is_training()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_lock_that_nobody_holds_any_more_is_free(tmp_path: Path) -> None:
    """A training that was built and dropped without being run."""
    run = a_run(tmp_path)
    lock = run.begin_training(tmp_path)
    assert run.is_training()
    del lock
    assert not run.is_training()


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    (run.path / "training.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError):
        run.begin_training(tmp_path)
    assert not (tmp_path / "elsewhere").exists()
    assert not run.is_training()


def test_a_run_knows_where_its_data_was_and_why_it_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = a_run(tmp_path)
    assert (run.data_root(), run.failure()) == (None, None)
    monkeypatch.chdir(tmp_path)
    run.begin_training(Path("datasets")).release()
    assert (run.data_root(), run.failure()) == (tmp_path / "datasets", None)
    run.record_failure("Training has diverged.")
    assert (run.data_root(), run.failure()) == (tmp_path / "datasets", "Training has diverged.")
    run.begin_training(Path("datasets")).release()
    assert run.failure() is None, "it goes on"


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"data_root": 3, "failure": []}', b"[" * 100_000])
def test_a_damaged_record_of_the_training_counts_as_none(tmp_path: Path, content: bytes) -> None:
    run = a_run(tmp_path)
    (run.path / "training.json").write_bytes(content)
    assert (run.data_root(), run.failure()) == (None, None)


def test_a_removed_run_is_gone_and_what_it_links_to_is_not(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("precious")
    run, other = a_run(tmp_path / "runs"), a_run(tmp_path / "runs")
    (run.path / "folder").symlink_to(outside)
    (run.path / "file").symlink_to(outside / "kept")
    run.remove()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [other.path.name], "nothing hidden either"
    assert (outside / "kept").read_text() == "precious"


def test_of_a_run_that_is_a_link_the_link_alone_is_removed(tmp_path: Path) -> None:
    run = a_run(tmp_path / "disk")
    link = RunFolder(tmp_path / "x-001")
    link.path.symlink_to(run.path)
    link.remove()
    assert not link.path.is_symlink()
    assert run.recipe() == Recipe(name="x")


def test_each_kind_of_evaluation_has_a_report_of_its_own(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    a_checkpoint(run, 5)
    a_checkpoint(run, 10)
    earlier, newest = (run.checkpoint_path(at) / "weights.safetensors" for at in (5, 10))
    others = run.path / "evaluations"
    assert run.report_of(newest) == run.report_path
    assert run.report_of(run.reparameterised) == run.path / "report-reparam.json"
    assert run.report_of(earlier) == others / "iteration-0000005" / "report.json"
    assert run.report_of(newest, ["test", "flip"]) == others / "test+flip" / "report.json"
    assert run.report_of(run.reparameterised, ["1.5x"]) == others / "reparam+1.5x" / "report.json"


@pytest.mark.parametrize("split", ["../../gone", "a/b", "..", ".hidden", "/", "two words"])
def test_an_evaluation_stays_in_its_folder_whatever_its_split_is_called(tmp_path: Path, split: str) -> None:
    run = a_run(tmp_path)
    a_checkpoint(run, 10)
    kept = run.report_of(run.weights(), [split])
    assert kept.parent.parent == run.path / "evaluations"
    assert not kept.parent.name.startswith(".")


def test_a_folder_without_a_recipe_is_no_run(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    dated(run, 1000)
    RunFolder.create(tmp_path, "x")
    (tmp_path / "x-009").write_text("a file")
    assert RunFolder.newest(tmp_path) == run


def test_metrics_come_back_in_order(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    assert run.metrics() == []
    lines = [{"iteration": i, "loss": 1 / (i + 1)} for i in range(5)]
    for line in lines:
        run.append_metrics(line)
    assert run.metrics() == lines


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    """However much of the last line a kill leaves, the lines before it are read."""
    run = a_run(tmp_path)
    whole = b'{"iteration": 1}\n{"iteration": 2}\n'
    for length in range(len(whole) // 2, len(whole)):
        run.metrics_path.write_bytes(whole[:length])
        assert run.metrics() == [{"iteration": 1}]


def test_a_broken_line_in_the_middle_is_told_with_its_place(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    for broken in (b"oops", b"[1]", b"\xff"):
        run.metrics_path.write_bytes(b'{"iteration": 1}\n' + broken + b"\n{}\n")
        with pytest.raises(DataError, match=r"metrics\.jsonl:2: is (not|a list)"):
            run.metrics()


def test_a_changed_digit_in_a_line_is_told_with_its_place(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    for iteration in (1, 2, 3):
        run.append_metrics({"iteration": iteration, "pq": 41.5})
    whole = run.metrics_path.read_text().splitlines(keepends=True)
    for second in (whole[1].replace("41.5", "91.5"), '{"iteration": 2, "pq": 91.5}\n'):
        run.metrics_path.write_text(whole[0] + second + whole[2])
        with pytest.raises(DataError, match=r"metrics\.jsonl:2: is damaged: its checksum differs\. Remove that line"):
            run.metrics()


def test_a_run_of_an_earlier_version_goes_on_with_checksums(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    run.metrics_path.write_text('{"iteration": 1}\n')
    run.append_metrics({"iteration": 2})
    assert run.metrics() == [{"iteration": 1}, {"iteration": 2}]


def test_a_resumed_run_tells_no_stretch_twice(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    run.truncate_metrics(after_iteration=3)
    assert not run.metrics_path.exists()
    for iteration in range(1, 6):
        run.append_metrics({"iteration": iteration})
    with run.metrics_path.open("a") as torn:
        torn.write('{"iterat')
    run.truncate_metrics(after_iteration=3)
    run.append_metrics({"iteration": 4})
    assert [line["iteration"] for line in run.metrics()] == [1, 2, 3, 4]
    assert all(json.loads(line) for line in run.metrics_path.read_text().splitlines())


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ({"iteration": 1, "loss": [1.0]}, "'loss' is not a number"),
        ({"iteration": 1, "pq": "high"}, "'pq' is not a number"),
        ({"iteration": 1, "pq": True}, "'pq' is not a number"),
        ({"loss": 1.0}, "lacks its 'iteration'"),
        ({"iteration": -3}, "lacks its 'iteration'"),
    ],
)
def test_metrics_of_odd_values_are_named(tmp_path: Path, line: dict[str, Any], told: str) -> None:
    run = RunFolder(tmp_path)
    run.append_metrics({"iteration": 0, "loss": None})
    run.append_metrics(line)
    with pytest.raises(DataError, match=rf"metrics\.jsonl:2: {told}"):
        run.metrics()


def test_metrics_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    run.metrics_path.mkdir()
    with pytest.raises(RunError, match=r"metrics\.jsonl: cannot be written"):
        run.append_metrics({"iteration": 1})


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoints", "evaluations", "samples", "evaluations/test"])
def test_a_link_in_a_run_is_not_written_through(tmp_path: Path, name: str) -> None:
    """A run folder may be a stranger's."""
    run, home = a_run(tmp_path), tmp_path / "home"
    home.mkdir()
    (run.path / name).parent.mkdir(exist_ok=True)
    (run.path / name).symlink_to(home)
    with pytest.raises(DataError, match=f"{name}: is a link"):
        run.begin_training(tmp_path)
    with suppress(DataError, RunError):
        run.append_metrics({"iteration": 1})
    assert not list(home.iterdir())


def test_checkpoints_are_the_complete_ones_oldest_first(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    assert run.checkpoints() == []
    made = [a_checkpoint(run, iteration) for iteration in (12345678, 500, 1000)]
    (run.path / "checkpoints" / ".iteration-0002000.abc.partial").mkdir()
    run.checkpoint_path(3000).mkdir()
    assert run.checkpoints() == [made[1], made[2], made[0]]
    assert run.weights() == made[0] / "weights.safetensors"
    assert made[1].name == "iteration-0000500"
    assert checkpoint_iteration(made[1]) == 500


def test_a_run_without_weights_says_how_to_go_on(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    with pytest.raises(DataError, match="no checkpoint yet") as caught:
        run.weights()
    assert f"yoso train --resume {run.path}" in caught.value.hint
