"""Several processes for one training, as torchrun starts them."""

import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from yoso_cli.errors import RunError, UsageError

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

# A process that dies starts all of them again from the newest checkpoint.
_RESTARTS = 3
# torchrun would kill them 30 seconds after a signal, amid a long step or a large checkpoint.
_SECONDS_TO_SAVE = 3600
# The file in which the first process leaves its exit code: torchrun itself does not tell it after a signal.
_ENDED = "YOSO_EXIT_CODE_FILE"
_GO_ON = "Go on from the newest checkpoint: `yoso train --resume RUN`."


def on_several(processes: int, words: Sequence[str], *, goes_on: bool) -> int:
    """Runs `yoso` with `words` in that many processes, as torchrun does, and gives their exit code.

    Args:
        processes: one for each GPU.
        words: of the command line, without the option that asked for this.
        goes_on: whether the same command line goes on with a run that is there already, so that it may be repeated.

    Raises:
        UsageError: this process was itself started by torchrun.
        RunError: a process was killed, or all were before they could save.
    """
    if "WORLD_SIZE" in os.environ:
        raise UsageError("--gpus has no meaning under torchrun, which has started its processes already.")
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # torchrun gives each process one thread unless told otherwise; it says so at length.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(_SECONDS_TO_SAVE))
    # Processes that start again meet at a new place, where nobody has left the addresses of those before them.
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    options = ["--standalone", f"--nproc-per-node={processes}", f"--max-restarts={_RESTARTS if goes_on else 0}"]
    with tempfile.TemporaryDirectory(prefix="yoso-") as folder:
        os.environ[_ENDED] = str(Path(folder) / "exit-code")
        # The processes have heard a signal as well; whether they could save stands in the file.
        with contextlib.suppress(SignalException):
            try:
                torchrun.main([*options, "-m", "yoso_cli", *words])
            except ChildFailedError as error:
                return _failed(*error.get_first_failure())
        return _ended()


def ended_with(code: int) -> None:
    """Leaves the exit code for `on_several`, if that has started this process. The first process calls it."""
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
    """The exit code of the first process that failed; it has told why itself, unless it was killed."""
    if failure.exitcode < 0:
        raise RunError(
            f"Process {rank} was ended by {failure.signal_name()}.",
            hint=f"If the memory was full, take fewer train.workers. {_GO_ON}",
        )
    return failure.exitcode


def _ended() -> int:
    file = Path(os.environ[_ENDED])
    if not file.is_file():
        raise RunError("The processes were stopped before they had saved.", hint=_GO_ON)
    return int(file.read_text())
