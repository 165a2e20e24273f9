"""`yoso doctor`: what is there, what is missing for which command, and an environment that is broken."""

import json
import subprocess
import sys
from pathlib import Path

import build
import pytest

from yoso_cli.api import doctor
from yoso_cli.cli import run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("YOSO_HOME", str(tmp_path / "home"))
    return tmp_path


def examined(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    assert run(["doctor", *args]) == code
    out, err = capsys.readouterr()
    return out, err


def without(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    """Lets a module fail at its import."""
    original = doctor.import_module

    def imported(module: str) -> object:
        if module == name:
            raise error
        return original(module)

    monkeypatch.setattr(doctor, "import_module", imported)


def test_a_sound_machine_is_told_in_80_columns(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = examined(capsys)
    assert [line for line in out.replace(str(here), "/home/me").splitlines() if len(line) > 80] == []
    labels = [line.split()[0] for line in out.splitlines() if not line.startswith(" ")]
    assert [one for one in labels if one != "Missing"] == [
        *("Machine", "Devices", "Packages", "Weights", "Datasets", "Runs", "Room")
    ]
    assert f"none in {here / 'home' / 'weights'}" in " ".join(out.split())
    assert err == "Next: yoso demo\n"
    assert build.listing() == {}


def test_json_has_the_same_keys_everywhere(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = examined(capsys, "--json")
    told = json.loads(out)
    assert err == ""
    assert list(told) == [
        *("schema", "healthy", "machine", "packages", "devices", "onednn", "cache"),
        *("weights", "datasets", "runs", "room"),
    ]
    assert told["healthy"] is True
    assert told["devices"][0]["device"] == "cpu"
    assert len(told["onednn"]) == 5
    assert {"name", "version", "required", "use", "problem", "command"} == set(told["packages"][0])
    assert [one["name"] for one in told["packages"]] == [one.name for one in doctor.PACKAGES]
    assert all(one["free_bytes"] > 0 for one in told["room"])


def test_data_runs_and_weights_are_found(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["prepare", "shapes", "--train", "0", "--val", "2", "--size", "32"]) == 0
    checkpoint = here / "runs/tiny-001/checkpoints/iteration-0000012"
    checkpoint.mkdir(parents=True)
    (here / "runs/tiny-001/recipe.yaml").write_text("name: tiny\n")
    (here / "home/weights").mkdir(parents=True)
    (here / "home/weights/coco.safetensors").write_bytes(b"x" * 1000)
    out, err = examined(capsys)
    text = " ".join(out.split())
    assert "shapes/val (2 images)" in text
    assert "1; the newest is runs/tiny-001, at iteration 12, not evaluated yet" in text
    assert f"1 file, 0.00 GiB, in {here / 'home/weights'}" in text
    assert err == "Next: yoso eval\n"
    (here / "runs/tiny-001/report.json").write_text("{}")
    assert examined(capsys)[1] == "Next: yoso bench\n"


def test_a_damaged_dataset_is_told_and_stops_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = here / "datasets/mine/val"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{")
    assert "mine/val (datasets/mine/val/manifest.json: " in " ".join(examined(capsys)[0].split())


def test_a_package_for_one_option_is_named_with_what_brings_it(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "panopticapi", ImportError("No module named 'panopticapi'"))
    out, _ = examined(capsys)
    told = " ".join(out.split())
    assert "for eval --engine panopticapi: `pip install --no-deps panopticapi-lite`" in told


def test_what_nothing_works_without_is_exit_code_1_and_the_next_step(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "torchvision", RuntimeError("operator torchvision::nms does not exist"))
    out, err = examined(capsys, code=1)
    told = " ".join(out.split())
    assert "Broken torchvision (" in told
    assert "is installed and fails: RuntimeError: operator torchvision::nms does not exist)" in told
    assert err == "Next: pip install torchvision\n"
    told = json.loads(examined(capsys, "--json", code=1)[0])
    assert told["healthy"] is False
    (broken,) = (one for one in told["packages"] if one["name"] == "torchvision")
    assert broken["problem"].startswith("RuntimeError: operator")


def test_it_runs_where_neither_numpy_nor_torch_can_be_imported(tmp_path: Path) -> None:
    """A doctor that needs what it examines helps nobody."""
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
for name in ("numpy", "torch", "torchvision", "yaml", "PIL", "rich", "tqdm", "scipy"):
    sys.modules[name] = None
from yoso_cli.cli import run
sys.exit(run(["doctor"]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "Broken" in done.stdout
    assert "torch cannot be asked" in " ".join(done.stdout.split())
    assert done.stderr.startswith("Next: pip install torch")


def test_every_dependency_is_looked_at() -> None:
    """But for click, without which no command runs and none could tell."""
    listed = (
        (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("\ndependencies = [")[2].partition("\n]")[0]
    )
    names = {line.strip().strip('",').partition(">=")[0] for line in listed.splitlines() if ">=" in line}
    assert names - {"click"} <= {one.name for one in doctor.PACKAGES}
