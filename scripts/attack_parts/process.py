"""One command in a fork of this process, and how it ended: its answer, time, memory, and what it touched outside."""

import ctypes
import fcntl
import json
import multiprocessing.util
import os
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_LIMIT = 20.0

LONGEST = 180.0
"""Seconds for a command that is not attacked."""

MEMORY = 1 << 30
"""Bytes that a command may take; commands with torch this much more than on the undamaged input."""

# Bytes that a pipe holds, so that nobody needs to read from it meanwhile: the most that Linux gives everybody.
_ROOM = 1 << 20
_LOOK_EVERY = 0.1
_GRACE = 5.0

Heard = Callable[[str, str], None]


@dataclass
class Ended:
    """How a command ended.

    Attributes:
        code: its exit code; negative for a signal; None where it or a process of its own did not end.
        out: what it printed.
        err: what it said.
        memory: the most bytes that it or a process of its own took.
        seconds: how long it ran.
        outside: paths that it opened for writing, made, renamed or removed outside its places.
        events: what changed files, in order, where that was asked for.
    """

    code: int | None
    out: bytes
    err: bytes
    memory: int = 0
    seconds: float = 0.0
    outside: tuple[str, ...] = ()
    events: list[tuple[str, str]] = field(default_factory=list)

    @property
    def said(self) -> str:
        """What it printed and said, its white space as single spaces."""
        return " ".join((self.out + b" " + self.err).decode(errors="replace").split())


def limit_of(undamaged: float) -> float:
    """Seconds after which a command hangs that takes so many on the undamaged input; more on a crowded machine."""
    crowd = max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))
    return (_LIMIT + 5 * undamaged) * crowd


def wrong(ended: Ended, *codes: int, memory: int = MEMORY) -> str:
    """What is wrong with how a command ended, by name and detail; empty for nothing.

    Args:
        ended: the command.
        codes: exit codes that are right.
        memory: bytes that it may take.
    """
    if ended.code is None:
        return f"hang: after {ended.seconds:.0f} s"
    if b"Traceback (most recent" in ended.err + ended.out or "is a bug in yoso" in ended.said:
        return "bug: a traceback"
    if ended.code not in codes:
        return f"crash: exit code {ended.code}"
    if ended.memory > memory:
        return f"memory: {ended.memory >> 20} MiB"
    if ended.outside:
        return f"outside: {', '.join(ended.outside[:3])}"
    return ""


@dataclass(frozen=True)
class Place:
    """Where commands of an attack may write.

    Attributes:
        root: a folder of the attack's own.
        findings: where mutants with a finding are kept.
    """

    root: Path
    findings: Path

    @property
    def temporary(self) -> Path:
        """The folder of temporary files, which is empty between commands."""
        return self.root / "temporary"

    @property
    def environment(self) -> dict[str, str]:
        """For commands: nothing of the user's is read or written."""
        root = self.root
        return {
            "HOME": str(root / "home"),
            "YOSO_HOME": str(root / "home" / "yoso"),
            "XDG_CACHE_HOME": str(root / "home" / "cache"),
            "MPLCONFIGDIR": str(root / "home" / "mpl"),
            "TMPDIR": str(self.temporary),
            "COLUMNS": "100",
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def make(self) -> None:
        """Makes its folders, and this process one whose forks are commands."""
        for folder in ("home/yoso", "home/cache", "home/mpl", "temporary"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        os.environ |= self.environment
        tempfile.tempdir = str(self.temporary)

    def leftovers(self) -> list[str]:
        """Names of temporary files that commands left, but for the cache of torch's compiler; they are removed."""
        found = sorted(one.name for one in self.temporary.iterdir() if not one.name.startswith("torchinductor"))
        shutil.rmtree(self.temporary)
        self.temporary.mkdir()
        return found


class Running:
    """A command that was started in a fork.

    Args:
        place: of the attack.
        words: after `yoso`.
        folder: its working folder.
        prepare: called in the new process, before the command.
        hook: makes what hears of each event that changes files, in the new process and its forks.
        environment: more of it.
        program: a program to run instead, in a process that shares nothing with this one.
    """

    def __init__(
        self,
        place: Place,
        words: Sequence[str],
        folder: Path,
        *,
        prepare: Callable[[], None] | None = None,
        hook: Callable[[], Heard] | None = None,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = (),
    ) -> None:
        # No files, whose size a limit may bound.
        pipes = [os.pipe() for _ in ("out", "err", "outside")]
        writing = [one for _, one in pipes]
        for one in writing:
            fcntl.fcntl(one, fcntl.F_SETPIPE_SZ, _ROOM)
        self._files = [one for one, _ in pipes]
        self._began = time.monotonic()
        self.process = os.fork()
        if not self.process:
            for one in self._files:
                os.close(one)
            _run_here(writing, place, words, folder, prepare, hook, environment or {}, program)
        for one in writing:
            os.close(one)

    def wait(self, limit: float = LONGEST, memory: int = 4 * MEMORY) -> Ended:
        """Waits for it and every process that it started; kills them after `limit` seconds or with so much memory."""
        code, largest = self._waited(self._began + limit, memory)
        if not self._alone():
            code = None
        out, err, outside = map(_content, self._files)
        paths = tuple(dict.fromkeys(outside.decode(errors="replace").splitlines()))
        return Ended(code, out, err, largest, time.monotonic() - self._began, paths)

    def _waited(self, deadline: float, memory: int) -> tuple[int | None, int]:
        handle = os.pidfd_open(self.process)
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        ended: list[tuple[int, int]] = []
        while not (ended := poll.poll(1000 * _LOOK_EVERY)):
            if time.monotonic() > deadline or _resident(self.process) > memory:
                _kill(self.process)
                break
        os.close(handle)
        _, status, usage = os.wait4(self.process, 0)
        return (os.waitstatus_to_exitcode(status) if ended else None), usage.ru_maxrss << 10

    def _alone(self) -> bool:
        """Whether all that it started have ended too; if not, after some seconds they are killed."""
        deadline = time.monotonic() + _GRACE
        while _has_group(self.process) and group(self.process):
            if time.monotonic() > deadline:
                _kill(self.process)
                return False
            time.sleep(0.01)
        return True


class Successive:
    """A fork of this process that runs one command after another, so that only the first one has all of it to copy.

    What the package remembers in its caches is forgotten in between. After some commands it ends as Python does, and
    another one takes its place.

    Args:
        place: of the attack.
        folder: the working folder.
    """

    _MOST = 25

    def __init__(self, place: Place, folder: Path) -> None:
        self._place, self._folder = place, folder
        self._process = 0
        self._done = 0

    def run(self, words: Sequence[str], limit: float) -> Ended:
        """How a command ended; the other arguments of Running.wait are as usual."""
        if not self._process:
            self._start()
        for one in self._files:
            os.ftruncate(one, 0)
        began = time.monotonic()
        os.write(self._orders, (json.dumps(list(words)) + "\n").encode())
        code = self._answer(began + limit)
        out, err, outside = (os.pread(one, os.fstat(one).st_size, 0) for one in self._files)
        paths = tuple(dict.fromkeys(outside.decode(errors="replace").splitlines()))
        ended = Ended(code, out, err, _peak(self._process), time.monotonic() - began, paths)
        self._done += 1
        if code is None:
            self.end()
        elif self._done == self._MOST and not self.end():
            ended.code = None
        return ended

    def end(self) -> bool:
        """Lets the process end, and whether it does within some seconds with all that it started."""
        if not self._process:
            return True
        os.close(self._orders)
        handle = os.pidfd_open(self._process)
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        ended = bool(poll.poll(1000 * _GRACE)) and not (_has_group(self._process) and group(self._process))
        if not ended:
            _kill(self._process)
        os.waitpid(self._process, 0)
        for one in (handle, self._codes, *self._files):
            os.close(one)
        self._process = self._done = 0
        return ended

    def _start(self) -> None:
        self._files = [os.memfd_create(name) for name in ("out", "err", "outside")]
        orders, self._orders = os.pipe()
        self._codes, codes = os.pipe()
        self._process = os.fork()
        if not self._process:
            os.close(self._orders)
            _obey(orders, codes, self._files, self._place, self._folder)
        os.close(orders)
        os.close(codes)

    def _answer(self, deadline: float) -> int | None:
        """The exit code; None where there is none in time, or it takes too much memory."""
        poll = select.poll()
        poll.register(self._codes, select.POLLIN)
        while not poll.poll(1000 * _LOOK_EVERY):
            if time.monotonic() > deadline or _resident(self._process) > 4 * MEMORY:
                _kill(self._process)
                return None
        told = os.read(self._codes, 20)
        if told:
            return int(told)
        # It ended: the signal is its exit code.
        code = os.waitstatus_to_exitcode(os.waitid(os.P_PID, self._process, os.WEXITED | os.WNOWAIT).si_status)
        return code if code < 0 else -code


def _obey(orders: int, codes: int, files: Sequence[int], place: Place, folder: Path) -> None:
    """The life of a process of Successive."""
    code = 70
    try:
        _set_up(files, folder)
        listen(place.root, files[2], None)
        with open(orders, encoding="utf-8") as lines:
            for line in lines:
                os.write(codes, b"%d" % _code_of(json.loads(line), files[1]))
                _forget()
        code = _end()
    finally:
        os._exit(code)


def _code_of(words: Sequence[str], err: int) -> int:
    from yoso_cli.cli import run

    for one in (1, 2):
        os.lseek(one, 0, os.SEEK_SET)
    try:
        return _flushed(run(list(words)))
    except BaseException:
        os.write(err, traceback.format_exc().encode())
        return 70


def _forget() -> None:
    """Empties the caches of the package's functions."""
    for name, module in list(sys.modules.items()):
        if name.startswith("yoso_cli"):
            for value in list(vars(module).values()):
                clear = getattr(value, "cache_clear", None)
                if clear:
                    clear()


def in_fork(job: Callable[[], None]) -> None:
    """Calls `job` in a fork, so that this process remembers nothing of what commands did in it."""
    process = os.fork()
    if not process:
        code = 1
        try:
            job()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    if os.waitpid(process, 0)[1]:
        raise SystemExit("the files to attack could not be made")


def recorded(place: Place, words: Sequence[str], folder: Path) -> Ended:
    """Runs a command and notes its events and those of its forks, with paths relative to `folder`."""
    handle = os.memfd_create("events")

    def noting() -> Heard:
        def note(event: str, path: str) -> None:
            whole = os.path.relpath(Path.cwd() / path, folder) if path else ""
            os.write(handle, f"{event}\t{whole}\n".encode(errors="surrogateescape"))

        return note

    ended = Running(place, words, folder, hook=noting).wait()
    os.lseek(handle, 0, os.SEEK_SET)
    lines = _content(handle).decode(errors="surrogateescape").splitlines()
    ended.events = [(event, path) for event, _, path in (one.partition("\t") for one in lines)]
    return ended


def _run_here(
    files: Sequence[int],
    place: Place,
    words: Sequence[str],
    folder: Path,
    prepare: Callable[[], None] | None,
    hook: Callable[[], Heard] | None,
    environment: Mapping[str, str],
    program: Sequence[str],
) -> None:
    """The life of a fork."""
    code = 70
    try:
        _set_up(files, folder)
        os.environ |= environment
        if not program:
            listen(place.root, files[2], hook() if hook else None)
        if prepare:
            prepare()
        if program:
            os.execvp(program[0], list(program))  # noqa: S606
        from yoso_cli.cli import run

        code = run(list(words))
        _end()
        code = _flushed(code)
    except BaseException:
        with suppress(BaseException):
            os.write(files[1], traceback.format_exc().encode())
    finally:
        os._exit(code)


def _set_up(files: Sequence[int], folder: Path) -> None:
    """Makes a fork a process of its own, in `folder`, whose streams are `files`."""
    os.setsid()
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: none outlives the attack
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(files[0], 1)
    os.dup2(files[1], 2)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def _end() -> int:
    """What Python does at its end, where a thread or a process may hang."""
    threading._shutdown()
    multiprocessing.util._exit_function()
    return 0


def _flushed(code: int) -> int:
    """As Python's end does: what cannot be written is an error, and told."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except ValueError:
            continue  # closed
        except OSError as error:
            with suppress(OSError):
                os.write(2, f"Exception ignored: {error}\n".encode())
            return 120
    return code


_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree"}
_WRITING = os.O_WRONLY | os.O_RDWR
_ALLOWED = ("/dev/null", "/dev/full", "/dev/tty", "/proc/self/")


def listen(root: Path, outside: int, heard: Heard | None) -> None:
    """Notes what this process changes outside `root` in the file `outside`; `heard` gets every event and its path."""
    inside = f"{root}/"

    def check(event: str, path: str) -> None:
        whole = os.path.abspath(path)  # noqa: PTH100 (in a deleted folder Path.absolute raises as well)
        if not whole.startswith(inside) and whole != str(root) and not whole.startswith(_ALLOWED):
            os.write(outside, f"{event} {whole}\n".encode(errors="surrogateescape"))
        if heard:
            heard(event, path)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, (str, bytes)) and isinstance(flags, int) and flags & _WRITING:
                with suppress(FileNotFoundError):
                    check("open", os.fsdecode(path))
        elif event in _CHANGES and isinstance(arguments[0], (str, bytes, os.PathLike)):
            with suppress(FileNotFoundError):
                check(event, os.fsdecode(arguments[1 if event == "os.rename" else 0]))

    # Everything in memory is as good as written, and the disks of the machine are not the attack's.
    os.sync = lambda: heard("sync", "") if heard else None
    if heard:
        _listen_closely(heard)
    sys.addaudithook(audit)


def _listen_closely(heard: Heard) -> None:
    """Events that Python does not audit."""
    from yoso_cli import atomic

    exchange, fsync = atomic._exchange, os.fsync

    def exchanged(one: Path, other: Path) -> bool:
        heard("exchange", str(other))
        done = exchange(one, other)
        heard("exchanged", str(other))
        return done

    def synced(handle: int) -> None:
        heard("fsync", "")
        fsync(handle)

    atomic._exchange, os.fsync = exchanged, synced


def group(leader: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for place in os.listdir("/proc"):  # noqa: PTH208
        if place.isdigit():
            with suppress(OSError, ValueError):
                stat = Path(f"/proc/{place}/stat").read_text().rpartition(")")[2].split()
                if stat[3] == str(leader) and stat[0] not in "ZX":
                    found.append(int(place))
    return found


def _has_group(leader: int) -> bool:
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


def _kill(leader: int) -> None:
    for one in [leader, *group(leader)]:
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def _resident(process: int) -> int:
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _peak(process: int) -> int:
    """The most bytes that a process has taken so far."""
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{process}/status").read_text().split("VmHWM:")[1].split()[0]) << 10
    return 0


def _content(handle: int) -> bytes:
    """What was written to a pipe, or to a file in memory."""
    os.set_blocking(handle, False)
    parts = []
    with suppress(BlockingIOError):
        while part := os.read(handle, _ROOM):
            parts.append(part)
    os.close(handle)
    return b"".join(parts)
