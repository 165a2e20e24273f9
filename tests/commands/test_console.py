"""What a person sees: results on stdout, the rest on stderr, plain where nobody watches."""

import contextlib
import io
import json
import sys
from pathlib import Path

import pytest

from yoso_cli.commands import console
from yoso_cli.runtime.progress import tracked

Captured = pytest.CaptureFixture[str]


class Screen(io.StringIO):
    """A stream that a person watches."""

    def isatty(self) -> bool:
        return True


def test_a_json_result_is_one_object_with_its_schema_first(capsys: Captured) -> None:
    value = {"pq": 1.5, "nan": float("nan"), "path": Path("a"), 3: (1, None, True), "text": "é"}
    console.result(value, "unused", as_json=True)
    told = capsys.readouterr().out
    assert told.count("\n") == 1
    assert told.startswith('{"schema": 2, ')
    assert json.loads(told) == {"schema": 2, "pq": 1.5, "nan": None, "path": "a", "3": [1, None, True], "text": "é"}


def test_talk_goes_to_stderr(capsys: Captured) -> None:
    console.say("hello")
    console.next_step("yoso eval")
    streams = capsys.readouterr()
    assert (streams.out, streams.err) == ("", "hello\nNext: yoso eval\n")


def test_progress_passes_everything_on_and_tells_the_end(capsys: Captured) -> None:
    assert list(tracked(iter("abc"), 3, "drawing", console.TERMINAL)) == ["a", "b", "c"]
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith("drawing: 3/3 (100%), ")
    assert "img/s" in told


def test_a_log_gets_a_line_each_tenth_but_no_flood(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """100 steps of two seconds: a line each tenth, which is each twenty seconds."""
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with console.bar(100, "training", unit="it") as shown:
        for step in range(100):
            now[0] += 2
            shown.update(loss=1 / (step + 1), lr="1e-4")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[0] == "training: 10/100 (10%), 0.5 it/s, 0:03:00 left, loss 0.1, lr 1e-4"
    assert lines[-1] == "training: 100/100 (100%), 0.5 it/s, took 0:03:20, loss 0.01, lr 1e-4"


def test_a_log_is_never_silent_for_long(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with console.bar(100_000, "training", initial=50_000, unit="it") as shown:
        for _ in range(30):
            now[0] += 10
            shown.update()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("training: 50006/100000 (50%), 0.1 it/s, ")


def test_progress_of_unknown_length_counts(capsys: Captured) -> None:
    list(tracked(range(7), None, "reading", console.TERMINAL))
    assert capsys.readouterr().err.startswith("reading: 7, ")


def test_no_progress_is_told_of_nothing(capsys: Captured) -> None:
    assert list(tracked([], 0, "reading", console.TERMINAL)) == []
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_that_talk_does_not_tear(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    with console.bar(4, "training", initial=1) as shown:
        shown.update(2, loss=0.12345)
        console.say("saved")
        shown.update()
    told = screen.getvalue()
    assert "training: " in told
    assert "4/4" in told
    assert "loss 0.1235" in told or "loss 0.1234" in told
    assert "saved\n" in told


def test_a_failure_inside_leaves_no_line_of_success(capsys: Captured) -> None:
    with contextlib.suppress(ValueError), console.bar(2, "x") as shown:
        shown.update()
        raise ValueError
    assert capsys.readouterr().err == ""


def test_a_table_is_plain_text_with_figures_to_the_right() -> None:
    told = console.table(("class", "PQ", "n"), [("cat", 50.0, 3), ("wall", None, 12)], title="Per class")
    assert told == "Per class\nclass    PQ   n\ncat    50.0   3\nwall      -  12"


def test_a_table_on_a_terminal_has_no_colour_when_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Screen())
    told = console.table(("class", "PQ"), [("[red]cat", 50.0)])
    assert "[red]cat" in told
    assert "50.0" in told
    assert "\x1b[3" not in told, "a colour"
