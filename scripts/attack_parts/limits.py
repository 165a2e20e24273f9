"""Commands that write, where the machine gives too little: room, files, memory, streams, folders, a clock.

    files      few descriptors (RLIMIT_NOFILE)
    space      little address space (RLIMIT_AS)
    size       a limit on the size of files (RLIMIT_FSIZE)
    disk       a small disk (tmpfs)
    inodes     a disk with room for few files
    shm        a tiny /dev/shm
    readonly   a workspace on a disk that is read-only
    home       a home that is read-only, is not there, or is a file
    temporary  a full folder of temporary files, or none
    streams    stdin, stdout or stderr closed, full, broken, or without most letters
    folder     the current folder was deleted
    clock      a clock that jumps back and forth, and files from the future and from 1970

Those from disk to temporary take mounts in a namespace of the attack's own, which needs root. A fourth of the cases
runs in a fresh interpreter, since importing is what fails first; the others in a fork, in which all is imported.

What must hold is what must hold under kills (see writers), and: a failure is told, and leaves each file as it was or
as it should become; exit code 0 means the same files as without the limit.
"""

import ctypes
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from attack_parts.process import Place, limit_of
from attack_parts.writers import COMMANDS, Writers, snapshot

MOUNTED = ("disk", "inodes", "shm", "readonly", "home", "temporary")
LIMITS = ("files", "space", "size", *MOUNTED, "streams", "folder", "clock")

_READ_ONLY, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 32, 4096, 16384, 1 << 18
_NEW_NAMESPACE = 0x20000
_DETACH = 2
# Seconds in which an interpreter imports torch.
_START = 4.0

Prepare = Callable[[], None]


def own_mounts() -> bool:
    """Gives this process mounts of its own, which end with it; False where it may not."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_NAMESPACE) != 0:
        return False
    return bool(libc.mount(b"none", b"/", None, _REC | _PRIVATE, None) == 0)


def mount(target: Path, options: str = "", flags: int = 0, source: str = "tmpfs") -> None:
    """Mounts a file system in memory, or changes how one is mounted."""
    libc = ctypes.CDLL(None, use_errno=True)
    kind = None if flags & (_BIND | _REMOUNT) else b"tmpfs"
    if libc.mount(source.encode(), os.fsencode(target), kind, flags, options.encode() or None) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(target))


def make_read_only(folder: Path) -> None:
    """For this process and its forks, after own_mounts."""
    mount(folder, flags=_BIND, source=str(folder))
    mount(folder, flags=_BIND | _REMOUNT | _READ_ONLY, source=str(folder))


@dataclass
class Given:
    """What a case gives its command.

    Attributes:
        prepare: called in its process.
        environment: more of it.
        told: in words, for a finding.
        codes: exit codes that are right besides 0, 1 and 2.
        mute: whether it cannot tell of its failure.
        loses: whether what it prints is lost, so that exit code 0 is wrong.
        changes: whether other files may be there than otherwise, as the folder is another one.
        stamped: whether files with the times of others have other content.
    """

    prepare: Prepare | None = None
    environment: dict[str, str] | None = None
    told: str = ""
    codes: tuple[int, ...] = ()
    mute: bool = False
    loses: bool = False
    changes: bool = False
    stamped: bool = False


class Limits(Writers):
    """Cases of limits; the arguments are those of Writers.

    Attributes:
        kinds: those that are possible here.
    """

    def __init__(self, place: Place, seed: str, names: list[str], *, mounts: bool) -> None:
        super().__init__(place, seed, names)
        self.kinds = [one for one in LIMITS if mounts or one not in MOUNTED]

    def limit(self, name: str) -> Iterator[str]:
        """One case of one kind by chance."""
        kind = self.chance.choice(self.kinds)
        self.counts[f"limit: {kind}"] += 1
        command, (expected, _) = COMMANDS[name], self.unattacked(name)
        on_disk = kind in ("disk", "inodes")
        folder = self.small_disk(kind) if on_disk else self.fresh()
        given = Given(told=kind) if on_disk else getattr(self, f"give_{kind}")(folder)
        cold = self.chance.random() < 0.25
        program = (sys.executable, "-m", "yoso_cli", *command.words) if cold else ()
        before = snapshot(folder, contents=True)
        options = {"prepare": given.prepare, "environment": given.environment, "program": program}
        ended = self.run(name, folder, **options)
        where = f"{kind}{' in a fresh interpreter' if cold else ''}: {given.told}"
        if cold and b"Fatal Python error: init_" in ended.err:
            return  # Python did not start, and nothing of yoso with it
        codes = (0, 1, 2, *given.codes)
        if told := self.wrong(name, ended, *codes):
            yield f"{where}: {told}: {ended.said[-2000:]}"
        if ended.code in (1, 2) and not given.mute and b"Error" not in ended.err + ended.out:
            yield f"{where}: exit code {ended.code} without a word: {ended.said[-500:]}"
        if ended.code == 0 and given.loses and self.plain[name][0].out:
            yield f"{where}: exit code 0, and what it printed is lost"
        if given.changes:
            return
        stable = command.stable and not given.stamped
        if not stable:
            expected = {path: "file" if len(kind) == 64 else kind for path, kind in expected.items()}
        if ended.code == 0:
            yield self.differing(folder, expected, stable, f"{where}: exit code 0")
        elif stable:
            yield self.half(folder, before, expected, where)
        yield from self.next_run(name, folder, expected, where, on_disk=on_disk, stable=stable)

    def half(self, folder: Path, before: dict[str, str], expected: dict[str, str], where: str) -> str:
        """Files that are neither as before nor as they should become; hidden ones are gone on with, locks empty."""
        found = snapshot(folder, contents=True)
        odd = [
            name
            for name, content in found.items()
            if content not in (before.get(name), expected.get(name))
            and "/." not in f"/{name}"
            and not name.endswith("training.lock")
        ]
        return f"{where}: half: {odd[:5]}" if odd else ""

    def next_run(
        self, name: str, folder: Path, expected: dict[str, str], where: str, *, on_disk: bool, stable: bool
    ) -> Iterator[str]:
        """The same command without the limit."""
        command = COMMANDS[name]
        if on_disk:
            mount(folder, "size=64m,nr_inodes=0", _REMOUNT)
        again = self.run(name, folder, command.repeated)
        if told := self.wrong(name, again, *command.codes(again)):
            yield f"{where}: run again: {told}: {again.said[-2000:]}"
        elif not command.numbered:
            yield self.differing(folder, expected, stable, f"{where}: run again")

    def limit_of(self, name: str) -> float:
        """As of Writers; and the start of a fresh interpreter."""
        return super().limit_of(name) + limit_of(_START * COMMANDS[name].with_torch)

    def clear(self) -> None:
        """As of Writers; a small disk is taken away first."""
        ctypes.CDLL(None).umount2(os.fsencode(self.folder), _DETACH)
        super().clear()

    # --- kinds ---

    def small_disk(self, kind: str) -> Path:
        """A copy of the workspace on a disk that is nearly full."""
        self.number += 1
        folder = self.folder
        folder.mkdir(parents=True)
        mount(folder, "size=64m")
        shutil.copytree(self.base, folder, symlinks=True, dirs_exist_ok=True)
        used = os.statvfs(folder)
        if kind == "disk":
            blocks = used.f_blocks - used.f_bfree + self.chance.choice((0, 1, 2, 4, 10, 30, 100, 400, 1500))
            options = f"size={blocks * used.f_frsize}"
        else:
            options = f"nr_inodes={used.f_files - used.f_ffree + self.chance.choice((0, 1, 2, 3, 5, 8, 13, 30))}"
        mount(folder, options, _REMOUNT)
        return folder

    def give_files(self, folder: Path) -> Given:
        """From hardly any to enough."""
        most = self.chance.choice((4, 6, 7, 8, 9, 10, 11, 12, 14, 16, 20, 24, 32, 48))
        return Given(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most)), told=f"{most}", mute=most < 8)

    def give_space(self, folder: Path) -> Given:
        """Some more than the process has; libraries in C may end it when they get none, which is told beforehand."""
        more = self.chance.choice((0, 1, 4, 16, 64, 128, 256, 512, 1024)) << 20

        def prepare() -> None:
            has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (has + more, has + more))

        ends = (-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGILL, 127)
        return Given(prepare, told=f"{more >> 20} MiB more", codes=ends, mute=True)

    def give_size(self, folder: Path) -> Given:
        """What is said is bounded as well."""
        most = self.chance.choice((0, 10, 100, 1000, 4096, 20_000, 100_000, 500_000))
        return Given(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)), told=f"{most}", mute=True)

    def give_shm(self, folder: Path) -> Given:
        """None, a page, and Docker's 64 MB."""
        size = self.chance.choice(("4k", "64k", "1m", "64m"))

        def prepare() -> None:
            own_mounts()
            mount(Path("/dev/shm"), f"size={size}")  # noqa: S108

        return Given(prepare, told=size)

    def give_readonly(self, folder: Path) -> Given:
        """The workspace; the current folder is entered anew, through the mount."""

        def prepare() -> None:
            own_mounts()
            make_read_only(folder)
            os.chdir(folder)

        return Given(prepare)

    def give_home(self, folder: Path) -> Given:
        """All that is below HOME."""
        home = self.place.root / "home"
        missing = self.chance.choice(("", "/nonexistent", "/dev/null", "none"))
        if missing:
            environment = dict.fromkeys(("HOME", "YOSO_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR"), missing)
            return Given(environment=environment, told=missing)

        def prepare() -> None:
            own_mounts()
            make_read_only(home)

        return Given(prepare, told="read-only")

    def give_temporary(self, folder: Path) -> Given:
        """Full, or not there."""
        if self.chance.random() < 0.3:
            return Given(environment={"TMPDIR": "/nonexistent"}, told="missing")

        def prepare() -> None:
            own_mounts()
            mount(self.place.temporary, "size=4k")
            (self.place.temporary / "full").write_bytes(bytes(4096))

        return Given(prepare, told="full")

    def give_streams(self, folder: Path) -> Given:
        """One stream, or two."""
        how = self.chance.choice(("closed", "full", "broken", "ascii"))
        which = self.chance.choice(((0,), (1,), (1,), (2,), (1, 2), (0, 1, 2)))
        if how != "closed":
            which = tuple(one for one in which if one) or (1,)

        def prepare() -> None:
            for number in which:
                _spoil(number, how)

        return Given(
            prepare,
            told=f"{how} {which}",
            codes=(120,) if how != "ascii" and 2 in which else (),
            mute=2 in which or how == "broken",
            loses=how == "full" and 1 in which,
        )

    def give_folder(self, folder: Path) -> Given:
        """As if another program had removed it."""

        def prepare() -> None:
            gone = folder.parent / "gone"
            gone.mkdir()
            os.chdir(gone)
            gone.rmdir()

        return Given(prepare, changes=True)

    def give_clock(self, folder: Path) -> Given:
        """Backwards and forwards by up to a hundred years."""
        jumps = [self.chance.choice((0, -1, -60, -86_400, -3e9, 3e9)) for _ in range(7)]
        stamp = self.chance.choice((0, 1, 4_000_000_000, time.time() - 5))
        for path in folder.rglob("*"):
            if path.is_file() and self.chance.random() < 0.5:
                os.utime(path, (stamp, stamp))

        def prepare() -> None:
            real, calls = time.time, iter(range(1 << 30))
            time.time = lambda: max(0.0, real() + jumps[next(calls) % len(jumps)])
            time.time_ns = lambda: int(time.time() * 1e9)

        return Given(prepare, told=f"{jumps}, {stamp:.0f}", stamped=True)


def _spoil(number: int, how: str) -> None:
    """Makes a stream of this process what a shell can make it."""
    name = ("stdin", "stdout", "stderr")[number]
    if how == "closed":
        os.close(number)
        setattr(sys, name, None)
        return
    if how == "full":
        os.dup2(os.open("/dev/full", os.O_WRONLY), number)
    elif how == "broken":
        reading, writing = os.pipe()
        os.close(reading)
        os.dup2(writing, number)
        os.close(writing)
    else:
        os.environ["PYTHONIOENCODING"] = "ascii"
    encoding = "ascii" if how == "ascii" else "utf-8"
    setattr(sys, name, open(number, "w", encoding=encoding, closefd=False))  # noqa: SIM115
