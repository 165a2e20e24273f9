"""Threads and imports where `ulimit -v` leaves too little; in a process of its own, as a limit cannot be taken back."""

import subprocess
import sys

CODE = """
import resource, sys, threading
from pathlib import Path
from yoso_cli.runtime import address_space
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + ({more} << 20),) * 2)
plain = threading.Thread.start
with address_space.guarded():
    done = []
    thread = threading.Thread(target=done.append, args=(1,))
    try:
        thread.start()
    except MemoryError as error:
        print("refused", "out of memory" in str(error))
    else:
        thread.join()
        print("ran", done)
assert threading.Thread.start is plain
"""


def tried(more: int) -> str:
    code = CODE.format(more=more)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout


def test_no_thread_is_waited_for_that_may_never_begin() -> None:
    assert tried(more=16) == "refused True\n"


def test_a_thread_runs_where_it_has_room() -> None:
    assert tried(more=256) == "ran [1]\n"
