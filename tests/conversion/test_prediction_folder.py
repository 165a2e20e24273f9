"""A folder of predictions: nothing that is done is lost, and nothing that is not ours is touched."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conversion.test_prediction_formats import CATEGORIES

from yoso_cli.conversion.convert import SourcePicture
from yoso_cli.conversion.prediction_folder import Part, PredictionFolder, gather, incomplete_parts, remove_predictions
from yoso_cli.errors import DataError, RunError, UsageError
from yoso_cli.panoptic.files import read_panoptic, read_set
from yoso_cli.panoptic.types import Panoptic, Segment
from yoso_cli.runtime.checksum import KEY, checked_line

PANOPTIC = Panoptic(np.ones((4, 5), np.int32), (Segment(1, 7, 20, (0, 0, 5, 4), score=0.5),))
WHOLE = Part(1, 1)


def opened(
    folder: Path, *, part: Part = WHOLE, formats: tuple[str, ...] = ("panoptic",), score: float = 0.5
) -> PredictionFolder:
    return PredictionFolder(folder / "preds", {"score": score}, formats, CATEGORIES, folder / "photos", part)


def add(out: PredictionFolder, name: str) -> None:
    out.append(out.write(SourcePicture(name, f"{name}.jpg"), PANOPTIC, f"of {name}"))


def names(folder: Path) -> list[str]:
    return [record.image_file for record in read_set(folder / "preds").records]


def test_what_is_done_is_known_the_next_time(tmp_path: Path) -> None:
    with opened(tmp_path) as out:
        assert out.finished() == {}
        add(out, "b")
        add(out, "in/a")
    assert not (tmp_path / "preds/manifest.json").exists(), "not whole yet"
    with opened(tmp_path) as out:
        assert out.finished() == {"b": "of b", "in/a": "of in/a"}
        add(out, "c")
        assert out.finish()
    assert names(tmp_path) == ["b.jpg", "c.jpg", "in/a.jpg"]
    found = read_set(tmp_path / "preds")
    assert read_panoptic(found, found.records[2]).segments == PANOPTIC.segments
    about = json.loads((tmp_path / "preds/predictions.json").read_text())
    assert (about["complete"], about["pictures_done"], about["score"]) == (True, 3, 0.5)
    assert about["formats"] == ["panoptic"]


def test_a_line_cut_short_and_a_file_that_is_gone_are_done_again(tmp_path: Path) -> None:
    with opened(tmp_path) as out:
        for name in "abc":
            add(out, name)
    lines = tmp_path / "preds/parts/1-of-1.jsonl"
    lines.write_bytes(lines.read_bytes()[:-20])
    (tmp_path / "preds/panoptic/a.png").unlink()
    with opened(tmp_path) as out:
        assert out.finished() == {"b": "of b"}


def test_a_line_after_one_cut_short_counts(tmp_path: Path) -> None:
    """A kill leaves half a line; the next process begins a new one."""
    with opened(tmp_path) as out:
        add(out, "a")
    lines = tmp_path / "preds/parts/1-of-1.jsonl"
    lines.write_bytes(lines.read_bytes() + b'{"name": "b", "sta')
    with opened(tmp_path) as out:
        add(out, "c")
        assert out.finish()
    assert names(tmp_path) == ["a.jpg", "c.jpg"]


def test_a_damaged_line_is_predicted_again_and_its_part_is_not_complete(tmp_path: Path) -> None:
    with opened(tmp_path) as out:
        for name in "abc":
            add(out, name)
        assert out.finish()
    lines = tmp_path / "preds/parts/1-of-1.jsonl"
    assert gather(tmp_path / "preds") == (3, [])
    lines.write_text(lines.read_text().replace('"category_id": 7', '"category_id": 9', 1))
    assert gather(tmp_path / "preds") == (2, ["1 of 1"])
    with opened(tmp_path) as out:
        assert out.finished().keys() == {"b", "c"}
        add(out, "a")
        assert out.finish()
    assert names(tmp_path) == ["a.jpg", "b.jpg", "c.jpg"]


def test_damaged_settings_are_told(tmp_path: Path) -> None:
    with opened(tmp_path) as out:
        add(out, "a")
    about = tmp_path / "preds/predictions.json"
    about.write_text(about.read_text().replace("0.5", "0.7"))
    for score in (0.5, 0.7):
        with pytest.raises(DataError, match=r"predictions\.json: is damaged: its checksum differs"):
            opened(tmp_path, score=score)


def test_other_settings_other_formats_and_other_files_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as out:
        add(out, "a")
    with pytest.raises(UsageError, match="with other score"):
        opened(tmp_path, score=0.6)
    with pytest.raises(UsageError, match="with other formats"):
        opened(tmp_path, formats=("masks",))
    remove_predictions(tmp_path / "preds")
    with opened(tmp_path, formats=("masks",)) as out:
        assert out.finished() == {}
    # As a kill leaves them while the first file is written.
    (tmp_path / "preds").mkdir(exist_ok=True)
    for name in ("predictions.json", "masks"):
        place = tmp_path / "preds" / name
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    (tmp_path / "preds/.predictions.json.a1b2c3d4.partial").write_text("{")
    (tmp_path / "preds/.predictions.json.lock").write_text("")
    with opened(tmp_path, formats=("masks",)) as out:
        assert out.finished() == {}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/precious.txt").write_text("mine")
    with pytest.raises(UsageError, match="mine: has other files"):
        PredictionFolder(tmp_path / "mine", {}, ["panoptic"], CATEGORIES, tmp_path)
    with pytest.raises(UsageError, match="is a file"):
        PredictionFolder(tmp_path / "mine/precious.txt", {}, ["panoptic"], CATEGORIES, tmp_path)


def test_removing_predictions_leaves_what_is_not_theirs(tmp_path: Path) -> None:
    with opened(tmp_path, formats=("panoptic", "masks")) as out:
        add(out, "a")
        out.finish()
    (tmp_path / "preds/masks/mine.txt").write_text("mine")
    (tmp_path / "outside.png").write_text("mine")
    lines = tmp_path / "preds/parts/1-of-1.jsonl"
    evil = {"name": "x", "stamp": "x", "files": ["../outside.png"], "entries": {}, "losses": {}}
    lines.write_bytes(lines.read_bytes() + json.dumps(evil).encode() + b"\n")
    remove_predictions(tmp_path / "preds")
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["outside.png", "preds/masks/mine.txt", "preds/predictions.json"]


def forged(folder: Path, place: int, changed: dict[str, Any]) -> Path:
    """Predictions of two pictures, a line of which is another one with its checksum right."""
    with opened(folder) as out:
        add(out, "a")
        add(out, "b")
        out.finish()
    path = folder / "preds/parts/1-of-1.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[place] |= changed
    path.write_bytes(b"".join(checked_line({key: one for key, one in line.items() if key != KEY}) for line in lines))
    return folder / "preds"


def test_forged_lines_are_left_out(tmp_path: Path) -> None:
    assert gather(forged(tmp_path / "1", 0, {"entries": {"masks": {}}})) == (1, [])
    assert gather(forged(tmp_path / "2", 2, {"names": "all"})) == (2, ["1 of 1"])


def test_a_forged_entry_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has a line that is not as it was written"):
        gather(forged(tmp_path, 0, {"entries": {"panoptic": 5}}))


def test_predictions_are_replaced_where_a_kill_has_left_a_file_that_no_line_names(tmp_path: Path) -> None:
    with opened(tmp_path) as out:
        add(out, "a")
    (tmp_path / "preds/panoptic/orphan.png").write_bytes(b"x")
    remove_predictions(tmp_path / "preds")
    with opened(tmp_path, formats=("masks",)) as out:
        add(out, "b")
        out.finish()
    assert list(out.finished()) == ["b"]


def test_parts_join_when_the_last_one_is_done(tmp_path: Path) -> None:
    with opened(tmp_path, part=Part(2, 2)) as out:
        add(out, "b")
        assert not out.finish()
    assert incomplete_parts(tmp_path / "preds") == ["1 of 2"]
    assert not (tmp_path / "preds/panoptic.json").exists()
    with opened(tmp_path, part=Part(1, 2)) as out:
        assert out.finished() == {"b": "of b"}
        add(out, "a")
        assert out.finish()
    assert names(tmp_path) == ["a.jpg", "b.jpg"]


def test_what_is_there_can_be_joined_before_all_is_done(tmp_path: Path) -> None:
    with opened(tmp_path, part=Part(2, 3)) as out:
        add(out, "b")
        out.finish()
    assert gather(tmp_path / "preds") == (1, ["1 of 3", "3 of 3"])
    assert names(tmp_path) == ["b.jpg"]
    with pytest.raises(DataError, match=r"predictions\.json: no such file"):
        gather(tmp_path / "none")


def test_items_are_divided_evenly() -> None:
    shares = [list(Part(number, 3).share(range(10))) for number in (1, 2, 3)]
    assert sorted(item for share in shares for item in share) == list(range(10))
    assert {len(share) for share in shares} == {3, 4}


def test_two_processes_never_write_one_part(tmp_path: Path) -> None:
    wanted = rf"another yoso is writing part 1 of 1 here, process {os.getpid()}\."
    with opened(tmp_path), pytest.raises(RunError, match=wanted), opened(tmp_path):
        pass
    with opened(tmp_path, part=Part(1, 2)), opened(tmp_path, part=Part(2, 2)):
        pass


@pytest.mark.parametrize("place", ["preds/panoptic", "preds/parts", "preds/masks/a", "preds/parts/1-of-1.jsonl"])
def test_nothing_is_written_through_a_link(tmp_path: Path, place: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with opened(tmp_path, formats=("panoptic", "masks")):
        pass
    planted = tmp_path / place
    shutil.rmtree(planted, ignore_errors=True)
    planted.unlink(missing_ok=True)
    planted.parent.mkdir(exist_ok=True, parents=True)
    planted.symlink_to(outside if "." not in place else outside / "file")
    with pytest.raises(DataError, match="is a link"), opened(tmp_path, formats=("panoptic", "masks")) as out:
        add(out, "a")
    assert not list(outside.iterdir())


def test_a_link_in_the_place_of_a_file_is_replaced(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "preds/panoptic").mkdir(parents=True)
    (tmp_path / "preds/parts").mkdir()
    (tmp_path / "preds/predictions.json").write_text("{}")
    shutil.rmtree(tmp_path / "preds")
    with opened(tmp_path) as out:
        add(out, "a")
        (tmp_path / "preds/panoptic/b.png").symlink_to(precious)
        add(out, "b")
    assert precious.read_text() == "mine"
    assert not (tmp_path / "preds/panoptic/b.png").is_symlink()


def test_a_full_disk_leaves_no_line_of_what_is_not_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as out:
        add(out, "a")
        with monkeypatch.context() as patch:

            def full(*_: object) -> None:
                raise OSError(28, os.strerror(28))

            patch.setattr(Path, "write_bytes", full)
            with pytest.raises(RunError, match="No space left"):
                add(out, "b")
    with opened(tmp_path) as out:
        assert out.finished() == {"a": "of a"}
        add(out, "b")
        out.finish()
    assert names(tmp_path) == ["a.jpg", "b.jpg"]
    assert not list((tmp_path / "preds").rglob("*.partial"))


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    left = tmp_path / "preds/parts/.1.killed.partial"
    left.mkdir()
    (left / "half.png").write_bytes(b"half")
    with opened(tmp_path):
        assert not left.exists()
