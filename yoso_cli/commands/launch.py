"""Several processes for one training, as torchrun starts them."""

import os
import sys
from collections.abc import Sequence

from yoso_cli.errors import UsageError

# A process that dies, or a node that goes, starts all of them again from the newest checkpoint.
_RESTARTS = 3


def on_several(processes: int, words: Sequence[str], *, goes_on: bool) -> None:
    """Becomes torchrun, which runs `yoso` with `words` in that many processes. Does not return.

    Args:
        processes: one for each GPU.
        words: of the command line, without the option that asked for this.
        goes_on: whether the same command line goes on with a run that is there already, so that it may be repeated.

    Raises:
        UsageError: this process was itself started by torchrun.
    """
    if "WORLD_SIZE" in os.environ:
        raise UsageError("--gpus has no meaning under torchrun, which has started its processes already.")
    sys.stdout.flush()
    sys.stderr.flush()
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"),
        f"--max-restarts={_RESTARTS if goes_on else 0}",
        *("-m", "yoso_cli", *words),
    ]
    # torchrun gives each process one thread unless told otherwise; it says so at length.
    threads = max(1, (os.cpu_count() or 1) // processes)
    os.execve(sys.executable, command, {"OMP_NUM_THREADS": str(threads), **os.environ})  # noqa: S606 (our own words)


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
