"""The command line: exit codes, one paragraph for every error, and no traceback unless it is asked for."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType

import click
import pytest

from yoso_cli import cli
from yoso_cli.commands import console
from yoso_cli.errors import DataError, RecipeError, RunError, UsageError
from yoso_cli.runtime.words import paragraph

ROOT = Path(__file__).resolve().parent.parent

Ending = Callable[[BaseException | None], int]


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Ending:
    """Runs `yoso train` as a command that raises the given exception, and returns the exit code."""

    def run_to(error: BaseException | None) -> int:
        @click.command()
        def command() -> None:
            if error is not None:
                raise error

        module = ModuleType("yoso_cli.commands.train")
        module.command = command  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return cli.run(["train"])

    return run_to


def full_disk() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device", "/data/x")


def named_like_torch() -> Exception:
    return type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory")


ENDINGS = [
    (None, 0, ""),
    (
        DataError("a.png: is truncated.", hint="Download it again."),
        1,
        "Error: a.png: is truncated. Download it again.\n",
    ),
    (RunError("loss is NaN."), 1, "Error: loss is NaN.\n"),
    (UsageError("x: no."), 2, "Error: x: no.\n"),
    (RecipeError(["m.yaml:1: a: b"]), 2, "Error: m.yaml:1: a: b\n"),
    (
        RecipeError(["m.yaml:1: " + "long " * 30, "m.yaml:2: c"]),
        2,
        "Error: 2 mistakes in the recipe:\n  m.yaml:1: " + "long " * 30 + "\n  m.yaml:2: c\n",
    ),
    (full_disk(), 1, "Error: /data/x: No space left on device. Free some space and try again.\n"),
    (PermissionError(errno.EACCES, "Permission denied", "/x"), 1, "Error: /x: Permission denied.\n"),
    (MemoryError(), 1, "Error: out of memory."),
    (named_like_torch(), 1, "Error: out of memory."),
    (KeyboardInterrupt(), 130, "\nStopped.\n"),
    (click.Abort(), 130, "Stopped.\n"),
    (click.UsageError("no"), 2, "Error: no\n"),
    (
        ValueError("odd"),
        1,
        "Error: this is a bug in yoso: ValueError: odd; run with YOSO_DEBUG=1 for the\ntraceback.\n",
    ),
    (AssertionError(), 1, "Error: this is a bug in yoso: AssertionError; run with YOSO_DEBUG=1 for the\ntraceback.\n"),
    (EOFError(), 1, "\nError: this is a bug in yoso: EOFError; run with YOSO_DEBUG=1 for the traceback.\n"),
]


@pytest.mark.parametrize(("error", "code", "told"), ENDINGS, ids=lambda value: type(value).__name__)
def test_every_ending_has_its_exit_code_and_its_paragraph(
    ending: Ending, capsys: pytest.CaptureFixture[str], error: BaseException | None, code: int, told: str
) -> None:
    assert ending(error) == code
    streams = capsys.readouterr()
    assert streams.out == ""
    assert told in streams.err
    assert "Traceback" not in streams.err


def test_debug_shows_the_traceback_and_the_paragraph(
    ending: Ending, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YOSO_DEBUG", "1")
    assert ending(DataError("a.png: is truncated.")) == 1
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert "Error: a.png: is truncated.\n" in told


def test_an_exit_code_of_a_command_is_kept() -> None:
    assert cli.run(["recipe", "check", "/nonexistent.yaml"]) == 2


def test_neither_a_path_nor_a_command_to_type_is_broken() -> None:
    """What a person will copy stands on one line, however narrow the terminal."""
    path = "/a-long/path-with-dashes/" + "deep/" * 12 + "file.png"
    wrapped = paragraph(f"Error: {path}: is truncated. Type `yoso prepare shapes --force` to draw it again.", 30)
    assert path in wrapped
    assert "`yoso prepare shapes --force`" in wrapped
    assert wrapped.count("\n") > 2


def test_a_hostile_message_cannot_steer_the_terminal(ending: Ending, capsys: pytest.CaptureFixture[str]) -> None:
    ending(DataError("x\x1b[2J\x07: is\nodd."))
    assert capsys.readouterr().err == "Error: x\\x1b[2J\\x07: is\\nodd.\n"


def test_yoso_alone_shows_the_help_and_the_first_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == 0
    told = capsys.readouterr().out
    assert "First steps: `yoso demo`" in told
    for name, summary in cli.COMMANDS.items():
        assert f"  {name}" in told
        assert summary in told, "a summary that fits on its line"


def every_command(command: click.Command, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """A command and all beneath it."""
    yield command, context
    for name in command.list_commands(context) if isinstance(command, click.Group) else ():
        below = command.get_command(context, name)
        assert below is not None
        yield from every_command(below, click.Context(below, parent=context, info_name=name))


def test_help_names_no_value_by_its_type_and_cuts_no_sentence() -> None:
    """`--images N`, and not `--images INTEGER RANGE`; lists of commands end in no dots."""
    for command, context in every_command(cli.yoso, click.Context(cli.yoso, info_name="yoso", terminal_width=78)):
        told = command.get_help(context)
        for kind in ("INTEGER", "FLOAT", "TEXT", "DIRECTORY", "FILENAME"):
            assert kind not in told, context.command_path
        for line in told.partition("\nCommands:\n")[2].splitlines():
            assert not line.endswith("..."), (context.command_path, line)
            assert line.count("(") == line.count(")"), (context.command_path, line)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["trian"], "there is no command 'trian'. Did you mean 'train'?"),
        (["qqqq"], "there is no command 'qqqq'."),
        (["--versoin"], "--version"),
        (["recipe", "shwo"], "No such command 'shwo'"),
        (["recipe", "show"], "Missing argument 'RECIPE'"),
        (["recipe", "show", "coco", "--josn"], "--json"),
    ],
)
def test_a_usage_error_exits_with_2_and_names_the_near_miss(
    capsys: pytest.CaptureFixture[str], typed: list[str], told: str
) -> None:
    assert cli.run(typed) == 2
    assert told in capsys.readouterr().err


def commands_beneath(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command, those of groups among them."""
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner
            yield from commands_beneath(inner, (*path, name))


@pytest.mark.parametrize("words", [*commands_beneath(cli.yoso)], ids=" ".join)
def test_help_fits_a_terminal_of_80_columns(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.run([*words, "--help"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if len(line) > 80] == []


def test_version_names_torch_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("yoso")
    assert f", torch {metadata.version('torch')}" in told


def test_version_takes_no_torch() -> None:
    code = "import sys; from yoso_cli.cli import run; run(['--version']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("words", [("viz",), ("weights",), ("weights", "import"), ()], ids=" ".join)
def test_help_of_a_command_is_what_its_option_shows(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for line in (["help", *words], [*words, "--help"]):
        assert cli.run(line) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trian"], "there is no command 'yoso trian'. Did you mean 'train'?"),
        (["weights", "improt"], "there is no command 'yoso weights improt'. Did you mean 'import'?"),
        (["train", "coco"], "there is no command 'yoso train coco'."),
    ],
)
def test_help_of_no_command_names_the_near_miss(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["help", *words]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed_and_its_place_told(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["completion", shell]) == 0
    out, err = capsys.readouterr()
    assert f"_YOSO_COMPLETE={shell}_complete" in out
    assert f"yoso completion {shell} >" in err
    assert cli.run(["completion", "tcsh"]) == 2


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("yoso tr", ["train"]), ("yoso weights im", ["import"]), ("yoso reparam --to", ["--tolerance"])],
)
def test_a_shell_completes_names_and_options_without_torch(typed: str, completed: list[str]) -> None:
    code = "import sys; from yoso_cli.cli import run\ntry: run([])\nfinally: assert 'torch' not in sys.modules"
    asked = {"_YOSO_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | asked
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert [line.partition(",")[2] for line in done.stdout.splitlines()] == completed


@pytest.mark.parametrize("words", [["-q", "recipe", "list"], ["recipe", "--quiet", "list"], ["recipe", "list", "-q"]])
def test_quiet_leaves_the_result_alone(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["recipe", "list"]) == 0
    out, err = capsys.readouterr()
    assert "Next: " in err
    assert cli.run(words) == 0
    assert capsys.readouterr() == (out, "")
    assert cli.run(["recipe", "list"]) == 0
    assert capsys.readouterr() == (out, err), "it is of one command line"


def test_quiet_does_not_silence_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["recipe", "show", "nope", "-q"]) == 2
    assert "Error: " in capsys.readouterr().err


def test_quiet_shows_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    console.TERMINAL.quiet = True
    with console.bar(3, "train") as bar:
        bar.update(3)
    console.TERMINAL.quiet = False
    assert capsys.readouterr().err == ""


def started(*words: str, stdout: int) -> "subprocess.Popen[bytes]":
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "yoso_cli", *words]
    return subprocess.Popen(command, env=environment, stdout=stdout, stderr=subprocess.PIPE)


def test_a_reader_that_goes_away_is_no_error() -> None:
    """`yoso ... | head` says nothing."""
    reading, writing = os.pipe()
    os.close(reading)
    process = started("recipe", "show", "coco", stdout=writing)
    os.close(writing)
    assert process.communicate()[1] == b""
    assert process.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_under_stdout_is_one_paragraph() -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123 (a device, not a path of ours)
        process = started("recipe", "list", stdout=full.fileno())
    assert b"".join(process.communicate()[1].splitlines()[:1]) == (
        b"Error: No space left on device. Free some space and try again."
    )
    assert process.returncode == 1
