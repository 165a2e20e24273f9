"""`yoso` and `python -m yoso_cli`."""

import gc
import sys

from yoso_cli.cli import run


def main() -> None:
    """Runs the command line and ends with its exit code."""
    code = run()
    # All memory goes back to the system now. Looking for cycles in it first takes 40 ms, a fifth of a short command.
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    main()
