"""What earlier versions wrote is still read: `kept` holds one file of each format, written once and never again.

The run folder (recipe, metrics, checkpoint, reports, re-parameterised weights), weights of format versions 1 to 3, the
layout of YOSO's authors, a prepared set, predictions and a truth cache. `answer.npz` is what the network then said of
the first validation picture.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from yoso_cli.api.weights import read_model
from yoso_cli.cli import run
from yoso_cli.evaluation.report import read_measured
from yoso_cli.run_folder import RunFolder

KEPT = Path(__file__).parent / "kept"
RUN = Path("runs/tiny-001")
CHECKPOINT = "runs/tiny-001/checkpoints/iteration-0000003/weights.safetensors"


@pytest.fixture(autouse=True)
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "kept"
    shutil.copytree(KEPT, folder)
    monkeypatch.chdir(folder)


@pytest.mark.parametrize(
    "weights",
    [
        CHECKPOINT,
        "runs/tiny-001/reparam.safetensors",
        "weights-version-1.safetensors",
        "weights-version-3.safetensors",
    ],
    ids=str,
)
def test_weights_answer_as_they_did(weights: str) -> None:
    """To the rounding of single precision on another processor."""
    require_kept_answer(Path(weights))


def require_kept_answer(weights: Path) -> None:
    said = np.load("answer.npz")
    predictor = read_model(weights).predictor("cpu")
    with torch.inference_mode():
        output = predictor.answer([predictor.resized(said["pixels"])])
    for name in ("mask_logits", "class_logits"):
        torch.testing.assert_close(getattr(output, name), torch.from_numpy(said[name]), rtol=2e-3, atol=2e-4)


def test_the_authors_layout_is_imported() -> None:
    words = ["weights", "import", "tiny-released.pth", "--recipe", "tiny.yaml", "-o", "back.safetensors"]
    assert run([*words, "--categories", "datasets/shapes/val/panoptic.json"]) == 0
    require_kept_answer(Path("back.safetensors"))


def test_a_run_goes_on_from_its_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = RUN / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("  iterations: 3 ", "  iterations: 5 "))
    assert run(["train", "--resume", str(RUN), "--device", "cpu"]) == 0
    assert "Resuming runs/tiny-001 after step 3" in capsys.readouterr().err
    assert [line["iteration"] for line in RunFolder(RUN).metrics() if "loss" in line] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("report", ["report.json", "evaluations/fast-merge+bfloat16/report.json"])
def test_reports_are_compared(report: str) -> None:
    kept = json.loads((RUN / report).read_text())
    measured = read_measured(RUN / report)
    assert len(measured.tallies.image_ids) == kept["images"] == 2
    assert run(["compare", str(RUN / report), str(RUN)]) == 0


def test_the_reparameterised_weights_and_the_set_are_evaluated(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "runs/tiny-001/reparam.safetensors", "--device", "cpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 2


def test_predictions_score_the_same_with_the_cache_and_without(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", "--predictions", "pred", "--truth", "datasets/shapes/val", "--json"]
    before = Path("truth.cache").read_bytes()
    found = []
    for more in ([], ["--truth-cache", "truth.cache"]):
        capsys.readouterr()
        assert run([*words, *more]) == 0
        found.append(json.loads(capsys.readouterr().out)["quality"])
    assert found[0] == found[1]
    assert len(before) > 100
