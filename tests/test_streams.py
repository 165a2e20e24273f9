"""The machine around a command: closed or odd streams, a folder that is gone, no home, too little address space."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def shell(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Runs a line of sh in which `yoso` is this package; it must neither hang nor be a bug."""
    plain = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    script = f"yoso() {{ '{sys.executable}' -m yoso_cli \"$@\"; }}\n{line}"
    done = subprocess.run(
        ["sh", "-c", script], cwd=folder, env={**os.environ, **plain}, capture_output=True, timeout=60, check=False
    )
    assert b"bug in yoso" not in done.stderr
    assert b"Traceback" not in done.stderr
    return done


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_nobody_listening(tmp_path: Path, closed: str) -> None:
    assert shell(f"yoso recipe list {closed}", tmp_path).returncode == 0
    assert shell(f"yoso eval nothing {closed}", tmp_path).returncode == 2


def test_nothing_is_printed_into_a_file_that_takes_the_place_of_stdout(tmp_path: Path) -> None:
    written = shell("yoso recipe show shapes >plain.yaml; yoso recipe copy shapes copied.yaml >&- 2>&-", tmp_path)
    assert written.returncode == 0
    copied = (tmp_path / "copied.yaml").read_text()
    assert "Wrote" not in copied
    assert "Next:" not in copied


def test_a_full_stdout_is_told(tmp_path: Path) -> None:
    done = shell("yoso recipe list >/dev/full", tmp_path)
    assert done.returncode == 1
    assert b"No space left" in done.stderr


def test_a_name_that_the_terminal_cannot_print_is_escaped(tmp_path: Path) -> None:
    for encoding in ("ascii", "utf-8"):
        done = shell("yoso eval \"$(printf 'a\\377\\033[2Jb')\"", tmp_path, PYTHONIOENCODING=encoding)
        assert done.returncode == 2
        assert rb"a\udcff\x1b[2Jb" in done.stderr


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    done = shell("mkdir gone; cd gone; rmdir ../gone; yoso prepare shapes --train 1 --val 1", tmp_path)
    assert done.returncode == 1
    assert "The current folder has been deleted" in " ".join(done.stderr.decode().split())
    assert not list(tmp_path.iterdir())


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("no folder")
    (tmp_path / "file.pth").write_bytes(b"x")
    home = str(tmp_path / "home")
    assert shell("yoso weights list", tmp_path, HOME=home).returncode == 0
    done = shell("yoso weights get coco", tmp_path, HOME=home)
    assert done.returncode == 1
    assert b"home/.cache/yoso" in done.stderr


def test_little_address_space_is_told(tmp_path: Path) -> None:
    done = shell("ulimit -v 500000; yoso bench nothing --device cpu", tmp_path, OPENBLAS_NUM_THREADS="1")
    assert done.returncode in (1, 2)
    assert b"ulimit -v" in done.stderr
