"""What every success and every refusal of a command has in common."""

import json
from collections.abc import Callable
from typing import Any

import build
import pytest

from yoso_cli.cli import run

Refused = Callable[..., str]
Printed = Callable[..., tuple[Any, str]]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    """Runs a command that must succeed: what `--json` prints, or else its text; and stderr as one line."""

    def printed(*args: str) -> tuple[Any, str]:
        capsys.readouterr()
        code = run(args)
        out, err = capsys.readouterr()
        assert code == 0, err
        return json.loads(out) if "--json" in args else out, " ".join(err.split())

    return printed


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command that must fail with `code`: one paragraph, nothing printed, nothing on disk touched.

    Returns the paragraph as one line.
    """

    def refused(*args: str, code: int) -> str:
        before = build.listing()
        capsys.readouterr()
        assert run(args) == code
        out, err = capsys.readouterr()
        assert out == ""
        assert "Traceback" not in err
        assert "bug in yoso" not in err
        assert build.listing() == before
        assert err.count("Error: ") == 1
        paragraph = err[err.index("Error: ") :].removeprefix("Error: ")
        assert paragraph.endswith("\n")
        assert "\n\n" not in paragraph
        return " ".join(paragraph.split())

    return refused
