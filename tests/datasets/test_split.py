"""Making a split: in one process or several, after a kill, on a full disk, with damaged files."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import raw_layouts
from build import listing

from yoso_cli.atomic import resumable_folder
from yoso_cli.datasets import cityscapes
from yoso_cli.datasets.split import Journal, make
from yoso_cli.errors import DataError, ProblemsError, RunError, UsageError
from yoso_cli.panoptic import png
from yoso_cli.panoptic.files import read_manifest
from yoso_cli.runtime.checksum import checked_line


@pytest.fixture
def raw(tmp_path):
    return raw_layouts.cityscapes(tmp_path / "raw", splits=("val",), count=6)


def plan_of(root):
    (plan,) = cityscapes.plans(root)[0]
    return plan


def maps(root):
    return sorted(root.rglob("*_instanceIds.png"))


def counting(monkeypatch):
    """The pictures that are converted from now on."""
    converted = []
    read = cityscapes.read_instance_map

    def watched(photo, table):
        converted.append(str(photo.maps[0]))
        return read(photo, table)

    monkeypatch.setattr(cityscapes, "read_instance_map", watched)
    return converted


def test_several_processes_make_the_same_files_as_one(tmp_path):
    root = raw_layouts.cityscapes(tmp_path / "raw", splits=("val",), count=70, size=(8, 9))
    folders = [make(plan_of(root), tmp_path / str(workers), workers=workers).folder for workers in (1, 2)]
    one, other = (
        {Path(name).relative_to(folder): digest for name, digest in listing(folder).items()} for folder in folders
    )
    assert one == other
    assert len(one) == 74


def test_finished_work_is_recognised_until_its_source_changes(raw, tmp_path, monkeypatch):
    assert make(plan_of(raw), tmp_path / "out").fresh
    before = listing(tmp_path / "out")
    converted = counting(monkeypatch)
    assert not make(plan_of(raw), tmp_path / "out").fresh
    assert not converted
    assert listing(tmp_path / "out") == before
    raw_layouts.write_png(maps(raw)[0], np.full((24, 40), 7, np.uint16))
    with pytest.raises(UsageError, match="source_bytes"):
        make(plan_of(raw), tmp_path / "out")
    assert make(plan_of(raw), tmp_path / "out", force=True).fresh
    assert len(converted) == 6


def test_the_first_damaged_file_ends_preparation_and_finished_work_is_kept(raw, tmp_path, monkeypatch):
    damaged = maps(raw)[3]
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    with pytest.raises(ProblemsError, match=damaged.name) as caught:
        make(plan_of(raw), tmp_path / "out")
    assert len(caught.value.problems) == 1
    assert not (tmp_path / "out" / "cityscapes" / "val").exists()
    damaged.write_bytes(whole)
    converted = counting(monkeypatch)
    assert make(plan_of(raw), tmp_path / "out").fresh
    assert converted == [str(path.resolve()) for path in maps(raw)[3:]]


def test_keep_going_reports_every_problem_at_once(raw, tmp_path):
    """A truncated map, a wrong mode, 16 bits that became 8, a foreign value and a photo without labels."""
    paths = maps(raw)
    paths[0].write_bytes(paths[0].read_bytes()[:-30])
    raw_layouts.as_palette(paths[1])
    raw_layouts.write_png(paths[2], png.read(paths[2]).astype(np.uint8))
    raw_layouts.write_png(paths[3], np.full((24, 40), 40_000, np.uint16))
    paths[4].unlink()
    with pytest.raises(ProblemsError) as caught:
        make(plan_of(raw), tmp_path / "out", keep_going=True)
    words = ["label map is not there", "truncated", "palette", "8-bit grey", "40000"]
    assert len(caught.value.problems) == 5
    for word, problem in zip(words, caught.value.problems, strict=True):
        assert word in problem
    named = [path.name.removesuffix("_gtFine_instanceIds.png") for path in (paths[4], *paths[:4])]
    assert all(name in problem for name, problem in zip(named, caught.value.problems, strict=True))
    assert not (tmp_path / "out" / "cityscapes" / "val").exists()


def test_a_kill_at_any_moment_leaves_nothing_incomplete_and_can_be_resumed(tmp_path):
    root = raw_layouts.cityscapes(tmp_path / "raw", splits=("val",), count=150, size=(300, 400))
    command = [sys.executable, "-m", "yoso_cli", "prepare", "cityscapes", "--root", str(root), "--workers", "1"]
    folder = tmp_path / "datasets" / "cityscapes" / "val"

    def journal_text():
        return "".join(path.read_text() for path in folder.parent.glob(".val.*.partial/journal.jsonl"))

    killed = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and journal_text().count("\n") <= 20:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not folder.exists()
    (journal,) = folder.parent.glob(".val.*.partial/journal.jsonl")
    done = journal.read_text().count("\n") - 1
    assert 0 < done < 150
    journal.write_text(journal.read_text()[:-7])  # as if the last line had been cut
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"({done - 1} done before)" in again.stderr
    assert json.loads((folder / "manifest.json").read_text())["images"] == 150
    expected = make(plan_of(root), tmp_path / "expected").folder
    files = {Path(name).relative_to(expected) for name in listing(expected)}
    assert files == {Path(name).relative_to(folder) for name in listing(folder)}
    assert (folder / "panoptic.json").read_bytes() == (expected / "panoptic.json").read_bytes()
    assert not list(folder.parent.glob(".*"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("place", [1, "a.png", "b.png", "high", 9]),
        ("place", [None, 5, [], 1, 1]),
        ("segments", [[1, 999, 5, [0] * 4, 0]]),
    ],
)
def test_a_line_of_the_journal_with_odd_values_is_made_again(raw, tmp_path, key, value):
    last = maps(raw)[5]
    last.rename(tmp_path / "later.png")
    with pytest.raises(ProblemsError):
        make(plan_of(raw), tmp_path / "out", keep_going=True)
    (journal,) = (tmp_path / "out" / "cityscapes").glob(".val.*.partial/journal.jsonl")
    first, line, *others = journal.read_text().splitlines()
    forged = {name: one for name, one in json.loads(line).items() if name != "crc32"} | {key: value}
    journal.write_text("\n".join([first, checked_line(forged).decode().strip(), *others]) + "\n")
    (tmp_path / "later.png").rename(last)
    assert len(make(plan_of(raw), tmp_path / "out").panoptic_set.records) == 6


def test_a_file_that_a_power_cut_emptied_is_made_again(raw, tmp_path, monkeypatch):
    maps(raw)[5].rename(tmp_path / "later.png")
    with pytest.raises(ProblemsError):
        make(plan_of(raw), tmp_path / "out", keep_going=True)
    (partial,) = (tmp_path / "out" / "cityscapes").glob(".val.*.partial")
    made = sorted((partial / "cityscapes_panoptic_val").iterdir())
    made[2].write_bytes(b"")
    assert len(Journal(partial, {}, ()).records) == 0, "of other parameters"
    (tmp_path / "later.png").rename(maps(raw)[0].parent / "later.png")
    converted = counting(monkeypatch)
    with pytest.raises(ProblemsError):
        make(plan_of(raw), tmp_path / "out", keep_going=True)
    assert [Path(one).name for one in converted] == [made[2].name.replace("panoptic.png", "instanceIds.png")]


@pytest.mark.parametrize("name", ["cityscapes", "cityscapes/.val.partial", "cityscapes/.val.abcdefgh.partial"])
def test_a_planted_link_is_not_followed(raw, tmp_path, name):
    home, link = tmp_path / "home", tmp_path / "out" / name
    home.mkdir()
    (home / "thesis.txt").write_text("precious")
    link.parent.mkdir(parents=True)
    link.symlink_to(home)
    with suppress(DataError):
        make(plan_of(raw), tmp_path / "out")
    assert [path.name for path in home.iterdir()] == ["thesis.txt"]


def test_a_damaged_line_of_the_journal_is_made_again(raw, tmp_path, monkeypatch):
    converted = counting(monkeypatch)
    wrong = maps(raw)[3]
    whole = wrong.read_bytes()
    wrong.write_bytes(whole[:-20])
    with pytest.raises(ProblemsError):
        make(plan_of(raw), tmp_path / "out")
    (journal,) = (tmp_path / "out").rglob("journal.jsonl")
    first, second, *others = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([first, second.replace('"place": ["', '"place": ["x', 1), *others]))
    assert journal.read_text() != "".join([first, second, *others])
    wrong.write_bytes(whole)
    converted.clear()
    made = make(plan_of(raw), tmp_path / "out")
    assert len(made.panoptic_set.records) == len(converted) == 6


def test_a_full_disk_is_reported_and_nothing_looks_complete(raw, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(RunError, match="No space left"):
            make(plan_of(raw), tmp_path / "out")
    assert not (tmp_path / "out" / "cityscapes" / "val").exists()
    assert make(plan_of(raw), tmp_path / "out").fresh


def test_two_processes_do_not_make_the_same_split(raw, tmp_path):
    with (
        resumable_folder(tmp_path / "out" / "cityscapes" / "val"),
        pytest.raises(RunError, match=f"another yoso is writing here, process {os.getpid()}"),
    ):
        make(plan_of(raw), tmp_path / "out")


def test_the_manifest_is_written_last_and_tells_what_it_was_made_from(raw, tmp_path):
    prepared = make(plan_of(raw), tmp_path / "out")
    manifest = read_manifest(prepared.folder)
    assert manifest is not None
    assert (manifest["source_files"], manifest["images"], manifest["conversion"]) == (6, 6, 1)
    newest = max(
        (path for path in prepared.folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_mtime_ns
    )
    assert newest.name == "manifest.json"


def test_statistics_add_up(raw, tmp_path):
    prepared = make(plan_of(raw), tmp_path / "out")
    found = json.loads((prepared.folder / "statistics.json").read_text())
    segments = [segment for record in prepared.panoptic_set.records for segment in record.segments]
    assert found["images"] == 6
    assert found["pixels"] == 6 * 24 * 40
    assert found["segments"] == sum(not one.iscrowd for one in segments)
    assert sum(one["crowds"] for one in found["classes"]) == sum(one.iscrowd for one in segments)
    seen = sum(one["pixels"] for one in found["classes"])
    assert seen == sum(one.area for one in segments)
    assert found["void_share"] == pytest.approx(1 - seen / found["pixels"])
    assert [one["name"] for one in found["classes"]][:2] == ["road", "sidewalk"]
