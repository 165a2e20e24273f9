"""`yoso convert`: labels and predictions from one format to another."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yoso_cli.commands import console, options
from yoso_cli.errors import UsageError
from yoso_cli.runtime.words import counted, paragraph

if TYPE_CHECKING:
    from yoso_cli.api.datasets import Conversion
    from yoso_cli.conversion.maps import MapFiles

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

# Lines of what was repaired; --json has all.
_SHOWN = 10
# Below this share a set with labelled things alone has nearly no void.
_LITTLE = 0.02
_WIDTH = 79

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
  yoso convert labelme-folder datasets/mine/train
  yoso convert raw/train datasets/mine/train --from maps \\
      --categories classes.yaml
  yoso convert instances.json datasets/mine/train --from coco-instances \\
      --images photos
  yoso convert predictions panoptic_test-dev2017_yoso_results.zip \\
      --from prepared --to coco-submission
"""

_RULES = """Pictures without any map are left out and counted. --list FILE names the pictures to convert, one a line,
as VOC's ImageSets do. Maps are PNG, BMP, TIFF or lossless WebP. --instance-encoding says how instance maps hold
numbers: number, class*256+number (KITTI), class*1000+number (Cityscapes) or number*256+class (ADE20K).

Rules: a thing's pixels without an instance number are a crowd, and so are iscrowd RLEs. Values under
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
@click.option("--categories", metavar="FILE", help="The classes: a YAML, a table of colours, or a published dataset.")
@click.option("--images", type=click.Path(path_type=Path), metavar="DIR", help="Pictures, if elsewhere than above.")
@click.option("--semantic", type=click.Path(path_type=Path), metavar="DIR", help="Semantic maps, if elsewhere.")
@click.option("--instances", type=click.Path(path_type=Path), metavar="DIR", help="Instance maps, if elsewhere.")
@click.option("--truth", type=click.Path(path_type=Path), metavar="PATH", help="Ground truth of a submission.")
@click.option(
    "--list",
    "names",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Convert only the pictures that FILE names.",
)
@click.option(
    "--suffix",
    metavar="END[,END]",
    help="What the names of maps end in: _mask if a.jpg has a_mask.png. Two: of semantic maps, and of instance maps.",
)
@click.option("--image-suffix", metavar="END", help="What the names of pictures end in that those of maps have not.")
@click.option(
    "--instance-encoding",
    metavar="HOW",
    show_default="number; asks if maps look otherwise",
    help="How instance maps hold instance numbers.",
)
@click.option(
    "--background",
    metavar="NAME",
    help="Make unlabelled pixels the stuff class NAME instead of void, in which false detections cost nothing.",
)
@click.option("--repair", is_flag=True, help="Leave out or renumber what is wrong in the labels, and list it.")
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
    names: Path | None,
    suffix: str | None,
    image_suffix: str | None,
    instance_encoding: str | None,
    background: str | None,
    repair: bool,
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
        maps=_map_files(names, suffix, image_suffix, instance_encoding),
        background=background,
        repair=repair,
        workers=workers,
        keep_going=keep_going,
        force=force,
        progress=console.TERMINAL,
    )
    _tell(done, as_json)


def _map_files(names: Path | None, suffix: str | None, image_suffix: str | None, encoding: str | None) -> "MapFiles":
    from yoso_cli.conversion.maps import MapFiles
    from yoso_cli.conversion.number_encoding import NumberEncoding
    from yoso_cli.conversion.picture_files import read_names

    endings = (suffix or "").split(",")
    if len(endings) > 2:
        raise UsageError(f"--suffix {suffix}: is more than two endings.", hint="Give one, or SEMANTIC,INSTANCES.")
    return MapFiles(
        image_suffix or "",
        endings[0],
        endings[-1],
        read_names(names) if names else None,
        NumberEncoding.of(encoding) if encoding is not None else None,
    )


def _tell(done: "Conversion", as_json: bool) -> None:
    destination, converted, background = done.destination, done.counts, done.background
    pixels = converted.areas[background.id] if background else 0
    value = {
        "destination": str(destination),
        "form": done.form,
        "images": converted.images,
        "image_dir": str(done.image_dir),
        "segments": converted.segments,
        "crowds": converted.crowds,
        "classes": done.classes,
        "void_share": converted.void_share,
        "background": {"id": background.id, "name": background.name, "pixels": pixels} if background else None,
        "lost": [
            {"what": loss.name.lower(), "sentence": loss.value, "count": count, "images": converted.lossy[loss]}
            for loss, count in converted.losses.items()
        ],
        "remarks": list(done.remarks),
        "repairs": list(converted.repairs),
    }
    lines = [
        f"{destination}: {counted(converted.images, 'image')}, {counted(converted.segments, 'segment')}, "
        f"{counted(converted.crowds, 'crowd')}, {counted(done.classes, 'class')}",
        f"pictures: {done.image_dir}",
        *(
            f"{count} {loss.value} ({counted(converted.lossy[loss], 'image')})"
            for loss, count in converted.losses.items()
        ),
        *_on_void(done),
        *_on_repairs(converted.repairs),
    ]
    console.result(value, "\n".join(paragraph(line, _WIDTH) for line in lines), as_json)
    line = _next(done)
    if line and not as_json:
        console.next_step(line)


def _next(done: "Conversion") -> str | None:
    """The command that reads what was written; None for a semantic submission, which only its server reads."""
    place = shlex.quote(str(done.destination))
    if done.form == "prepared":
        return f"yoso check {place}"
    if done.form == "ade20k-submission":
        return None
    if done.form.endswith("-submission"):
        return f"yoso eval --predictions {place} --truth TRUTH"
    return f"yoso convert {place} BACK --from {done.form} --images {shlex.quote(str(done.image_dir))}"


def _on_void(done: "Conversion") -> list[str]:
    """What became of unlabelled pixels, and what they do where only things are labelled."""
    void, background = done.counts.void_share, done.background
    if background:
        share = done.counts.areas[background.id] / max(done.counts.pixels, 1)
        still = f"; {void:.1%} stay void" if void else ""
        return [f"unlabelled pixels are now the stuff class {background.id} {background.name!r}: {share:.1%}{still}"]
    if done.has_stuff or void < _LITTLE:
        return []
    return [
        f"Only things are labelled: {void:.1%} of all pixels are void, where false detections "
        "do not count in PQ. `--background NAME` makes them a stuff class."
    ]


def _on_repairs(repairs: Sequence[str]) -> list[str]:
    if not repairs:
        return []
    more = [f"  and {len(repairs) - _SHOWN} more; --json has all"] if len(repairs) > _SHOWN else []
    return [f"{counted(len(repairs), 'repair')}:", *(f"  {one}" for one in repairs[:_SHOWN]), *more]
