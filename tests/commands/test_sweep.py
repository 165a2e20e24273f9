"""`yoso eval --sweep`: every cell is the evaluation with its thresholds, and the best pair can be saved."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import build
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yoso_cli.api.evaluate import EvaluationRequest, evaluate_predictor
from yoso_cli.api.sweep import SweepRequest, sweep_model
from yoso_cli.api.weights import read_model
from yoso_cli.cli import run
from yoso_cli.evaluation.matching import Overlap
from yoso_cli.evaluation.measures import overlap_for
from yoso_cli.evaluation.sweep import Cell, Thresholds, best_of, count_at, grid, summed
from yoso_cli.inference.predict import Predictor
from yoso_cli.model.weights import load_weights, read_header
from yoso_cli.model.yoso import Output
from yoso_cli.panoptic.files import SetWriter, read_set
from yoso_cli.panoptic.types import Category, ImageRecord, Panoptic, Segment, measured
from yoso_cli.run_folder import RunFolder

SCORES = (0.2, 0.45, 0.6, 0.9)
OVERLAPS = (0.0, 0.5, 0.9)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("line")
    build.trained_line(folder)
    _redraw(folder / "datasets" / "shapes" / "val")
    return folder


@pytest.fixture
def here(line: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run and pictures whose answers are known: its masks are what is bright, each with another score."""
    shutil.copytree(line, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setattr(Predictor, "answer", _answer)
    return tmp_path / "copy"


def _redraw(split: Path) -> None:
    """Six pictures of two squares on the ground."""
    categories = read_set(split).categories
    thing = next(one for one in categories if one.isthing)
    stuff = next(one for one in categories if not one.isthing)
    shutil.rmtree(split)
    writer = SetWriter(split, "shapes", split.name, categories)
    for index in range(6):
        ids = np.ones((64, 64), np.int32)
        ids[8:32, 8 : 28 + 2 * index] = 2
        ids[40:56, 16:56] = 3
        segments = measured(ids, [Segment(1, stuff.id, 1), Segment(2, thing.id, 1), Segment(3, thing.id, 1)])
        record = ImageRecord(index, f"{index}.png", f"{index}.png", 64, 64, segments)
        writer.add(record, Panoptic(ids, segments), np.repeat((ids * 60).astype(np.uint8)[..., None], 3, 2))
    writer.finish()


def _answer(predictor: Predictor, pictures: Sequence[Any]) -> Output:
    """Of each picture six queries: its parts, and wrong ones that score less or lie half below others."""
    masks, classes = [], []
    things = [place for place, one in enumerate(predictor.categories) if one.isthing]
    stuff = [place for place, one in enumerate(predictor.categories) if not one.isthing]
    for (shown,) in pictures:
        grey = shown.pixels.float().mean(-1)[::4, ::4]
        parts = [grey < 90, (grey > 90) & (grey < 150), grey > 150]
        parts += [parts[1].roll(3, 0), parts[2].roll(2, 1), parts[0].roll(4, 0)]
        masks.append(torch.stack([8.0 * one.float() - 4 for one in parts]))
        wide = int(parts[1].sum())
        scores = [0.95, min(0.3 + 0.01 * wide, 0.97), 0.7, 0.5, 0.4, 0.55]
        labels = [stuff[0], things[0], things[0], things[1], things[0], stuff[1]]
        logits = torch.full((6, len(predictor.categories) + 1), -20.0)
        for row, (score, label) in enumerate(zip(scores, labels, strict=True)):
            logits[row, label], logits[row, -1] = np.log(score), np.log(1 - score)
        classes.append(logits)
    return Output(torch.stack(masks), torch.stack(classes))


def result(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert run(["eval", *words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


SWEEP = (
    f"--sweep=score={','.join(map(str, SCORES))}",
    f"--sweep=overlap={','.join(map(str, OVERLAPS))}",
)


def alone(score: float, overlap: float) -> dict[str, Any]:
    """The report of an evaluation with these thresholds."""
    thresholds = (f"inference.score_threshold={score}", f"inference.overlap_threshold={overlap}")
    model = read_model(RunFolder(Path("runs/tiny-001")).weights(), thresholds)
    truth = read_set(Path("datasets/shapes/val"))
    return evaluate_predictor(model.predictor("cpu"), truth, model.recipe, model.path).to_dict()


def test_each_cell_is_the_evaluation_with_these_thresholds(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    swept = result(capsys, *SWEEP)
    assert [(one["score"], one["overlap"]) for one in swept["cells"]] == list(grid(SCORES, OVERLAPS))
    assert len({one["pq"] for one in swept["cells"]}) >= 5
    for cell in swept["cells"]:
        quality = alone(cell["score"], cell["overlap"])["quality"]
        assert cell["pq"] == quality["all"]["pq"]
        assert cell["pq_things"] == quality["things"]["pq"]
        assert cell["pq_stuff"] == quality["stuff"]["pq"]
    best = max(swept["cells"], key=lambda one: one["pq"])
    assert swept["best"]["pq"] == best["pq"]
    interval = alone(swept["best"]["score"], swept["best"]["overlap"])["confidence"]["all"]["pq"]
    assert swept["best"]["interval"] == pytest.approx(interval, abs=1e-4)
    assert swept["present"]["pq"] == result(capsys)["quality"]["all"]["pq"]


def test_a_pair_can_be_chosen_on_other_pictures(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = result(capsys, *SWEEP, "--sweep-on", "half")
    assert (half["chosen_on"]["images"], half["reported_on"]["images"], half["on_others"]) == (3, 3, True)
    train = result(capsys, *SWEEP, "--sweep-on", "train")
    assert (train["chosen_on"]["split"], train["reported_on"]["split"]) == ("train", "val")
    best = train["best"]
    assert best["pq"] == alone(best["score"], best["overlap"])["quality"]["all"]["pq"]
    assert run(["eval", *SWEEP]) == 0
    assert "Chosen on these very pictures" in capsys.readouterr().out
    assert run(["eval", *SWEEP, "--sweep-on", "half"]) == 0
    assert "On other pictures (the other half of shapes val, 3 images):" in capsys.readouterr().out


def test_the_best_pair_is_saved_in_all_weights_of_the_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(Path("runs/tiny-001"))
    with pytest.MonkeyPatch.context() as plain:
        plain.undo()
        assert run(["reparam", str(folder.path), "--force"]) == 0
    tensors = [read_header(path)["sha256"] for path in (folder.weights(), folder.reparameterised)]
    swept = result(capsys, *SWEEP, "--save")
    assert swept["saved"] == [str(folder.weights()), str(folder.reparameterised)]
    for path, hashed in zip(swept["saved"], tensors, strict=True):
        weights = load_weights(Path(path))
        assert read_header(Path(path))["sha256"] == hashed
        assert weights.recipe["inference"]["score_threshold"] == swept["best"]["score"]
        assert weights.recipe["inference"]["overlap_threshold"] == swept["best"]["overlap"]
        assert weights.provenance["thresholds"]["chosen_on"]["split"] == "val"
    assert result(capsys)["quality"]["all"]["pq"] == swept["best"]["pq"]
    assert result(capsys, *SWEEP, "--save")["saved"] == []


def test_a_finished_run_is_evaluated_with_the_thresholds_that_were_saved(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By `train --resume` as by `eval`; its recipe is the one of its training, and was not edited."""
    recipe = Path("runs/tiny-001/recipe.yaml").read_text()
    swept = result(capsys, *SWEEP, "--save")
    assert run(["train", "--resume", "runs/tiny-001", "--device", "cpu"]) == 0
    said = capsys.readouterr().err
    assert "damaged" not in said
    assert "edited" not in said
    report = json.loads(Path("runs/tiny-001/report.json").read_text())
    assert report["quality"]["all"]["pq"] == swept["best"]["pq"]
    assert report["quality"] == result(capsys)["quality"]
    assert Path("runs/tiny-001/recipe.yaml").read_text() == recipe


def test_later_checkpoints_have_the_thresholds_of_the_recipe(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    swept = result(capsys, *SWEEP, "--save")["best"]
    path = Path("runs/tiny-001/recipe.yaml")
    path.write_text(re.sub(r"(  iterations: )\d+", r"\g<1>4", path.read_text()))
    assert run(["train", "--resume", "runs/tiny-001", "--device", "cpu"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "was edited: train.iterations is 4, not 3." in said
    theirs = f"score_threshold {swept['score']:g}, overlap_threshold {swept['overlap']:g}"
    own = "score_threshold 0, overlap_threshold 0"
    assert f"have thresholds of a sweep ({theirs}); later ones have the recipe's ({own})." in said
    weights = read_header(RunFolder(Path("runs/tiny-001")).weights())
    assert weights["recipe"]["inference"]["score_threshold"] == 0
    assert "thresholds" not in weights["provenance"]


def test_the_run_keeps_the_figures_and_a_map(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    swept = result(capsys, *SWEEP)
    kept = json.loads(Path("runs/tiny-001/evaluations/sweep/sweep.json").read_text())
    assert kept["cells"] == swept["cells"]
    page = Path("runs/tiny-001/evaluations/sweep/sweep.html").read_text()
    assert page.count('class="cell right"') == len(SCORES) * len(OVERLAPS)
    assert f"<b>{swept['best']['pq']:.1f}</b>" in page
    assert "so the figure flatters" in page


def test_the_table_fits_a_terminal(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "--sweep", "score=0:1:0.05", "--sweep", "overlap=0:1:0.05"]) == 0
    out, err = capsys.readouterr()
    assert max(map(len, out.splitlines())) <= 80
    assert "(10 of 21 columns, those around the best; --json has all)" in out
    assert out.count("*") == 1
    assert "--save" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--sweep", "scores=0.1"], "Did you mean 'score'?"),
        (["--sweep", "score"], "score=RANGE or overlap=RANGE"),
        (["--sweep", "score=0.5:0.1:0.1"], "FIRST:LAST:STEP, rising"),
        (["--sweep", "score=0.1:0.5"], "FIRST:LAST:STEP, rising"),
        (["--sweep", "score=0.1:0.5:0"], "FIRST:LAST:STEP, rising"),
        (["--sweep", "score=0.1:1.5:0.1"], "no range of numbers from 0 to 1"),
        (["--sweep", "score=-0.1"], "no range of numbers from 0 to 1"),
        (["--sweep", "score=nan"], "no range of numbers from 0 to 1"),
        (["--sweep", "score="], "no range of numbers from 0 to 1"),
        (["--sweep", "score=0:1:0.000001"], "more than 200 values"),
        (["--sweep", "score=0.1", "--sweep", "score=0.2"], "given twice"),
        (["--sweep", "score=0:1:0.01", "--sweep", "overlap=0:1:0.01"], "10201 pairs"),
        (["--save"], "need --sweep"),
        (["--sweep-on", "half"], "need --sweep"),
        (["--sweep", "score=0.1", "--metric", "miou"], "--metric has no meaning"),
        (["--sweep", "score=0.1", "--save-predictions", "there"], "--save-predictions has no meaning"),
        (["--sweep", "score=0.1", "--predictions", "a", "--truth", "b"], "--sweep cannot be combined"),
    ],
)
def test_mistakes_are_told(here: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in " ".join(err.split())
    assert not Path("runs/tiny-001/evaluations").exists()


def test_decimals_are_those_that_were_typed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0.1 + 2 * 0.1 is not 0.3 in floating point, and a score of exactly 0.3 would be on the wrong side."""
    assert result(capsys, "--sweep", "score=0.1:0.9:0.1")["scores"] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


@given(pqs=st.lists(st.none() | st.sampled_from([0.0, 0.25, 0.5]), min_size=4, max_size=4))
def test_of_equal_pairs_the_one_nearest_to_the_present_is_best(pqs: list[float | None]) -> None:
    pairs = grid((0.2, 0.8), (0.3, 0.6))
    cells = [Cell(pair, pq, None, None) for pair, pq in zip(pairs, pqs, strict=True)]
    best = best_of(cells, Thresholds(0.75, 0.35))
    highest = max(-1.0 if pq is None else pq for pq in pqs)
    equals = [pair for pair, pq in zip(pairs, pqs, strict=True) if (-1.0 if pq is None else pq) == highest]
    assert best in equals
    assert best == Thresholds(0.8, 0.3) or Thresholds(0.8, 0.3) not in equals


@settings(deadline=None, max_examples=20)
@given(pictures=st.integers(0, 70), cut=st.integers(0, 70))
def test_parts_of_several_processes_add_up_to_the_whole(pictures: int, cut: int) -> None:
    categories = (Category(1, "a", True), Category(2, "b", False))
    random = np.random.default_rng(pictures)
    counts = [[count_at(_overlap(random), categories)] * 2 for _ in range(pictures)]
    whole = summed(counts)
    parts = [summed(counts[:cut]), summed(counts[cut:])]
    again = summed(one for one in parts if one)
    assert [one.images.images for one in whole] == [pictures] * 2 * bool(pictures)
    for one, other in zip(whole, again, strict=True):
        assert np.array_equal(one.tally.match_iou, other.tally.match_iou)
        assert np.array_equal(one.images.dense(2), other.images.dense(2))


def _overlap(random: np.random.Generator) -> Overlap:
    maps = [random.integers(1, 3, (4, 5)).astype(np.int32) for _ in range(2)]
    segments = [Segment(1, 1, 1), Segment(2, 2, 1)]
    truth, found = (Panoptic(one, measured(one, segments)) for one in maps)
    return overlap_for("a", truth, found)


def test_python_has_it_too(here: Path) -> None:
    swept = sweep_model(SweepRequest(EvaluationRequest(Path("runs/tiny-001")), scores=SCORES))
    assert len(swept.sweep.cells) == len(SCORES)
    assert swept.sweep.at(0.6, 0.0).pq is not None
