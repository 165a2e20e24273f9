"""Work in several processes gives what work in one gives."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from yoso_cli.errors import DataError
from yoso_cli.runtime import workers

MANY = range(200)


def doubled(number: int) -> tuple[int, int]:
    if number == -1:
        raise DataError("a.png: is damaged.", hint="Fetch it again.")
    return 2 * number, os.getpid()


def test_results_come_in_order_from_other_processes() -> None:
    results = list(workers.mapped(doubled, MANY, workers=2))
    assert [value for value, _ in results] == [2 * number for number in MANY]
    assert os.getpid() not in {process for _, process in results}


@pytest.mark.parametrize(("items", "count"), [(MANY, 1), (range(5), 2)])
def test_one_worker_or_few_items_start_no_process(items: range, count: int) -> None:
    assert {process for _, process in workers.mapped(doubled, items, workers=count)} == {os.getpid()}


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_comes_through_with_its_hint(count: int) -> None:
    with pytest.raises(DataError) as caught:
        list(workers.mapped(doubled, [*MANY, -1], workers=count))
    assert str(caught.value) == "a.png: is damaged. Fetch it again."


SLEEPER = """
import os, sys, time
from yoso_cli.runtime import workers

def sleep(item):
    os.write(1, b"%d\\n" % os.getpid())  # in one piece, whatever PYTHONUNBUFFERED says
    time.sleep(60)

if __name__ == "__main__":
    list(workers.mapped(sleep, range(100), workers=2))
"""


def test_no_worker_outlives_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "sleeper.py"
    script.write_text(SLEEPER)
    root = str(Path(__file__).parent.parent)
    environment = os.environ | {"PYTHONPATH": root}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout
        started = [int(parent.stdout.readline()) for _ in range(2)]
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        waited = time.monotonic() + 20
        while any(map(alive, started)):
            assert time.monotonic() < waited, "a worker is still there"
            time.sleep(0.05)


def alive(process: int) -> bool:
    """Whether it runs; one that nobody has buried yet does not."""
    try:
        os.kill(process, 0)
        return " Z " not in Path(f"/proc/{process}/stat").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False
