"""Memory that is freed stays for what comes next."""

import platform
import subprocess
import sys

import pytest

from yoso_cli.runtime import machine

CODE = """
import resource, sys
from yoso_cli.runtime.machine import keep_freed_memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
done = keep_freed_memory() if sys.argv[1] == "kept" else None
before = resident()
block = b"x" * (1 << 26)
taken = resident() - before
del block
# The kernel counts pages in batches, for each core by itself.
print(done, taken >= (1 << 26) * 7 // 8, resident() - before >= taken // 2)
"""


def told(how: str) -> str:
    return subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_large_block_that_is_freed_stays_in_the_process() -> None:
    """Left alone, it goes back to the system, which would clear the next one page by page again."""
    assert told("left alone") == "None True False"
    assert told("kept") == "True True True"


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert machine.keep_freed_memory() is False
