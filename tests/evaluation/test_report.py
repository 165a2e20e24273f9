"""The report tells a newcomer what was found, and a machine all that made the number."""

import hashlib
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from evaluation.found import CATEGORIES, PAPER, found

from yoso_cli.errors import DataError, RunError
from yoso_cli.evaluation.report import InferenceSettings, Report, WeightsFile, read_measured, write_report
from yoso_cli.runtime import machine
from yoso_cli.runtime.checksum import KEY, with_checksum

QUALITY = found().quality


def report() -> Report:
    return Report(found(), "coco", "val2017", 2, paper=PAPER)


def test_the_file_holds_all_that_made_the_number(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"numbers")
    whole = Report(
        found(),
        "coco",
        "val2017",
        2,
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
    jsonschema.validate(read, SCHEMA)
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


def test_a_report_file_is_one_side_of_a_comparison(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_report(path, report())
    read = read_measured(path)
    assert (read.name, read.dataset) == (str(path), "coco val2017")
    assert [(one.id, one.name, one.isthing) for one in read.categories] == [
        (one.id, one.name, one.isthing) for one in CATEGORIES
    ]
    assert np.array_equal(read.tallies.counts, report().measures.tallies.counts)


def without_checksum() -> dict[str, object]:
    return {key: value for key, value in report().to_dict().items() if key != KEY}


def test_a_report_that_was_changed_is_refused_and_one_of_an_earlier_version_read(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_report(path, report())
    whole = path.read_text()
    path.write_text(whole.replace('"pq": 34.888888888888886', '"pq": 74.888888888888886'))
    with pytest.raises(DataError, match=r"report\.json: is damaged or was edited: its checksum differs"):
        read_measured(path)
    path.write_text(json.dumps({"schema": 1, **report().to_dict()}))
    assert read_measured(path).dataset == "coco val2017", "as a command prints it"
    path.write_text(json.dumps(without_checksum()))
    assert read_measured(path).dataset == "coco val2017"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "other"}, "is not a report of `yoso eval`"),
        ({"version": 0}, "another version of yoso"),
        ({"per_image": None}, "per-image figures are damaged"),
        ({"per_image": [{"id": 1, "file": "a", "classes": [[77, 0, 0, 0, 0]]}]}, "per-image figures are damaged"),
        ({"per_image": [{"id": [], "file": "a", "classes": []}]}, "per-image figures are damaged"),
        ({"per_image": [{"id": 1, "file": "a", "classes": [[1, -1, 0, 0, 0]]}]}, "invalid values"),
        ({"quality": 3}, "is damaged"),
        ({"quality": {"classes": [{"id": 1}]}}, r"categories\[0\] lacks 'name'"),
    ],
)
def test_a_file_that_is_no_whole_report_is_refused(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(with_checksum(without_checksum() | changes)))
    with pytest.raises(DataError, match=words) as caught:
        read_measured(path)
    assert str(path) in caught.value.message


def test_the_file_is_readable_by_people(tmp_path: Path) -> None:
    write_report(tmp_path / "report.json", report())
    lines = (tmp_path / "report.json").read_text().splitlines()
    assert max(map(len, lines)) <= 120
    assert '    "all": {"pq": 34.888888888888886, "sq": 49.111111111111114, "rq": 47.222222222222214, "n": 3},' in lines


SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "report.schema.json").read_text())


def test_a_report_is_as_its_schema_says() -> None:
    """A key that is added must be told in docs/report.schema.json."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    whole = report().to_dict()
    jsonschema.validate(whole, SCHEMA)
    # What earlier versions wrote stays valid.
    assert set(whole) == {*SCHEMA["required"], "cityscapes_ap", "crc32", "void", "remarks"}


@pytest.mark.parametrize(
    "changes",
    [{"version": 2}, {"images": -1}, {"unknown": 1}, {"per_image": [{"id": 1, "file": "a", "classes": [[1, 0.5, 1]]}]}],
)
def test_what_is_no_report_is_not_as_the_schema_says(changes: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(report().to_dict() | changes, SCHEMA)
