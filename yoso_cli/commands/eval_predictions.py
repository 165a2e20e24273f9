"""`yoso eval --predictions`: of pictures or videos, by this program or by a reference evaluator."""

import functools
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from yoso_cli.commands import console, options
from yoso_cli.errors import UsageError
from yoso_cli.runtime.paths import require_there

if TYPE_CHECKING:
    from yoso_cli.evaluation.cityscapes import CityscapesQuality


_DISK_OPTIONS = (
    click.option(
        "--predictions",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="Score predictions on disk, of any tool. Needs --truth.",
    ),
    click.option(
        "--truth",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="Ground truth for --predictions.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1),
        metavar="N",
        show_default="as many as pay, up to one for each core",
        help="Processes that score --predictions; the figures do not depend on it.",
    ),
    click.option(
        "--truth-cache",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Cache the decoded --truth in this file, which makes scoring against it again faster.",
    ),
    click.option(
        "--trust-json",
        is_flag=True,
        help="Take areas and segments of --truth from its JSON, as panopticapi does, even if its PNGs contradict it.",
    ),
    click.option(
        "--engine",
        type=click.Choice(["yoso", "panopticapi", "cityscapesscripts"]),
        default="yoso",
        show_default=True,
        help="What scores --predictions: this program, the reference evaluator of PQ, or the official ones of "
        "Cityscapes.",
    ),
)


@dataclass(frozen=True)
class DiskOptions:
    """The values of the options of these names; `predictions` and `truth` need each other."""

    predictions: Path | None
    truth: Path | None
    workers: int | None
    truth_cache: Path | None
    trust_json: bool
    engine: str

    def named(self) -> tuple[Path, Path] | None:
        """Predictions and truth; None if a model runs.

        Raises:
            UsageError: one of them is given without the other.
        """
        if self.predictions is None and self.truth is None:
            return None
        if self.predictions is None or self.truth is None:
            raise UsageError("--predictions and --truth need each other.", hint="Give both, or neither to run a model.")
        return self.predictions, self.truth

    def given(self) -> dict[str, object]:
        """The values of the options that say how predictions are scored, by name."""
        ours = {"--workers": self.workers, "--truth-cache": self.truth_cache, "--trust-json": self.trust_json}
        return {**ours, "--engine": self.engine != "yoso"}


def disk_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options of predictions on disk, and their values as its argument `disk`."""
    names = [one.name for one in fields(DiskOptions)]

    @functools.wraps(command)
    def with_options(*args: Any, **values: Any) -> None:
        command(*args, disk=DiskOptions(**{name: values.pop(name) for name in names}), **values)

    return options.with_all(_DISK_OPTIONS, with_options)


@dataclass(frozen=True)
class _Scoring:
    """What is asked about predictions on disk: the values of the options of these names."""

    predictions: Path
    truth: Path
    disk: DiskOptions
    metrics: Sequence[str]
    windows: str | None
    html: Path | None
    images: Path | None
    as_json: bool

    def of_pictures(self) -> dict[str, object]:
        """The options that only pictures scored by this program take, by name."""
        return {"--truth-cache": self.disk.truth_cache, "--html": self.html, "--images": self.images}

    def counting(self) -> dict[str, object]:
        """The options of this program's own counting, by name."""
        mine = {"--metric": self.metrics, "--workers": self.disk.workers, "--windows": self.windows}
        return {**mine, "--trust-json": self.disk.trust_json, **self.of_pictures()}

    @property
    def paths(self) -> str:
        """Predictions and truth as words of a command."""
        return f"--predictions {shlex.quote(str(self.predictions))} --truth {shlex.quote(str(self.truth))}"


def eval_predictions(
    named: tuple[Path, Path],
    disk: DiskOptions,
    metrics: Sequence[str],
    windows: str | None,
    html: Path | None,
    images: Path | None,
    as_json: bool,
) -> None:
    """Scores what is `named` and prints the figures: by another engine, of videos, or of pictures."""
    asked = _Scoring(*named, disk, metrics, windows, html, images, as_json)
    if disk.engine != "yoso":
        why = f"has no meaning for {disk.engine}, which computes its own figures on one core."
        options.refuse(asked.counting(), why)
        _eval_with(disk.engine, asked)
    elif of_videos(metrics):
        options.refuse(asked.of_pictures(), "has no meaning for --metric vpq and stq.")
        _eval_videos(asked)
    else:
        _refuse_windows(asked)
        _eval_pictures(asked)


def of_videos(metrics: Sequence[str]) -> bool:
    """Whether these are metrics of videos."""
    from yoso_cli.evaluation.video import VIDEO_METRICS

    return any(name in VIDEO_METRICS for name in metrics)


def _refuse_windows(asked: _Scoring) -> None:
    options.refuse({"--windows": asked.windows}, "needs --metric vpq.", "Give both, or neither.")


def _eval_with(engine: str, asked: _Scoring) -> None:
    require_there(asked.predictions, asked.truth)
    _REFERENCES[engine](asked.predictions, asked.truth, asked.as_json)
    if not asked.as_json:
        console.next_step(f"yoso eval {asked.paths}")


def _eval_with_panopticapi(predictions: Path, truth: Path, as_json: bool) -> None:
    from yoso_cli.evaluation.reference import reference_quality
    from yoso_cli.runtime import machine

    quality = reference_quality(predictions, truth)
    versions = machine.versions(["panopticapi-lite", "panopticapi", "numpy", "pillow"])
    rows = [
        (name, 100 * (one.pq or 0), 100 * (one.sq or 0), 100 * (one.rq or 0), one.n)
        for name, one in (("All", quality.all), ("Things", quality.things), ("Stuff", quality.stuff))
    ]
    text = console.table(("", "PQ", "SQ", "RQ", "classes"), rows, title="Panoptic quality as panopticapi computes it")
    console.result({"engine": "panopticapi", "quality": quality.to_dict(), "versions": versions}, text, as_json)


def _eval_with_cityscapesscripts(predictions: Path, truth: Path, as_json: bool) -> None:
    from yoso_cli.evaluation.cityscapes import cityscapes_quality
    from yoso_cli.runtime import machine

    found = cityscapes_quality(predictions, truth, console.TERMINAL)
    versions = machine.versions(["cityscapesScripts", "numpy", "pillow"])
    result = {"engine": "cityscapesscripts", **found.to_dict(), "versions": versions}
    console.result(result, _cityscapes_tables(found), as_json)


def _cityscapes_tables(found: "CityscapesQuality") -> str:
    """All figures by class, and IoU by category."""
    pixels, masks, quality = found.pixels, found.instances, found.quality
    whole = (masks.ap, masks.ap50) if masks else (None, None)
    of_things = {one.category.id: (one.ap, one.ap50) for one in masks.classes} if masks else {}
    rows = [("All", pixels.iou, pixels.iiou, *whole, quality.all.pq)]
    for one, panoptic in zip(pixels.classes, quality.classes, strict=True):
        masked = of_things.get(one.category.id, (None, None))
        rows.append((one.category.name, one.iou, one.iiou, *masked, panoptic.pq))
    groups = [("All", pixels.category_iou, pixels.category_iiou)]
    groups += [(one.name, one.iou, one.iiou) for one in pixels.categories]
    title = "As the official Cityscapes evaluators compute it, in percent"
    classes = console.table(("Class", "IoU", "iIoU", "AP", "AP50", "PQ"), _percent(rows), title=title)
    return f"{classes}\n\n{console.table(('Category', 'IoU', 'iIoU'), _percent(groups))}"


def _percent(rows: Iterable[Sequence[Any]]) -> list[list[object]]:
    return [[name, *(None if one is None else 100 * one for one in figures)] for name, *figures in rows]


_REFERENCES = {"panopticapi": _eval_with_panopticapi, "cityscapesscripts": _eval_with_cityscapesscripts}


def _eval_videos(asked: _Scoring) -> None:
    from yoso_cli.api.predictions import evaluate_videos
    from yoso_cli.evaluation.video import WINDOWS
    from yoso_cli.evaluation.video_report import table

    lengths = _windows(asked.windows) if asked.windows is not None else WINDOWS
    if "vpq" not in asked.metrics:
        _refuse_windows(asked)
    require_there(asked.predictions, asked.truth)
    report = evaluate_videos(
        asked.predictions,
        asked.truth,
        metrics=asked.metrics,
        windows=lengths,
        workers=asked.disk.workers,
        trust_json=asked.disk.trust_json,
        command=console.typed_command(),
        progress=console.TERMINAL,
    )
    console.result(report.to_dict(), table(report), asked.as_json)
    if not asked.as_json:
        again = f"--metric {','.join(asked.metrics)} --json > video_report.json"
        console.next_step(f"yoso eval {asked.paths} {again}")


def _windows(asked: str) -> tuple[int, ...]:
    """The lengths of --windows."""
    words = [word.strip() for word in asked.split(",")]
    if not all(word.isdecimal() and int(word) for word in words):
        raise UsageError(f"--windows {asked}: must be numbers of frames.", hint="For example --windows 1,2,3,4.")
    return tuple(int(word) for word in words)


def _eval_pictures(asked: _Scoring) -> None:
    from yoso_cli.api.predictions import evaluate_predictions
    from yoso_cli.evaluation.summary import table

    if asked.images is not None and asked.html is None:
        raise UsageError("--images needs --html.", hint="Give --html FILE as well, or leave it out.")
    if asked.images is not None and not asked.images.is_dir():
        raise UsageError(f"--images {asked.images}: no such folder.", hint="Name the folder of the photos.")
    require_there(asked.predictions, asked.truth)
    report = evaluate_predictions(
        asked.predictions,
        asked.truth,
        metrics=asked.metrics,
        workers=asked.disk.workers,
        cache=asked.disk.truth_cache,
        html=asked.html,
        images=asked.images,
        trust_json=asked.disk.trust_json,
        command=console.typed_command(),
        progress=console.TERMINAL,
    )
    # Either takes a while to make of thousands of pictures.
    console.result(report.to_dict() if asked.as_json else {}, "" if asked.as_json else table(report), asked.as_json)
    if not asked.as_json:
        wanted = f"--metric {','.join(asked.metrics)} " if asked.metrics else ""
        again = "--json > report.json" if asked.html or Path("report.html").exists() else "--html report.html"
        console.next_step(f"yoso eval {asked.paths} {wanted}{again}")
