"""`yoso compare`: of runs, of reports, of predictions; and what it answers where it cannot."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from yoso_cli.cli import run


def test_a_run_against_itself_with_other_thresholds(line: Path, printed: Any) -> None:
    printed("eval", "--device", "cpu")
    _, told = printed("eval", "--device", "cpu", "--set", "inference.score_threshold=1")
    sides = ["runs/tiny-001", "runs/tiny-001/evaluations/score_threshold=1.0"]
    assert told.endswith(f"Next: yoso compare {sides[0]} {sides[1]}")
    value, _ = printed("compare", *sides, "--json")
    assert [value["a"], value["b"]] == [f"{side}/report.json" for side in sides]
    assert value["all"]["pq"]["b"] == 0
    text, told = printed("compare", *sides)
    assert text.startswith("Panoptic quality on shapes val, 3 images, in percent")
    assert told == f"Next: yoso compare {sides[0]} {sides[1]} --json > comparison.json"


def test_what_eval_prints_can_be_compared(line: Path, printed: Any) -> None:
    value, _ = printed("eval", "--json", "--device", "cpu")
    Path("printed.json").write_text(json.dumps(value))
    text, _ = printed("compare", "printed.json", "runs/tiny-001")
    assert text.endswith("Both score the same on every image.\n")


def test_predictions_against_truth_and_beside_a_report(line: Path, printed: Any) -> None:
    printed("eval", "--device", "cpu", "--save-predictions", "kept")
    truth = "datasets/shapes/val"
    value, _ = printed("compare", "kept", truth, "--truth", truth, "--json")
    assert value["all"]["pq"]["b"] == 100
    value, _ = printed("compare", "runs/tiny-001", "kept", "--truth", truth, "--json")
    assert value["all"]["pq"]["difference"] == 0


def test_predictions_need_no_torch(line: Path) -> None:
    program = (
        "import sys; from yoso_cli.cli import run; code = run(sys.argv[1:]); "
        "assert not {'torch', 'torchvision', 'scipy'} & set(sys.modules); sys.exit(code)"
    )
    truth = "datasets/shapes/val"
    args = ["compare", truth, truth, "--truth", truth]
    done = subprocess.run([sys.executable, "-c", program, *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_missing_is_said_with_the_way_out(line: Path, refused: Any) -> None:
    report = Path("runs/tiny-001/report.json")
    report.unlink()
    assert "has no report yet. Type `yoso eval runs/tiny-001`" in refused("compare", *["runs/tiny-001"] * 2, code=1)
    truth = "datasets/shapes/val"
    assert "add --truth" in refused("compare", truth, truth, code=2)
    assert "add --truth" in refused("compare", f"{truth}/panoptic.json", truth, code=2)


def test_other_pictures_are_refused(line: Path, refused: Any, printed: Any) -> None:
    printed("eval", "--device", "cpu")
    printed("eval", "--device", "cpu", "--json")
    assert run(["eval", "--device", "cpu", "--split", "train"]) == 0
    words = refused("compare", "runs/tiny-001", "runs/tiny-001/evaluations/train", code=1)
    assert "cannot be compared" in words
