"""`yoso viz`: draw segments on pictures and videos."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click

from yoso_cli.commands import console, next_step, options
from yoso_cli.drawing.style import Style
from yoso_cli.errors import DataError, UsageError
from yoso_cli.media.frames import ALL_FRAMES, FrameChoice
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.api.predict import Model
    from yoso_cli.api.predict_files import Outcome
    from yoso_cli.api.result import Result
    from yoso_cli.api.video import DrawnVideo
    from yoso_cli.media.inputs import Input, Inputs

SUFFIXES = (".png", ".jpg", ".jpeg")
# Rows and columns of a contact sheet.
SHEET = (4, 4)
# Of more pictures than this, lines are printed only if asked for.
_FEW = 10


@dataclass(frozen=True)
class _Order:
    """What is drawn, how, and where to."""

    style: Style
    output: str | None
    frames: FrameChoice
    show: bool
    batch: int
    fail_fast: bool
    verbose: bool
    force: bool
    as_json: bool


@dataclass(frozen=True)
class _Labels:
    """Which labels of a dataset are drawn."""

    dataset: str
    split: str
    count: int
    classes: tuple[str, ...]
    seed: int | None


@click.command(name="viz")
@click.argument("inputs", nargs=-1)
@options.model_options
@options.drawing_options
@click.option("--output", "-o", metavar="PATH", help="A file, or a folder (also a new one, with a slash at its end).")
@options.recursive_option
@options.frame_options
@click.option("--show", is_flag=True, help="Of a video: show it in a window as well.")
@click.option("--truth", metavar="DATASET", help="Draw the labels of this prepared dataset instead of INPUTS.")
@click.option("--split", default="", metavar="SPLIT", show_default="its val split", help="With --truth: the split.")
@click.option(
    "--count", type=click.IntRange(1), default=16, show_default=True, metavar="N", help="With --truth: how many."
)
@click.option("--class", "classes", multiple=True, metavar="CLASS", help="With --truth: pictures with this class only.")
@click.option("--seed", type=int, metavar="N", help="With --truth: choose pictures at random.")
@click.option("--augmented", metavar="RECIPE", help="Draw this recipe's augmented training pictures instead of INPUTS.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Batch size.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first picture that cannot be read.")
@click.option("--verbose", "-v", is_flag=True, help="Print a line for each picture, however many there are.")
@options.datasets_option
@options.force_option
@options.json_option
def command(
    inputs: tuple[str, ...],
    chosen: options.ModelOptions,
    recursive: bool,
    truth: str | None,
    augmented: str | None,
    root: Path,
    **values: Any,
) -> None:
    """Segment INPUTS and draw the result: colours, outlines, names and a legend.

    INPUTS are photos, folders, patterns, lists, URLs, videos, cameras and prepared splits, as `yoso predict` takes
    them. In the current folder, a picture becomes NAME-yoso.png, a video NAME-yoso.mp4, and the pictures of a folder
    go to FOLDER-yoso/. Things keep their colours and numbers through a video.

    What cannot be read is named and passed over. The same line draws only what is missing.

    \b
    Example:
      yoso viz photo.jpg --weights coco
      yoso viz photos/ -o seen/ --conf 0.4
      yoso viz clip.mp4 --stop 10
      yoso viz photo.jpg --only person --background transparent
      yoso viz --truth mine --class car
      yoso viz --augmented coco
    """
    labels = _Labels(truth or "", *(values.pop(name) for name in ("split", "count", "classes", "seed")))
    order = _Order(**values)
    if sum((bool(inputs), truth is not None, augmented is not None)) > 1:
        raise UsageError("INPUTS, --truth and --augmented exclude one another.", hint="Use one of them.")
    if augmented is not None:
        _draw_augmented(augmented, chosen.overrides, order)
    elif truth is not None:
        _draw_truth(labels, root, order)
    elif inputs:
        _draw(inputs, chosen, recursive, root, order)
    else:
        raise UsageError("INPUTS are missing.", hint="Name a photo, a folder or a video.")


def _draw_augmented(name: str, overrides: Sequence[str], order: _Order) -> None:
    from yoso_cli.api.draw_files import require_own, stamp
    from yoso_cli.api.training_parts import contact_sheet
    from yoso_cli.drawing.picture_file import require_format, write_picture
    from yoso_cli.recipe import file as recipe_file

    recipe = recipe_file.load(name, overrides)
    target = Path(order.output or f"{recipe.name}-augmented.png")
    require_format(target)
    made_from = stamp(recipe.to_dict())
    if not order.force:
        require_own({target: made_from})
    sheet = contact_sheet(recipe, rows=SHEET[0], columns=SHEET[1], progress=console.TERMINAL)
    write_picture(target, sheet, made_from=made_from)
    console.result({"recipe": recipe.name, "output": str(target)}, f"{recipe.name} -> {target}", order.as_json)
    console.next_step(f"yoso train {shlex.quote(name)}")


def _draw_truth(labels: _Labels, root: Path, order: _Order) -> None:
    from yoso_cli.api.draw_files import require_own, stamp
    from yoso_cli.api.truth_pictures import truth_pictures
    from yoso_cli.drawing.picture_file import write_picture

    found = truth_pictures(
        labels.dataset, split=labels.split, root=root, count=labels.count, classes=labels.classes, seed=labels.seed
    )
    folder = Path(order.output or f"{PurePosixPath(labels.dataset).name}-truth")
    made = []
    for result in found:
        target = folder / f"{Path(result.source).stem}-yoso.png"
        made_from = stamp([result.source, vars(order.style)])
        if not order.force:
            require_own({target: made_from})
        write_picture(target, result.drawn(order.style), made_from=made_from)
        made.append(_entry(result, result.source, target, masks=order.as_json))
    text = f"{counted(len(made), 'picture')} of {labels.dataset} -> {folder}"
    console.result({"dataset": labels.dataset, "pictures": made}, text, order.as_json)
    console.next_step(f"yoso stats {shlex.quote(labels.dataset)}")


def _draw(inputs: Sequence[str], chosen: options.ModelOptions, recursive: bool, root: Path, order: _Order) -> None:
    from yoso_cli.api.draw_files import require_own
    from yoso_cli.api.predict import using

    found = options.found_inputs(inputs, recursive, root)
    targets = _targets(inputs, found, order)
    file = chosen.read(console.TERMINAL)
    if not order.force:
        # Beside other inputs, a video that is there is taken for done.
        pairs = zip(found.items, targets, strict=True)
        require_own({target: "" for one, target in pairs if not one.is_video or len(targets) == 1})
    order.style.shown(file.weights.categories)  # an unknown class is said before the network is built
    model = chosen.build(file, found)
    console.say(using(model))
    if chosen.engine.fast_merge:
        console.say("Fast merge: `yoso eval --fast-merge` measures its PQ.")
    if file.overridden:
        console.say(f"Settings that differ from those of these weights: {file.overridden}.")
    _report(model, found, targets, chosen, order)


def _report(
    model: "Model", found: "Inputs", targets: Sequence[Path], chosen: options.ModelOptions, order: _Order
) -> None:
    from yoso_cli.api.predict_files import Outcome

    outcome = Outcome()
    both = list(zip(found.items, targets, strict=True))
    pictures = _draw_pictures(model, [one for one in both if not one[0].is_video], order, outcome)
    console.require_finished(outcome.ended, "The same line draws only what is missing.")
    videos = _draw_videos(model, [one for one in both if one[0].is_video], order, outcome, alone=len(both) == 1)
    value = {
        "weights": str(model.path),
        "pictures": pictures,
        "videos": [_video_entry(*one) for one in videos],
        "skipped": outcome.skipped,
        "failures": [one.to_json() for one in outcome.failures],
    }
    text = _text(pictures, videos, outcome, targets, order)
    if text or order.as_json:
        console.result(value, text, order.as_json)
    problems = [one.message for one in outcome.failures]
    problems += [drawn.problem for _, drawn in videos if drawn.problem]
    if problems:
        count = f"{counted(len(outcome.failures), 'input')} passed over. " if outcome.failures else ""
        raise console.passed_over("viz", problems, f"{count}The same line draws only what is missing.")
    named = model.file.run.path if model.file.run else chosen.source or model.path
    photos = [one.path for one in found.items if one.path is not None and not one.is_video]
    console.next_step(next_step.bench(named, model.recipe, photos[0] if photos else None))


def _draw_pictures(
    model: "Model", both: Sequence[tuple["Input", Path]], order: _Order, outcome: "Outcome"
) -> list[dict[str, Any]]:
    """Draws what is no video; returns an entry for each picture that was drawn."""
    from yoso_cli.api.draw_files import draw_files, drawings, not_drawn
    from yoso_cli.api.predict_files import until_stopped

    if not both:
        return []
    wanted = drawings(model, [one for one, _ in both], [target for _, target in both], order.style)
    if not order.force:
        todo = not_drawn(wanted)
        if len(wanted) > 1:
            outcome.skipped, wanted = len(wanted) - len(todo), todo
    entries = []
    with console.bar(len(both), "drawing", initial=outcome.skipped) as bar:
        drawn = draw_files(model, wanted, order.style, outcome, batch=order.batch, fail_fast=order.fail_fast)
        for one, result in until_stopped(drawn, outcome):
            bar.update(1, decoding=outcome.waited)
            entries.append(_entry(result, one.input.source, one.target, masks=order.as_json))
    return entries


def _draw_videos(
    model: "Model", both: Sequence[tuple["Input", Path]], order: _Order, outcome: "Outcome", *, alone: bool
) -> list[tuple[str, "DrawnVideo"]]:
    """Draws the videos; beside other inputs, one whose output is there is taken for done."""
    from yoso_cli.api.predict_files import Failure

    drawn = []
    for one, target in both:
        if target.exists() and not order.force and not alone:
            outcome.skipped += 1
            continue
        try:
            drawn.append(_draw_video(model, one, target, order))
        except DataError as error:
            if order.fail_fast:
                raise
            outcome.failures.append(Failure(one.source, str(error)))
    return drawn


def _draw_video(model: "Model", one: "Input", target: Path, order: _Order) -> tuple[str, "DrawnVideo"]:
    from yoso_cli.api.video import draw_video

    style = order.style.for_video()
    drawn = draw_video(
        model,
        one.path or one.source,
        target,
        draw=lambda result: result.drawn(style),
        **vars(order.frames),
        show=order.show,
        progress=console.TERMINAL,
    )
    if drawn.silent:
        console.say(f"{target}: without sound: {drawn.silent}")
    how = f"{target} plays up to there; go on with --start {drawn.reached:g} and another --output."
    console.require_finished(drawn.outcome, how)
    return one.source, drawn


def _entry(result: "Result", source: str, target: Path, *, masks: bool) -> dict[str, Any]:
    """What is told of a drawn picture; its masks as COCO's run lengths where asked for."""
    told = {"image": source, "output": str(target), "summary": _summary(result)}
    return {**told, "segments": result.to_json(masks=masks)}


def _video_entry(source: str, drawn: "DrawnVideo") -> dict[str, Any]:
    return {
        "video": source,
        "output": None if drawn.path is None else str(drawn.path),
        "frames": drawn.frames,
        "outcome": drawn.outcome.value,
        "reached_seconds": drawn.reached,
        "problem": drawn.problem,
    }


def _text(
    pictures: Sequence[dict[str, Any]],
    videos: Sequence[tuple[str, "DrawnVideo"]],
    outcome: "Outcome",
    targets: Sequence[Path],
    order: _Order,
) -> str:
    """A line for each picture, of many only their number; and a line for each video."""
    if order.verbose or len(targets) <= _FEW:
        lines = [f"{one['image']}: {one['summary']} -> {one['output']}" for one in pictures]
    else:
        lines = [f"{counted(len(pictures), 'picture')} -> {targets[0].parent}"] if pictures else []
    if outcome.skipped:
        lines.append(f"{counted(outcome.skipped, 'input')} drawn before; --force draws them again")
    lines += [f"{source}: {counted(drawn.frames, 'frame')} -> {drawn.path}" for source, drawn in videos]
    return "\n".join(lines)


def _summary(result: "Result") -> str:
    """`2 star, ball, sky`, or that there is no segment."""
    counts = Counter(segment.name for segment in result.segments)
    seen = [f"{count} {name}" if count > 1 else name for name, count in counts.most_common()]
    return ", ".join(seen) or "nothing above the score threshold"


def _targets(words: Sequence[str], found: "Inputs", order: _Order) -> list[Path]:
    """One output file for each input. Raises UsageError where one is no picture's name or is an input."""
    from yoso_cli.drawing.picture_file import require_format

    if _names_a_file(order.output, found):
        targets = [Path(order.output or "")]
    elif order.output and Path(order.output).suffix.lower() in (*SUFFIXES, ".mp4") and not Path(order.output).is_dir():
        raise UsageError(f"{order.output}: is the name of a file, and there are several inputs.", hint="Name a folder.")
    else:
        folder = Path(order.output) if order.output else _default_folder(words, found)
        targets = [folder / f"{one.name}-yoso{'.mp4' if one.is_video else '.png'}" for one in found.items]
    for one, target in zip(found.items, targets, strict=True):
        if not one.is_video:
            require_format(target, transparent=order.style.is_transparent)
    if any(one.is_video for one in found.items):
        order.style.for_video()
    elif order.show or order.frames != ALL_FRAMES:
        raise UsageError("--every, --start, --stop, --fps and --show are for videos, and none is named.")
    own = {one.path.resolve() for one in found.items if one.path is not None}
    lost = [str(target) for target in targets if target.resolve() in own]
    if lost:
        raise UsageError(f"{lost[0]}: would overwrite one of INPUTS.", hint="Name another file with --output.")
    return targets


def _names_a_file(output: str | None, found: "Inputs") -> bool:
    """Whether --output is the file of the only input: a slash at its end, or no suffix, says that it is a folder."""
    if not output or output.endswith("/") or len(found.items) != 1:
        return False
    return bool(Path(output).suffix) and not Path(output).is_dir()


def _default_folder(words: Sequence[str], found: "Inputs") -> Path:
    """The current folder; for what is in a folder, one of its own beside it that is called after it."""
    named = [Path(word) for word in words]
    if len(named) == 1 and (named[0].is_dir() or found.items[0].image_id is not None):
        return Path(f"{named[0].resolve().name}-yoso")
    return Path()
