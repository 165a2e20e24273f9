"""What is published: the package's own files and nothing that was left lying about; and one list of test tools."""

import io
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this is no checkout")
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def wheel(folder: Path, names: list[str]) -> Path:
    path = folder / "yoso_cli-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return path


def sdist(folder: Path, names: list[str]) -> Path:
    path = folder / "yoso_cli-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(f"yoso_cli-1.0/{name}"), io.BytesIO())
    return path


def checked(*paths: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "scripts" / "check_dist"), *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def packaged() -> list[str]:
    """The files of the wheel, from the checkout."""
    recipes = [f"yoso_cli/{name}" for name in tracked() if name.startswith("recipes/")]
    metadata = [f"yoso_cli-1.0.dist-info/{name}" for name in ("METADATA", "RECORD", "licenses/LICENSE")]
    return [*(name for name in tracked() if name.startswith("yoso_cli/")), *recipes, *metadata]


def test_the_files_of_the_checkout_are_expected(tmp_path: Path) -> None:
    source = [name for name in tracked() if not name.startswith(".ci/")]
    done = checked(wheel(tmp_path, packaged()), sdist(tmp_path, [*source, "PKG-INFO"]))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("all expected.") == 2


@pytest.mark.parametrize(
    "stray",
    [
        *("tests/conftest.py", "yoso_cli/__pycache__/cli.cpython-311.pyc", "yoso_cli/runs/a-001/metrics.jsonl"),
        *(
            "yoso_cli/notes.txt",
            "runs/a-001/report.json",
            "yoso_cli/api/.evaluate.py.swp",
            "yoso_cli/model/w.safetensors",
        ),
    ],
)
def test_a_stray_file_in_the_wheel_is_named(tmp_path: Path, stray: str) -> None:
    done = checked(wheel(tmp_path, [*packaged(), stray]))
    assert done.returncode == 1
    assert done.stderr == f"yoso_cli-1.0-py3-none-any.whl: holds {stray}.\n"


@pytest.mark.parametrize(
    "stray", ["datasets/shapes/val/panoptic.json", ".venv/pyvenv.cfg", "tests/runs/a/b.py", "dist/x.whl"]
)
def test_a_stray_file_in_the_source_archive_is_named(tmp_path: Path, stray: str) -> None:
    source = [name for name in tracked() if not name.startswith(".ci/")]
    done = checked(sdist(tmp_path, [*source, stray]))
    assert done.stderr == f"yoso_cli-1.0.tar.gz: holds {stray}.\n"


def test_what_must_be_there_is_missed(tmp_path: Path) -> None:
    done = checked(wheel(tmp_path, [name for name in packaged() if name != "yoso_cli/py.typed"]))
    assert done.returncode == 1
    assert done.stderr == "yoso_cli-1.0-py3-none-any.whl: lacks yoso_cli/py.typed.\n"


def tables() -> str:
    return (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def entries(text: str, name: str) -> list[str]:
    """The strings of one list; Python 3.10 cannot read TOML by itself."""
    found = re.search(rf"^{name} = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)
    assert found, name
    without_comments = re.sub(r"#.*", "", found[1])
    return re.findall(r'"([^"]+)"', without_comments)


def test_the_extra_for_tests_is_what_the_groups_hold() -> None:
    """pip knows groups from 25.1 on; README's command must work with the pip that a system brings."""
    extras, groups = tables().partition("[dependency-groups]")[::2]
    grouped = [one for name in ("test", "typing", "style") for one in entries(groups, name)]
    assert sorted(entries(extras.partition("[project.optional-dependencies]")[2], "test")) == sorted(grouped)


def test_each_dependency_has_a_lower_bound_and_ci_installs_just_that() -> None:
    wanted = entries(tables().partition("[project.optional")[0], "dependencies")
    assert wanted
    done = subprocess.run([sys.executable, str(ROOT / "scripts" / "lowest_versions")], capture_output=True, text=True)
    assert done.stdout.splitlines() == [one.replace(">=", "==") for one in wanted]
