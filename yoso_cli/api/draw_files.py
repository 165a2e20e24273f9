"""Drawing many pictures: what cannot be read is passed over, and what was drawn before in the same way is kept."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yoso_cli.api.predict_files import Failure, Outcome, predicted, threads_beside
from yoso_cli.api.result import Result
from yoso_cli.drawing.picture_file import read_made_from, write_picture
from yoso_cli.drawing.style import Style
from yoso_cli.errors import DataError, UsageError
from yoso_cli.media.inputs import Input
from yoso_cli.runtime.machine import usable_cores
from yoso_cli.runtime.stages import stage

if TYPE_CHECKING:
    from yoso_cli.api.predict import Model

_STAMP = "yoso viz "


@dataclass(frozen=True, eq=False)
class Drawing:
    """A picture to draw.

    Attributes:
        input: what is drawn.
        target: the file to write.
        look: what else it is drawn from: the model's settings and the style.
    """

    input: Input
    target: Path
    look: tuple[Mapping[str, Any], ...]

    @cached_property
    def stamp(self) -> str:
        """A hash of all that it is drawn from, kept in the file: the same command may write it again.

        The input is read for it: by the thread that draws it, unless its file is there already.
        """
        return stamp([_digest(self.input), *self.look])


def drawings(model: "Model", inputs: Sequence[Input], targets: Sequence[Path], style: Style) -> list[Drawing]:
    """Each input with the file it is drawn to, in one style."""
    look = (model.settings, vars(style))  # of the settings, a hash of all of the weights
    return [Drawing(one, target, look) for one, target in zip(inputs, targets, strict=True)]


def not_drawn(wanted: Sequence[Drawing]) -> list[Drawing]:
    """Those whose files are not there.

    Raises:
        UsageError: a file is there that was drawn from something else, or that is not ours.
    """
    there = [one for one in wanted if one.target.exists()]
    require_own({one.target: one.stamp for one in there})
    return [one for one in wanted if one not in there]


def draw_files(
    model: "Model",
    wanted: Sequence[Drawing],
    style: Style,
    outcome: Outcome,
    *,
    batch: int = 1,
    fail_fast: bool = False,
) -> Iterator[tuple[Drawing, Result]]:
    """Predicts, draws and writes pictures; gives each once it is on disk.

    Args:
        model: the model.
        wanted: the pictures.
        style: of all of them.
        outcome: takes failures and counts.
        batch: batch size.
        fail_fast: whether the first picture that cannot be read ends it.

    Raises:
        RunError: the disk is full.
    """
    by_name = {one.input.name: one for one in wanted}

    def drawn(found: tuple[Input, Result]) -> tuple[Drawing, Result | None]:
        drawing, result = by_name[found[0].name], found[1]
        try:
            write_picture(drawing.target, result.drawn(style), made_from=drawing.stamp)
        except (DataError, MemoryError) as error:
            if fail_fast:
                raise
            outcome.failures.append(Failure(drawing.input.source, str(error) or "it is too large to be drawn"))
            return drawing, None
        outcome.predicted += 1
        return drawing, result

    results = predicted(model, [one.input for one in wanted], outcome, batch=batch, fail_fast=fail_fast)
    threads = threads_beside(model) * usable_cores()
    for drawing, result in stage(drawn, results, threads=threads, ahead=2 * max(1, threads)):
        if result is not None:
            yield drawing, result


def stamp(made_from: object) -> str:
    """A hash of what a picture is drawn from."""
    return _STAMP + hashlib.sha256(json.dumps(made_from, sort_keys=True, default=str).encode()).hexdigest()


def require_own(targets: dict[Path, str]) -> None:
    """Refuses to write over anything but what `yoso viz` drew itself.

    Args:
        targets: files with what they are to be drawn from; "" for anything.

    Raises:
        UsageError: a file is there that was drawn from something else, or that is not ours.
    """
    for target, wanted in targets.items():
        if not target.exists():
            continue
        made_from = read_made_from(target)
        if not made_from.startswith(_STAMP) or (wanted and made_from != wanted):
            raise UsageError(f"{target}: exists already.", hint="Add --force to overwrite it, or use --output.")


def _digest(one: Input) -> str:
    if one.content is not None:
        return hashlib.sha256(one.content).hexdigest()
    if one.path is None:
        return one.source
    try:
        return hashlib.sha256(one.path.read_bytes()).hexdigest()
    except OSError:
        return ""  # reading it as a picture says why
