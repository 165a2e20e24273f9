"""Written whole or not at all: a kill or a full disk at any moment leaves the old or the new."""

import contextlib
import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from yoso_cli import atomic
from yoso_cli.errors import RunError

ROOT = Path(__file__).resolve().parent.parent


def full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def killed(code: str, folder: Path) -> int:
    """Runs `code` in `folder` and returns how it ended."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=False).returncode


def test_a_file_appears_with_its_content_and_nothing_else_does(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.json"
    atomic.write_json(target, {"a": "é"})
    assert target.read_text() == '{"a": "é"}\n'
    atomic.write_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert names(target.parent) == ["file.json"]


def test_a_result_is_as_readable_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic.write_text(tmp_path / "file", "x")
        with atomic.replacing_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o750


def test_a_block_that_raises_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    with contextlib.suppress(ValueError), atomic.replacing(target) as temporary:
        temporary.write_text("half")
        raise ValueError
    assert target.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_block_that_raises_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").touch()
    with contextlib.suppress(ValueError), atomic.replacing_folder(target) as temporary:
        (temporary / "new").touch()
        raise ValueError
    assert names(target) == ["old"]
    assert names(tmp_path) == ["folder"]


def test_a_folder_is_replaced_with_all_that_was_in_it(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    for content in ("old", "new"):
        with atomic.replacing_folder(target) as temporary:
            (temporary / content).write_text(content)
    assert names(target) == ["new"]
    assert names(tmp_path) == ["folder"]


def test_a_kill_while_a_file_is_written_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    code = """
import os, signal
from pathlib import Path
from yoso_cli.atomic import replacing
with replacing(Path("file")) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert killed(code, tmp_path) == -signal.SIGKILL
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.parametrize("call", range(1, 5))
def test_a_kill_while_a_folder_is_swapped_leaves_one_whole(tmp_path: Path, call: int) -> None:
    """Before or after any rename or removal of the swap, a whole folder stands under the name or beside it."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").touch()
    code = f"""
import os, shutil, signal
from pathlib import Path
from yoso_cli.atomic import replacing_folder
calls = 0
def deadly(function):
    def wrapped(*arguments, **named):
        global calls
        calls += 1
        if calls == {call}:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)
    return wrapped
Path.replace, shutil.rmtree = deadly(Path.replace), deadly(shutil.rmtree)
with replacing_folder(Path("folder")) as temporary:
    (temporary / "new").touch()
"""
    assert killed(code, tmp_path) == -signal.SIGKILL
    found = [names(path) for path in [tmp_path / "folder", *tmp_path.glob(".folder*.old/folder")] if path.is_dir()]
    assert found
    assert all(content in (["old"], ["new"]) for content in found)


@pytest.mark.parametrize("broken", ["os.fsync", "pathlib.Path.write_bytes", "pathlib.Path.replace", "tempfile.mkstemp"])
def test_a_full_disk_is_told_and_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    monkeypatch.setattr(broken, full)
    with pytest.raises(RunError, match=r"file: cannot be written: No space left on device\. Free some space"):
        atomic.write_bytes(target, b"new")
    monkeypatch.undo()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_full_disk_leaves_the_old_folder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").touch()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="cannot be written"), atomic.replacing_folder(target) as temporary:
        (temporary / "new").touch()
    assert names(target) == ["old"]
    assert names(tmp_path) == ["folder"]


def test_a_swap_that_fails_half_way_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").touch()
    replace = Path.replace

    def second_fails(self: Path, to: Path) -> Path:
        return full() if self.name.endswith(".partial") else replace(self, to)

    monkeypatch.setattr(Path, "replace", second_fails)
    with pytest.raises(RunError, match="cannot be written"), atomic.replacing_folder(target) as temporary:
        (temporary / "new").touch()
    assert names(target) == ["old"]
    assert names(tmp_path) == ["folder"]


def test_a_place_under_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written"):
        atomic.write_text(tmp_path / "file" / "x", "x")
