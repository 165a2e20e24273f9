"""The errors that a user can do something about, and their exit codes.

    YosoError            exit code 1
    ├── DataError        a file, picture, dataset or weights that is missing or wrong      exit code 1
    │   └── ProblemsError  several of them, reported together                              exit code 1
    ├── RunError         the machine or a run failed: disk, device, training               exit code 1
    │   └── StepError      a training cannot go on: it has diverged, or needs more memory   exit code 1
    └── UsageError       wrong options or arguments                                        exit code 2
        └── RecipeError  one or more mistakes in a recipe, all of them at once             exit code 2

The message says what is wrong and where; `hint` says what to do about it. `cli.py` prints any of them as one paragraph.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class YosoError(Exception):
    """An error that is reported in one paragraph, without a traceback.

    Args:
        message: where and what, in one or two sentences.
        hint: what the user can do about it.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class DataError(YosoError):
    """A file, picture, dataset or weights file that is missing, unreadable or inconsistent."""


class ProblemsError(DataError):
    """All problems of a dataset, reported together.

    Args:
        where: the dataset.
        problems: one sentence each, the file first.
        hint: what the user can do about them.
    """

    def __init__(self, where: str, problems: list[str], *, hint: str = "") -> None:
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{where}: {count}: {' '.join(problems)}", hint=hint)
        self.where = where
        self.problems = problems


class RunError(YosoError):
    """The machine or a run failed: a full disk, no such device, a diverged training."""


class StepError(RunError):
    """A training that cannot go on: it has diverged, or a step needs more memory than there is."""


class UsageError(YosoError):
    """A usage error: wrong options or arguments, a path that is not there, a mistake in a recipe."""

    exit_code = 2


class RecipeError(UsageError):
    """All mistakes in one recipe.

    Args:
        problems: one line each, `path:line: key: what is wrong`.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def did_you_mean(name: str, names: Iterable[str], *others: str) -> str:
    """A hint: asks for the nearest of `names` to what was typed, then adds the sentences `others`."""
    known = {one.lower(): one for one in names}
    near = get_close_matches(name.lower(), known, n=1)
    question = [f"Did you mean '{known[near[0]]}'?"] if near else []
    return " ".join([*question, *filter(None, others)])
