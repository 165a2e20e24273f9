"""The page of a report, opened in a browser."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page import pages

from yoso_cli.evaluation.report import Report


@pytest.fixture(scope="session")
def page_and_report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    return pages.written(tmp_path_factory.mktemp("page"))


@pytest.fixture
def browser(chromium: Any, page_and_report: tuple[Path, Report]) -> Iterator[Any]:
    """The page, just opened; afterwards its console must be empty, and nothing but the file may have been asked for."""
    path, _ = page_and_report
    chromium.get_log("performance")
    chromium.get(path.as_uri())
    yield chromium
    assert chromium.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    asked = {one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"}
    assert {address for address in asked if not address.startswith("data:image/webp")} == {path.as_uri()}
