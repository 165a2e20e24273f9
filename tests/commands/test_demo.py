"""`yoso demo --quick`: every step works, and what it leaves can be worked with."""

import json
from pathlib import Path

import pytest
from PIL import Image

from yoso_cli.cli import run
from yoso_cli.commands import demo
from yoso_cli.run_folder import RunFolder

STEPS = ("prepare", "train", "eval", "reparam", "eval again", "bench", "viz", "export")


def test_the_quick_demo_walks_the_whole_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["demo", "--quick", "--output", "my demo", "--json", "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    value = json.loads(out)
    assert set(value) == {
        "schema",
        "trained",
        "reparameterised",
        "largest_difference",
        "run",
        "sheet",
        "exported",
        "seconds",
    }
    for name in ("trained", "reparameterised"):
        assert set(value[name]) == {"pq", "pq_things", "pq_stuff", "forward_ms", "end_to_end_ms"}
        assert value[name]["forward_ms"] > 0
    assert value["reparameterised"]["pq"] == pytest.approx(value["trained"]["pq"], abs=1)
    assert value["largest_difference"] < 1e-3

    exported = value["exported"]
    assert exported["pq"] == pytest.approx(value["reparameterised"]["pq"], abs=1)
    assert exported["forward_ms"] > 0
    assert Path(exported["file"]) == Path(value["run"]) / "exported.onnx"

    told = [line for line in err.splitlines() if line.startswith("[")]
    assert [line.partition(": ")[0] for line in told] == [f"[{n}/8] {name}" for n, name in enumerate(STEPS, 1)]
    assert err.rstrip().endswith("Next: yoso eval --metric pq --runs 'my demo/runs'")
    assert "so short a training learns nothing" in " ".join(err.split())
    folder = RunFolder.open(Path(value["run"]))
    assert all(path.is_file() for path in folder.latency_paths.values())
    assert folder.is_finished()
    assert not folder.is_training()
    assert folder.path == Path("my demo/runs/shapes-quick-001")
    assert folder.reparameterised.is_file()
    for weights in (folder.weights(), folder.reparameterised):
        assert json.loads(folder.report_of(weights).read_text())["weights"]["path"] == str(weights)
    with Image.open(value["sheet"]) as sheet:
        assert sheet.width > sheet.height / 2
    assert not list(tmp_path.rglob("*.partial"))

    # The last words of the demo work.
    assert run(["eval", "--metric", "pq", "--runs", "my demo/runs", "--device", "cpu"]) == 0


def test_without_the_packages_for_it_the_demo_says_how_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step alone: the rest of the demo is the same."""
    monkeypatch.setattr("yoso_cli.export.formats.find_spec", lambda name: None)
    found = demo._export(None, None, None)  # type: ignore[arg-type]
    line = demo._exported_line(found)
    assert line.startswith("Not exported. Export to ONNX needs onnx, onnxscript and onnxruntime, which are not")
    assert line.endswith("Type `pip install 'yoso-cli[export]'`.")
    assert "\n" not in line


def test_a_demo_cannot_be_put_into_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("precious")
    assert run(["demo", "--quick", "--output", "file"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert Path("file").read_text() == "precious"


def test_a_gpu_that_is_not_there_stops_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["demo", "--quick", "--device", "cuda:99"]) == 1
    assert "Try --device cpu" in " ".join(capsys.readouterr().err.split())
    assert not Path("runs").exists()
