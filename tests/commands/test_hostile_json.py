"""A seeded fuzz of the JSON that commands read: whatever a value becomes, a command answers or says what is wrong.

What a mutant may be: an integer of thousands of digits, a number that is not finite, half of a surrogate pair, NUL and
other control characters, deep nesting, another type, a key that is gone.
"""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import build
import pytest

from yoso_cli.cli import run
from yoso_cli.panoptic.files import MANIFEST

VALUES: tuple[str, ...] = (
    "9" * 4400,
    "-" + "9" * 400,
    str(2**64 - 1),
    str(2**63),
    str(-(2**31) - 1),
    "1e999",
    "-1e308",
    "1e308",
    "NaN",
    "-Infinity",
    r'"\ud800"',
    r'"\udcff"',
    r'"a\u0000b"',
    r'"\u001b[2J\n"',
    '"../../x"',
    f'"{"x" * 5000}"',
    "[" * 60 + "]" * 60,
    "[" * 5000 + "]" * 5000,
    '{"a":' * 5000 + "1" + "}" * 5000,
    *("null", "true", "-1", "0", "0.5", '""', "[]", "{}", "[null]", "[[1]]", '{"a": 1}'),
)
TRUTH, RUN = "datasets/shapes/val", "runs/tiny-001"
PHOTOS = f"{TRUTH}/images"
CHECKPOINT = f"{RUN}/checkpoints/iteration-0000003"


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in `value`."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


def mutant(content: Any, chance: random.Random) -> str:
    """`content` as JSON with one value that is another, or gone."""
    found = [place for place in places(content) if place]
    # Of a long list most values are alike: those near its root are drawn as often as all others.
    place = chance.choice([one for one in found if len(one) <= 2] if chance.random() < 0.4 else found)
    changed = json.loads(json.dumps(content))
    parent = changed
    for key in place[:-1]:
        parent = parent[key]
    if chance.random() < 0.1:
        del parent[place[-1]]
        return json.dumps(changed)
    parent[place[-1]] = "HERE"
    return json.dumps(changed).replace('"HERE"', chance.choice(VALUES), 1)


def listed(file: str, *command: str) -> tuple[str, tuple[str, ...]]:
    return file, command


CASES = [
    listed(f"{TRUTH}/panoptic.json", "check", TRUTH),
    listed(f"{TRUTH}/panoptic.json", "stats", "shapes", "--split", "val", "--output", "out"),
    listed(f"{TRUTH}/panoptic.json", "eval", "--predictions", "pred", "--truth", TRUTH, "--workers", "1"),
    listed(f"{TRUTH}/panoptic.json", "convert", TRUTH, "out/instances", "--from", "prepared", "--to", "coco-instances"),
    listed("pred/panoptic.json", "eval", "--predictions", "pred", "--truth", TRUTH, "--workers", "1"),
    listed(f"{TRUTH}/{MANIFEST}", "check", TRUTH),
    listed(f"{TRUTH}/{MANIFEST}", "eval", "--predictions", "pred", "--truth", TRUTH, "--workers", "1"),
    listed(
        "labels/instances.json",
        "convert",
        "labels",
        "out/set",
        "--from",
        "coco-instances",
        "--images",
        f"{TRUTH}/images",
    ),
    listed("report.json", "compare", "report.json", "report.json"),
    listed(f"{RUN}/report.json", "runs"),
    listed(f"{RUN}/latency.json", "runs"),
    listed(f"{RUN}/metrics.jsonl", "runs"),
    listed(f"{RUN}/training.json", "runs", "--json"),
    listed(f"{CHECKPOINT}/checkpoint.json", "runs"),
    listed("home/weights/known.json", "weights", "list"),
    listed("predicted/predictions.json", "predict", "--gather", "--output", "predicted"),
]


@pytest.fixture
def world(line: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The line with every kind of JSON."""
    monkeypatch.setenv("YOSO_HOME", str(line / "home"))
    shutil.copytree(TRUTH, "pred")
    build.forget_checksums(Path(TRUTH))
    build.forget_checksums(Path("pred"))
    assert run(["predict", f"{TRUTH}/images", "--output", "predicted", "--device", "cpu"]) == 0
    assert run(["convert", TRUTH, "labels", "--from", "prepared", "--to", "coco-instances"]) == 0
    shutil.copyfile(f"{RUN}/report.json", "report.json")
    Path(f"{RUN}/latency.json").write_text('{"device": "cpu", "forward": {"median_ms": 3.5}}')
    Path("home/weights").mkdir(parents=True)
    known = {"origin": "here", "bytes": 3, "sha256": "a", "tensors": "b"}
    Path("home/weights/known.json").write_text(json.dumps({"coco": known}))
    Path("home/weights/coco.safetensors").touch()
    return line


@pytest.fixture
def content() -> Callable[[Path], Any]:
    """What a file holds, without a checksum of ours, so that the values themselves are read."""

    def content(file: Path) -> Any:
        found = json.loads(file.read_text().splitlines()[-1] if file.suffix == ".jsonl" else file.read_text())
        return {key: value for key, value in found.items() if "crc32" not in key}

    return content


def test_no_value_of_a_json_is_a_bug_of_ours(
    world: Path, content: Callable[[Path], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    chance, wrong = random.Random(19), []
    for file, command in CASES:
        path = Path(file)
        if not path.exists():
            pytest.fail(file)
        kept, whole = path.read_bytes(), content(path)
        for _ in range(20):
            text = mutant(whole, chance)
            path.write_text(text + "\n")
            capsys.readouterr()
            code = run(command)
            out, err = capsys.readouterr()
            told = (file, command, code, err[-500:], text[:300])
            if code not in (0, 1, 2) or "bug in yoso" in err or "Traceback" in err or "\x1b" in out + err:
                wrong.append(told)
            shutil.rmtree("out", ignore_errors=True)
        path.write_bytes(kept)
        # Not a mistake of the command line, which would be an end before the file is read.
        assert run(command) in (0, 1), command
        shutil.rmtree("out", ignore_errors=True)
    assert not wrong, "\n".join(map(str, wrong))
