"""`yoso view` from the outside: it prints an address, serves until Ctrl-C, and writes one file."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands.conftest import Printed, Refused

from yoso_cli.api.view import open_view
from yoso_cli.cli import run
from yoso_cli.panoptic.photos import read_image
from yoso_cli.panoptic.types import Rgb

VIEW = (sys.executable, "-m", "yoso_cli", "view")


@contextmanager
def running(*args: str, **environment: str) -> "Iterator[tuple[subprocess.Popen[str], str]]":
    """A server of its own process, and the first line that it prints."""
    root = str(Path(__file__).resolve().parents[2])
    # No browser: nobody looks at a screen.
    around = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    line = [*VIEW, *args]
    own = {**around, "PYTHONPATH": root, **environment}
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=own) as process:
        try:
            assert process.stdout
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def read(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=20) as answer:
        return bytes(answer.read())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_stop(line: Path, number: signal.Signals) -> None:
    with running("shapes", "--port", "0") as (process, url):
        assert url.startswith("http://127.0.0.1:")
        index = json.loads(read(f"{url}index.json"))
        assert index["title"] == "shapes val"
        assert len(index["files"]) == 3
        assert b"<canvas" not in read(url)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "")
    assert err.splitlines()[0] == "3 pictures; Ctrl-C ends it."
    assert err.splitlines()[-1] == "Next: yoso stats shapes"
    assert "Traceback" not in err


def test_the_address_is_one_json_object_if_asked_for(line: Path) -> None:
    with running("datasets/shapes/train", "--json", "--no-browser", SSH_CONNECTION="1") as (process, told):
        value = json.loads(told)
        assert value["pictures"] == 6
        assert json.loads(read(value["url"] + "maps/320/0"))["truth"]["segments"]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert "ssh -L" in err


def test_predictions_are_shown_beside_their_truth(line: Path) -> None:
    assert run(["eval", "runs/tiny-001", "--device", "cpu", "--save-predictions", "preds"]) == 0
    for what in ("shapes", "runs/tiny-001"):
        with running(what, "--predictions", "preds", "--port", "0") as (_, url):
            index = json.loads(read(f"{url}index.json"))
            assert index["views"] == ["photo", "truth", "prediction", "errors"]
            assert index["kinds"][0] == "missed"
            assert len(index["kinds"]) == 7
            assert all(lost >= 0 for lost in index["lost"])


def test_a_run_predicts_each_picture_when_it_is_shown(line: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def watched(path: Path) -> Rgb:
        asked.append(path)
        return read_image(path)

    monkeypatch.setattr("yoso_cli.api.evaluate.read_image", watched)
    content = open_view("runs/tiny-001", device="cpu")
    index = content.index()
    assert index["kinds"] == ["missed", "false"], "as the run's report has them"
    assert sum(index["lost"]) == pytest.approx(100, abs=0.1)
    assert asked == []
    maps = content.maps(1, 320)
    assert maps["prediction"]["size"] == maps["truth"]["size"]
    assert "kinds" in maps
    content.maps(1, 1280)
    assert asked == [content.truth.image_path(content.truth.records[1])], "once"


def test_a_run_without_a_report_is_shown_without_errors_to_filter_by(line: Path, printed: Printed) -> None:
    Path("runs/tiny-001/report.json").unlink()
    _, err = printed("view", "runs/tiny-001", "--html", "a.html", "--count", "1", "--device", "cpu")
    assert "Errors cannot be filtered" in err
    assert "`yoso eval runs/tiny-001` makes a report." in err
    assert "The model predicts a picture when it is first shown." in err
    assert err.endswith("Next: yoso eval runs/tiny-001")


def test_one_file_is_written_with_so_many_pictures(line: Path, printed: Printed, refused: Refused) -> None:
    out, err = printed("view", "datasets/shapes/train", "--html", "page.html", "--count", "4")
    assert out.startswith("page.html: 4 of 6 pictures, 0.")
    assert err.endswith("Next: yoso stats datasets/shapes/train")
    assert "page.html: exists already. Add --force" in refused("view", "shapes", "--html", "page.html", code=2)
    value, _ = printed("view", "shapes", "--html", "page.html", "--force", "--json")
    assert value == {
        "schema": 2,
        "html": "page.html",
        "pictures": 3,
        "of": 3,
        "bytes": Path("page.html").stat().st_size,
    }


def test_mistakes_are_told(line: Path, refused: Refused) -> None:
    assert "is neither a prepared dataset nor a path" in refused("view", "none", code=2)
    assert "has no split tset" in refused("view", "shapes", "--split", "tset", code=2)
    assert "no such file" in refused("view", "shapes", "--predictions", "none", code=1)
    told = refused("view", "shapes", "--predictions", "datasets/shapes/none", "--html", "a.html", code=1)
    assert "datasets/shapes/none" in told
    (line / "runs/tiny-001/recipe.yaml").write_text("x: 1\n")
    assert "unknown key" in refused("view", "runs/tiny-001", code=2)


def test_a_port_that_is_taken_is_told(line: Path, refused: Refused) -> None:
    with running("shapes", "--port", "0") as (_, url):
        port = url.split(":")[2].split("/")[0]
        assert f"--port {port}: cannot be listened on" in refused("view", "shapes", "--port", port, code=1)


def test_predictions_of_other_pictures_are_refused(line: Path, refused: Refused) -> None:
    listing = Path("datasets/shapes/val/panoptic.json")
    content = json.loads(listing.read_text())
    Path("other").mkdir()
    annotations = [{**one, "image_id": f"x{place}"} for place, one in enumerate(content["annotations"])]
    images = [{**one, "id": f"x{place}"} for place, one in enumerate(content["images"])]
    Path("other/panoptic.json").write_text(json.dumps({**content, "annotations": annotations, "images": images}))
    Path("other/panoptic").symlink_to(Path("datasets/shapes/val/panoptic").resolve())
    told = refused("view", "shapes", "--predictions", "other", "--html", "a.html", code=1)
    assert "has a prediction for none of the 3 pictures" in told
