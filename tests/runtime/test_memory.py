"""Memory that is freed stays for what comes next."""

import platform
import subprocess
import sys

import pytest

from yoso_cli.runtime import memory

CODE = """
import resource, sys
from yoso_cli.runtime.memory import keep_freed_memory
done = keep_freed_memory() if sys.argv[1] == "kept" else None
def work():
    for size in (1 << 24, 1 << 26):
        b"x" * size
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(done, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> tuple[str, int]:
    done = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True)
    told, count = done.stdout.split()
    return told, int(count)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_the_second_time_no_page_is_fetched() -> None:
    """Large maps are made of memory that is there; left alone, the system clears it page by page again."""
    assert faults("left alone")[1] > 10_000
    told, count = faults("kept")
    assert told == "True"
    assert count < 1000


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert memory.keep_freed_memory() is False
