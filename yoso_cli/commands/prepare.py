"""`yoso prepare`: one subcommand for each dataset."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yoso_cli.commands import console
from yoso_cli.commands.options import force_option, json_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yoso_cli.datasets.spec import Prepared

_output_option = click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("datasets"),
    show_default=True,
    metavar="DIR",
    help="The folder of all datasets; a split is written to DIR/NAME/SPLIT.",
)


@click.group()
def command() -> None:
    """Bring a dataset into the form that all other commands read.

    That form is a folder for each split: panoptic.json and PNGs as COCO defines them, and a manifest.json that is
    there only when all of it is.
    """


@command.command()
@click.option("--train", type=click.IntRange(min=0), default=1500, show_default=True, help="Scenes to train on.")
@click.option("--val", type=click.IntRange(min=0), default=100, show_default=True, help="Scenes to evaluate on.")
@click.option(
    "--size", type=click.IntRange(32, 4096), default=128, show_default=True, help="Edge of a scene in pixels."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed, other scenes.")
@_output_option
@force_option
@json_option
def shapes(train: int, val: int, size: int, seed: int, output: Path, force: bool, as_json: bool) -> None:
    """Draw scenes of shapes on textured ground; needs no download.

    A scene depends on the seed, its split and its number alone: more scenes later do not change the first ones.
    A count of 0 leaves the split out.

    Example: yoso prepare shapes
    """
    from yoso_cli.datasets.shapes import prepare

    splits = {name: count for name, count in (("train", train), ("val", val)) if count}
    if not splits:
        raise click.UsageError("--train and --val are both 0: there is nothing to draw.")
    prepared = prepare(output, splits=splits, size=size, seed=seed, force=force, progress=console.progress)
    _tell("shapes", prepared, as_json)


@command.command()
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="The download: annotations/, train2017/, val2017/.",
)
@click.option(
    "--split",
    "splits",
    multiple=True,
    metavar="NAME",
    show_default="all that are whole",
    help="A split to prepare. Repeatable.",
)
@_output_option
@force_option
@json_option
def coco(root: Path, splits: tuple[str, ...], output: Path, force: bool, as_json: bool) -> None:
    """Check and list COCO panoptic as published; pictures stay where they are.

    The files come from https://cocodataset.org/#download: panoptic_annotations_trainval2017.zip, with the two zips
    inside it unpacked as well, train2017.zip and val2017.zip. One split alone will do.

    Example: yoso prepare coco --root ~/coco
    """
    from yoso_cli.datasets.coco import find, prepare

    found, skipped = find(root, splits)
    for one in skipped:
        console.say(f"Leaving out {one.split}: it lacks {one.reason}.")
    prepared = prepare(found, output, force=force, progress=console.progress)
    _tell("coco", prepared, as_json, [one.split for one in skipped])


def _tell(name: str, prepared: "Sequence[Prepared]", as_json: bool, skipped: "Sequence[str]" = ()) -> None:
    value = {
        "dataset": name,
        "splits": [
            {
                "split": one.panoptic_set.split,
                "folder": str(one.folder),
                "images": len(one.panoptic_set.records),
                "status": "prepared" if one.fresh else "already prepared",
            }
            for one in prepared
        ],
        "skipped": list(skipped),
    }
    lines = (
        f"{one.folder}: {len(one.panoptic_set.records)} images"
        + ("" if one.fresh else ", prepared before; --force makes them anew")
        for one in prepared
    )
    console.result(value, "\n".join(lines), as_json)
    if not as_json:
        console.next_step(_training(name, prepared))


def _training(name: str, prepared: "Sequence[Prepared]") -> str:
    """The line that trains on what was prepared: where it lies, and on its only split if there is one alone."""
    root = prepared[0].folder.parent.parent
    splits = [one.panoptic_set.split for one in prepared]
    words = ["yoso", "train", name]
    if root != Path("datasets"):
        words += ["--set", f"data.root={root}"]
    if len(splits) == 1:
        words += ["--set", f"data.train_split={splits[0]}", "--set", f"data.val_split={splits[0]}"]
    return shlex.join(words)
