"""`yoso prepare`: one subcommand for each dataset."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from yoso_cli.commands import console
from yoso_cli.commands.options import force_option, json_option, keep_going_option, processes, workers_option
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yoso_cli.datasets.spec import DatasetSpec, Prepared, Skipped
    from yoso_cli.datasets.split import SplitPlan

_Function = TypeVar("_Function", bound=Callable[..., Any])

_output_option = click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("datasets"),
    show_default=True,
    metavar="DIR",
    help="The folder of all datasets; a split is written to DIR/NAME/SPLIT.",
)
_PUBLISHED = (
    click.option(
        "--root",
        type=click.Path(path_type=Path),
        default=Path(),
        metavar="DIR",
        show_default="the current folder",
        help="Where the download lies, unpacked or still in its archives.",
    ),
    click.option(
        "--split",
        "splits",
        multiple=True,
        metavar="NAME",
        show_default="all that are there",
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


@dataclass(frozen=True)
class _Making:
    """How to make what was found, as asked for."""

    workers: int | None
    keep_going: bool
    output: Path
    force: bool
    as_json: bool


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
    prepared = prepare(output, splits=splits, size=size, seed=seed, force=force, progress=console.TERMINAL)
    _tell("shapes", prepared, as_json)


@command.command()
@_published
def coco(root: Path, splits: tuple[str, ...], semantic: bool, **making: Any) -> None:
    """COCO panoptic 2017: checked and listed where it lies; 133 classes.

    The files come from https://cocodataset.org/#download: panoptic_annotations_trainval2017.zip, train2017.zip and
    val2017.zip. One split alone will do. What is unpacked stays where it is; what is packed is unpacked.

    Example: yoso prepare coco --root ~/coco
    """
    from yoso_cli.datasets.coco import COCO, plans

    _make(COCO, plans(root, splits, semantic=semantic), _Making(**making))


@command.command()
@_published
def cityscapes(root: Path, splits: tuple[str, ...], semantic: bool, **making: Any) -> None:
    """Cityscapes: 19 classes, equal to the official scripts' panoptic set.

    The files come from https://www.cityscapes-dataset.com/downloads/ after registering: gtFine_trainvaltest.zip and
    leftImg8bit_trainvaltest.zip. The PNGs and cityscapes_panoptic_SPLIT.json are those of createPanopticImgs; with
    --semantic, labelTrainIds maps as well. The split `test` has dummy labels and is made only when asked for.

    Example: yoso prepare cityscapes --root ~/cityscapes
    """
    from yoso_cli.datasets.cityscapes import CITYSCAPES, plans

    _make(CITYSCAPES, plans(root, splits, semantic=semantic), _Making(**making))


@command.command()
@_published
@click.option(
    "--compat",
    type=click.Choice(["mask2former"]),
    help="Make what Mask2Former's converter makes: stuff measured before things cover it, ids near class colours.",
)
def ade20k(root: Path, splits: tuple[str, ...], semantic: bool, compat: str | None, **making: Any) -> None:
    """ADE20K: 150 classes, 100 things and 50 stuff.

    The files come from http://sceneparsing.csail.mit.edu: ADEChallengeData2016.zip of the challenge of 2016 and
    annotations_instance.tar of that of 2017.

    Example: yoso prepare ade20k --root ~/ade20k
    """
    from yoso_cli.datasets import mask2former
    from yoso_cli.datasets.ade20k import ADE20K, plans, read_labels

    read = mask2former.read_labels if compat else read_labels
    notes = {"compat": compat} if compat else {}
    _make(ADE20K, plans(root, splits, semantic=semantic, read=read, notes=notes), _Making(**making))


@command.command()
@_published
@click.option(
    "--version",
    type=click.Choice(["v1.2", "v2.0"]),
    default=None,
    show_default="v1.2 where it is there",
    help="Which labels: 65 classes or 116.",
)
def mapillary(root: Path, splits: tuple[str, ...], semantic: bool, version: str | None, **making: Any) -> None:
    """Mapillary Vistas: 65 classes (v1.2) or 116 (v2.0).

    The zip comes from https://www.mapillary.com/dataset/vistas after registering. The set is called mapillary-v1.2 or
    mapillary-v2.0: the labels of the two are different ones.

    Example: yoso prepare mapillary --root ~/vistas
    """
    from yoso_cli.datasets.mapillary import MAPILLARY, plans

    _make(MAPILLARY, plans(root, splits, version=version or "", semantic=semantic), _Making(**making))


def _make(spec: "DatasetSpec", found: "tuple[Sequence[SplitPlan], Sequence[Skipped]]", how: _Making) -> None:
    """Makes all that was found, and tells what was left out."""
    from yoso_cli.datasets.split import make

    plans, skipped = found
    for one in skipped:
        console.say(f"Leaving out {one.split}: {one.reason} are not there. {spec.where_from()}")
    for plan in plans:
        published = spec.images.get(plan.split, 0)
        if len(plan.photos) < published:
            console.say(f"{plan.title}: {len(plan.photos)} of the {published} published images are there.")
    prepared = [
        make(
            plan,
            how.output,
            workers=processes(how.workers),
            force=how.force,
            keep_going=how.keep_going,
            progress=console.TERMINAL,
        )
        for plan in plans
    ]
    _tell(plans[0].name, prepared, how.as_json, [one.split for one in skipped])


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
        f"{one.folder}: {counted(len(one.panoptic_set.records), 'image')}"
        + ("" if one.fresh else ", prepared before; --force makes them anew")
        for one in prepared
    )
    console.result(value, "\n".join(lines), as_json)
    if not as_json:
        console.next_step(_training(name, prepared))


def _training(name: str, prepared: "Sequence[Prepared]") -> str:
    """The line that trains on what was prepared: where it lies, and on its only split if there is one alone."""
    from yoso_cli.recipe.file import load, packaged

    root = prepared[0].folder.parent.parent
    splits = [one.panoptic_set.split for one in prepared]
    # Mapillary's two versions are two datasets and share their recipe.
    recipe = name.partition("-v")[0]
    own = recipe in dict(packaged())
    words = ["yoso", "train", recipe if own else "coco"]
    if load(words[-1]).data.name != name:
        words += ["--set", f"data.name={name}"]
    if root != Path("datasets"):
        words += ["--set", f"data.root={root}"]
    if not own or len(splits) == 1:
        words += ["--set", f"data.train_split={splits[0]}", "--set", f"data.val_split={splits[-1]}"]
    return shlex.join(words)
