"""A stranger's file is data: it is read as that or refused with a sentence, and nothing in it is ever run."""

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from yoso_cli.errors import DataError
from yoso_cli.model.pickled import is_safetensors, read_state

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.num_batches_tracked": torch.tensor(7)}


def written(path: Path, value: Any) -> Path:
    torch.save(value, path)
    return path


@pytest.mark.parametrize(
    "value",
    [
        STATE,
        OrderedDict(STATE),
        {"model": STATE, "iteration": 3, "optimizer": {"state": {}}},
        {"state_dict": STATE, "meta": {"epoch": 1}},
        {"model": {f"module.{key}": tensor for key, tensor in STATE.items()}},
        {"model": {key: torch.nn.Parameter(tensor, requires_grad=False) for key, tensor in STATE.items()}},
    ],
    ids=["plain", "ordered", "beside others", "state_dict", "of many GPUs", "parameters"],
)
def test_the_usual_wrappings_come_off(tmp_path: Path, value: Any) -> None:
    state = read_state(written(tmp_path / "w.pth", value))
    assert state.keys() == STATE.keys()
    assert all(torch.equal(state[key], STATE[key]) for key in STATE)


def test_files_of_before_torch_1_6_and_safetensors_are_read(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(STATE, tmp_path / "new.safetensors")
    for name in ("old.pth", "new.safetensors"):
        assert torch.equal(read_state(tmp_path / name)["a.weight"], STATE["a.weight"])
    assert [is_safetensors(tmp_path / name) for name in ("old.pth", "new.safetensors", "none")] == [False, True, False]


class Harmful:
    """Makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("form", ["zip", "old", "bare"])
def test_code_is_refused_and_not_run(tmp_path: Path, form: str) -> None:
    path, harmed = tmp_path / "w.pth", tmp_path / "harmed"
    value = {"model": {**STATE, "b": Harmful(harmed)}}
    if form == "bare":
        path.write_bytes(pickle.dumps(value))
    else:
        torch.save(value, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(DataError, match=r"w\.pth: (contains code|is not a readable weights file)"):
        read_state(path)
    assert not harmed.exists()


def test_nobody_is_told_to_load_it_without_care(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"model": {"a": slice(3)}}))
    with pytest.raises(DataError) as caught:
        read_state(tmp_path / "w.pth")
    assert "weights_only" not in str(caught.value)


def test_the_code_that_was_wanted_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "w.pth", {"model": Harmful(tmp_path / "harmed")})
    with pytest.raises(DataError, match=r"contains code \((posix|os)\.system\), which was not executed"):
        read_state(path)


@pytest.mark.parametrize(
    ("bad", "answer"),
    [
        (torch.tensor([1.0, float("nan")]), "tensors with values that are not finite: 1; the first is b"),
        (torch.tensor([float("inf")]), "not finite"),
        (torch.zeros(2, dtype=torch.int32), "b is int32, not floating point"),
        (torch.zeros(2, dtype=torch.bool), "b is bool, not floating point"),
        (torch.zeros(2, dtype=torch.complex64), "b is complex64, not floating point"),
        (torch.zeros(1).expand(40_000, 40_000), r"b has shape \(40000, 40000\), which is more values than are stored"),
        (torch.zeros(3, 3).to_sparse(), "b is not a plain tensor"),
        (torch.zeros(3, device="meta"), "b is not a plain tensor"),
        (3.0, "'b' is not a tensor, but float"),
        ({"c": torch.zeros(2)}, "'b' is not a tensor, but dict"),
    ],
    ids=["nan", "inf", "int32", "bool", "complex", "expanded", "sparse", "meta", "number", "nested"],
)
def test_what_is_no_weight_is_named(tmp_path: Path, bad: Any, answer: str) -> None:
    with pytest.raises(DataError, match=answer):
        read_state(written(tmp_path / "w.pth", {"model": {**STATE, "b": bad}}))


def test_a_counter_is_whole_numbers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="num_batches_tracked is float32, not int64"):
        read_state(written(tmp_path / "w.pth", {"bn.num_batches_tracked": torch.tensor(1.0)}))


@pytest.mark.parametrize("value", [[], {}, 3, "text", {3: torch.zeros(2)}, {"model": []}])
def test_what_holds_no_tensors_by_name_is_told(tmp_path: Path, value: Any) -> None:
    with pytest.raises(DataError, match=r"has no named tensors|is not a tensor"):
        read_state(written(tmp_path / "w.pth", value))


def test_an_archive_that_unpacks_to_more_than_it_is_is_not_unpacked(tmp_path: Path) -> None:
    path = written(tmp_path / "w.pth", {"x": torch.zeros(1_000_000)})
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        for member in whole.infolist():
            packed.writestr(member.filename, whole.read(member))
    with pytest.raises(DataError, match="unpacks to more than its own size"):
        read_state(tmp_path / "bomb.pth")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_torn_file_is_told(tmp_path: Path, share: float) -> None:
    content = written(tmp_path / "w.pth", STATE).read_bytes()
    (tmp_path / "torn.pth").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"truncated|is empty"):
        read_state(tmp_path / "torn.pth")


def test_a_list_of_tensors_that_ends_anywhere_is_told(tmp_path: Path) -> None:
    """In an archive whose checksums are right: torch's reader raises struct.error, for one."""
    path = written(tmp_path / "w.pth", STATE)
    with zipfile.ZipFile(path) as whole:
        members = {name: whole.read(name) for name in whole.namelist()}
    (listing,) = (name for name in members if name.endswith("data.pkl"))
    for length in range(len(members[listing])):
        with zipfile.ZipFile(tmp_path / "cut.pth", "w") as cut:
            for name, content in members.items():
                cut.writestr(name, content[:length] if name == listing else content)
        with pytest.raises(DataError):
            read_state(tmp_path / "cut.pth")


def test_a_missing_file_and_a_text_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_state(tmp_path / "none.pth")
    (tmp_path / "page.pth").write_text("<html></html>")
    with pytest.raises(DataError, match="not a readable weights file"):
        read_state(tmp_path / "page.pth")


def test_a_flipped_bit_anywhere_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    """In a tensor too, which torch reads without comparing the archive's CRC."""
    path = written(tmp_path / "w.pth", {"a.weight": torch.arange(600.0), "b.bias": torch.ones(3)})
    whole, random = path.read_bytes(), np.random.default_rng(2)
    now = {name: tensor.clone() for name, tensor in read_state(path).items()}
    noticed = 0
    for place in random.integers(0, len(whole), 400):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        try:
            then = read_state(path)
        except DataError:
            noticed += 1
            continue
        assert then.keys() == now.keys()
        assert all(torch.equal(then[name], now[name]) for name in now)
    assert noticed > 200
