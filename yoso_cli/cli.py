"""The command table, error messages and exit codes.

`yoso --help` reads the table alone: a command's module is imported only when that command runs.
"""

import errno
import io
import os
import shutil
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from yoso_cli.errors import ProblemsError, RecipeError, RunError, UsageError, YosoError, did_you_mean
from yoso_cli.runtime import address_space
from yoso_cli.runtime.address_space import NO_MEMORY
from yoso_cli.runtime.paths import is_possible
from yoso_cli.runtime.words import paragraph, printable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "demo": "Run the whole pipeline on synthetic scenes, in a few minutes.",
    "prepare": "Prepare a dataset for all other commands.",
    "convert": "Convert your own labels to a dataset, and back.",
    "check": "Validate a dataset.",
    "stats": "Summarise a dataset as a table and a picture.",
    "dataset": "Divide, select, merge, re-class and size datasets.",
    "train": "Train a model from a recipe.",
    "eval": "Evaluate a model or predictions: panoptic quality (PQ, SQ, RQ).",
    "tune": "Search learning rate, augmentation and size for a recipe.",
    "runs": "List, plot and remove runs.",
    "compare": "Compare two evaluations, with confidence intervals.",
    "reparam": "Re-parameterise a model: same predictions, lower latency.",
    "export": "Export to ONNX, OpenVINO, TensorRT or torch, proved.",
    "predict": "Predict photos, folders and videos: files for other tools.",
    "viz": "Segment pictures and draw the result.",
    "view": "Browse a dataset, a run or predictions in a browser.",
    "bench": "Measure latency and frames per second on this machine.",
    "weights": "Download, import, export and show weights.",
    "recipe": "List, show, check, copy and make recipes.",
    "doctor": "Tell what this machine has, and lacks for which command.",
    "completion": "Print the script with which a shell completes commands.",
    "help": "Show the help of a command.",
}
"""Name -> summary; `yoso_cli/commands/<name>.py` holds the command."""

_FIRST_STEPS = (
    "First steps: `yoso demo` runs everything in a few minutes; `yoso viz photo.jpg --weights coco` segments a photo; "
    "`yoso convert` takes labels of your own."
)
_WIDEST = 100

# Of the dynamic linker, of Python's threads and of torch.
_OF_NO_MEMORY = ("failed to map segment", "annot allocate memory", "can't allocate memory", "can't start new thread")


class CommandTable(click.Group):
    """A group that knows its commands by name and summary and imports one only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the command's module; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"yoso_cli.commands.{cmd_name}").command
        _accept_quiet(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the table without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """Completes names from the table without importing anything."""
        from click.shell_completion import CompletionItem

        names = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggests the nearest name for an unknown one."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            hint = did_you_mean(name, COMMANDS)
            raise click.UsageError(f"there is no command '{name}'. {hint}".rstrip(), ctx=ctx)
        return super().resolve_command(ctx, args)


def _show_version(ctx: click.Context, option: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    told = []
    for name, package, absent in (
        ("yoso", "yoso-cli", "yoso, not installed: running from its source folder"),
        ("torch", "torch", "without torch"),
    ):
        try:
            told.append(f"{name} {version(package)}")
        except PackageNotFoundError:
            told.append(absent)
    # torch takes seconds to import; the driver's own file is there where it would find a GPU.
    gpu = ", CUDA driver" if Path("/dev/nvidiactl").exists() else ""
    click.echo(f"{', '.join(told)}{gpu}")
    ctx.exit()


def _be_quiet(ctx: click.Context, option: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from yoso_cli.commands import console

    console.TERMINAL.quiet = True
    ctx.find_root().call_on_close(console.TERMINAL.speak)


_QUIET: dict[str, Any] = {"is_flag": True, "expose_value": False, "callback": _be_quiet}


def _accept_quiet(command: click.Command) -> None:
    """Gives --quiet to a command and those beneath it, in whose help it is not repeated."""
    if not any("--quiet" in one.opts for one in command.params):
        command.params.append(click.Option(["--quiet", "-q"], hidden=True, **_QUIET))
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        _accept_quiet(inner)


@click.group(
    cls=CommandTable,
    invoke_without_command=True,
    epilog=_FIRST_STEPS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)
@click.option(
    "--quiet", "-q", help="Only results and errors: no messages, no progress. May follow the command's name.", **_QUIET
)
@click.pass_context
def yoso(ctx: click.Context) -> None:
    """Real-time panoptic segmentation with YOSO (You Only Segment Once)."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run(args: Sequence[str] | None = None) -> int:
    """Runs one command line (default: the process's own) and returns its exit code; errors are reported on stderr.

    0 is success, 1 a data or run error, 2 a usage or recipe error, 130 an interrupt (Ctrl-C).
    """
    words = tuple(sys.argv[1:] if args is None else args)
    _open_streams()
    try:
        _warn_of_little_memory()
        _require_current_folder()
        _require_possible(words)
        # A report records the command line that made it: `obj` carries it to the command.
        with address_space.guarded():
            code = yoso.main(words, prog_name="yoso", standalone_mode=False, obj=words)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        if os.environ.get("YOSO_DEBUG") == "1":
            traceback.print_exc()
        code = _reported(error)
    finally:
        _forget_what_cannot_be_written()
    return code if isinstance(code, int) else 0


def _open_streams() -> None:
    """Makes stdout and stderr usable: what is closed (`>&-`) is discarded, and what has no letter for it is escaped."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            # It takes the free number, which a file that is opened later would have otherwise, and be written to.
            how = "r" if name == "stdin" else "w"
            setattr(sys, name, Path(os.devnull).open(how, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _warn_of_little_memory() -> None:
    """Says so before anything is loaded: libraries in C end the process without a word when they get no memory."""
    limit = address_space.limit()
    if limit is not None and limit < address_space.FOR_NETWORKS:
        text = (
            f"Warning: `ulimit -v` leaves this process {limit >> 20:,} MiB of address space; networks need 4 GiB, and "
            "with less it may end without a message."
        )
        click.echo(_paragraph(text), err=True)


def _require_current_folder() -> None:
    """Raises RunError where it was deleted: libraries that look for themselves end the process without a word."""
    try:
        os.getcwd()  # noqa: PTH109
    except OSError:
        raise RunError("The current folder has been deleted.", hint="Change to another, and try again.") from None


def _require_possible(words: Sequence[str]) -> None:
    wrong = [word for word in words if not is_possible(word)]
    if wrong:
        raise UsageError(f"{wrong[0]}: no file and no value can have such a name.")


def _reported(error: BaseException) -> int:
    """Reports the error on stderr, where that can be written; returns its exit code."""
    try:
        return _report(error)
    except OSError:
        return error.exit_code if isinstance(error, (YosoError, click.ClickException)) else 1


def _report(error: BaseException) -> int:
    """Reports the error on stderr; returns its exit code."""
    if isinstance(error, click.ClickException):
        if isinstance(error, click.UsageError) and error.ctx:
            click.echo(f"{error.ctx.get_usage()}\nTry '{error.ctx.command_path} --help' for help.\n", err=True)
        click.echo(f"Error: {printable(error.format_message(), lines=True)}", err=True)
        return error.exit_code
    # click makes an Abort of a KeyboardInterrupt, and of an EOFError, which is a bug when no question was asked.
    if isinstance(error, (click.Abort, KeyboardInterrupt)) and not isinstance(error.__cause__, EOFError):
        click.echo("Stopped.", err=True)
        return 130
    if isinstance(error, RecipeError) and len(error.problems) > 1:
        lines = "\n".join(f"  {printable(problem)}" for problem in error.problems)
        click.echo(f"Error: {len(error.problems)} mistakes in the recipe:\n{lines}", err=True)
        return error.exit_code
    if isinstance(error, ProblemsError) and len(error.problems) > 1:
        lines = "\n".join(f"  {printable(problem)}" for problem in error.problems)
        click.echo(f"Error: {error.where}: {len(error.problems)} problems:\n{lines}", err=True)
        if error.hint:
            click.echo(_paragraph(error.hint), err=True)
        return error.exit_code
    # click makes a SystemExit of a reader that has gone.
    if isinstance(error, SystemExit) or (isinstance(error, OSError) and error.errno == errno.EPIPE):
        return 1
    click.echo(_paragraph(f"Error: {_sentence(error)}"), err=True)
    return error.exit_code if isinstance(error, YosoError) else 1


def _sentence(error: BaseException) -> str:
    if isinstance(error, YosoError):
        return str(error)
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return NO_MEMORY
    if isinstance(error, OSError) and not error.filename and not _can_be_written(sys.stdout):
        return f"stdout: cannot be written: {error.strerror or error}. Free some space, or print to another place."
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        full = " Free some space and try again." if error.errno == errno.ENOSPC else ""
        return f"{where}{error.strerror}.{full}"
    if isinstance(error, MemoryError) and address_space.limit() is not None:
        return NO_MEMORY
    # torch's own OutOfMemoryError is matched by name: torch is not imported here.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory. Use a smaller batch or smaller pictures, as in --set train.batch=1."
    if isinstance(error, (ImportError, RuntimeError)) and any(words in str(error) for words in _OF_NO_MEMORY):
        return NO_MEMORY
    if isinstance(error, RecursionError):
        return "what was read is nested too deeply. Use another copy of the file."
    error = error.__cause__ if isinstance(error, click.Abort) and error.__cause__ else error
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"this is a bug in yoso: {what}; run with YOSO_DEBUG=1 for the traceback."


def _paragraph(text: str) -> str:
    """`text` wrapped to the terminal."""
    return paragraph(printable(text), min(shutil.get_terminal_size().columns, _WIDEST))


def _can_be_written(stream: TextIO) -> bool:
    try:
        stream.flush()
    except OSError:
        return False
    return True


def _forget_what_cannot_be_written() -> None:
    """What is still buffered for a reader that has gone (`yoso ... | head`) or a full disk must not fail at exit."""
    for stream in (sys.stdout, sys.stderr):
        if not _can_be_written(stream):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
