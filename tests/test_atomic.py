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
from yoso_cli.errors import DataError, RunError

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


# Kills the process before its renames, removals and folders made number CALL, of which EXCHANGE says whether the kernel
# exchanges two folders in one step.
DEADLY = """
import os, signal, sys
from pathlib import Path
from yoso_cli import atomic
count = 0
def audit(event, arguments):
    global count
    if event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree", "exchange", "exchanged"):
        count += 1
        if count == CALL:
            os.kill(os.getpid(), signal.SIGKILL)
exchange = atomic._exchange
def exchanged(one, other):
    sys.audit("exchange")
    done = exchange(one, other) if EXCHANGE else False
    sys.audit("exchanged")
    return done
atomic._exchange = exchanged
sys.addaudithook(audit)
with atomic.WRITER(Path("folder")) as temporary:
    (temporary / "new").touch()
"""


@pytest.mark.parametrize("writer", ["replacing_folder", "resumable_folder"])
@pytest.mark.parametrize("exchange", [True, False])
def test_a_kill_at_any_step_loses_nothing_and_the_next_run_leaves_nothing(
    tmp_path: Path, exchange: bool, writer: str
) -> None:
    code = DEADLY.replace("EXCHANGE", str(exchange)).replace("WRITER", writer)
    for call in range(1, 40):
        place = tmp_path / str(call)
        (place / "folder").mkdir(parents=True)
        (place / "folder" / "old").touch()
        ended = killed(code.replace("CALL", str(call)), place)
        atomic.recover(place / "folder")
        assert names(place / "folder") in (["old"], ["new"])
        with getattr(atomic, writer)(place / "folder") as temporary:
            (temporary / "new").touch()
        assert names(place / "folder") == ["new"]
        assert names(place) == ["folder"]
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
    assert call > 4


def test_a_folder_that_was_interrupted_is_gone_on_with(tmp_path: Path) -> None:
    with contextlib.suppress(ValueError), atomic.resumable_folder(tmp_path / "folder") as temporary:
        (temporary / "first").touch()
        raise ValueError
    assert not (tmp_path / "folder").exists()
    with atomic.resumable_folder(tmp_path / "folder") as temporary:
        assert names(temporary) == ["first"]
        (temporary / "second").touch()
    assert names(tmp_path / "folder") == ["first", "second"]
    assert names(tmp_path) == ["folder"]


@pytest.mark.parametrize("writer", ["replacing_folder", "resumable_folder"])
@pytest.mark.parametrize("name", [".folder.partial", ".folder.abcdefgh.partial", ".folder.abcdefgh.old", "folder"])
def test_a_link_under_any_name_is_not_followed(tmp_path: Path, writer: str, name: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis").write_text("precious")
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / name).symlink_to(home)
    with getattr(atomic, writer)(tmp_path / "place" / "folder") as temporary:
        (temporary / "new").touch()
    assert names(home) == ["thesis"]
    assert not (tmp_path / "place" / "folder").is_symlink()
    assert names(tmp_path / "place" / "folder") == ["new"]


def test_a_resumable_folder_with_a_link_in_it_is_not_gone_on_with(tmp_path: Path) -> None:
    """As from an archive that was unpacked here."""
    home, planted = tmp_path / "home", tmp_path / "place" / ".folder.abcdefgh.partial" / "images"
    home.mkdir()
    planted.parent.mkdir(parents=True)
    planted.symlink_to(home)
    with atomic.resumable_folder(tmp_path / "place" / "folder") as temporary:
        assert names(temporary) == []


@pytest.mark.parametrize("name", [".file.lock", ".file.abcdefgh.partial", "file"])
def test_a_link_under_any_name_is_not_followed_when_a_file_is_written(tmp_path: Path, name: str) -> None:
    precious, place = tmp_path / "precious", tmp_path / "place"
    precious.write_text("precious")
    place.mkdir()
    (place / name).symlink_to(precious)
    with contextlib.suppress(RunError):
        atomic.write_text(place / "file", "new")
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("below", ["", "deep", "deep/deeper"])
def test_folders_are_made_below_a_link_that_was_named_and_below_no_other(tmp_path: Path, below: str) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "disk")
    atomic.make_inside(tmp_path / "root", tmp_path / "root" / below)
    assert (tmp_path / "disk" / below).is_dir()
    (tmp_path / "root" / "link").symlink_to(tmp_path)
    with pytest.raises(DataError, match="root/link: is a link"):
        atomic.make_inside(tmp_path / "root", tmp_path / "root" / "link" / below)


def test_a_removed_folder_is_gone_and_a_link_is_removed_alone(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    atomic.remove_folder(tmp_path / "link")
    assert names(tmp_path) == ["folder"]
    atomic.remove_folder(tmp_path / "folder")
    assert names(tmp_path) == []
    # As when another process was faster.
    with pytest.raises(FileNotFoundError):
        atomic.remove_folder(tmp_path / "folder")
    assert names(tmp_path) == []


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
    """Where the system cannot exchange two folders."""
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").touch()
    replace = Path.replace

    def second_fails(self: Path, to: Path) -> Path:
        return full() if self.name.endswith(".partial") and to == target else replace(self, to)

    monkeypatch.setattr(Path, "replace", second_fails)
    monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    with pytest.raises(RunError, match="cannot be written"), atomic.replacing_folder(target) as temporary:
        (temporary / "new").touch()
    assert names(target) == ["old"]
    assert names(tmp_path) == ["folder"]


@pytest.mark.parametrize("linked", [False, True])
def test_no_file_takes_the_place_of_a_device(tmp_path: Path, linked: bool) -> None:
    """As root a rename over /dev/null would break the machine; a pipe is as special, and anybody's to make."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    target = tmp_path / ("link" if linked else "pipe")
    for write in (lambda: atomic.write_text(target, "x"), lambda: fill_folder(target)):
        with pytest.raises(RunError, match="is a device or pipe"):
            write()
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]


def fill_folder(path: Path) -> None:
    with atomic.replacing_folder(path) as folder:
        (folder / "a").write_text("a")


def test_a_place_under_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written"):
        atomic.write_text(tmp_path / "file" / "x", "x")
