"""`yoso dataset`: divide, select, merge, re-class and size datasets."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yoso_cli.commands import console, next_step, options
from yoso_cli.errors import UsageError
from yoso_cli.runtime.words import counted, shortened

if TYPE_CHECKING:
    from yoso_cli.api.reshape import MadeSet
    from yoso_cli.inspection.sizing import SetSize, Suggestion

_seed_option = click.option(
    "--seed", type=int, default=0, show_default=True, metavar="N", help="Another one draws other pictures."
)
_mapping_option = click.option(
    "--mapping",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="A YAML of what becomes of classes, as in `classes: {van: car, sky: null}`; null is void.",
)


@click.group()
def command() -> None:
    """Divide, select, merge and re-class datasets, and size a recipe to one.

    SET is a prepared split (datasets/NAME/SPLIT), the name of a dataset with one split, or a COCO panoptic JSON. Photos
    stay where they are: the new set refers to them. Label maps take no room where they stay as they are (hard links).
    A new set appears when it is complete. A seed gives the same pictures on every machine.
    """


@command.command()
@click.argument("dataset", metavar="SET")
@click.argument("destination", metavar="[DST]", type=click.Path(path_type=Path), required=False)
@click.option(
    "--into",
    required=True,
    metavar="PARTS",
    help="Names and sizes: train=0.8,val=0.2; train=rest,val=500 takes 500 pictures for val.",
)
@click.option(
    "--group",
    default="",
    metavar="HOW",
    show_default="video where the set names videos",
    help="Keep groups together: folder, folder:N (the first N folders of a path), video, a table FILE.csv (picture, "
    "group), or a regular expression of the group's name in the file's.",
)
@click.option("--stratify", is_flag=True, help="Spread the classes evenly, rare ones first.")
@_seed_option
@options.datasets_option
@options.force_option
@options.json_option
def split(
    dataset: str,
    destination: Path | None,
    into: str,
    group: str,
    stratify: bool,
    seed: int,
    root: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Divide SET into parts such as train and val, written to DST/NAME.

    DST is the folder of the new dataset, by default that of SET with -split at its end. Every picture is in exactly one
    part. Pictures of one scene in both train and val would make results look better than they are: --group keeps them
    together.

    \b
    Example:
      yoso dataset split datasets/mine/all --into train=0.8,val=0.2
      yoso dataset split mine --into train=0.7,val=0.2,test=0.1 --stratify
      yoso dataset split mine --into train=0.8,val=0.2 --group "scene\\d+"
    """
    from yoso_cli.api.reshape import parsed_parts, split_dataset

    made = split_dataset(
        dataset,
        destination,
        into=parsed_parts(into),
        group=group,
        stratify=stratify,
        seed=seed,
        root=root,
        force=force,
        progress=console.TERMINAL,
    )
    _tell(made, as_json)
    if not as_json:
        named = next((one for one in made if one.folder.name.startswith("train")), made[0])
        val = next((one for one in made if one.folder.name.startswith("val")), made[-1])
        console.next_step(next_step.recipe_new(named.panoptic_set.name, named.folder, val.folder))


@command.command()
@click.argument("dataset", metavar="SET")
@click.argument("destination", metavar="DST", type=click.Path(path_type=Path))
@click.option("--count", type=click.IntRange(1), metavar="N", help="So many pictures, drawn from those that fit.")
@click.option(
    "--fraction",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="SHARE",
    help="So large a share of those that fit.",
)
@click.option("--classes", multiple=True, metavar="NAMES", help="Only pictures that show one of these: car,person.")
@click.option("--min-size", type=click.IntRange(1), default=1, metavar="PIXELS", help="Smallest short edge.")
@click.option("--max-size", type=click.IntRange(1), metavar="PIXELS", help="Largest long edge.")
@click.option(
    "--names",
    type=click.File(encoding="utf-8", errors="strict"),
    metavar="FILE",
    help="Only the pictures listed in this file, a name on a line; folders and suffixes may be left out.",
)
@_seed_option
@options.datasets_option
@options.force_option
@options.json_option
def subset(
    dataset: str,
    destination: Path,
    count: int | None,
    fraction: float | None,
    classes: tuple[str, ...],
    min_size: int,
    max_size: int | None,
    names: Any,
    seed: int,
    root: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Take some pictures of SET, with all of their labels.

    A picture is taken if it fits everything that is given. To leave classes out of the labels, use `yoso dataset
    remap`.

    \b
    Example:
      yoso dataset subset coco/train2017 datasets/small/train --count 1000
      yoso dataset subset mine datasets/cars/train --classes car,truck
    """
    from yoso_cli.api.reshape import subset_dataset

    if count is not None and fraction is not None:
        raise UsageError("--count and --fraction exclude one another.", hint="Use one of them.")
    made = subset_dataset(
        dataset,
        destination,
        classes=[name.strip() for one in classes for name in one.split(",") if name.strip()],
        min_size=min_size,
        max_size=max_size,
        names=_lines(names),
        count=count,
        share=fraction,
        seed=seed,
        root=root,
        force=force,
        progress=console.TERMINAL,
    )
    _tell([made], as_json)
    _next_is_check(made, as_json)


@command.command()
@click.argument("datasets", metavar="SET... DST", nargs=-1, required=True)
@_mapping_option
@options.workers_option
@options.datasets_option
@options.force_option
@options.json_option
def merge(
    datasets: tuple[str, ...], mapping: Path | None, workers: int | None, root: Path, force: bool, as_json: bool
) -> None:
    """Merge SETs into one, DST.

    Classes of one name are one class, with the id and the colour of the first set that has it. A class that is a thing
    in one set and stuff in another is refused; --mapping says which it is, and joins names that differ.

    \b
    Example:
      yoso dataset merge datasets/a/train datasets/b/train datasets/both/train
    """
    from yoso_cli.api.reshape import merge_datasets

    *sets, destination = datasets
    if len(sets) < 2:
        raise UsageError("Two sets or more and DST are expected.", hint="The last path is where the new set goes.")
    made = merge_datasets(
        sets, destination, mapping=mapping, root=root, force=force, workers=workers, progress=console.TERMINAL
    )
    _tell([made], as_json)
    _next_is_check(made, as_json)


@command.command()
@click.argument("dataset", metavar="SET")
@click.argument("destination", metavar="DST", type=click.Path(path_type=Path))
@_mapping_option
@options.workers_option
@options.datasets_option
@options.force_option
@options.json_option
def remap(
    dataset: str,
    destination: Path,
    mapping: Path | None,
    workers: int | None,
    root: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Change the classes of SET by the YAML of --mapping.

    \b
    classes:
      van: car                             renamed, or joined with car
      sky: null                            dropped: void
      person: {name: people, isthing: false}
    rest: keep                             what is not named; or void

    Joined things stay separate; joined stuff is one segment of a picture. Things that become stuff are joined. Stuff
    that becomes things is a crowd, as nobody has said where one thing ends: it is neither trained on nor an error.

    \b
    Example:
      yoso dataset remap mine datasets/cars/train --mapping cars.yaml
    """
    from yoso_cli.api.reshape import remap_dataset

    if mapping is None:
        raise UsageError("--mapping is missing.", hint="Name a YAML such as `classes: {van: car, sky: null}`.")
    made = remap_dataset(
        dataset, destination, mapping, root=root, force=force, workers=workers, progress=console.TERMINAL
    )
    _tell([made], as_json)
    _next_is_check(made, as_json)


@command.command(short_help="Size a recipe to a dataset, with reasons.")
@click.argument("dataset", metavar="DATASET|DIR")
@options.datasets_option
@options.json_option
def size(dataset: str, root: Path, as_json: bool) -> None:
    """Size a recipe to a dataset: proposals, input and crop size, schedule, each with its reason.

    DATASET and DIR are as for `yoso check`. All figures come from the JSON. Suggestions are for the split whose name
    begins with train, or the first; `yoso recipe new` writes them down.

    \b
    Example:
      yoso dataset size mine
    """
    from yoso_cli.api.new_recipe import dataset_size

    found = dataset_size(dataset, root=root)
    value = {
        "dataset": dataset,
        "splits": [one.to_dict() for one in found.sizes],
        "suggestions": [vars(one) for one in found.suggestions],
    }
    parts = [*(_size_text(one) for one in found.sizes), "\n".join(_suggested(found.suggestions))]
    console.result(value, "\n\n".join(parts), as_json)
    if not as_json:
        console.next_step(next_step.recipe_new(found.sizes[0].name, dataset))


def _size_text(size: "SetSize") -> str:
    median, nearly, highest = size.per_image
    instances, small = size.instances
    rarest, images = size.rarest
    classes = ", ".join(f"{seen} of {listed} {kind}" for kind, (seen, listed) in size.classes.items())
    short, long = (f"{least} to {most}, median {mid}" for least, mid, most in (size.short_edge, size.long_edge))
    low, middle, high = size.aspect
    lines = [
        ("Images", f"{size.images:,}; short edge {short}; long edge {long} pixels"),
        ("Shape", f"width over height {low:.2f} to {high:.2f} (90 %), median {middle:.2f}"),
        ("Segments", f"per image: median {median:g}, 99.9th percentile {nearly:g}, most {highest}"),
        ("Instances", f"{instances:,}, {small:.0%} of them small (below 32x32 pixels)"),
        ("Classes", f"with segments: {classes}; in fewest images: {rarest} ({images:,})"),
    ]
    return "\n".join([f"{size.name} {size.split}", *(console.labelled(label, text) for label, text in lines)])


def _suggested(found: "Sequence[Suggestion]") -> Iterator[str]:
    yield "Suggested values of a recipe"
    for one in found:
        yield f"{one.key}: {one.value}"
        yield console.labelled("", one.reason)


def _lines(file: Any) -> list[str] | None:
    if file is None:
        return None
    try:
        return [line.strip() for line in file if line.strip()]
    except UnicodeDecodeError:
        raise UsageError(f"{file.name}: is not UTF-8 text.") from None


def _tell(made: "list[MadeSet]", as_json: bool) -> None:
    told = [_entry(one) for one in made]
    lacking = _lacking(made)
    lines = [
        f"{one['folder']}: {counted(one['images'], 'image')}, {counted(one['segments'], 'segment')}, "
        f"{counted(one['crowds'], 'crowd')}, {counted(one['classes'], 'class')}"
        for one in told
    ]
    photos = f"pictures: {told[0]['image_dir']}"
    value = {"sets": [{**one, "lacking": lost} for one, lost in zip(told, lacking, strict=True)]}
    console.result(value, "\n".join([*lines, photos]), as_json)
    for one, lost in zip(told, lacking, strict=True):
        if lost:
            what = f"has no segment of {counted(len(lost), 'class')} of the other parts: {shortened(lost)}"
            console.say(f"{one['folder']}: {what}.")


def _entry(made: "MadeSet") -> dict[str, Any]:
    found = made.panoptic_set
    return {
        "folder": str(made.folder),
        "images": len(found.records),
        "segments": made.segments,
        "crowds": made.crowds,
        "classes": len(found.categories),
        "image_dir": str(found.image_dir.resolve()),
    }


def _lacking(made: "list[MadeSet]") -> list[list[str]]:
    """Of each part, the classes that another one has a segment of."""
    every = set().union(*(one.shown for one in made))
    names = {one.id: one.name for one in made[0].panoptic_set.categories}
    return [[names[number] for number in sorted(every - one.shown)] for one in made]


def _next_is_check(made: "MadeSet", as_json: bool) -> None:
    if not as_json:
        console.next_step(f"yoso check {shlex.quote(str(made.folder))}")
