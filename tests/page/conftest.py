"""A browser without a window, and the page that it opens."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import oracle, program
from page import pages

from yoso_cli.evaluation.report import Report

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1200,900"
)


@pytest.fixture(scope="session")
def page_and_report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    return pages.written(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="session")
def _driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = oracle("selenium.webdriver")
    service = oracle("selenium.webdriver.chrome.service")
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium", "google-chrome")
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=service.Service(program("chromedriver")))
    driver.get("about:blank")  # the browser's own first page goes on loading until it is left
    yield driver
    driver.quit()


@pytest.fixture
def browser(_driver: Any, page_and_report: tuple[Path, Report]) -> Iterator[Any]:
    """The page, just opened; afterwards its console must be empty, and nothing but the file may have been asked for."""
    path, _ = page_and_report
    _driver.get_log("performance")
    _driver.get(path.as_uri())
    yield _driver
    assert _driver.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in _driver.get_log("performance")]
    asked = {one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"}
    assert {address for address in asked if not address.startswith("data:image/webp")} == {path.as_uri()}
