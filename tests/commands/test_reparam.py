"""`yoso reparam`: what it writes, what it tells, and when it writes nothing."""

import errno
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import build
import pytest
import torch

from yoso_cli.model.weights import load_weights, stated_hash, write_weights

STEPS = ["ifa_to_cfa", "fold_batch_norms", "fold_pixel_std", "fold_temperature", "fold_location"]
WRITTEN = "runs/tiny-001/reparam.safetensors"


def test_the_result_lies_in_the_run_and_knows_where_it_comes_from(line: Path, printed: Any) -> None:
    value, told = printed("reparam", "--json")
    assert set(value) == {"schema", "weights", "steps", "pictures", "difference"}
    assert value["weights"] == WRITTEN
    assert [step["name"] for step in value["steps"]] == STEPS
    assert all(step["before_ms"] > 0 and step["after_ms"] > 0 for step in value["steps"])
    assert all(0 <= step["difference"] <= 1e-3 for step in value["steps"])
    assert value["pictures"] == 3, "the split has no fourth picture"
    assert set(value["difference"]) == {"features", "mask_logits", "class_logits", "largest"}
    assert 0 <= value["difference"]["largest"] <= 1e-3
    assert told.endswith(f"Next: yoso eval {WRITTEN}")

    before, after = load_weights(build.newest_weights()), load_weights(Path(WRITTEN))
    assert list(after.steps) == STEPS
    assert after.categories == before.categories
    assert after.recipe == before.recipe
    assert after.provenance["reparameterised"]["from"] == str(build.newest_weights())
    assert after.provenance["reparameterised"]["sha256"] == stated_hash(build.newest_weights())
    assert after.provenance["iteration"] == build.STEPS
    assert not any("running_var" in key for key in after.state)
    assert sum(tensor.numel() for tensor in after.state.values()) < sum(t.numel() for t in before.state.values())


def test_the_text_names_steps_difference_and_file(line: Path, printed: Any) -> None:
    text, _ = printed("reparam", "runs/tiny-001", "--images", "1")
    assert "step              ms before  ms after  difference" in text
    assert [line.split()[0] for line in text.splitlines()[1:6]] == STEPS
    assert "Largest difference on 1 picture:" in text
    assert text.endswith(f"Weights: {WRITTEN}\n")


def test_a_file_outside_a_run_is_written_beside_itself(line: Path, printed: Any) -> None:
    shutil.copy(build.newest_weights(), "mine.safetensors")
    value, _ = printed("reparam", "mine.safetensors", "--json")
    assert value["weights"] == "reparam.safetensors"
    value, _ = printed("reparam", "mine.safetensors", "--output", "new/fast.safetensors", "--json")
    assert value["weights"] == "new/fast.safetensors"
    assert Path("new/fast.safetensors").read_bytes() != b""
    assert not Path(WRITTEN).exists()


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["--steps", "fold_batch_norms, ifa_to_cfa"], ["ifa_to_cfa", "fold_batch_norms"]),
        (["--without", "fold_location", "--without", "ifa_to_cfa"], STEPS[1:4]),
    ],
)
def test_steps_are_chosen_by_name(line: Path, printed: Any, options: list[str], left: list[str]) -> None:
    """Written, applied in their order, and read again as a network."""
    value, _ = printed("reparam", "--json", "--images", "1", *options)
    assert [step["name"] for step in value["steps"]] == left
    value, _ = printed("bench", "--json", "--repeats", "1", "--warmup", "0")
    assert value["steps"] == left


@pytest.mark.parametrize("options", [["--steps", "fold"], ["--without", "fold"], ["--steps", ""]])
def test_a_step_that_is_not_there_is_answered_with_those_that_are(line: Path, refused: Any, options: list[str]) -> None:
    assert "fold_batch_norms" in refused("reparam", *options, code=2)


def test_what_stands_there_is_kept_unless_forced(line: Path, printed: Any, refused: Any) -> None:
    Path("mine.safetensors").write_bytes(b"precious")
    assert "--force" in refused("reparam", "--output", "mine.safetensors", code=2)
    printed("reparam", "--output", "mine.safetensors", "--force")
    assert load_weights(Path("mine.safetensors")).steps
    assert "is a folder" in refused("reparam", "--output", "datasets", "--force", code=2)


def test_the_same_line_writes_its_own_output_anew(line: Path, printed: Any, refused: Any) -> None:
    """A run's output follows the run; other folds, or another file's output, are refused."""
    for output in ((), ("--output", "fast.safetensors")):
        printed("reparam", *output)
        printed("reparam", *output)
        assert "exists already" in refused("reparam", "--without", "fold_location", *output, code=2)
    weights = load_weights(build.newest_weights())
    changed = {key: tensor + 1e-3 if tensor.is_floating_point() else tensor for key, tensor in weights.state.items()}
    write_weights(Path("other.safetensors"), replace(weights, state=changed))
    assert "exists already" in refused("reparam", "other.safetensors", "--output", "fast.safetensors", code=2)


def test_weights_are_changed_once(line: Path, printed: Any, refused: Any) -> None:
    printed("reparam")
    assert "re-parameterised already" in refused("reparam", WRITTEN, "--output", "again.safetensors", code=2)
    assert "re-parameterised already" in refused("reparam", WRITTEN, "--force", code=2)


def test_nothing_is_written_past_the_tolerance(line: Path, refused: Any) -> None:
    said = refused("reparam", "--tolerance", "1e-300", code=1)
    assert "differs by" in said
    assert "Nothing was written" in said


def test_a_step_that_changes_the_answers_is_noticed(line: Path, refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from yoso_cli.model import reparam

    def careless(model: Any) -> None:
        reparam.ifa_to_cfa(model)
        with torch.no_grad():
            model.aggregator.aggregate.convs[0].weight *= 1.05

    monkeypatch.setitem(reparam.STEPS, "ifa_to_cfa", careless)
    assert "differs by" in refused("reparam", code=1)


def test_a_full_disk_leaves_the_old_file(
    line: Path, printed: Any, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    printed("reparam")
    monkeypatch.setattr("os.fsync", full)
    assert "No space left on device" in refused("reparam", "--force", code=1)
    assert "No space left on device" in refused("reparam", "--output", "new/fast.safetensors", code=1)


@pytest.mark.parametrize("options", [["--images", "0"], ["--tolerance", "0"], ["--tolerance", "-1"], ["--oops"]])
def test_values_out_of_range_are_wrong_use(line: Path, refused: Any, options: list[str]) -> None:
    refused("reparam", *options, code=2)
