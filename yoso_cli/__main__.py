"""`yoso` and `python -m yoso_cli`."""

import sys

from yoso_cli.cli import run


def main() -> None:
    """Runs the command line and ends with its exit code."""
    sys.exit(run())


if __name__ == "__main__":
    main()
