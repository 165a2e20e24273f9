"""Checkpoints: whole, newest two, and refused in one sentence when they are not what they should be."""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from training import tiny

from yoso_cli.errors import DataError, RunError
from yoso_cli.model.weights import load_weights
from yoso_cli.run_folder import RunFolder
from yoso_cli.training import checkpoint
from yoso_cli.training.ema import MovingAverage
from yoso_cli.training.optim import set_rate
from yoso_cli.training.step import Step

PARTS = {"recipe": tiny.RECIPE.to_dict(), "categories": tiny.CATEGORIES, "provenance": {"run": "tiny-001"}}
LOOP = checkpoint.Loop(iteration=5, skipped=2, unreadable=1)


def stepped(step: Step) -> Step:
    """With something to remember."""
    for parameter in step.model.parameters():
        parameter.grad = torch.full_like(parameter, 0.1)
    set_rate(step.optimizer, 1e-3)
    step.optimizer.step()
    if step.average:
        step.average.update_parameters(step.model)
    return step


def fresh(seed: int = 0, decay: float = 0.0) -> Step:
    model = tiny.model(seed)
    return tiny.step(model, average=MovingAverage(model, decay) if decay else None)


def save(folder: Path, decay: float = 0.0) -> Step:
    step = stepped(fresh(decay=decay))
    checkpoint.save(folder, checkpoint.snapshot(step, LOOP), **PARTS)
    return step


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(tensor, other.state_dict()[key]) for key, tensor in one.state_dict().items())


@pytest.mark.parametrize("decay", [0.0, 0.75])
def test_a_checkpoint_restores_everything(tmp_path: Path, decay: float) -> None:
    step = save(tmp_path / "iteration-0000005", decay)
    again = fresh(seed=1, decay=decay)
    assert checkpoint.load(tmp_path / "iteration-0000005", again) == LOOP
    assert same(step.model, again.model)
    for one, other in zip(step.model.parameters(), again.model.parameters(), strict=True):
        for name, moment in step.optimizer.state[one].items():
            assert torch.equal(moment, again.optimizer.state[other][name]), name
    if step.average:
        assert again.average
        assert same(step.average.module, again.average.module)
        assert not same(step.average.module, step.model)
        # What others take from the folder is the average.
        taken = load_weights(tmp_path / "iteration-0000005" / "weights.safetensors").state
        assert all(torch.equal(tensor, taken[key]) for key, tensor in step.average.module.state_dict().items())


def test_a_snapshot_is_not_touched_by_what_training_does_next(tmp_path: Path) -> None:
    step = stepped(fresh())
    moment = checkpoint.snapshot(step, LOOP)
    before = {key: tensor.clone() for key, tensor in step.model.state_dict().items()}
    stepped(step)
    checkpoint.save(tmp_path / "c", moment, **PARTS)
    state = load_weights(tmp_path / "c" / "weights.safetensors").state
    assert all(torch.equal(tensor, state[key]) for key, tensor in before.items())


def test_a_fresh_optimizer_can_be_saved_too(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c", checkpoint.snapshot(fresh(), checkpoint.Loop()), **PARTS)
    assert checkpoint.load(tmp_path / "c", fresh()) == checkpoint.Loop()


@pytest.mark.parametrize("name", ["training.pt", "weights.safetensors"])
def test_a_flipped_bit_anywhere_is_detected(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "iteration-0000005"
    save(folder)
    content = bytearray((folder / name).read_bytes())
    content[len(content) * 3 // 4] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=r"hash does not match|truncated"):
        checkpoint.load(folder, fresh())


def test_the_newest_and_the_best_stay_and_leftovers_go(tmp_path: Path) -> None:
    folders = [tmp_path / f"iteration-{number:07d}" for number in (1, 2, 3, 10)]
    for folder in folders:
        folder.mkdir()
        (folder / "weights.safetensors").write_bytes(b"")
    (tmp_path / ".iteration-0000009.abcdefgh.partial").mkdir()
    checkpoint.prune(folders, keep=2, best=folders[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == [folders[place].name for place in (0, 2, 3)]


def test_what_a_kill_left_goes_when_a_run_is_taken_up_again(tmp_path: Path) -> None:
    """Also of a run whose last step is done, which saves nothing more: it may have been killed while it pruned."""
    run = RunFolder(tmp_path)
    save(run.checkpoint_path(5))
    removed_in_part = run.checkpoint_path(4).with_name(".iteration-0000004.abcdefgh.partial")
    removed_in_part.mkdir()
    (removed_in_part / "training.pt").write_bytes(b"half")
    run.checkpoint_path(4).with_name(".iteration-0000004.lock").write_text("1")
    keeper = checkpoint.CheckpointKeeper(run, fresh(), **PARTS, keep=1)
    assert keeper.newest(pytest.fail) == LOOP
    assert list(run.checkpoint_path(5).parent.iterdir()) == [run.checkpoint_path(5)]


def test_a_single_checkpoint_is_never_pruned(tmp_path: Path) -> None:
    (tmp_path / "iteration-0000001").mkdir()
    checkpoint.prune([tmp_path / "iteration-0000001"], keep=1)
    assert (tmp_path / "iteration-0000001").is_dir()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "truncated"),
        (b"not a checkpoint", "truncated"),
        (b"PK\x03\x04" + bytes(200), "truncated"),
        ("half", "truncated"),
        ({"model": {}}, "not written by"),
        ([1, 2], "not written by"),
        ({"format": "yoso-training", "version": 99}, "version 99"),
        (Path, "truncated"),
    ],
)
def test_a_damaged_or_foreign_file_is_named_in_a_sentence(tmp_path: Path, content: object, said: str) -> None:
    """By its hash before it is unpickled, and by what is in it where that is the hash of it."""
    folder = tmp_path / "iteration-0000005"
    save(folder)
    file = folder / "training.pt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content == "half":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        torch.save(content, file)
    for words in ("its hash does not match", said):
        with pytest.raises(DataError, match=words) as caught:
            checkpoint.load(folder, fresh())
        assert str(file) in caught.value.message
        assert caught.value.hint
        manifest = json.loads((folder / "checkpoint.json").read_text())
        manifest["sha256"]["training.pt"] = hashlib.sha256(file.read_bytes()).hexdigest()
        (folder / "checkpoint.json").write_text(json.dumps(manifest))


def test_moments_of_another_model_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "iteration-0000005"
    moment = checkpoint.snapshot(stepped(fresh()), LOOP)
    moment.training["optimizer"]["state"][0]["exp_avg"] = torch.zeros(3)
    checkpoint.save(folder, moment, **PARTS)
    with pytest.raises(DataError, match="another model"):
        checkpoint.load(folder, fresh())


def test_missing_files_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "iteration-0000005"
    save(folder)
    for name in ("weights.safetensors", "checkpoint.json", "training.pt"):
        (folder / name).unlink()
        with pytest.raises(DataError, match=re.escape(name)):
            checkpoint.load(folder, fresh())
        save(folder)


@pytest.fixture
def limit_files() -> Iterator[Callable[[int], None]]:
    """Lets no file grow past so many bytes: as near to a full disk as a test gets without a disk of its own."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_leaves_the_old_checkpoint_and_no_half_one(
    tmp_path: Path, limit_files: Callable[[int], None]
) -> None:
    limit_files(40 * 2**10)
    with pytest.raises(RunError) as caught:
        save(tmp_path / "iteration-0000005")
    assert "cannot be written" in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_amid_the_optimizer_state_is_reported(tmp_path: Path, limit_files: Callable[[int], None]) -> None:
    """The weights just fit; the optimizer's state takes twice as much."""
    whole = tmp_path / "iteration-0000004"
    save(whole)
    limit_files((whole / "weights.safetensors").stat().st_size)
    with pytest.raises(RunError, match="cannot be written"):
        save(tmp_path / "iteration-0000005")
    assert list(tmp_path.iterdir()) == [whole]


def test_writing_runs_in_the_background_and_its_failure_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saving returns before the file is there; the next call raises what writing raised, and only once."""
    gate, written = threading.Event(), []

    def slow(folder: Path, *_: object, **__: object) -> None:
        gate.wait(5)
        written.append(folder.name)
        if len(written) == 2:
            raise RunError("The disk is full.")

    monkeypatch.setattr(checkpoint, "save", slow)
    keeper = checkpoint.CheckpointKeeper(RunFolder(tmp_path), fresh(), **PARTS, keep=1)
    keeper.save(checkpoint.Loop(1))
    assert written == []
    gate.set()
    keeper.finish()
    keeper.save(checkpoint.Loop(2))
    with pytest.raises(RunError, match="disk is full"):
        keeper.save(checkpoint.Loop(3))
    keeper.save(checkpoint.Loop(4))
    keeper.finish()
    assert written == ["iteration-0000001", "iteration-0000002", "iteration-0000004"]
