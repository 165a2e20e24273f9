"""Work in several processes gives what work in one gives."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from yoso_cli.errors import DataError, RunError
from yoso_cli.runtime import workers

ROOT = Path(__file__).resolve().parents[2]
MANY = range(200)


def doubled(number: int) -> tuple[int, int]:
    if number == -1:
        raise DataError("a.png: is damaged.", hint="Download it again.")
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
    assert str(caught.value) == "a.png: is damaged. Download it again."


class OddError(Exception):
    """Can be pickled and not be made again from that."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one + other)


def odd_at_70(number: int) -> int:
    if number == 70:
        raise OddError("a", "b")
    return number


def lock_at_70(number: int) -> Any:
    return threading.Lock() if number == 70 else number


@pytest.mark.parametrize(
    ("function", "told"), [(odd_at_70, "OddError: ab"), (lock_at_70, "cannot pickle '_thread.lock'")]
)
def test_what_cannot_be_sent_back_is_an_error(function: Callable[[int], Any], told: str) -> None:
    with pytest.raises(RuntimeError, match=told):
        list(workers.mapped(function, MANY, workers=2))


def damaged_at_70(number: int) -> int:
    if number == 70:
        raise DataError("a.png: is damaged.")
    return number


@pytest.mark.parametrize("count", [1, 2])
def test_the_results_before_an_error_are_given(count: int) -> None:
    results = workers.mapped(damaged_at_70, MANY, workers=count)
    assert [next(results) for _ in range(70)] == list(range(70))
    with pytest.raises(DataError):
        next(results)


def killed_at_50(number: int) -> str:
    if number == 50:
        os.kill(os.getpid(), signal.SIGKILL)
    return "a" * 200_000  # more than a pipe holds: the others are writing meanwhile


def test_a_killed_worker_is_told_in_one_sentence() -> None:
    with pytest.raises(RunError) as caught:
        list(workers.mapped(killed_at_50, MANY, workers=2))
    assert str(caught.value) == "A worker process was ended by SIGKILL. If it ran out of memory, use fewer --workers."
    assert not multiprocessing.active_children()


def stopped_at_50(number: int) -> str:
    if number == 50:
        os.kill(os.getpid(), signal.SIGSTOP)
    return "a" * 200_000


def test_a_stopped_worker_is_ended_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_STOPPED", 2)
    with pytest.raises(RunError, match=r"A worker process was stopped \(SIGSTOP\) for 2 s and has been ended\."):
        list(workers.mapped(stopped_at_50, MANY, workers=2))
    assert not multiprocessing.active_children()


def arrays(number: int) -> list[npt.NDArray[np.int64]]:
    return [np.arange(number), np.arange(number * 1000) + number, np.array([number])]


def test_large_arrays_come_whole_and_can_be_changed() -> None:
    for number, found in enumerate(workers.mapped(arrays, MANY, workers=2)):
        assert all(np.array_equal(one, other) for one, other in zip(found, arrays(number), strict=True))
        for array in found:
            array += 1


def test_an_abandoned_generator_leaves_no_process() -> None:
    results = workers.mapped(killed_at_50, range(1000, 3000), workers=2)
    next(results)
    assert len(multiprocessing.active_children()) == 2
    results.close()
    assert not multiprocessing.active_children()


def test_neither_errors_nor_kills_at_random_places_hang(tmp_path: Path) -> None:
    told = tmp_path / "stress.json"
    words = [sys.executable, "scripts/worker_stress", "--errors", "100", "--output", str(told)]
    done = subprocess.run(words, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False, timeout=60)
    found = json.loads(told.read_text())
    assert (done.returncode, found["hangs"], found["wrong"]) == (0, 0, [])
    assert found["endings"] == {"error": 70, "killed": 10, "parent's error": 10, "abandoned": 10}


SLEEPER = """
import os, sys, time
from yoso_cli.runtime import workers

def sleep(item):
    os.write(1, b"%d\\n" % os.getpid())  # in one piece, whatever PYTHONUNBUFFERED says
    time.sleep(60)

if __name__ == "__main__":
    list(workers.mapped(sleep, range(100), workers=2))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_a_parent_that_is_ended(tmp_path: Path, how: signal.Signals) -> None:
    """A killed parent, and one that is interrupted while its workers have a minute to go."""
    script = tmp_path / "sleeper.py"
    script.write_text(SLEEPER)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout
        started = [int(parent.stdout.readline()) for _ in range(2)]
        parent.send_signal(how)
        parent.wait(20)
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
