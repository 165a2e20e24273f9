"""What an evaluation found and all that made the number, for a file and for a person."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from yoso_cli import atomic
from yoso_cli.errors import DataError
from yoso_cli.evaluation.quality import ClassQuality, PanopticQuality

FORMAT = "yoso-report"
VERSION = 1
"""Rises when a key of the file changes its meaning or goes away."""

# More classes than this would push the headline off the screen; then the ends of the list are shown.
_ROWS = 24
_ENDS = 8
_NAME_WIDTH = 29


@dataclass(frozen=True)
class PaperRow:
    """The published figures to stand beside ours, in percent; None where there is none."""

    table: str = ""
    pq: float | None = None
    pq_things: float | None = None
    pq_stuff: float | None = None


@dataclass(frozen=True)
class WeightsFile:
    """The weights that were evaluated, told apart from all others by their hash."""

    path: str
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "WeightsFile":
        """The file at `path`. Raises DataError when it cannot be read."""
        digest = hashlib.sha256()
        try:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
        return cls(str(path), digest.hexdigest())


@dataclass(frozen=True)
class InferenceSettings:
    """How pictures became segments: sizes in pixels, thresholds 0..1, and the device."""

    short_edge: int
    long_edge: int
    score_threshold: float
    overlap_threshold: float
    device: str


@dataclass(frozen=True)
class Report:
    """One evaluation.

    Attributes:
        quality: what was found.
        dataset: its name.
        split: of the dataset; empty where a bare JSON was given.
        images: how many pictures.
        truth: the folder of the truth's PNGs.
        predictions: the folder of the predictions' PNGs; empty where they came straight from a model.
        recipe: its name; empty where predictions came from files, and so are the next three.
        weights: the file.
        settings: of inference.
        paper: the figures that the recipe aims at.
        versions: of the packages that had a part in it.
        machine: what it ran on.
    """

    quality: PanopticQuality
    dataset: str
    split: str
    images: int
    truth: str = ""
    predictions: str = ""
    recipe: str = ""
    weights: WeightsFile | None = None
    settings: InferenceSettings | None = None
    paper: PaperRow | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, str | int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; figures in percent, unrounded, null where there is none."""
        told = {
            "format": FORMAT,
            "version": VERSION,
            "dataset": self.dataset,
            "split": self.split,
            "images": self.images,
            "quality": self.quality.to_dict(),
            "truth": self.truth,
            "predictions": self.predictions or None,
            "recipe": self.recipe or None,
        }
        for name in ("weights", "settings", "paper"):
            value = getattr(self, name)
            told[name] = None if value is None else asdict(value)
        return {**told, "versions": dict(self.versions), "machine": dict(self.machine)}


def write_report(path: Path, report: Report) -> None:
    """Writes `report` as JSON to `path` in one step. Raises RunError when it cannot be written."""
    atomic.write_json(path, report.to_dict(), indent=2)


def table(report: Report) -> str:
    """The report as plain text of at most 80 columns: headline figures, what they mean, and the classes by PQ."""
    parts = [_title(report), "", *_headline(report), "", *_meaning(report), "", *_class_rows(report.quality.classes)]
    return "\n".join(line.rstrip() for line in parts)


def _title(report: Report) -> str:
    plural = "" if report.images == 1 else "s"
    place = f"{report.dataset} {report.split}".strip()
    return f"Panoptic quality on {place}, {report.images} image{plural}, in percent"


def _headline(report: Report) -> Iterator[str]:
    quality, paper = report.quality, report.paper
    groups = {"All": quality.all, "Things": quality.things, "Stuff": quality.stuff}
    published = (paper.pq, paper.pq_things, paper.pq_stuff) if paper else (None, None, None)
    beside = "  | paper PQ  ours - paper" if paper else ""
    yield f"{'':<10}{'PQ':>7}{'SQ':>7}{'RQ':>7}{'classes':>9}{beside}"
    for (name, group), theirs in zip(groups.items(), published, strict=True):
        row = f"{name:<10}{_figure(group.pq)}{_figure(group.sq)}{_figure(group.rq)}{group.n:>9}"
        yield row + (_beside(group.pq, theirs) if paper else "")
    if paper and paper.table:
        yield f"Paper: {paper.table}"


def _beside(ours: float | None, theirs: float | None) -> str:
    if theirs is None:
        return f"  | {'-':>8}{'-':>14}"
    difference = "-" if ours is None else f"{100 * ours - theirs:+.1f}"
    return f"  | {theirs:>8.1f}{difference:>14}"


def _meaning(report: Report) -> Iterator[str]:
    yield "Each class: PQ = SQ x RQ. SQ: how well found segments fit (mean IoU of matches)."
    yield "RQ: how many are found, false ones counted against (F1). Rows are class means."
    classes = len(report.quality.classes)
    if report.quality.all.n < classes:
        unseen = classes - report.quality.all.n
        yield f"Not counted: {unseen} of {classes} classes, in neither truth nor prediction."


def _class_rows(classes: tuple[ClassQuality, ...]) -> Iterator[str]:
    seen = sorted((one for one in classes if one.pq is not None), key=lambda one: -(one.pq or 0.0))
    if not seen:
        yield "No class was seen: there is nothing to score."
        return
    figures = f"{'PQ':>7}{'SQ':>7}{'RQ':>7}{'found':>7}{'false':>7}{'missed':>8}"
    yield f"{'Class, best first':<{_NAME_WIDTH}} {'kind':<6}{figures}"
    if len(seen) <= _ROWS:
        yield from map(_class_row, seen)
        return
    yield from map(_class_row, seen[:_ENDS])
    yield f"  ... {len(seen) - 2 * _ENDS} more; --json tells all ..."
    yield from map(_class_row, seen[-_ENDS:])


def _class_row(one: ClassQuality) -> str:
    kind = "thing" if one.category.isthing else "stuff"
    figures = f"{_figure(one.pq)}{_figure(one.sq)}{_figure(one.rq)}"
    return f"{_shortened(one.category.name):<{_NAME_WIDTH}} {kind:<6}{figures}{one.tp:>7}{one.fp:>7}{one.fn:>8}"


def _shortened(name: str) -> str:
    """Mapillary's names are paths whose end tells most."""
    return name if len(name) <= _NAME_WIDTH else "..." + name[3 - _NAME_WIDTH :]


def _figure(fraction: float | None) -> str:
    return f"{'-' if fraction is None else f'{100 * fraction:.1f}':>7}"
