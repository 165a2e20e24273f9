"""What several tests stand on: the oracles, and a machine that behaves the same everywhere."""

import importlib
import logging
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# A suite in the background of a shell ignores Ctrl-C, and so would all processes that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1200,900"
)


def _missing(what: str) -> None:
    """A missing oracle is a failure where CI promises it (YOSO_SHARED is set) and a plain skip elsewhere."""
    if os.environ.get("YOSO_SHARED"):
        pytest.fail(f"{what} is missing, and YOSO_SHARED promises every oracle")
    pytest.skip(f"{what} is not on this machine", allow_module_level=True)


def oracle(module: str) -> ModuleType:
    """An official tool that the package must agree with."""
    try:
        return importlib.import_module(module)
    except ImportError:
        _missing(module)
        raise


def program(*names: str) -> str:
    """The path of an official program, by the first of its names that is there."""
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    _missing(names[0])
    raise AssertionError


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference outputs and real samples."""
    folder = Path(os.environ.get("YOSO_SHARED", "/nonexistent"))
    if not (folder / "reference").is_dir():
        _missing("the folder of reference outputs")
    return folder


@pytest.fixture
def coco_sample(shared: Path) -> Path:
    """Three annotated pictures of COCO val2017 in COCO's own layout."""
    return shared / "data" / "coco-sample"


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser without a window."""
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


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests read plain 80-column text and real error reports, whatever the terminal."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("YOSO_DEBUG", raising=False)


@pytest.fixture(scope="session")
def _trained_line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("line")
    import build  # not before the checks of what is there

    build.trained_line(folder)
    return folder


@pytest.fixture
def line(_trained_line: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the test stands in, its own copy: `datasets/`, `tiny.yaml` and `runs/tiny-001`."""
    folder = tmp_path / "line"
    shutil.copytree(_trained_line, folder)
    monkeypatch.chdir(folder)
    from yoso_cli.run_folder import RunFolder

    # Its data is its own copy, not that which the first one was trained on.
    RunFolder(folder / "runs/tiny-001").begin_training(folder / "datasets").release()
    return folder


@pytest.fixture(scope="session")
def _exported_line(_trained_line: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from yoso_cli.export.formats import import_without_reports

    import_without_reports()
    for module in ("onnx", "onnxscript", "onnxruntime", "openvino", "nncf"):
        oracle(module)
    # torch traces into the log as well where somebody listens, and pytest does.
    logging.getLogger("torch.__trace").setLevel(logging.CRITICAL)
    folder = tmp_path_factory.mktemp("exported") / "line"
    shutil.copytree(_trained_line, folder)
    import exported_files

    from yoso_cli.run_folder import RunFolder

    RunFolder(folder / "runs/tiny-001").begin_training(folder / "datasets").release()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("YOSO_HOME", str(folder / "home"))
        exported_files.export_all()
    return folder


@pytest.fixture
def files(_exported_line: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the test stands in: `line` with its weights folded, and an exported file of each kind."""
    folder = tmp_path / "exported"
    shutil.copytree(_exported_line, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("YOSO_HOME", str(folder / "home"))
    from yoso_cli.run_folder import RunFolder

    RunFolder(folder / "runs/tiny-001").begin_training(folder / "datasets").release()
    return folder
