"""The attack in seconds, and that it would find what is wrong."""

import json
import random
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from attack_parts.mutate import VALUES, mutant, with_checksum
from attack_parts.process import MEMORY, Ended, wrong
from attack_parts.readers import Answer, Case, verdict

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def attack(folder: Path, *words: str) -> dict[str, int]:
    """The counts of cases without a finding."""
    told = folder / "told.json"
    line = [sys.executable, "scripts/attack", "--seed", "19", "--output", str(told), *words]
    done = subprocess.run(line, cwd=ROOT, check=False, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(told.read_text())
    assert found["findings"] == []
    return found["cases"]


def test_nothing_is_wrong_with_a_few_mutants(tmp_path: Path) -> None:
    names = [
        word for name in ("png: eval", "json: check", "zip: conv", "map: conv", "yaml") for word in ("--case", name)
    ]
    found = attack(tmp_path, "--kind", "mutant", "--most", "60", *names[:8])
    assert found["mutant"] > 50


def test_nothing_is_wrong_with_a_few_kills_links_and_limits(tmp_path: Path) -> None:
    names = [word for name in ("prepare-force", "shapes", "convert", "recipe") for word in ("--case", name)]
    kinds = [word for kind in ("kill", "link", "two", "limit") for word in ("--kind", kind)]
    found = attack(tmp_path, "--most", "6", *kinds, *names)
    assert found["limit"] >= 3
    assert sum(found.values()) >= 6


RIGHT = Ended(0, b"PQ 50", b"")
MADE = (("made/a", "1"),)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (RIGHT, ""),
        (replace(RIGHT, code=1, err=b"Error: a.png: is truncated or damaged."), ""),
        (replace(RIGHT, code=1, err=b"Error: this is a\nbug in yoso: KeyError"), "bug"),
        (replace(RIGHT, code=1, err=b"Traceback (most recent call last)"), "bug"),
        (replace(RIGHT, code=-11), "crash"),
        (replace(RIGHT, code=None), "hang"),
        (replace(RIGHT, memory=MEMORY + 1), "memory"),
        (replace(RIGHT, outside=("open /etc/passwd",)), "outside"),
    ],
)
def test_what_is_wrong_has_a_name(found: Ended, told: str) -> None:
    assert wrong(found, 0, 1, 2).partition(":")[0] == told


@pytest.mark.parametrize(
    ("found", "files", "forged", "told"),
    [
        (RIGHT, MADE, False, ""),
        (replace(RIGHT, out=b"PQ 60"), MADE, False, "silent"),
        (RIGHT, (("made/a", "2"),), False, "silent"),
        (replace(RIGHT, out=b"PQ 60"), MADE, True, ""),
        (replace(RIGHT, code=1), MADE, False, "half"),
        (replace(RIGHT, code=1), (), False, ""),
    ],
)
def test_another_answer_is_wrong_unless_the_checksums_are_right(
    found: Ended, files: tuple[tuple[str, str], ...], forged: bool, told: str
) -> None:
    case, whole = Case("a.png", "png", ("eval",), output="made"), Answer(RIGHT, MADE, False)
    assert verdict(case, found, files, whole, forged=forged).partition(":")[0] == told


def test_the_same_seed_makes_the_same_mutants() -> None:
    content = b'{"crc32": "00000000", "a": [1, 2, {"b": "text"}]}'
    for form in ("json", "jsonl", "bytes"):
        one, other = (mutant(content, form, random.Random(5)) for _ in range(2))
        assert one == other


def test_a_forged_line_has_the_checksum_of_its_values() -> None:
    line = json.loads(with_checksum('{"a": 1, "b": [2.5]}'))
    assert line["crc32"] == f"{zlib.crc32(json.dumps({'a': 1, 'b': [2.5]}).encode()):08x}"


def test_mutants_of_values_are_still_files_of_their_kind() -> None:
    kept = ROOT / "tests" / "formats" / "kept"
    png = (kept / "pred" / "panoptic" / "000000.png").read_bytes()
    weights = (kept / "weights-version-3.safetensors").read_bytes()
    for seed in range(30):
        assert VALUES["png"](png, random.Random(seed)).startswith(b"\x89PNG")
        assert VALUES["safetensors"](weights, random.Random(seed))[8:9] in b'{[0123456789-"tfnNI'
