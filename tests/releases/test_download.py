"""A download arrives whole or is kept to go on from, whatever the server and the disk do."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from releases.server import Behaviour, serving

from yoso_cli.errors import DataError, RunError, UsageError
from yoso_cli.locks import sole_writer
from yoso_cli.releases import download as download_module
from yoso_cli.releases.download import download
from yoso_cli.runtime.progress import Bar

CONTENT = bytes(range(256)) * 4096


class Counted:
    """A bar that remembers."""

    def __init__(self) -> None:
        self.opened: list[tuple[int | None, int]] = []
        self.counted = 0
        self.told: list[str] = []

    @contextlib.contextmanager
    def bar(self, total: int | None, label: str, *, initial: int = 0, unit: str = "img") -> Iterator[Bar]:
        assert (label, unit) == ("weights.pth", "B")
        self.opened.append((total, initial))
        yield self

    def message(self, text: str) -> None:
        self.told.append(text)

    def update(self, n: int = 1, **figures: float | str) -> None:
        self.counted += n


def brought(address: str, target: Path, **options: Any) -> tuple[Counted, list[float]]:
    bar, pauses = Counted(), []
    download(address, target, progress=bar, pause=pauses.append, **options)
    return bar, pauses


def left_beside(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir() if path != target)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "weights.pth"


def test_a_file_arrives_whole_and_alone(target: Path) -> None:
    with serving(Behaviour(CONTENT)) as address:
        bar, pauses = brought(f"{address}weights.pth", target)
    assert target.read_bytes() == CONTENT
    assert left_beside(target) == []
    assert (bar.opened, bar.counted, pauses) == ([(len(CONTENT), 0)], len(CONTENT), [])


@pytest.mark.parametrize("etag", ['"one"', ""])
def test_a_cut_connection_goes_on_where_it_was(target: Path, etag: str) -> None:
    server = Behaviour(CONTENT, etag=etag, cuts=[1000, 5000])
    with serving(server) as address:
        bar, pauses = brought(f"{address}weights.pth", target)
    assert target.read_bytes() == CONTENT
    assert server.asked == ["", "bytes=1000-", "bytes=6000-"]
    assert bar.counted == len(CONTENT), "no byte came twice"
    assert pauses == [1, 1], "each time something had come"


def test_a_server_without_ranges_starts_again(target: Path) -> None:
    with serving(Behaviour(CONTENT, ranges=False, cuts=[1000])) as address:
        brought(f"{address}weights.pth", target)
    assert target.read_bytes() == CONTENT


def test_a_file_that_changed_on_the_way_is_not_patched_together(target: Path) -> None:
    server = Behaviour(CONTENT, cuts=[1000])
    with serving(server) as address:
        with pytest.raises(RunError):
            brought(f"{address}weights.pth", target, attempts=1)
        server.content, server.etag = CONTENT[::-1], '"two"'
        brought(f"{address}weights.pth", target)
    assert target.read_bytes() == CONTENT[::-1]


def test_a_file_of_another_length_is_not_patched_together_even_without_an_etag(target: Path) -> None:
    server = Behaviour(CONTENT, etag="", cuts=[1000])
    with serving(server) as address:
        with pytest.raises(RunError):
            brought(f"{address}weights.pth", target, attempts=1)
        server.content = CONTENT[::-1] + b"more"
        brought(f"{address}weights.pth", target)
    assert target.read_bytes() == CONTENT[::-1] + b"more"


def test_a_part_longer_than_the_file_is_dropped(target: Path) -> None:
    server = Behaviour(CONTENT, etag="", cuts=[1000])
    with serving(server) as address:
        with pytest.raises(RunError):
            brought(f"{address}weights.pth", target, attempts=1)
        server.content = b"short"
        brought(f"{address}weights.pth", target)
    assert target.read_bytes() == b"short"


def test_the_part_of_another_address_is_not_used(target: Path) -> None:
    server = Behaviour(CONTENT, cuts=[1000])
    with serving(server) as address:
        with pytest.raises(RunError):
            brought(f"{address}one.pth", target, attempts=1)
        brought(f"{address}two.pth", target)
    assert server.asked == ["", ""]
    assert target.read_bytes() == CONTENT


def test_a_stopped_download_is_kept_and_the_same_call_goes_on(target: Path) -> None:
    server = Behaviour(CONTENT, cuts=[300_000, 0, 0, 0])
    with serving(server) as address:
        with pytest.raises(RunError, match=r"broke at 0\.3 of 1\.0 MB, after 3 tries\. 0\.3 MB of it are kept"):
            brought(f"{address}weights.pth", target, attempts=3)
        assert not target.exists()
        server.cuts.clear()
        bar, _ = brought(f"{address}weights.pth", target)
    assert target.read_bytes() == CONTENT
    assert bar.opened == [(len(CONTENT), 300_000)]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_refusal_is_tried_again_later_and_later(target: Path, status: int) -> None:
    with serving(Behaviour(CONTENT, statuses=[status] * 3)) as address:
        _, pauses = brought(f"{address}weights.pth", target)
    assert target.read_bytes() == CONTENT
    assert pauses == [1, 2, 4]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_plain_refusal_is_told_at_once(target: Path, status: int) -> None:
    server = Behaviour(CONTENT, statuses=[status])
    with serving(server) as address, pytest.raises(RunError, match=f"weights.pth: the server answers {status} "):
        brought(f"{address}weights.pth", target)
    assert len(server.asked) == 1
    assert list(target.parent.iterdir()) == []


def test_a_web_page_is_no_file(target: Path) -> None:
    page = Behaviour(b"<html>please log in</html>", kind="text/html; charset=utf-8")
    with serving(page) as address, pytest.raises(RunError, match="a web page"):
        brought(f"{address}weights.pth", target)
    assert list(target.parent.iterdir()) == []


def test_a_length_that_is_not_told_is_no_hindrance(target: Path) -> None:
    with serving(Behaviour(CONTENT, length=False)) as address:
        bar, _ = brought(f"{address}weights.pth", target)
    assert target.read_bytes() == CONTENT
    assert bar.opened == [(None, 0)]


def test_nobody_at_home_is_told_after_some_tries(target: Path) -> None:
    with serving(Behaviour()) as address:
        pass
    pauses: list[float] = []
    bar = Counted()
    with pytest.raises(RunError, match=r"no connection \(.*refused.*\), after 5 tries\. Look at the network\."):
        download(f"{address}weights.pth", target, progress=bar, pause=pauses.append)
    assert pauses == [1, 2, 4, 8]
    assert [line[-19:] for line in bar.told] == [f"trying again in {wait} s" for wait in (1, 2, 4, 8)]


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://host/x", "https://", "weights.pth"])
def test_only_the_web_is_asked(target: Path, address: str) -> None:
    with pytest.raises(UsageError, match="is not a valid URL"):
        brought(address, target)


def test_a_disk_without_room_is_told_before_a_byte_is_written(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6 - 1000, 1000))
    server = Behaviour(CONTENT)
    with (
        serving(server) as address,
        pytest.raises(RunError, match=r"1\.0 MB are needed, but the disk has only 0\.0 MB"),
    ):
        brought(f"{address}weights.pth", target)
    assert list(target.parent.iterdir()) == []


def test_a_disk_that_fills_up_keeps_what_came(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = os.fdopen

    def limited(handle: int, mode: str) -> Any:
        opened = kept(handle, mode)
        return _Full(opened) if mode == "r+b" else opened

    server = Behaviour(CONTENT)
    with serving(server) as address:
        with monkeypatch.context() as patch:
            patch.setattr(download_module, "_CHUNK", 1000)
            patch.setattr(os, "fdopen", limited)
            with pytest.raises(RunError, match="No space left on device"):
                brought(f"{address}weights.pth", target)
        assert not target.exists()
        brought(f"{address}weights.pth", target)
    assert server.asked[-1].startswith("bytes="), "it went on from there"
    assert target.read_bytes() == CONTENT


class _Full:
    """A file on a disk of 5000 bytes."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __enter__(self) -> "_Full":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, chunk: bytes) -> int:
        if self._file.tell() + len(chunk) > 5000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return int(self._file.write(chunk))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_two_processes_do_not_write_into_one_file(target: Path) -> None:
    target.parent.mkdir()
    told = f"weights.pth: another yoso is writing here, process {os.getpid()}"
    with sole_writer(target), serving(Behaviour(CONTENT)) as address, pytest.raises(RunError, match=told):
        brought(f"{address}weights.pth", target)


def test_a_link_in_place_of_the_part_is_not_followed(target: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    target.parent.mkdir()
    target.with_name("weights.pth.part").symlink_to(precious)
    with serving(Behaviour(CONTENT)) as address, pytest.raises(DataError, match="is a link"):
        brought(f"{address}weights.pth", target)
    assert precious.read_text() == "precious"


def test_a_killed_process_leaves_a_part_to_go_on_from(target: Path) -> None:
    """The part on disk is what had come, whenever the process ends."""
    code = f"""
import contextlib, os, sys
from pathlib import Path
from yoso_cli.releases import download
download._CHUNK = 10_000
class Bar:
    count = 0
    def message(self, text):
        print(text)
    def bar(self, total, label, *, initial, unit):
        return contextlib.nullcontext(self)
    def update(self, n=1):
        self.count += n
        if self.count > 200_000:
            os.kill(os.getpid(), 9)
download.download(sys.argv[1], Path({str(target)!r}), progress=Bar())
"""
    server = Behaviour(CONTENT)
    with serving(server) as address:
        done = subprocess.run([sys.executable, "-c", code, f"{address}weights.pth"], check=False)
        assert done.returncode == -9
        assert not target.exists()
        brought(f"{address}weights.pth", target)
    assert int(server.asked[-1].removeprefix("bytes=").rstrip("-")) >= 190_000
    assert target.read_bytes() == CONTENT


def test_all_that_had_come_is_not_asked_for_again(target: Path) -> None:
    server = Behaviour(CONTENT)
    with serving(server) as address:
        brought(f"{address}weights.pth", target)
        server.cuts = [1000]
        with pytest.raises(RunError):
            brought(f"{address}weights.pth", target, attempts=1)
        target.with_name("weights.pth.part").write_bytes(CONTENT)
        brought(f"{address}weights.pth", target)
    assert server.asked == ["", ""]
    assert target.read_bytes() == CONTENT
