"""`yoso check`: validate a dataset before training on it."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yoso_cli.commands import console, options
from yoso_cli.runtime.words import counted

if TYPE_CHECKING:
    from yoso_cli.inspection.check import CheckedDataset, Group

# Cases shown per kind of finding; --json has all.
_SHOWN = 5
_SEVERITIES = ("error", "warning")


@click.command(name="check")
@click.argument("dataset", metavar="DATASET|DIR")
@options.datasets_option
@click.option(
    "--recipe",
    metavar="RECIPE",
    show_default="the one for DATASET, if any",
    help="The recipe to train, of whose proposals pictures must not have more segments.",
)
@click.option("--strict", is_flag=True, help="Treat warnings as errors.")
@options.workers_option
@options.json_option
@click.pass_context
def command(
    ctx: click.Context,
    dataset: str,
    root: Path,
    recipe: str | None,
    strict: bool,
    workers: int | None,
    as_json: bool,
) -> None:
    """Validate a dataset: report every error and warning.

    DATASET is the name of a prepared dataset. DIR is a prepared split, a folder of splits, a folder in COCO's layout
    (annotations/panoptic_*.json), a COCO panoptic JSON, or COCO's instance annotations, as a JSON or a folder with
    them. Every file is read completely.

    Findings come in four layers: structure (files, JSON, ids), quality (areas, boxes, EXIF orientation), distribution
    (classes, leaks between splits) and compatibility (versions, what other commands need). Each has a stable code.
    The exit code is 1 when there is an error.

    \b
    Example:
      yoso check mine
      yoso check ~/coco --json > findings.json
    """
    from yoso_cli.api.datasets import check

    checked = check(dataset, root=root, recipe=recipe, workers=workers, progress=console.TERMINAL)
    value = _value(dataset, checked, strict)
    console.result(value, _text(dataset, checked, value), as_json)
    if value["errors"]:
        ctx.exit(1)
    if not as_json:
        console.next_step(_next(dataset, root, checked))


def _next(dataset: str, root: Path, checked: "CheckedDataset") -> str:
    """Labels of another form are converted; the only split of one's own is divided, so that one can evaluate on it."""
    from yoso_cli.datasets.catalog import published
    from yoso_cli.inspection.split import find_splits

    others_form = next((group for group in checked.groups if group.code == "not-panoptic"), None)
    if others_form:
        return others_form.findings[0].detail.strip("`")
    first, *others = find_splits(dataset, root)
    named = shlex.quote(dataset)
    if others or first.folder is None or published(first.dataset):
        return f"yoso stats {named}"
    beside = find_splits(str(first.folder.absolute().parent), root)
    return f"yoso stats {named}" if len(beside) > 1 else f"yoso dataset split {named} --into train=0.8,val=0.2"


def _severity(group: "Group", strict: bool) -> str:
    return "error" if strict else group.rule.severity.value


def _value(dataset: str, checked: "CheckedDataset", strict: bool) -> dict[str, Any]:
    severities = [_severity(group, strict) for group in checked.groups]
    return {
        "dataset": dataset,
        "images": checked.images,
        "errors": severities.count("error"),
        "warnings": severities.count("warning"),
        "findings": [
            {
                "code": group.code,
                "layer": group.rule.layer.value,
                "severity": severity,
                "split": group.split,
                "sentence": group.rule.sentence,
                "count": len(group.findings),
                "cases": [{"image": one.image, "detail": one.detail} for one in group.findings],
            }
            for group, severity in zip(checked.groups, severities, strict=True)
        ],
    }


def _text(dataset: str, checked: "CheckedDataset", value: dict[str, Any]) -> str:
    lines = []
    layer = ""
    for group, told in zip(checked.groups, value["findings"], strict=True):
        if told["layer"] != layer:
            layer = told["layer"]
            lines.append(layer)
        lines.append(
            f"  {told['severity']:7}  {group.code} ({group.split}, {len(group.findings)}): {group.rule.sentence}"
        )
        lines += [f"           {case}" for case in _cases(group)]
    images = ", ".join(f"{counted(count, 'image')} in {split}" for split, count in checked.images.items())
    counts = ", ".join(counted(value[f"{what}s"], what) if value[f"{what}s"] else f"no {what}s" for what in _SEVERITIES)
    return "\n".join([*lines, f"{dataset}: {images}; {counts}"])


def _cases(group: "Group") -> list[str]:
    """The first cases, a line each; cases without a detail share one. A PNG is named by its detail, not its picture."""
    shown, more = group.findings[:_SHOWN], len(group.findings) - _SHOWN
    rest = [f"and {more} more"] if more > 0 else []
    if any(case.detail for case in shown):
        names = ["" if group.code.startswith("png-") else case.image for case in shown]
        return [": ".join(filter(None, (name, one.detail))) for name, one in zip(names, shown, strict=True)] + rest
    names = [case.image for case in shown if case.image]
    return [", ".join([*names, *rest])] if names else []
