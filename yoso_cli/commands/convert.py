"""`yoso convert`: labels and predictions from one format to another."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yoso_cli.commands import console, options
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.api.datasets import Conversion

# The names of forms.SOURCES and forms.TARGETS, repeated so that help needs no numpy; a test compares them.
SOURCES = (
    *("maps", "coco-instances", "coco-panoptic", "cityscapes", "prepared", "submission"),
    *("labelme", "cvat", "label-studio", "via", "yolo-seg", "voc", "rgb", "masks", "kitti", "kitti-step", "bdd100k"),
)
AUTO = "auto"
TARGETS = (
    *("prepared", "maps", "coco-instances", "coco-panoptic", "cityscapes"),
    *("labelme", "yolo-seg", "cvat", "masks", "voc"),
    *("coco-submission", "cityscapes-submission", "ade20k-submission", "mapillary-submission"),
)

# click does not wrap the lines after \b; test_cli checks that they fit 80 columns.
_HELP = """Convert labels or predictions SRC to DST.

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
  labelme         a folder of LabelMe's JSON files: polygons, rectangles,
                  circles, masks
  cvat            CVAT for images 1.1: annotations.xml, or its folder
  label-studio    Label Studio's JSON: polygons, ellipses, brushes
  via             VGG Image Annotator 2: a project, or its annotations (JSON)
  yolo-seg        a data.yaml, or its folder, with images/ and labels/
  voc             JPEGImages, SegmentationClass and SegmentationObject
  rgb             as maps, but a pixel has the colour of its class, and of its
                  instance; colours as in the YAML, or a table of them
  masks           a PNG for each object: masks.json, or names of classes in
                  file names, or the layout of the Data Science Bowl 2018
  kitti, kitti-step, bdd100k
                  the published layouts (bitmasks of BDD100K)
--to
  prepared        what all commands read: DST is datasets/NAME/SPLIT
  coco-submission, cityscapes-submission, ade20k-submission,
  mapillary-submission
                  a zip for the server (ADE20K's takes semantic maps only)
  maps, coco-instances, coco-panoptic, cityscapes, labelme, yolo-seg, cvat,
  voc, masks      a folder as above, without the pictures

Pictures are not copied; each one's size is checked against its labels. Panoptic PNGs are read back and compared. DST
is written completely or not at all. Whatever a format cannot express is counted and reported.

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
`void:` in the YAML (by default 0 and 255) are void. Where COCO instances overlap, the smallest gets the pixel; of two
of one size, the later one in the JSON. Crowds lie below all. Segments without a pixel are left out.
"""


@click.command(name="convert", help=_HELP, epilog=_RULES)
@click.argument("source", type=click.Path(path_type=Path), metavar="SRC")
@click.argument("destination", type=click.Path(path_type=Path), metavar="DST")
@click.option(
    "--from",
    "source_form",
    type=click.Choice((AUTO, *SOURCES)),
    default=AUTO,
    show_default=True,
    metavar="FORM",
    help="Format of SRC; auto recognises it.",
)
@click.option(
    "--to",
    "target_form",
    type=click.Choice(TARGETS),
    default="prepared",
    show_default=True,
    metavar="FORM",
    help="Format of DST.",
)
@click.option("--split", metavar="NAME", help="Of several in SRC; by default the one that DST is called like.")
@click.option("--class-attribute", metavar="NAME", help="VIA's attribute with the class, if there are several.")
@click.option("--categories", metavar="FILE", help="The classes: a YAML, or the name of a published dataset.")
@click.option("--images", type=click.Path(path_type=Path), metavar="DIR", help="Pictures, if elsewhere than above.")
@click.option("--semantic", type=click.Path(path_type=Path), metavar="DIR", help="Semantic maps, if elsewhere.")
@click.option("--instances", type=click.Path(path_type=Path), metavar="DIR", help="Instance maps, if elsewhere.")
@click.option("--truth", type=click.Path(path_type=Path), metavar="PATH", help="Ground truth of a submission.")
@options.workers_option
@options.keep_going_option
@options.force_option
@options.json_option
def command(
    source: Path,
    destination: Path,
    source_form: str,
    target_form: str,
    split: str | None,
    class_attribute: str | None,
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
    """Reads SRC in one format and writes DST in another."""
    from yoso_cli.api.datasets import convert

    done = convert(
        source,
        destination,
        source_form=source_form,
        target_form=target_form,
        split=split,
        class_attribute=class_attribute,
        categories=categories,
        images=images,
        semantic=semantic,
        instances=instances,
        truth=truth,
        workers=workers,
        keep_going=keep_going,
        force=force,
        progress=console.TERMINAL,
    )
    _tell(done, as_json)


def _tell(done: "Conversion", as_json: bool) -> None:
    destination, converted = done.destination, done.counts
    value = {
        "destination": str(destination),
        "form": done.form,
        "images": converted.images,
        "image_dir": str(done.image_dir),
        "segments": converted.segments,
        "crowds": converted.crowds,
        "classes": done.classes,
        "lost": [
            {"what": loss.name.lower(), "sentence": loss.value, "count": count, "images": converted.lossy[loss]}
            for loss, count in converted.losses.items()
        ],
    }
    lines = [
        f"{destination}: {counted(converted.images, 'image')}, {counted(converted.segments, 'segment')} "
        f"({counted(converted.crowds, 'crowd')}), {counted(done.classes, 'class')}; "
        f"the pictures stay in {done.image_dir}",
        *(
            f"{count} {loss.value} ({counted(converted.lossy[loss], 'image')})"
            for loss, count in converted.losses.items()
        ),
    ]
    console.result(value, "\n".join(lines), as_json)
    if done.form == "prepared" and not as_json:
        console.next_step(f"yoso check {shlex.quote(str(destination))}")
