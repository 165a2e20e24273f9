"""One writer of a path at a time, in threads and processes; a killed one is in nobody's way."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from yoso_cli import atomic, locks
from yoso_cli.errors import RunError
from yoso_cli.locks import sole_writer

ROOT = Path(__file__).resolve().parent.parent
WRITER = """
import sys, time
from pathlib import Path
from yoso_cli.locks import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path) -> "Iterator[subprocess.Popen[str]]":
    """Another process that writes `file`."""
    words = [sys.executable, "-c", WRITER, str(tmp_path / "file")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        assert process.stdout.readline() == "in\n"
        yield process
        process.kill()


def test_another_process_is_named_and_nothing_is_damaged(
    tmp_path: Path, other: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.2)
    (tmp_path / "file").write_text("theirs")
    with pytest.raises(RunError, match=f"file: another yoso is writing here, process {other.pid}"):
        atomic.write_text(tmp_path / "file", "ours")
    atomic.write_text(tmp_path / "other", "ours")
    other.kill()
    other.wait()
    assert (tmp_path / "file").read_text() == "theirs"


def test_a_killed_process_is_in_nobodys_way(tmp_path: Path, other: "subprocess.Popen[str]") -> None:
    other.send_signal(signal.SIGKILL)
    other.wait()
    atomic.write_text(tmp_path / "file", "ours")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_threads_are_in_the_block_one_after_the_other(tmp_path: Path) -> None:
    inside, most = 0, 0

    def write() -> None:
        nonlocal inside, most
        for _ in range(20):
            with sole_writer(tmp_path / "file"):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_lock_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / ".file.lock").write_text("my notes")
    with pytest.raises(RunError, match="is not a lock file of yoso"):
        atomic.write_text(tmp_path / "file", "new")
    assert (tmp_path / ".file.lock").read_text() == "my notes"


def test_a_file_system_without_locks_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refused)
    atomic.write_text(tmp_path / "file", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_holder_of_a_lock_is_told(tmp_path: Path) -> None:
    import fcntl

    with (tmp_path / "file").open("w") as file:
        assert locks.holder(file.fileno()) == ""
        fcntl.flock(file, fcntl.LOCK_EX)
        assert locks.holder(file.fileno()) == f", process {os.getpid()}"
