"""Damaged files through the commands that read them: none is silent, and the attack would find it if one were."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from attack_damage import CASES, Answer, attack, verdict

FAST = [name for name, case in CASES.items() if not case.volatile and "predict" not in case.command]


def test_a_damaged_file_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    found = attack(60, seed=19, scratch=tmp_path, names=FAST, most=40)
    assert found.findings == []
    assert sum(found.counts.values()) > 30
    assert sum(found.noticed.values()) > 20


WHOLE = Answer(0, b"PQ 50", b"", (("made/a", "1"),))


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        (WHOLE, ""),
        (Answer(1, b"", b"Error: a.png: is truncated or damaged.", ()), ""),
        (replace(WHOLE, out=b"PQ 60"), "silent"),
        (replace(WHOLE, files=(("made/a", "2"),)), "silent"),
        (Answer(1, b"", b"Error: this is a\nbug in yoso: KeyError", ()), "bug"),
        (Answer(1, b"", b"Traceback (most recent call last)", ()), "bug"),
        (replace(WHOLE, code=-11), "crash"),
        (replace(WHOLE, code=None), "hang"),
        (replace(WHOLE, code=1), "half"),
    ],
)
def test_what_is_wrong_has_a_name(found: Answer, wrong: str) -> None:
    assert verdict(CASES["truth png: convert"], found, WHOLE) == wrong
