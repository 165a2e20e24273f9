"""The report tells a newcomer what was found, and a machine all that made the number."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from yoso_cli import machine
from yoso_cli.errors import DataError, RunError
from yoso_cli.evaluation.quality import PanopticQuality, Tally
from yoso_cli.evaluation.report import InferenceSettings, PaperRow, Report, WeightsFile, table, write_report
from yoso_cli.panoptic.types import Category

CATEGORIES = (
    Category(1, "cat", True),
    Category(2, "dog", True),
    Category(3, "construction--barrier--concrete-block", False),
    Category(4, "sea", False),
)
COUNTED = Tally(np.array([0, 0, 2, 0]), np.array([0.9, 0.8, 0.7, 0.62]), np.array([1, 2, 0, 0]), np.array([1, 0, 1, 0]))
QUALITY = PanopticQuality.from_tally(COUNTED, CATEGORIES)
PAPER = PaperRow("Table 1, R50 at 800,1333", 48.4, 53.1, None)

GOLDEN = """\
Panoptic quality on coco val2017, 12 images, in percent

               PQ     SQ     RQ  classes  | paper PQ  ours - paper
All          34.9   49.1   47.2        3  |     48.4         -13.5
Things       29.0   38.7   37.5        2  |     53.1         -24.1
Stuff        46.7   70.0   66.7        1  |        -             -
Paper: Table 1, R50 at 800,1333

Each class: PQ = SQ x RQ. SQ: how well found segments fit (mean IoU of matches).
RQ: how many are found, false ones counted against (F1). Rows are class means.
Not counted: 1 of 4 classes, in neither truth nor prediction.

Class, best first             kind       PQ     SQ     RQ  found  false  missed
cat                           thing    58.0   77.3   75.0      3      1       1
...n--barrier--concrete-block stuff    46.7   70.0   66.7      1      0       1
dog                           thing     0.0    0.0    0.0      0      2       0"""


def report(quality: PanopticQuality = QUALITY, paper: PaperRow | None = PAPER) -> Report:
    return Report(quality, "coco", "val2017", 12, paper=paper)


def test_the_table_reads_as_promised() -> None:
    assert table(report()) == GOLDEN


def test_no_line_is_wider_than_80_columns() -> None:
    assert max(map(len, table(report()).splitlines())) <= 80


def test_without_published_figures_the_table_holds_ours_alone() -> None:
    text = table(report(paper=None))
    assert "paper" not in text.lower()
    assert "All          34.9   49.1   47.2        3\n" in text


def test_a_long_list_of_classes_leaves_the_headline_on_the_screen() -> None:
    many = tuple(Category(index + 1, f"class {index}", True) for index in range(133))
    counted = Tally(np.arange(133), np.linspace(0.6, 0.9, 133), np.zeros(133, np.int64), np.zeros(133, np.int64))
    lines = table(report(PanopticQuality.from_tally(counted, many))).splitlines()
    assert len(lines) < 32
    assert lines[-1].startswith("class 0 ")
    assert "  ... 117 more; --json tells all ..." in lines


def test_nothing_seen_is_said_and_not_a_crash() -> None:
    text = table(report(PanopticQuality.from_tally(Tally.empty(4), CATEGORIES)))
    assert "All             -      -      -        0" in text
    assert text.endswith("No class was seen: there is nothing to score.")


def test_the_file_holds_all_that_made_the_number(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"numbers")
    whole = Report(
        QUALITY,
        "coco",
        "val2017",
        12,
        truth="datasets/coco/val2017/panoptic",
        recipe="coco",
        weights=WeightsFile.of(weights),
        settings=InferenceSettings(800, 1333, 0.7, 0.8, "cpu"),
        paper=PAPER,
        versions=machine.versions(["numpy", "no-such-package"]),
        machine=machine.describe(),
    )
    write_report(tmp_path / "report.json", whole)
    read = json.loads((tmp_path / "report.json").read_text())
    assert read == whole.to_dict()
    assert (read["format"], read["version"]) == ("yoso-report", 1)
    assert read["quality"]["all"] == {
        "pq": 100 * QUALITY.all.pq,
        "sq": 100 * QUALITY.all.sq,
        "rq": 100 * QUALITY.all.rq,
        "n": 3,
    }
    assert read["quality"]["classes"][3]["pq"] is None
    assert read["weights"]["sha256"] == hashlib.sha256(b"numbers").hexdigest()
    assert read["settings"]["score_threshold"] == 0.7
    assert read["paper"]["pq"] == 48.4
    assert read["versions"] == {"numpy": np.__version__, "no-such-package": "not installed"}
    assert read["machine"]["cores"] >= 1


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")

    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunError, match="No space left"):
        write_report(path, report())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_missing_weights_have_no_hash(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.safetensors: cannot be read"):
        WeightsFile.of(tmp_path / "gone.safetensors")


def test_the_machine_is_told_in_plain_values() -> None:
    told = machine.describe()
    assert {"cpu", "cores", "python", "platform"} <= set(told)
    assert all(isinstance(value, str | int) for value in told.values())
    assert json.loads(json.dumps(told)) == told
