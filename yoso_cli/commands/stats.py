"""`yoso stats`: statistics of a dataset, as a table and a picture."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yoso_cli.commands import console, next_step, options
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.inspection.census import Census
    from yoso_cli.inspection.split import Split


@click.command(name="stats")
@click.argument("dataset", metavar="DATASET|DIR")
@options.datasets_option
@click.option(
    "--split", "names", multiple=True, metavar="NAME", show_default="all", help="A split to summarise. Repeatable."
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    show_default="the current folder",
    metavar="DIR",
    help="Folder for the pictures.",
)
@options.force_option
@options.json_option
def command(dataset: str, root: Path, names: tuple[str, ...], output: Path, force: bool, as_json: bool) -> None:
    """Summarise a dataset: classes, segment sizes, segments per image, void, crowds.

    Prints a table for each split and draws a picture, NAME-SPLIT-stats.png. DATASET and DIR are as for `yoso check`.
    All figures come from the JSON; `yoso check` compares it with the PNGs.

    \b
    Example:
      yoso stats mine
      yoso stats coco --split val2017 --json
    """
    from yoso_cli.api.datasets import stats
    from yoso_cli.inspection.chart import draw_chart

    found = stats(dataset, root=root, splits=names)
    pairs = [(census, output / f"{split.dataset}-{split.name}-stats.png") for split, census in found]
    for census, target in pairs:
        if target.exists() and not force:
            console.say(f"{target}: exists already and is kept; --force draws it again.")
        else:
            draw_chart(target, census)
    value = {
        "dataset": dataset,
        "splits": [{**census.to_dict(), "picture": str(target)} for census, target in pairs],
    }
    console.result(value, "\n\n".join(_text(census, target) for census, target in pairs), as_json)
    if not as_json:
        console.next_step(_training([split for split, _ in found]))


def _text(census: "Census", target: Path) -> str:
    figures: dict[str, Any] = census.to_dict()
    per_image, sizes, shares = figures["segments_per_image"], figures["instances_by_size"], figures["pixel_shares"]
    table = console.table(
        ["class", "kind", "segments", "crowds", "images", "% of pixels", "median px"],
        [
            (
                one["name"],
                "thing" if one["isthing"] else "stuff",
                one["segments"],
                one["crowds"],
                one["images"],
                100 * one["pixel_share"],
                None if one["median_area"] is None else round(one["median_area"]),
            )
            for one in figures["classes"]
        ],
        title=f"{census.name} {census.split}",
    )
    lines = [
        table,
        f"{counted(figures['images'], 'image')} of {_size(census.smallest)} to {_size(census.largest)} pixels, "
        f"{counted(figures['segments'], 'segment')}, {counted(figures['crowds'], 'crowd')}",
        f"segments per image: {per_image['min']} to {per_image['max']}, median {per_image['median']:g}, "
        f"mean {per_image['mean']:.1f}",
        f"instances: {sizes['small']} small (below 32x32 pixels), {sizes['medium']} medium, {sizes['large']} large "
        "(96x96 and more)",
        "of all pixels: " + ", ".join(f"{share:.1%} {name}" for name, share in shares.items()),
        f"picture: {target}",
    ]
    return "\n".join(lines)


def _size(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"


def _training(splits: "list[Split]") -> str:
    """The command that trains on these splits, or makes a recipe for them where there is none."""
    folders = [split.folder for split in splits if split.folder]
    dataset = splits[0].dataset
    if not folders:
        words = ["yoso", "convert", str(splits[0].listing), f"datasets/{dataset}/{splits[0].name}"]
        return "yoso prepare coco --help" if dataset == "coco" else shlex.join(words)
    line = next_step.train(dataset, [split.name for split in splits], folders[0].parent.parent)
    new = next_step.recipe_new(dataset, folders[0] if len(folders) == 1 else folders[0].parent)
    return f"{line} --dry-run" if line else new
