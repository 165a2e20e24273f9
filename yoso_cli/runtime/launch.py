"""Launching several training processes with torchrun."""

import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from yoso_cli.errors import RunError, UsageError

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

# When a process dies, all are restarted from the newest checkpoint.
_RESTARTS = 3
# By default torchrun kills processes 30 seconds after a signal, which is too early for a long step or a checkpoint.
_SECONDS_TO_SAVE = 3600
# The file for the exit code of the first process, which torchrun does not report after a signal.
_ENDED = "YOSO_EXIT_CODE_FILE"
_RESUME = "Resume from the newest checkpoint: `yoso train --resume RUN`."


def launch_processes(processes: int, words: Sequence[str], *, restartable: bool) -> int:
    """Runs `yoso` with `words` in that many processes, as torchrun does; returns their exit code.

    Args:
        processes: one for each GPU.
        words: the command line without --gpus.
        restartable: whether repeating the command line resumes the run, so that processes may be restarted.

    Raises:
        UsageError: this process was itself started by torchrun.
        RunError: a process was killed, or all were stopped before they could save.
    """
    if "WORLD_SIZE" in os.environ:
        raise UsageError("--gpus cannot be used under torchrun, which has started the processes already.")
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # Otherwise torchrun sets one thread per process, with a long warning.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(_SECONDS_TO_SAVE))
    # Restarted processes use a new store, without the addresses of the previous ones.
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    options = ["--standalone", f"--nproc-per-node={processes}", f"--max-restarts={_RESTARTS if restartable else 0}"]
    with tempfile.TemporaryDirectory(prefix="yoso-") as folder:
        os.environ[_ENDED] = str(Path(folder) / "exit-code")
        # The processes have received the signal as well; the file says whether they could save.
        with contextlib.suppress(SignalException):
            try:
                torchrun.main([*options, "-m", "yoso_cli", *words])
            except ChildFailedError as error:
                return _failed(*error.get_first_failure())
        return _ended()


def report_exit_code(code: int) -> None:
    """Passes the exit code to `launch_processes`, if that has started this process. The first process calls it."""
    if _ENDED in os.environ:
        Path(os.environ[_ENDED]).write_text(str(code))


def without_option(words: Sequence[str], option: str) -> list[str]:
    """`words` without `option` and its value, written apart or with an equals sign."""
    kept = []
    skipping = False
    for word in words:
        if skipping:
            skipping = False
        elif word == option:
            skipping = True
        elif not word.startswith(f"{option}="):
            kept.append(word)
    return kept


def _failed(rank: int, failure: "ProcessFailure") -> int:
    """The exit code of the first process that failed; it has reported its error itself, unless it was killed."""
    if failure.exitcode < 0:
        raise RunError(
            f"Process {rank} was killed by {failure.signal_name()}.",
            hint=f"If it ran out of memory, lower train.workers. {_RESUME}",
        )
    return failure.exitcode


def _ended() -> int:
    file = Path(os.environ[_ENDED])
    if not file.is_file():
        raise RunError("The processes were stopped before they had saved.", hint=_RESUME)
    return int(file.read_text())
