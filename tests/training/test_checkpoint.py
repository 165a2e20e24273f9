"""Checkpoints: whole, newest two, and refused in one sentence when they are not what they should be."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from training import tiny

from yoso_cli import atomic
from yoso_cli.errors import DataError, RunError
from yoso_cli.model.yoso import YOSO
from yoso_cli.training import checkpoint
from yoso_cli.training.optim import adamw


def optimizer_of(model: YOSO) -> torch.optim.AdamW:
    return adamw(model, lr=1e-3, weight_decay=0.05, backbone_lr=0.1)


def stepped(seed: int = 0) -> tuple[YOSO, torch.optim.AdamW]:
    """A model and optimizer with something to remember."""
    model = tiny.model(seed)
    optimizer = optimizer_of(model)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.1)
    optimizer.step()
    return model, optimizer


def save(folder: Path, iteration: int = 5, seed: int = 0) -> tuple[YOSO, torch.optim.AdamW]:
    model, optimizer = stepped(seed)
    checkpoint.save(
        folder,
        model=model,
        optimizer=optimizer,
        iteration=iteration,
        recipe=tiny.RECIPE,
        categories=tiny.CATEGORIES,
        provenance={"run": "tiny-001"},
    )
    return model, optimizer


def test_model_optimizer_and_iteration_come_back(tmp_path: Path) -> None:
    model, optimizer = save(tmp_path / "iteration-0000005")
    again = tiny.model(seed=1)
    optimizer_again = optimizer_of(again)
    assert checkpoint.load(tmp_path / "iteration-0000005", model=again, optimizer=optimizer_again) == 5
    assert all(torch.equal(tensor, again.state_dict()[key]) for key, tensor in model.state_dict().items())
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        for name, moment in optimizer.state[one].items():
            assert torch.equal(moment, optimizer_again.state[other][name]), name


def test_a_fresh_optimizer_can_be_saved_too(tmp_path: Path) -> None:
    model = tiny.model()
    parts = {"recipe": tiny.RECIPE, "categories": tiny.CATEGORIES, "provenance": {}}
    checkpoint.save(tmp_path / "c", model=model, optimizer=optimizer_of(model), iteration=0, **parts)
    assert checkpoint.load(tmp_path / "c", model=model, optimizer=optimizer_of(model)) == 0


def test_the_newest_two_stay_and_leftovers_go(tmp_path: Path) -> None:
    folders = [tmp_path / f"iteration-{number:07d}" for number in (1, 2, 3, 10)]
    for folder in folders:
        folder.mkdir()
        (folder / "weights.safetensors").write_bytes(b"")
    (tmp_path / ".iteration-0000009.abc.partial").mkdir()
    checkpoint.prune(folders)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["iteration-0000003", "iteration-0000010"]


def test_a_single_checkpoint_is_never_pruned(tmp_path: Path) -> None:
    (tmp_path / "iteration-0000001").mkdir()
    checkpoint.prune([tmp_path / "iteration-0000001"])
    assert (tmp_path / "iteration-0000001").is_dir()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "torn"),
        (b"not a checkpoint", "torn"),
        (b"PK\x03\x04" + bytes(200), "torn"),
        ("half", "torn"),
        ({"model": {}}, "not written by"),
        ([1, 2], "not written by"),
        ({"format": "yoso-training", "version": 99}, "version 99"),
        ({"format": "yoso-training", "version": 1, "iteration": 3}, "optimizer"),
        (
            {"format": "yoso-training", "version": 1, "iteration": 3, "optimizer": {"state": {}, "param_groups": []}},
            "group",
        ),
        (Path, "torn"),
    ],
)
def test_a_damaged_or_foreign_file_is_named_in_a_sentence(tmp_path: Path, content: object, said: str) -> None:
    folder = tmp_path / "iteration-0000005"
    save(folder)
    file = folder / "training.pt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content == "half":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        torch.save(content, file)
    model = tiny.model()
    with pytest.raises(DataError, match=said) as caught:
        checkpoint.load(folder, model=model, optimizer=optimizer_of(model))
    assert str(file) in caught.value.message
    assert caught.value.hint


def test_moments_of_another_model_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "iteration-0000005"
    _, optimizer = save(folder)
    state = optimizer.state_dict()
    state["state"][0]["exp_avg"] = torch.zeros(3)
    torch.save({"format": "yoso-training", "version": 1, "iteration": 5, "optimizer": state}, folder / "training.pt")
    model = tiny.model()
    with pytest.raises(DataError, match="another model"):
        checkpoint.load(folder, model=model, optimizer=optimizer_of(model))


def test_missing_files_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "iteration-0000005"
    save(folder)
    model = tiny.model()
    (folder / "weights.safetensors").unlink()
    with pytest.raises(DataError, match=r"weights\.safetensors"):
        checkpoint.load(folder, model=model, optimizer=optimizer_of(model))
    (folder / "training.pt").unlink()
    with pytest.raises(DataError, match=r"training\.pt"):
        checkpoint.load(folder, model=model, optimizer=optimizer_of(model))


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow past 40 KiB: as near to a full disk as a test gets without a disk of its own."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40 * 2**10, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_leaves_the_old_checkpoint_and_no_half_one(tmp_path: Path, small_files: None) -> None:
    with pytest.raises(RunError) as caught:
        save(tmp_path / "iteration-0000005")
    assert "cannot be written" in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_amid_the_optimizer_state_is_reported(tmp_path: Path, small_files: None) -> None:
    with pytest.raises(RunError, match="cannot be written"), atomic.replacing_folder(tmp_path / "c") as folder:
        checkpoint._write(folder / "training.pt", {"moment": torch.zeros(10**6)}, tmp_path / "c")
    assert list(tmp_path.iterdir()) == []
