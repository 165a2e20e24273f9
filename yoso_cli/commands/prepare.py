"""`yoso prepare`: one subcommand for each dataset."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from yoso_cli.commands import console, next_step
from yoso_cli.commands.options import force_option, json_option, keep_going_option, workers_option
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yoso_cli.api.datasets import PreparedDataset
    from yoso_cli.datasets.spec import Prepared

_Function = TypeVar("_Function", bound=Callable[..., Any])

_output_option = click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("datasets"),
    show_default=True,
    metavar="DIR",
    help="Folder of all datasets; a split is written to DIR/NAME/SPLIT.",
)
_PUBLISHED = (
    click.option(
        "--root",
        type=click.Path(path_type=Path),
        default=Path(),
        metavar="DIR",
        show_default="the current folder",
        help="Folder of the download, unpacked or still in its archives.",
    ),
    click.option(
        "--split",
        "splits",
        multiple=True,
        metavar="NAME",
        show_default="all that are found",
        help="A split to prepare. Repeatable.",
    ),
    click.option("--semantic", is_flag=True, help="Also write semantic maps: 8-bit PNGs of train ids, 255 for void."),
    workers_option,
    keep_going_option,
    _output_option,
    force_option,
    json_option,
)


def _published(function: _Function) -> _Function:
    """The options that all published datasets have."""
    for option in reversed(_PUBLISHED):
        function = option(function)
    return function


@click.group()
def command() -> None:
    """Prepare a dataset for all other commands.

    A prepared split is a folder with panoptic.json and panoptic PNGs in COCO's format, and a manifest.json, which is
    written last: a split without it is incomplete.
    """


@command.command()
@click.option("--train", type=click.IntRange(0), default=1500, show_default=True, metavar="N", help="Training scenes.")
@click.option("--val", type=click.IntRange(0), default=100, show_default=True, metavar="N", help="Validation scenes.")
@click.option(
    "--size",
    type=click.IntRange(32, 4096),
    default=128,
    show_default=True,
    metavar="PIXELS",
    help="Edge of a scene.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, metavar="N", help="Random seed.")
@_output_option
@force_option
@json_option
def shapes(train: int, val: int, size: int, seed: int, output: Path, force: bool, as_json: bool) -> None:
    """Draw synthetic scenes: shapes on textured ground; no download.

    A scene depends only on the seed, its split and its number, so that adding scenes later does not change the first
    ones. A count of 0 leaves the split out.

    Example: yoso prepare shapes
    """
    from yoso_cli.api.datasets import prepare_shapes

    drawn = {"train": train, "val": val, "size": size, "seed": seed}
    _tell(prepare_shapes(**drawn, output=output, force=force, progress=console.TERMINAL), as_json)


@command.command()
@_published
def coco(as_json: bool, **asked: Any) -> None:
    """COCO panoptic 2017: 133 classes.

    The files come from https://cocodataset.org/#download: panoptic_annotations_trainval2017.zip, train2017.zip and
    val2017.zip. One split alone is enough. Unpacked files are used in place; archives are unpacked first.

    Example: yoso prepare coco --root ~/coco
    """
    _make("coco", as_json, asked)


@command.command()
@_published
def cityscapes(as_json: bool, **asked: Any) -> None:
    """Cityscapes: 19 classes, as the official scripts write them.

    The files come from https://www.cityscapes-dataset.com/downloads/ after registering: gtFine_trainvaltest.zip and
    leftImg8bit_trainvaltest.zip. The PNGs and cityscapes_panoptic_SPLIT.json are those of createPanopticImgs; with
    --semantic, labelTrainIds maps as well. The split `test` has dummy labels and is prepared only with --split test.

    Example: yoso prepare cityscapes --root ~/cityscapes
    """
    _make("cityscapes", as_json, asked)


@command.command()
@_published
@click.option(
    "--compat",
    type=click.Choice(["mask2former"]),
    help="Reproduce Mask2Former's converter: stuff areas before things cover them, ids near class colours.",
)
def ade20k(as_json: bool, compat: str | None, **asked: Any) -> None:
    """ADE20K: 150 classes, 100 things and 50 stuff.

    The files come from http://sceneparsing.csail.mit.edu: ADEChallengeData2016.zip of the challenge of 2016 and
    annotations_instance.tar of that of 2017.

    Example: yoso prepare ade20k --root ~/ade20k
    """
    _make("ade20k", as_json, {**asked, "compat": compat or ""})


@command.command()
@_published
@click.option(
    "--version",
    type=click.Choice(["v1.2", "v2.0"]),
    default=None,
    show_default="v1.2 where it is there",
    help="Version of the labels: 65 or 116 classes.",
)
def mapillary(as_json: bool, version: str | None, **asked: Any) -> None:
    """Mapillary Vistas: 65 classes (v1.2) or 116 (v2.0).

    The zip comes from https://www.mapillary.com/dataset/vistas after registering. The dataset is named mapillary-v1.2
    or mapillary-v2.0, as their labels differ.

    Example: yoso prepare mapillary --root ~/vistas
    """
    _make("mapillary", as_json, {**asked, "version": version or ""})


def _make(dataset: str, as_json: bool, asked: dict[str, Any]) -> None:
    """Prepares the splits found and reports them; `asked` are the options by name."""
    from yoso_cli.api.datasets import prepare

    _tell(prepare(dataset, **asked, progress=console.TERMINAL), as_json)


def _tell(made: "PreparedDataset", as_json: bool) -> None:
    value = {
        "dataset": made.name,
        "splits": [
            {
                "split": one.panoptic_set.split,
                "folder": str(one.folder),
                "images": len(one.panoptic_set.records),
                "status": "prepared" if one.fresh else "already prepared",
            }
            for one in made.splits
        ],
        "skipped": [one.split for one in made.skipped],
    }
    lines = (
        f"{one.folder}: {counted(len(one.panoptic_set.records), 'image')}"
        + ("" if one.fresh else ", prepared already; --force prepares it again")
        for one in made.splits
    )
    console.result(value, "\n".join(lines), as_json)
    if not as_json:
        console.next_step(_training(made.name, made.splits))


def _training(name: str, prepared: "Sequence[Prepared]") -> str:
    """The `yoso train` command for what was prepared."""
    splits, root = [one.panoptic_set.split for one in prepared], prepared[0].folder.parent.parent
    return next_step.train(name, splits, root) or next_step.recipe_new(name, prepared[0].folder)
