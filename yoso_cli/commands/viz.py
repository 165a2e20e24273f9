"""`yoso viz`: draw predicted segments on pictures."""

import hashlib
import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yoso_cli.api.predictor import EngineOptions
from yoso_cli.commands import console, next_step, options
from yoso_cli.errors import UsageError
from yoso_cli.runtime.paths import require_there
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.api.predict import Model
    from yoso_cli.api.result import Result

SUFFIXES = (".png", ".jpg", ".jpeg")
# Rows and columns of a contact sheet.
SHEET = (4, 4)
_STAMP = "yoso viz "


@click.command(name="viz")
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--weights",
    "source",
    metavar="SOURCE",
    show_default="the newest run, else downloaded weights",
    help="A run folder, a weights file, the name of released weights, or a URL.",
)
@click.option(
    "--augmented",
    metavar="RECIPE",
    help="Draw this recipe's augmented training pictures instead of IMAGES.",
)
@options.output_option
@options.runs_option
@options.device_option
@options.engine_options
@options.set_option
@options.force_option
@options.json_option
def command(
    images: tuple[Path, ...],
    source: str | None,
    augmented: str | None,
    output: Path | None,
    runs: Path,
    device: str,
    engine_options: EngineOptions,
    overrides: tuple[str, ...],
    force: bool,
    as_json: bool,
) -> None:
    """Segment IMAGES and draw the result: segments, borders, names and a legend.

    Each picture is written to the current folder as NAME-yoso.png; --output names another file, or a folder when
    there are several IMAGES. Without --weights, the newest run under --runs is used: its re-parameterised weights if
    there are any, else its newest checkpoint. Without a run, the released weights that
    `yoso weights get` has downloaded are used.

    --augmented draws a contact sheet instead: training pictures with their targets, scaled, cropped and colour-jittered
    as in training.

    \b
    Example:
      yoso viz photo.jpg
      yoso viz photo.jpg --weights coco
      yoso viz photo.jpg --weights runs/shapes-001 --output seen.jpg
      yoso viz *.jpg --output seen/ --set inference.score_threshold=0.4
      yoso viz --augmented coco
    """
    if augmented is not None:
        if images or source:
            raise UsageError(
                "--augmented cannot be combined with IMAGES or --weights: it draws the dataset of its recipe.",
                hint="Leave IMAGES and --weights out.",
            )
        _draw_augmented(augmented, output, overrides, force, as_json)
        return
    if not images:
        raise UsageError("IMAGES are missing.", hint="Name a photo, or a recipe after --augmented.")
    _draw_predictions(images, source, output, runs, device, engine_options, overrides, force, as_json)


def _draw_augmented(name: str, output: Path | None, overrides: Sequence[str], force: bool, as_json: bool) -> None:
    from yoso_cli.api.training_parts import contact_sheet
    from yoso_cli.drawing.picture_file import write_picture
    from yoso_cli.recipe import file as recipe_file

    recipe = recipe_file.load(name, overrides)
    target = output or Path(f"{recipe.name}-augmented.png")
    _refuse_unwritable(target)
    made_from = _stamp(recipe.to_dict())
    _refuse_existing({target: made_from}, force)
    sheet = contact_sheet(recipe, rows=SHEET[0], columns=SHEET[1], progress=console.TERMINAL)
    write_picture(target, sheet, made_from=made_from)
    console.result({"recipe": recipe.name, "output": str(target)}, f"{recipe.name} -> {target}", as_json)
    console.next_step(f"yoso train {shlex.quote(name)}")


def _draw_predictions(
    images: Sequence[Path],
    source: str | None,
    output: Path | None,
    runs: Path,
    device: str,
    engine_options: EngineOptions,
    overrides: Sequence[str],
    force: bool,
    as_json: bool,
) -> None:
    from yoso_cli.api.predict import open_model

    targets = _targets(images, output)
    _refuse_existing(dict.fromkeys(targets, ""), force)
    # A missing picture is reported before the first one is drawn.
    require_there(*images)
    engine_options.prepare_process()
    model = open_model(source, overrides, device, engine_options, runs, console.TERMINAL)
    console.say(_used(model))
    if engine_options.fast_merge:
        console.say("Fast merge: `yoso eval --fast-merge` measures its PQ.")
    if model.file.overridden:
        console.say(f"Settings that differ from those of these weights: {model.file.overridden}.")
    stamps = [_stamp([_digest(image), model.settings]) for image in images]
    _refuse_existing(dict(zip(targets, stamps, strict=True)), force)
    drawn = zip(images, targets, stamps, strict=True)
    pictures = [_drawn(model(image), image, target, stamp) for image, target, stamp in drawn]
    text = "\n".join(f"{picture['image']}: {picture['summary']} -> {picture['output']}" for picture in pictures)
    console.result({"weights": str(model.path), "pictures": pictures}, text, as_json)
    named = model.file.run.path if model.file.run else source or model.path
    console.next_step(next_step.bench(named, model.recipe, images[0]))


def _drawn(result: "Result", image: Path, target: Path, made_from: str) -> dict[str, Any]:
    """Writes one overlay; returns its summary and segments."""
    import numpy as np

    from yoso_cli.drawing.picture_file import write_picture

    write_picture(target, np.asarray(result.draw()), made_from=made_from)
    return {
        "image": str(image),
        "output": str(target),
        "summary": _summary(result),
        "segments": [
            {
                "id": segment.id,
                "category_id": segment.category_id,
                "area": segment.area,
                "bbox": list(segment.bbox),
                "score": segment.score,
            }
            for segment in result.panoptic.segments
        ],
    }


def _summary(result: "Result") -> str:
    """`2 star, ball, sky`, or that there is no segment."""
    counts = Counter(segment.name for segment in result.segments)
    seen = [f"{count} {name}" if count > 1 else name for name, count in counts.most_common()]
    return ", ".join(seen) or "nothing above the score threshold"


def _used(model: "Model") -> str:
    from yoso_cli.api.predictor import described

    kind = "re-parameterised" if model.file.weights.steps else "as trained"
    return (
        f"Using {model.path} ({kind}, {counted(len(model.categories), 'class')} of {model.recipe.data.name}), "
        f"score above {model.predictor.score_threshold:g}, on {described(model.predictor)}."
    )


def _targets(images: Sequence[Path], output: Path | None) -> list[Path]:
    """One output file for each picture. Raises UsageError where two are the same or one is an input."""
    if output is not None and len(images) == 1 and not output.is_dir():
        targets = [output]
    else:
        targets = [(output or Path()) / f"{image.stem}-yoso.png" for image in images]
    for target in targets:
        _refuse_unwritable(target)
    twice = [str(target) for target, count in Counter(targets).items() if count > 1]
    if twice:
        raise UsageError(f"{twice[0]}: two IMAGES would be written there.", hint="Draw them one after another.")
    photos = {image.resolve() for image in images}
    lost = [str(target) for target in targets if target.resolve() in photos]
    if lost:
        raise UsageError(f"{lost[0]}: would overwrite one of IMAGES.", hint="Name another file with --output.")
    return targets


def _refuse_unwritable(target: Path) -> None:
    if target.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{target}: cannot be written as a picture.", hint=f"End it in {', '.join(SUFFIXES)}.")


def _refuse_existing(targets: Mapping[Path, str], force: bool) -> None:
    """Refuses to overwrite anything but what the same command drew: `targets` have their stamps, "" for any stamp."""
    from yoso_cli.drawing.picture_file import read_made_from

    for target, stamp in targets.items():
        if force or not target.exists():
            continue
        made_from = read_made_from(target)
        if not made_from.startswith(_STAMP) or (stamp and made_from != stamp):
            raise UsageError(f"{target}: exists already.", hint="Add --force to overwrite it, or use --output.")


def _stamp(made_from: object) -> str:
    """A hash of what a picture was drawn from, kept in the picture: the same command may overwrite it."""
    return _STAMP + hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def _digest(image: Path) -> str:
    try:
        return hashlib.sha256(image.read_bytes()).hexdigest()
    except OSError:
        return ""  # reading it as a picture says why
