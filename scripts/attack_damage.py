#!/usr/bin/env python3
"""Attack with damaged files: mutates every kind of file that a command reads, and looks at what the command says.

    python scripts/attack_damage.py [--minutes N] [--seed N] [--case NAME ...] [--output FILE]

Each mutant is one file with flipped bits, changed bytes, a cut, a gap, an insertion, a swap or zeros, given to one
command in a process of its own. What must not happen, by name:

    silent   exit 0 with another answer than the whole input gives: another stdout, or other files
    bug      a traceback, or "this is a bug in yoso"
    crash    another exit code than 0, 1 or 2
    hang     more than 20 seconds
    half     an error, and files at the place of the answer

Files without a checksum (JPEG photos, JSON and YAML written by hand, a state dict in a plain safetensors file) may be
silent; they are attacked too. Prints the counts as JSON, and each finding on stderr; exits with 1 if there is any.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from yoso_cli.cli import run
from yoso_cli.model.weights import read_header
from yoso_cli.panoptic import png
from yoso_cli.panoptic.files import MANIFEST, write_manifest
from yoso_cli.run_folder import RunFolder

KEPT = Path(__file__).resolve().parents[1] / "tests" / "formats" / "kept"
LIMIT = 20.0
RUN = "runs/tiny-001"
WEIGHTS = "weights-version-3.safetensors"
CHECKPOINT = f"{RUN}/checkpoints/iteration-0000003"
TRUTH = "datasets/shapes/val"
SCORE = ("eval", "--predictions", "pred", "--truth", TRUTH, "--json", "--workers", "1")

YAML = """categories:
  - {id: 1, name: car, isthing: 1}
  - {id: 2, name: road, isthing: 0}
"""


@dataclass(frozen=True)
class Case:
    """One kind of file, and a command that reads it.

    Attributes:
        file: that is damaged.
        command: in the world's folder.
        output: a file or folder that the command writes, removed before each run; empty where stdout is the answer.
        checked: whether damage must be noticed: not of files without any checksum.
        whole: whether the output must not be there after an error.
        volatile: a file that the command changes, put back before each run.
        told: what on stderr is as good as an exit code, where the command goes on without what is damaged.
        weight: how often it is drawn: less for slow commands.
    """

    file: str
    command: tuple[str, ...]
    output: str = ""
    checked: bool = True
    whole: bool = True
    volatile: str = ""
    told: str = ""
    weight: int = 10


CONVERT = ("convert", "maps", "made", "--from", "maps", "--categories", "maps/mine.yaml", "--workers", "1")
PREDICT = ("predict", "photo.png", "-o", "out", "--weights", WEIGHTS, "--device", "cpu")
IMPORT = ("weights", "import", "tiny-released.pth", "--recipe", "tiny.yaml", "-o", "made.safetensors")
IMPORTED = (*IMPORT, "--categories", f"{TRUTH}/panoptic.json")
RESUME = ("train", "--resume", RUN, "--device", "cpu")

GATHER = Case(
    "", ("predict", "-o", "preds", "--gather"), "", volatile="preds", told="Parts that are not complete", weight=6
)
CASES = {
    "truth png: eval": Case(f"{TRUTH}/panoptic/000000.png", SCORE),
    "truth png: check": Case(f"{TRUTH}/panoptic/000000.png", ("check", TRUTH, "--json")),
    "truth png: convert": Case(
        f"{TRUTH}/panoptic/000000.png",
        ("convert", TRUTH, "made", "--from", "prepared", "--to", "maps", "--workers", "1"),
        "made",
    ),
    "predicted png: eval": Case("pred/panoptic/000001.png", SCORE),
    "semantic map: convert": Case("maps/semantic/a.png", CONVERT, "made"),
    "instance map: convert": Case("maps/instances/a.png", CONVERT, "made"),
    "truth json: eval": Case(f"{TRUTH}/panoptic.json", SCORE),
    "truth manifest: eval": Case(f"{TRUTH}/manifest.json", SCORE),
    "predicted json: eval": Case("pred/panoptic.json", SCORE),
    "truth cache: eval": Case("truth.cache", (*SCORE, "--truth-cache", "truth.cache")),
    "report: compare": Case("report.json", ("compare", "report.json", "other.json", "--json")),
    "submission zip: eval": Case(
        "pred.zip", ("convert", "pred.zip", "made", "--from", "submission", "--truth", TRUTH), "made"
    ),
    "weights: show": Case(WEIGHTS, ("weights", "show", WEIGHTS, "--json")),
    "weights: predict": Case(WEIGHTS, PREDICT, "out", whole=False, weight=4),
    "pth: weights import": Case("tiny-released.pth", IMPORTED, "made.safetensors"),
    "png photo: predict": Case("photo.png", PREDICT, "out", whole=False, weight=4),
    "jpeg photo: check": Case("datasets/shapes/val/images/000000.jpg", ("check", TRUTH, "--json"), checked=False),
    "training state: resume": Case(f"{CHECKPOINT}/training.pt", RESUME, volatile=RUN, weight=1),
    "checkpoint weights: resume": Case(f"{CHECKPOINT}/weights.safetensors", RESUME, volatile=RUN, weight=1),
    "checkpoint manifest: resume": Case(f"{CHECKPOINT}/checkpoint.json", RESUME, volatile=RUN, weight=1),
    "metrics: resume": Case(f"{RUN}/metrics.jsonl", RESUME, volatile=RUN, weight=2),
    "parts of predictions: gather": replace(GATHER, file="preds/parts/1-of-1.jsonl"),
    "predictions.json: gather": replace(GATHER, file="preds/predictions.json"),
    "categories yaml: convert": Case("maps/mine.yaml", CONVERT, "made", checked=False),
    "recipe yaml: recipe check": Case("tiny.yaml", ("recipe", "check", "tiny.yaml"), checked=False, weight=4),
}

# --- the world ---


def build(world: Path) -> None:
    """Files of each kind in the folder `world`, which becomes the working folder."""
    shutil.copytree(KEPT, world, dirs_exist_ok=True)
    os.chdir(world)
    for folder in ("datasets/shapes/train", TRUTH, "pred"):
        write_manifest(Path(folder), json.loads((Path(folder) / MANIFEST).read_text()))
    chance = np.random.default_rng(0)
    for kind in ("images", "semantic", "instances"):
        Path("maps", kind).mkdir(parents=True)
    smooth = np.kron(chance.integers(0, 255, (6, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    Image.fromarray(smooth).save("maps/images/a.jpg")
    Image.fromarray(smooth).save("photo.png")
    blocks = np.kron(chance.integers(1, 3, (6, 8)), np.ones((8, 8))).astype(np.uint8)
    Path("maps/semantic/a.png").write_bytes(png.encode(blocks, [(9, 9, 9), (200, 0, 0), (0, 200, 0)]))
    numbers = np.where(blocks == 1, np.arange(64)[None] // 16 * 300 + 1, 0).astype(np.uint16)
    Path("maps/instances/a.png").write_bytes(png.encode(numbers))
    Path("maps/mine.yaml").write_text(YAML)
    with zipfile.ZipFile("pred.zip", "w") as archive:
        archive.write("pred/panoptic.json", "results.json")
        for file in sorted(Path("pred/panoptic").iterdir()):
            archive.write(file, f"results/{file.name}")
    recipe = Path(RUN, "recipe.yaml")
    recipe.write_text(recipe.read_text().replace("  iterations: 3 ", "  iterations: 4 "))
    Path("truth.cache").unlink()
    predict = (*PREDICT[:3], "preds", *PREDICT[4:])
    answers = [quiet((*SCORE, "--truth-cache", "truth.cache")), quiet(SCORE), quiet(predict)]
    assert [code for code, _, _ in answers] == [0, 0, 0], answers
    Path("report.json").write_text(answers[0][1])
    Path("other.json").write_text(answers[1][1])
    # Writes its lines again, with the checksums of today.
    RunFolder(Path(RUN)).truncate_metrics(after_iteration=3)


def quiet(command: Sequence[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command in this process."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = run(command)
    return code, out.getvalue(), err.getvalue()


# --- mutants ---


def flip(content: bytearray, chance: random.Random) -> None:
    """One to three bits."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def change(content: bytearray, chance: random.Random) -> None:
    """A byte becomes another, or a digit another digit, which is what JSON does not notice."""
    digits = [place for place, byte in enumerate(content[:100_000]) if 48 <= byte < 58]
    if digits and chance.random() < 0.5:
        content[chance.choice(digits)] = chance.randrange(48, 58)
    else:
        content[chance.randrange(len(content))] = chance.randrange(256)


def cut(content: bytearray, chance: random.Random) -> None:
    """The end is missing."""
    del content[chance.choice((chance.randrange(len(content)), max(len(content) - chance.randrange(1, 40), 0))) :]


def gap(content: bytearray, chance: random.Random) -> None:
    """Some bytes are missing."""
    place = chance.randrange(len(content))
    del content[place : place + chance.choice((1, 2, 8, 64, 512))]


def insertion(content: bytearray, chance: random.Random) -> None:
    """Some bytes too many: any, or some of its own."""
    place, size = chance.randrange(len(content) + 1), chance.choice((1, 2, 16, 300))
    own = chance.randrange(len(content))
    content[place:place] = chance.choice((chance.randbytes(size), bytes(content[own : own + size])))


def swap(content: bytearray, chance: random.Random) -> None:
    """Two blocks have changed places."""
    size = min(chance.choice((1, 4, 64, 512)), len(content) // 2)
    if size:
        a = chance.randrange(len(content) // 2 - size + 1)
        b = len(content) // 2 + chance.randrange(len(content) - len(content) // 2 - size + 1)
        content[a : a + size], content[b : b + size] = content[b : b + size], content[a : a + size]


def zeros(content: bytearray, chance: random.Random) -> None:
    """A block was never written."""
    place = chance.randrange(len(content))
    size = min(chance.choice((1, 16, 512, 4096)), len(content) - place)
    content[place : place + size] = bytes(size)


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flip, flip, change, change, cut, gap, insertion, swap, zeros,
)  # fmt: skip


# --- one run ---


@dataclass(frozen=True)
class Answer:
    """What a command did: its exit code (None: it hung), stdout and stderr, and its files by name and digest."""

    code: int | None
    out: bytes
    err: bytes
    files: tuple[tuple[str, str], ...]


def answer(case: Case, scratch: Path) -> Answer:
    """Runs the command of `case` in a process of its own."""
    process = os.fork()
    if not process:
        with contextlib.suppress(BaseException):
            for number, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(scratch / name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            code = run(case.command)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        os._exit(99)
    code = waited(process)
    out, err = (scratch / "out").read_bytes(), (scratch / "err").read_bytes()
    return Answer(code, out, err, listing(Path(case.output)) if case.output else ())


def waited(process: int) -> int | None:
    """The exit code of a process, None if it takes longer than LIMIT."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(process, 9)
    os.waitpid(process, 0)
    return None


def listing(path: Path) -> tuple[tuple[str, str], ...]:
    """Each file at or below `path` with its digest; of weights without where they come from."""
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    return tuple((str(one), digest(one)) for one in files)


def digest(path: Path) -> str:
    """What tells two files apart."""
    if path.suffix != ".safetensors":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    header = read_header(path)
    # It names the file that it comes from by its hash, which damage between an archive's members changes.
    return json.dumps({key: header[key] for key in ("sha256", "recipe", "categories", "steps")})


def verdict(case: Case, found: Answer, whole: Answer) -> str:
    """What is wrong, by the name that the module's text gives it; empty for nothing."""
    if found.code is None:
        return "hang"
    if b"Traceback" in found.err or b"this is a bug in yoso" in b" ".join(found.err.split()):
        return "bug"
    if found.code not in (0, 1, 2):
        return "crash"
    if found.code and case.whole and found.files:
        return "half"
    told = case.told and case.told.encode() in found.err
    if not found.code and case.checked and not told and (found.out, found.files) != (whole.out, whole.files):
        return "silent"
    return ""


class Attack:
    """Runs cases on mutants of their files.

    Args:
        names: of CASES.
        seed: the same seed gives the same mutants.
        scratch: a folder for what commands print.
    """

    def __init__(self, names: Sequence[str], seed: int, scratch: Path) -> None:
        self.chance, self.scratch = random.Random(seed), scratch  # noqa: S311 (mutants are no secrets)
        self.cases = {name: CASES[name] for name in names}
        self.whole = {name: self.undamaged(case) for name, case in self.cases.items()}
        self.counts: Counter[str] = Counter()
        self.noticed: Counter[str] = Counter()
        self.findings: list[dict[str, object]] = []

    def undamaged(self, case: Case) -> Answer:
        """The answer to the whole input, twice the same."""
        first, second = self.run(case, Path(case.file).read_bytes()), self.run(case, Path(case.file).read_bytes())
        assert first.code == 0, (case, first)
        assert (first.out, first.files) == (second.out, second.files), (case, first, second)
        return first

    def run(self, case: Case, content: bytes) -> Answer:
        """The answer where the file has this content; then everything is as it was before."""
        file, times = Path(case.file), Path(case.file).stat()
        kept, volatile = file.read_bytes(), self.scratch / "volatile"
        if case.volatile:
            shutil.copytree(case.volatile, volatile)
        file.write_bytes(content)
        # Damage does not change the time, which predictions keep of their inputs and the cache of its PNGs.
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        try:
            return answer(case, self.scratch)
        finally:
            if case.volatile:
                shutil.rmtree(case.volatile)
                volatile.rename(case.volatile)
            file.write_bytes(kept)
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
            if case.output:
                shutil.rmtree(case.output, ignore_errors=True)
                Path(case.output).unlink(missing_ok=True)

    def one(self) -> None:
        """Draws a mutant and runs its command."""
        name = self.chance.choices(list(self.cases), [case.weight for case in self.cases.values()])[0]
        case, before = self.cases[name], Path(self.cases[name].file).read_bytes()
        content, how = bytearray(before), self.chance.choice(MUTATIONS)
        how(content, self.chance)
        if content == before:
            return
        found = self.run(case, bytes(content))
        self.counts[name] += 1
        self.noticed[name] += bool(found.code)
        wrong = verdict(case, found, self.whole[name])
        if wrong:
            kept = self.scratch / f"{len(self.findings)}{Path(case.file).suffix}"
            kept.write_bytes(content)
            told = found.err.decode(errors="replace")[-600:]
            finding = {"case": name, "wrong": wrong, "mutation": how.__name__, "file": str(kept), "stderr": told}
            self.findings.append(finding)
            print(json.dumps(finding), file=sys.stderr, flush=True)


def attack(seconds: float, seed: int, scratch: Path, names: Sequence[str] = (), most: int | None = None) -> Attack:
    """Attacks for so many seconds, or with so many mutants.

    Args:
        seconds: from the first mutant on.
        seed: of the mutants.
        scratch: an existing folder; mutants with a finding are kept there.
        names: of CASES; none for all.
        most: mutants; None for as many as the time allows.
    """
    import torch

    # A process that is forked from one with threads of torch may wait for them for ever.
    torch.set_num_threads(1)
    back = Path.cwd()
    with tempfile.TemporaryDirectory() as world:
        try:
            build(Path(world))
            found, drawn = Attack(names or list(CASES), seed, scratch), 0
            end = time.monotonic() + seconds
            while time.monotonic() < end and (most is None or drawn < most):
                found.one()
                drawn += 1
        finally:
            os.chdir(back)
    return found


def main() -> int:
    """Attacks, and prints the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2.0, help="how long (2)")
    parser.add_argument("--seed", type=int, default=0, help="of the mutants (0)")
    parser.add_argument("--case", action="append", choices=list(CASES), default=[], help="only this one; repeatable")
    parser.add_argument("--output", type=Path, help="a file for the counts and findings")
    arguments = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="attack-damage-"))
    found = attack(60 * arguments.minutes, arguments.seed, scratch, arguments.case)
    told = {
        "seed": arguments.seed,
        "mutants": sum(found.counts.values()),
        "noticed": sum(found.noticed.values()),
        "wrong": dict(Counter(str(one["wrong"]) for one in found.findings)),
        "cases": {name: {"mutants": count, "noticed": found.noticed[name]} for name, count in found.counts.items()},
    }
    print(json.dumps(told, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps({**told, "findings": found.findings}, indent=2) + "\n")
    return 1 if found.findings else 0


if __name__ == "__main__":
    sys.exit(main())
