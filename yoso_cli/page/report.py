"""A report as one HTML file that opens offline: the figures of its sections, from the headline to the settings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yoso_cli import atomic
from yoso_cli.drawing.colors import Color, colors
from yoso_cli.evaluation.boundary import WIDTH
from yoso_cli.evaluation.causes import MEANINGS, NAMES, Loss, mistaken
from yoso_cli.evaluation.per_image import GROUPS, Interval
from yoso_cli.evaluation.quality import LIMITS, SIZES, ClassQuality
from yoso_cli.evaluation.report import Report
from yoso_cli.page.document import own_file, percent, render, span
from yoso_cli.page.gallery import FIRST_VIEW, Exhibit, Predict, exhibits
from yoso_cli.panoptic.types import Category, PanopticSet
from yoso_cli.runtime.progress import SILENT, Progress

_CONTENTS = {
    "headline": "Quality",
    "causes": "PQ loss",
    "classes": "Classes",
    "measures": "Other measures",
    "sizes": "By size",
    "confusion": "Confusion",
    "calibration": "Calibration",
    "gallery": "Worst images",
    "made": "Settings",
}

# The columns of the table of classes: heading, what it sorts by, and how it is set.
_COLUMNS = (
    ("Class", "name", ""),
    ("Kind", "kind", "kind"),
    ("PQ, and its loss by error type", "", "bar"),
    ("PQ", "pq", "n"),
    ("95 % interval", "", "n"),
    ("SQ", "sq", "n"),
    ("RQ", "rq", "n"),
    ("TP", "tp", "n"),
    ("FP", "fp", "n"),
    ("FN", "fn", "n"),
)

MOST_CLASSES = 1000
"""Rows of the table of classes: more take longer to open than anybody reads."""

# What a class without a figure sorts as: below all others.
_NO_FIGURE = -1

# A matrix beyond this fits no screen; the list of what is confused most is there in any case.
_LARGEST_MATRIX = 20

# Where a list of the page ends; a command or a path stands in full, but for one that somebody made to be long.
_LIMITS = {"MOST_CONFUSED": 20, "MOST_GALLERY_CLASSES": 300, "LONGEST_VALUE": 1000}


def write_page(path: Path, report: Report, truth: PanopticSet, predict: Predict, progress: Progress = SILENT) -> None:
    """Writes `report` as a page to `path`, with the worst pictures of `truth` predicted once more.

    Raises:
        DataError: a truth or a prediction cannot be read any more.
        RunError: the page cannot be written.
    """
    atomic.write_text(path, page(report, tuple(exhibits(truth, report.measures.tallies, predict))))
    progress.message(f"HTML report: {path} (open it in a browser).")


def page(report: Report, exhibits: Sequence[Exhibit]) -> str:
    """The whole document."""
    values: dict[str, Any] = {
        "report": report,
        "quality": report.quality,
        "place": f"{report.dataset} {report.split}".strip(),
        "losses": _losses(report),
        "beside": list(_beside_pq(report)),
        "sizes": list(_sizes(report)),
        "mistaken": mistaken(report.measures.confusion),
        "matrix": _matrix(report),
        "calibration": report.measures.calibration,
        "made": list(_made(report)),
    }
    values |= _headline(report) | _classes(report) | _gallery(exhibits)
    there = {
        "causes": values["losses"],
        "confusion": report.measures.confusion,
        "calibration": values["calibration"],
        "gallery": exhibits,
    }
    contents = {anchor: word for anchor, word in _CONTENTS.items() if there.get(anchor, True)}
    values |= {"contents": contents, "NAMES": NAMES, "MEANINGS": MEANINGS, **_LIMITS}
    return render("page.html", values, style=own_file("page.css"), script=own_file("page.js"))


def _headline(report: Report) -> dict[str, Any]:
    """Name, quality, intervals and the paper's PQ of all, things and stuff."""
    paper = report.paper
    published = (paper.pq, paper.pq_things, paper.pq_stuff) if paper else (None, None, None)
    groups = [(getattr(report.quality, kind), getattr(report.measures.confidence, kind)) for kind in GROUPS]
    titles = ("All classes", "Things", "Stuff")
    cards = zip(titles, groups, published, strict=True)
    return {"headline": [(title, group, sure, theirs) for title, (group, sure), theirs in cards]}


def _losses(report: Report) -> dict[str, tuple[Loss, ...]]:
    """The PQ loss by error type of all classes, things and stuff, where there are any."""
    found = {kind: getattr(report.measures.losses, kind) for kind in GROUPS}
    return {kind: losses for kind, losses in found.items() if losses}


@dataclass(frozen=True)
class _Class:
    """One row of the table of classes: PQ, other measures by column heading, and how it is drawn."""

    quality: ClassQuality
    further: dict[str, float | None]
    interval: Interval | None
    losses: tuple[Loss, ...]
    color: Color

    @property
    def is_seen(self) -> bool:
        """Whether any measure is defined for it: a class of crowds alone has an IoU, but no PQ."""
        return any(figure is not None for figure in (self.pq, *self.further.values()))

    @property
    def segments(self) -> int:
        """TP, FP and FN together."""
        return self.quality.tp + self.quality.fp + self.quality.fn

    @property
    def name(self) -> str:
        """As the set has it."""
        return self.quality.category.name

    @property
    def kind(self) -> str:
        """Thing or stuff."""
        return "thing" if self.quality.category.isthing else "stuff"

    @property
    def pq(self) -> float | None:
        """A fraction, where the class was seen."""
        return self.quality.pq

    @property
    def sorts(self) -> dict[str, float]:
        """What the script sorts by."""
        one = self.quality
        figures = {"pq": one.pq, "sq": one.sq, "rq": one.rq, "tp": one.tp, "fp": one.fp, "fn": one.fn}
        figures |= {_key(name): figure for name, figure in self.further.items()}
        return {key: _NO_FIGURE if figure is None else round(figure, 6) for key, figure in figures.items()}

    @property
    def figures(self) -> list[str | int]:
        """In the order of the columns."""
        one = self.quality
        counts = (one.tp, one.fp, one.fn)
        quality = (percent(one.pq), span(self.interval), percent(one.sq), percent(one.rq))
        return [*quality, *counts, *map(percent, self.further.values())]


def _classes(report: Report) -> dict[str, Any]:
    """Each class with its bar, to sort and to filter."""
    further = _by_class(report)
    seen = [row for row in _class_figures(report, further) if row.is_seen]
    # Where there are too many, those that most segments speak for.
    shown = sorted(seen, key=lambda row: -row.segments)[:MOST_CLASSES]
    shown.sort(key=lambda row: -(row.pq if row.pq is not None else _NO_FIGURE))
    columns = [*_COLUMNS, *((name, _key(name), "n") for name in further)]
    lead = " ".join(_class_lead(len(report.quality.classes), len(seen), len(shown)))
    return {"classes": shown, "columns": columns, "classes_lead": lead}


def _by_class(report: Report) -> dict[str, dict[int, float | None]]:
    """Figures besides PQ: under each heading, by category id."""
    found = report.measures
    columns: dict[str, dict[int, float | None]] = {}
    if found.semantic:
        columns["IoU"] = {one.category.id: one.iou for one in found.semantic.classes}
    if found.instances:
        columns["AP"] = {one.category.id: one.ap for one in found.instances.classes}
    if found.cityscapes_ap:
        columns["Cityscapes AP"] = {one.category.id: one.ap for one in found.cityscapes_ap.classes}
    if found.boundary:
        columns["boundary PQ"] = {one.category.id: one.pq for one in found.boundary.classes}
    return columns


def _class_figures(report: Report, further: dict[str, dict[int, float | None]]) -> Iterator[_Class]:
    found, sure, losses = report.quality.classes, report.measures.confidence.classes, report.measures.losses.classes
    tints = colors([one.category for one in found])
    for one, interval, lost, tint in zip(found, sure, losses, tints, strict=True):
        beside = {name: figures.get(one.category.id) for name, figures in further.items()}
        yield _Class(one, beside, interval, tuple(lost), tint)


def _class_lead(known: int, seen: int, shown: int) -> Iterator[str]:
    yield "Press a heading to sort."
    if known > seen:
        yield f"{known - seen} of {known} classes are in neither truth nor prediction and not listed."
    if seen > shown:
        yield f"The {shown} classes with most segments are listed; report.json has all {seen}."


def _key(heading: str) -> str:
    return heading.split()[0].lower()


def _beside_pq(report: Report) -> Iterator[tuple[str, float | None, str, Mapping[str, float | None]]]:
    """Name, figure, what it is, and its parts, of each measure."""
    found = report.measures
    told = (
        "PQ with stuff counted by its IoU in each image that has it: a region at an IoU of 0.49 is worth 0.49 instead "
        "of two errors."
    )
    yield "PQ†", found.dagger.all, told, {"things": found.dagger.things, "stuff": found.dagger.stuff}
    if pixels := found.semantic:
        told = (
            "Of each class, the pixels that truth and prediction share, over those that either has; the mean over "
            "classes. Instances are not told apart."
        )
        further = {"pixels right": pixels.pixel_accuracy, "class accuracy": pixels.mean_accuracy}
        yield "mIoU", pixels.miou, told, {**further, "weighted by pixels": pixels.weighted_iou}
    if mask := found.instances:
        told = (
            "Things ranked by their scores, at IoUs from 0.50 to 0.95, as COCO counts them. Panoptic maps keep no "
            "overlaps: this is not the AP of an instance segmentation."
        )
        by_size = {size: getattr(mask, size) for size in SIZES}
        yield "Mask AP", mask.ap, told, {"AP50": mask.ap50, "AP75": mask.ap75, **by_size}
    if rated := found.cityscapes_ap:
        told = "Things ranked by their scores, at IoUs from 0.50 to 0.95, by the rules of Cityscapes' evaluator."
        yield "Cityscapes AP", rated.ap, told, {"AP50": rated.ap50}
    if one := found.boundary:
        within = f"within {100 * WIDTH:g} % of the image's diagonal."
        told = f"PQ whose matches must also agree along their outlines, {within}"
        yield "Boundary PQ", one.all.pq, told, {"things": one.things.pq, "stuff": one.stuff.pq}


def _sizes(report: Report) -> Iterator[tuple[str, str, float | None, list[str | int]]]:
    """Name, limits, PQ and figures of small, medium and large segments."""
    small, large = (round(limit**0.5) for limit in LIMITS)
    limits = (f"below {small}² pixels", f"{small}² to {large}² pixels", f"{large}² pixels and more")
    for name, limit in zip(SIZES, limits, strict=True):
        quality = getattr(report.measures.sizes, name)
        counts = [sum(getattr(one, part) for one in quality.classes) for part in ("tp", "fp", "fn")]
        pqs = [percent(group.pq) for group in (quality.all, quality.things, quality.stuff)]
        yield name, limit, quality.all.pq, [*pqs, *counts]


def _matrix(report: Report) -> list[tuple[Category | None, list[tuple[str, float, bool]]]] | None:
    """Of each true class its row: counts, their shares of the row, and which cell is right; None stands for nothing."""
    classes = [*(one.category for one in report.quality.classes if one.pq is not None), None]
    if len(classes) > _LARGEST_MATRIX + 1:
        return None
    counts = {(one.truth, one.prediction): one.count for one in report.measures.confusion}
    rows = []
    for true in classes:
        row = [counts.get((true, guess), 0) for guess in classes]
        shares = [count / max(1, sum(row)) for count in row]
        words = [
            str(count) if count else "" if true or guess else "·" for count, guess in zip(row, classes, strict=True)
        ]
        rows.append((true, list(zip(words, shares, [true == guess for guess in classes], strict=True))))
    return rows


def _gallery(exhibits: Sequence[Exhibit]) -> dict[str, Any]:
    """The pictures, the views that any of them has, and the classes of their errors."""
    classes = list({one.id: one for exhibit in exhibits for one in exhibit.categories}.values())
    return {
        "exhibits": exhibits,
        "view_names": list(dict.fromkeys(view.name for one in exhibits for view in one.views)),
        "first_view": FIRST_VIEW,
        "gallery_classes": classes[: _LIMITS["MOST_GALLERY_CLASSES"]],
    }


def _made(report: Report) -> Iterator[tuple[str, str]]:
    """Everything that made the number, for those who want to make it again."""
    yield from (("Command", report.command), ("Recipe", report.recipe))
    if report.weights:
        yield from (("Weights", report.weights.path), ("SHA-256 of the weights", report.weights.sha256))
    if report.settings:
        one = report.settings
        yield "Input size", f"short edge {one.short_edge}, long edge at most {one.long_edge} pixels"
        yield "Thresholds", f"score {one.score_threshold:g}, overlap {one.overlap_threshold:g}"
        yield from (("Views of each image", ", ".join(one.views)), ("Merge", one.merge))
        yield from (("Device", one.device), ("Switches", one.switches))
    yield from (("Truth", report.truth), ("Predictions", report.predictions))
    yield "Versions", ", ".join(f"{name} {version}" for name, version in report.versions.items())
    yield "Machine", ", ".join(f"{key} {value}" for key, value in report.machine.items())
