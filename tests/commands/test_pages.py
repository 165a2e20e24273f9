"""Where the HTML report is written, and what it shows of photos that lie here or there."""

import shutil
from pathlib import Path
from typing import Any

import build

TRUTH = "datasets/shapes/val"


def test_training_and_evaluating_keep_a_page_in_the_run_folder(line: Path, printed: Any) -> None:
    page = Path("runs/tiny-001/report.html")
    trained = page.read_text()
    page.unlink()
    _, told = printed("eval", "--device", "cpu")
    assert "HTML report: runs/tiny-001/report.html" in told
    for text in (trained, page.read_text()):
        assert "shapes val" in text
        assert 'data-view="photo"' in text


def test_weights_outside_a_run_have_a_page_where_it_is_asked_for(line: Path, printed: Any) -> None:
    shutil.copy(build.newest_weights(), "mine.safetensors")
    printed("eval", "mine.safetensors", "--device", "cpu", "--html", "deep/mine.html")
    assert "mine.safetensors" in Path("deep/mine.html").read_text()
    assert not list(Path().rglob("*.partial"))


def test_predictions_have_a_page_where_it_is_asked_for(line: Path, printed: Any) -> None:
    printed("eval", "--device", "cpu", "--save-predictions", "kept")
    before = build.listing()
    _, told = printed("eval", "--predictions", "kept", "--truth", TRUTH)
    assert build.listing() == before, "nothing is written unless it is asked for"
    assert told.endswith("--html report.html")
    _, told = printed("eval", "--predictions", "kept", "--truth", TRUTH, "--html", "page.html")
    assert told.endswith("--json > report.json")
    assert 'data-view="photo"' in Path("page.html").read_text()


def test_photos_that_lie_elsewhere_are_named_or_left_out(line: Path, printed: Any) -> None:
    printed("eval", "--device", "cpu", "--save-predictions", "kept")
    shutil.copytree(Path(TRUTH) / "panoptic", "bare")
    shutil.copy(Path(TRUTH) / "panoptic.json", "bare.json")
    args = ("eval", "--predictions", "kept", "--truth", "bare.json", "--html", "page.html")
    printed(*args)
    assert 'data-view="photo"' not in Path("page.html").read_text()
    printed(*args, "--images", f"{TRUTH}/images", "--force")
    assert 'data-view="photo"' in Path("page.html").read_text()


def test_a_page_that_stands_is_left_alone(line: Path, printed: Any, refused: Any) -> None:
    """Unless --force is given; what the run folder keeps of its own evaluation is replaced as ever."""
    Path("report.html").write_text("precious")
    scored = ("eval", "--predictions", TRUTH, "--truth", TRUTH)
    for words in (scored, ("eval", "--device", "cpu")):
        assert "report.html: exists already. Add --force" in refused(*words, "--html", "report.html", code=2)
    _, told = printed(*scored)
    assert told.endswith("--json > report.json"), "a line that can be typed as it is"
    printed(*scored, "--html", "report.html", "--force")
    assert "precious" not in Path("report.html").read_text()


def test_photos_are_named_for_predictions_only(line: Path, refused: Any) -> None:
    assert "--images needs --predictions" in refused("eval", "--images", "photos", code=2)


def test_a_page_that_cannot_be_written_is_told(line: Path, refused: Any) -> None:
    Path("file").write_text("in the way")
    words = refused("eval", "--predictions", TRUTH, "--truth", TRUTH, "--html", "file/page.html", code=1)
    assert "cannot be written" in words
