"""`yoso convert`: labels of one's own, and predictions, from one form into another."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yoso_cli.commands import console, options
from yoso_cli.errors import UsageError
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.conversion.convert import Converted, LabelReader

# The names of forms.SOURCES and forms.TARGETS, which a test compares: help comes without numpy.
SOURCES = ("maps", "coco-instances", "coco-panoptic", "cityscapes", "prepared", "submission")
TARGETS = (
    *("prepared", "maps", "coco-instances", "coco-panoptic", "cityscapes"),
    *("coco-submission", "cityscapes-submission", "ade20k-submission", "mapillary-submission"),
)

# Lines that click leaves as they are fit 80 columns, which test_cli looks at.
_HELP = """Convert labels SRC of your own, or predictions, to DST.

\b
--from
  maps            SRC/images/NAME.jpg, SRC/semantic/NAME.png (a pixel is its
                  category id) and SRC/instances/NAME.png (a pixel is its
                  instance number; 0 is none)
  coco-instances  a JSON with polygons or RLE, and semantic/ beside it if
                  there is stuff
  coco-panoptic   a JSON with its PNGs in a folder of the same name
  cityscapes      a folder of *_gtFine_instanceIds.png
  prepared        what this, `yoso prepare` or `yoso eval
                  --save-predictions` wrote
  submission      a zip of predictions in COCO's panoptic result format;
                  needs --truth
--to
  prepared        what all commands read: DST is datasets/NAME/SPLIT
  coco-submission, cityscapes-submission, ade20k-submission,
  mapillary-submission
                  a zip for the server (ADE20K's takes semantic maps only)
  maps, coco-instances, coco-panoptic, cityscapes
                  a folder as above, without the pictures

Pictures stay where they are, and each is held against its labels. Panoptic PNGs are read again and compared. DST
is there when all of it is right, or not at all. What a form cannot say is counted and told.

\b
Example:
  yoso convert raw/train datasets/mine/train --from maps \\
      --categories classes.yaml
  yoso convert instances.json datasets/mine/train --from coco-instances \\
      --images photos
  yoso convert predictions panoptic_test-dev2017_yoso_results.zip \\
      --from prepared --to coco-submission
"""

_RULES = """Rules: a thing's pixels without an instance number are a crowd, and so are iscrowd RLEs. Values under
`void:` in the YAML (by default 0 and 255) are void. Where COCO instances overlap, the smallest has the pixel, of two of
one size the later one in the JSON; crowds lie below all. Segments without a pixel are left out.
"""


@click.command(name="convert", help=_HELP, epilog=_RULES)
@click.argument("source", type=click.Path(path_type=Path), metavar="SRC")
@click.argument("destination", type=click.Path(path_type=Path), metavar="DST")
@click.option("--from", "source_form", type=click.Choice(SOURCES), required=True, metavar="FORM", help="Of SRC.")
@click.option(
    "--to",
    "target_form",
    type=click.Choice(TARGETS),
    default="prepared",
    show_default=True,
    metavar="FORM",
    help="Of DST.",
)
@click.option("--categories", metavar="FILE", help="The classes: a YAML, or the name of a published dataset.")
@click.option("--images", type=click.Path(path_type=Path), metavar="DIR", help="Pictures, if not in the usual place.")
@click.option("--semantic", type=click.Path(path_type=Path), metavar="DIR", help="Semantic maps, likewise.")
@click.option("--instances", type=click.Path(path_type=Path), metavar="DIR", help="Instance maps, likewise.")
@click.option("--truth", type=click.Path(path_type=Path), metavar="PATH", help="The set that a submission is for.")
@options.workers_option
@options.keep_going_option
@options.force_option
@options.json_option
def command(
    source: Path,
    destination: Path,
    source_form: str,
    target_form: str,
    categories: str | None,
    images: Path | None,
    semantic: Path | None,
    instances: Path | None,
    truth: Path | None,
    workers: int | None,
    keep_going: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Reads SRC in one form and writes DST in another."""
    from yoso_cli.conversion import forms
    from yoso_cli.conversion.category_file import read_table
    from yoso_cli.conversion.convert import convert

    options.require_there(source, images, semantic, instances, truth)
    _require_free(destination, target_form, force)
    table = read_table(categories) if categories else None
    places = forms.Places(source, table, images, semantic, instances, _truth(truth))
    with forms.SOURCES[source_form](places) as opened:
        for remark in opened.remarks:
            console.say(f"{remark}.")
        target = forms.TARGETS[target_form](opened, destination)
        converted = convert(
            opened,
            target.writer,
            target.placing,
            processes=options.processes(workers),
            keep_going=keep_going,
            progress=console.TERMINAL,
        )
        _tell(opened, converted, destination, target_form, as_json)


def _truth(path: Path | None) -> Any:
    if path is None:
        return None
    from yoso_cli.evaluation.score import read_any

    return read_any(path)


def _require_free(destination: Path, form: str, force: bool) -> None:
    """Refuses to overwrite: a prepared split and a zip give way to --force, a folder of anything else never does."""
    from yoso_cli.panoptic.files import MANIFEST

    zipped = form.endswith("-submission")
    if zipped and destination.suffix.lower() != ".zip":
        raise UsageError(f"{destination}: a submission is a zip.", hint="Let its name end in .zip.")
    if form == "prepared" and destination.resolve().parent == destination.resolve():
        raise UsageError(f"{destination}: is no place for a dataset.", hint="Name datasets/NAME/SPLIT.")
    if not destination.exists() or (destination.is_dir() and not zipped and not any(destination.iterdir())):
        return
    ours = destination.is_file() if zipped else (destination / MANIFEST).exists()
    if not ours:
        raise UsageError(
            f"{destination}: exists already and was not made here, so it is left alone.", hint="Name another place."
        )
    if not force:
        raise UsageError(f"{destination}: exists already.", hint="Add --force to replace it.")


def _tell(source: "LabelReader", converted: "Converted", destination: Path, form: str, as_json: bool) -> None:
    value = {
        "destination": str(destination),
        "form": form,
        "images": converted.images,
        "image_dir": str(source.image_dir),
        "segments": converted.segments,
        "crowds": converted.crowds,
        "classes": len(source.table.categories),
        "lost": [
            {"what": loss.name.lower(), "sentence": loss.value, "count": count, "images": converted.lossy[loss]}
            for loss, count in converted.losses.items()
        ],
    }
    lines = [
        f"{destination}: {counted(converted.images, 'image')}, {counted(converted.segments, 'segment')} "
        f"({counted(converted.crowds, 'crowd')}), {counted(len(source.table.categories), 'class')}; "
        f"the pictures stay in {source.image_dir}",
        *(
            f"{count} {loss.value} ({counted(converted.lossy[loss], 'image')})"
            for loss, count in converted.losses.items()
        ),
    ]
    console.result(value, "\n".join(lines), as_json)
    if form == "prepared" and not as_json:
        console.next_step(f"yoso check {shlex.quote(str(destination))}")
