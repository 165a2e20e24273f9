"""Commands that write, in fresh copies of a small workspace: kills, planted links, two writers, harmed workers.

- kill: SIGKILL just before or after one of its renames, removals, folders made, files opened for writing or synced, of
  the command or of one of its workers; then the same command runs again.
- link: a link to a folder or file outside stands where the command writes, at every path that does not change from
  run to run; or a folder that the command writes to was moved away and a link put in its place.
- two: the same command twice at the same time.
- worker: one of its worker processes is killed or stopped at a random moment.

What must hold: no traceback and no "bug", no run over 20 s that does not end, no process left, nothing changed outside
the workspace, an exit code of 0, 1 or 2, and after the next run the same files as without the attack, and no others.
"""

import hashlib
import os
import random
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attack_parts.process import MEMORY, Ended, Heard, Place, Running, group, in_fork, limit_of, recorded, wrong
from attack_parts.world import KEPT

_NUMBERED = re.compile(r"(?P<name>.+?)-(?P<number>\d{3})(?P<rest>(/.*)?)", re.DOTALL)
_STEPS = "--set train.iterations=3 --set train.workers=1 --set train.keep=1 --set train.checkpoint_every=1"


@dataclass(frozen=True)
class Command:
    """A command line that writes.

    Attributes:
        words: after `yoso`.
        repeated: the words with which it runs again after a kill; by default the same.
        named: what the user names as the place to write to: whether that is a link is up to the user.
        stable: whether its files are the same in each run, byte for byte.
        workers: whether it has worker processes.
        with_torch: whether it imports torch.
        done: words with which it is refused when it has been done.
        numbered: whether each run makes a new folder, so that two of them are two.
        seconds: more than a few that it takes.
    """

    words: tuple[str, ...]
    repeated: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    stable: bool = True
    workers: bool = False
    with_torch: bool = False
    done: str = ""
    numbered: bool = False
    seconds: float = 0.0

    def codes(self, ended: Ended) -> tuple[int, ...]:
        """The exit codes that are right when it runs once more."""
        return (0, 1, 2) if self.done and self.done in ended.said else (0,)


def _line(text: str, again: str = "", **options: Any) -> Command:
    return Command(tuple(text.split()), tuple((again or text).split()), **options)


_NETWORK = "--weights runs/tiny-001 --device cpu"
_PHOTO = "datasets/shapes/val/images/000000.jpg"
_OF_TORCH: dict[str, Any] = {"with_torch": True}

COMMANDS = {
    "prepare": _line("prepare cityscapes --root raw --workers 2 --output out", workers=True, named=("out",)),
    "prepare-force": _line("prepare cityscapes --root raw --workers 2 --force", workers=True, named=("datasets",)),
    "shapes": _line("prepare shapes --train 5 --val 3 --size 64 --force", named=("datasets",)),
    "convert": _line(
        "convert datasets/cityscapes/val labels --from prepared --to maps --workers 2",
        workers=True,
        named=("labels",),
        done="exists already",
    ),
    "convert-force": _line(
        "convert datasets/cityscapes/val old/val --from prepared --force", named=("old/val",), workers=True
    ),
    "submission": _line(
        "convert datasets/cityscapes/val out.zip --from prepared --to cityscapes-submission --force",
        named=("out.zip",),
        stable=False,
    ),
    "check": _line("check cityscapes --workers 2", workers=True),
    "stats": _line("stats shapes --output pictures --force", named=("pictures",), stable=False),
    "score": _line(
        "eval --truth datasets/cityscapes/val --predictions datasets/cityscapes/val --truth-cache cache "
        "--workers 2 --json",
        workers=True,
        named=("cache",),
    ),
    "report": _line(
        "eval --truth datasets/shapes/val --predictions datasets/shapes/val --html page.html --force --json",
        named=("page.html",),
        stable=False,
    ),
    "truth": _line("viz --truth shapes -o drawn/ --force", named=("drawn", "drawn/")),
    "labels": _line(
        "convert datasets/cityscapes/val tool --from prepared --to labelme --workers 2",
        workers=True,
        named=("tool",),
        done="exists already",
    ),
    "divide": _line(
        "dataset split cityscapes parts --into train=40,val=30 --force", named=("parts", "parts/train", "parts/val")
    ),
    "merge": _line(
        "dataset merge datasets/shapes/train datasets/shapes/val both/all --workers 2 --force",
        named=("both", "both/all"),
    ),
    "view": _line("view shapes --html view.html --force --workers 1", named=("view.html",), stable=False),
    "recipe": _line("recipe copy shapes mine.yaml --force", named=("mine.yaml",)),
    "remove": _line("runs remove old --yes", named=("runs/old",), done="no such run"),
    "train": _line(
        f"train tiny.yaml --into fresh --set train.evaluate_every=2 {_STEPS}",
        stable=False,
        workers=True,
        named=("fresh",),
        **_OF_TORCH,
    ),
    "resume": _line(
        "train --resume runs/tiny-001",
        stable=False,
        workers=True,
        named=("runs", "runs/tiny-001"),
        **_OF_TORCH,
    ),
    "eval": _line("eval runs/tiny-001 --tta flip", stable=False, named=("runs", "runs/tiny-001"), **_OF_TORCH),
    "eval-save": _line(
        "eval runs/tiny-001 --save-predictions saved --html r.html --force",
        stable=False,
        named=("saved", "runs", "runs/tiny-001"),
        done="exists already",
        **_OF_TORCH,
    ),
    "reparam": _line(
        "reparam runs/tiny-001 --force --images 1", stable=False, named=("runs", "runs/tiny-001"), **_OF_TORCH
    ),
    "viz": _line(f"viz {_PHOTO} {_NETWORK} --output drawn.png --force", named=("drawn.png",), **_OF_TORCH),
    "viz-video": _line(
        f"viz clip.gif {_NETWORK} --output drawn.mp4 --force", named=("drawn.mp4",), stable=False, **_OF_TORCH
    ),
    "predict": _line(
        f"predict datasets/shapes/val/images -o preds {_NETWORK} --format panoptic,labelme,yolo-seg,cvat,masks",
        named=("preds",),
        stable=False,
        **_OF_TORCH,
    ),
    "predict-force": _line(
        f"predict {_PHOTO} -o before {_NETWORK} --force", named=("before",), stable=False, **_OF_TORCH
    ),
    "predict-video": _line(f"predict clip.gif -o frames {_NETWORK}", named=("frames",), stable=False, **_OF_TORCH),
    "gather": _line("predict -o before --gather", named=("before",), stable=False, **_OF_TORCH),
    "bench": _line(
        f"bench runs/tiny-001 --repeats 1 --warmup 0 --image {_PHOTO} --device cpu",
        named=("runs", "runs/tiny-001"),
        stable=False,
        **_OF_TORCH,
    ),
    "plot": _line("runs plot --force", named=("runs",), stable=False, **_OF_TORCH),
    "export": _line(
        "weights export runs/tiny-001 --output back.pth --force", stable=False, named=("back.pth",), **_OF_TORCH
    ),
    "import": _line(
        "weights import back.pth --categories datasets/shapes/val/panoptic.json --recipe tiny.yaml --force"
        " --output in.safetensors",
        stable=False,
        named=("in.safetensors",),
        **_OF_TORCH,
    ),
    "demo": _line(
        "demo --quick --output demo --device cpu", named=("demo",), stable=False, numbered=True, seconds=30, **_OF_TORCH
    ),
}


def _newest(files: dict[str, str]) -> dict[str, str]:
    """The files without those of all numbered folders but the newest of each name, which gets the first number."""
    numbers: dict[str, str] = {}
    for path in files:
        if found := _NUMBERED.fullmatch(path):
            numbers[found["name"]] = max(found["number"], numbers.get(found["name"], ""))
    kept = {}
    for path, kind in files.items():
        found = _NUMBERED.fullmatch(path)
        if found is None:
            kept[path] = kind
        elif found["number"] == numbers[found["name"]]:
            kept[f"{found['name']}-001{found['rest']}"] = kind
    return kept


def fits(command: Command, kind: str) -> bool:
    """Whether a case of this kind can be made of a command."""
    return command.workers if kind == "worker" else not (command.numbered and kind == "two")


def prepare_workspace(place: Place, folder: Path, *, trained: bool) -> None:
    """The workspace that each case starts from: raw data, prepared sets; a run that was stopped, and its weights."""
    import raw_layouts

    shutil.copytree(KEPT / "datasets", folder / "datasets")
    raw_layouts.cityscapes(folder / "raw", splits=("val",), count=70, size=(8, 12))
    (folder / "runs" / "old").mkdir(parents=True)
    before = [
        "prepare cityscapes --root raw --workers 1",
        "convert datasets/cityscapes/val old/val --from prepared",
        "recipe copy shapes runs/old/recipe.yaml",
    ]
    of_networks = [
        "weights export runs/tiny-001 --output back.pth",
        f"predict {_PHOTO} -o before {_NETWORK}",
        f"bench runs/tiny-001 --repeats 1 --warmup 0 --image {_PHOTO} --device cpu",
    ]
    if trained:
        _run_that_was_stopped(folder)
    for words in before + of_networks * trained:
        ended = Running(place, words.split(), folder).wait()
        if ended.code:
            raise SystemExit(f"yoso {words}: {ended.code}: {ended.said}")


def _run_that_was_stopped(folder: Path) -> None:
    """A run that was killed right after the checkpoint of its third step of five."""
    from media.clips import clip

    in_fork(lambda: clip(folder / "clip.gif", 3))
    shutil.copy(KEPT / "tiny.yaml", folder)
    run = folder / "runs" / "tiny-001"
    shutil.copytree(KEPT / "runs" / "tiny-001", run)
    recipe = (run / "recipe.yaml").read_text()
    for name, value in (("iterations", 5), ("workers", 1), ("checkpoint_every", 1)):
        recipe = re.sub(rf"(?m)^  {name}: \d+", f"  {name}: {value}", recipe)
    (run / "recipe.yaml").write_text(recipe)
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:2]))


def deadly(at: int) -> Callable[[], Heard]:
    """A hook that kills the process before its event number `at`."""

    def made() -> Heard:
        count = 0

        def count_down(event: str, path: str) -> None:
            nonlocal count
            count += 1
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)

        return count_down

    return made


def snapshot(folder: Path, *, contents: bool) -> dict[str, str]:
    """What is in a folder: names, and hashes of contents or what links point to."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(place, name)
            key = path.relative_to(folder).as_posix()
            if path.is_symlink():
                found[key] = f"-> {path.readlink()}"
            elif path.is_file():
                found[key] = hashlib.sha256(path.read_bytes()).hexdigest() if contents else "file"
            else:
                found[key] = "folder"
    return found


class Writers:
    """Cases of commands that write, in folders below the place of the attack.

    Args:
        place: of the attack.
        seed: of the cases.
        names: of COMMANDS, all with torch or all without.
    """

    def __init__(self, place: Place, seed: str, names: Sequence[str]) -> None:
        self.place, self.names = place, list(names)
        self.chance = random.Random(seed)  # noqa: S311 - a seeded attack is no secret
        self.base = place.root / "base"
        # The same for each case: files may have it in them.
        self.folder = place.root / "case" / "work"
        self.number = 0
        self.counts: Counter[str] = Counter()
        # Slow ones are as if they had been taken before.
        self.seconds = Counter({name: COMMANDS[name].seconds for name in names})
        self.findings: list[dict[str, Any]] = []
        self.slowest = 0.0
        self.largest = 0
        self.plain: dict[str, tuple[Ended, dict[str, str]]] = {}
        self.folder.mkdir(parents=True)
        prepare_workspace(place, self.folder, trained=any(COMMANDS[name].with_torch for name in names))
        self.folder.rename(self.base)

    def fresh(self) -> Path:
        """A new copy of the workspace."""
        self.number += 1
        shutil.copytree(self.base, self.folder, symlinks=True)
        return self.folder

    def unattacked(self, name: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
        """What a command leaves when nothing attacks it, and its events with paths relative to the workspace."""
        if name not in self.plain:
            folder = self.fresh()
            ended = recorded(self.place, COMMANDS[name].words, folder)
            if ended.code != 0 or ended.outside:
                raise SystemExit(f"{name} without an attack: {ended.code}: {ended.said} {ended.outside}")
            self.plain[name] = ended, snapshot(folder, contents=COMMANDS[name].stable)
            self.clear()
            self.place.leftovers()
        ended, files = self.plain[name]
        return files, ended.events

    def run(self, name: str, folder: Path, words: Sequence[str] = (), **options: Any) -> Ended:
        """Runs a command; by default with its own words."""
        ended = Running(self.place, words or COMMANDS[name].words, folder, **options).wait(self.limit_of(name))
        self.slowest, self.largest = max(self.slowest, ended.seconds), max(self.largest, ended.memory)
        return ended

    def limit_of(self, name: str) -> float:
        """Seconds after which a command hangs."""
        return limit_of(self.plain[name][0].seconds)

    def next_name(self, names: Sequence[str]) -> str:
        """One of the commands by chance: the longer they have taken so far, the less often."""
        weights = [1 / (1 + self.seconds[name]) for name in names]
        return self.chance.choices(list(names), weights)[0]

    def wrong(self, name: str, ended: Ended, *codes: int) -> str:
        """What is wrong with how a command ended."""
        usual = self.plain[name][0].memory + MEMORY if COMMANDS[name].with_torch else MEMORY
        return wrong(ended, *codes, memory=max(MEMORY, usual))

    def case(self, kind: str, name: str) -> None:
        """One case by chance."""
        began = time.monotonic()
        self.unattacked(name)
        told = [one for one in getattr(self, kind)(name) if one]
        if told or kind in ("kill", "two", "worker"):
            self.place.leftovers()
        elif left := self.place.leftovers():
            told.append(f"left: {left[:3]}")
        self.counts[kind] += 1
        self.seconds[name] += time.monotonic() - began
        self.findings += [{"case": f"{kind} {name}", "number": self.number, "wrong": one} for one in told]
        self.clear()

    def clear(self) -> None:
        """Removes the folder of a case."""
        if self.folder.parent.exists():
            shutil.rmtree(self.folder.parent)

    def kill(self, name: str) -> Iterator[str]:
        """Killed at an event, then run again."""
        command, (expected, events) = COMMANDS[name], self.unattacked(name)
        folder = self.fresh()
        at = self.chance.randrange(1, max(2, len(events)))
        ended = self.run(name, folder, hook=deadly(at))
        where = f"event {at} of {len(events)}, {events[at - 1] if events else ''}"
        if told := self.wrong(name, ended, 0, 1, -signal.SIGKILL):
            yield f"{where}: {told}: {ended.said}"
        again = self.run(name, folder, command.repeated)
        # It may have been killed after its last step.
        if told := self.wrong(name, again, *command.codes(again)):
            yield f"{where}: run again: {told}: {again.said}"
        elif again.code == 0 or name == "remove":  # refused, as it was done, it brings nothing back
            yield self.differing(folder, expected, command.stable, where, command.numbered)

    def differing(
        self, folder: Path, expected: dict[str, str], stable: bool, where: str, numbered: bool = False
    ) -> str:
        """What is not as expected; of numbered folders, in the newest: a run that was killed waits to be resumed."""
        found = snapshot(folder, contents=stable)
        if numbered:
            found = _newest(found)
        odd = {key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key)}
        return f"{where}: other files: {sorted(odd)[:5]}" if odd else ""

    def link(self, name: str) -> Iterator[str]:
        """A link to something precious stands where the command writes."""
        command, (_, events) = COMMANDS[name], self.unattacked(name)
        paths = sorted({path for _, path in events if path and not path.startswith("..")})
        paths = [path for path in [*paths, *map(_foretold, paths)] if path not in ("", ".", *command.named)]
        if not paths:
            return
        path = self.chance.choice(paths)
        folder = self.fresh()
        precious, target = folder.parent / "precious", folder / path
        precious.mkdir()
        (precious / "thesis.txt").write_text("precious")
        (precious / "iteration-0000000").mkdir()
        (precious / ".iteration-0000000.abcdefgh.partial").mkdir()
        goal = precious
        if os.path.lexists(target):
            goal = precious / "moved"
            target.rename(goal)
        elif self.chance.random() < 0.5:
            goal = precious / "thesis.txt"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(goal)
        before = snapshot(precious, contents=True)
        ended = self.run(name, folder)
        where = f"{path} -> {goal.relative_to(folder.parent)}"
        if told := self.wrong(name, ended, 0, 1, 2):
            yield f"{where}: {told}: {ended.said}"
        after = snapshot(precious, contents=True)
        if after != before:
            odd = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
            yield f"{where}: outside was changed: {sorted(odd)[:5]}"

    def two(self, name: str) -> Iterator[str]:
        """The same command twice at the same time."""
        command, (expected, _) = COMMANDS[name], self.unattacked(name)
        folder = self.fresh()
        first = Running(self.place, command.words, folder)
        time.sleep(self.chance.uniform(0, 1) * min(1.0, self.plain[name][0].seconds))
        second = Running(self.place, command.repeated, folder)
        limit = 2 * self.limit_of(name)
        ended = first.wait(limit), second.wait(limit)
        codes = [one.code for one in ended]
        for one in ended:
            if told := self.wrong(name, one, 0, 1, 2):
                yield f"{codes}: {told}: {one.said}"
            if one.code == 1 and "another yoso" not in one.said and name != "remove":
                yield f"{codes}: refused with other words: {one.said}"
        if 0 not in codes:
            yield f"{codes}: none won: {[one.said for one in ended]}"
        yield self.differing(folder, expected, command.stable, f"{codes}")

    def worker(self, name: str) -> Iterator[str]:
        """A worker is killed or stopped."""
        folder = self.fresh()
        how = self.chance.choice([signal.SIGKILL, signal.SIGSTOP])
        running = Running(self.place, COMMANDS[name].words, folder)
        self.harm(running.process, how)
        ended = running.wait(2 * self.limit_of(name))
        if told := self.wrong(name, ended, 0, 1):
            yield f"{how.name}: {told}: {ended.said}"
        if ended.code == 1 and "worker process" not in ended.said:
            yield f"{how.name}: other words: {ended.said}"

    def harm(self, process: int, how: signal.Signals) -> None:
        """Sends a signal to a process that `process` has started, at a random moment after its start."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            others = [one for one in group(process) if one != process]
            if others:
                time.sleep(self.chance.uniform(0, 0.2))
                with suppress(ProcessLookupError):
                    os.kill(self.chance.choice(others), how)
                return
            if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return
            time.sleep(0.002)

    def figures(self) -> dict[str, Any]:
        """Counts as plain values."""
        return {
            "counts": dict(sorted(self.counts.items())),
            "slowest_s": round(self.slowest, 1),
            "largest_mib": self.largest >> 20,
        }


def _foretold(path: str) -> str:
    """The names that a temporary file or lock of `path` might have."""
    place = Path(path)
    return str(place.parent / f".{place.name}.{'lock' if len(path) % 2 else 'partial'}")
