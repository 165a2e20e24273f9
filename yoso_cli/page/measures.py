"""The part of the page that holds what was measured beside PQ, and what of it stands in the table of classes."""

from collections.abc import Mapping

from yoso_cli.evaluation.boundary import WIDTH
from yoso_cli.evaluation.instances import InstanceQuality
from yoso_cli.evaluation.quality import DaggerQuality, PanopticQuality
from yoso_cli.evaluation.report import Report
from yoso_cli.evaluation.semantic import SemanticQuality
from yoso_cli.page.charts import percent, scale
from yoso_cli.page.markup import Markup, each, tag
from yoso_cli.page.parts import section

Figures = Mapping[str, float | None]


def measures(report: Report) -> Markup:
    """A card for each measure beside PQ; one that was not asked for is not there."""
    found = report.measures
    cards = [
        _dagger(found.dagger),
        _semantic(found.semantic) if found.semantic else None,
        _instances(found.instances) if found.instances else None,
        _boundary(found.boundary) if found.boundary else None,
    ]
    lead = "Other figures of the same panoptic maps. They answer other questions, so they may rank models differently."
    return section("measures", "Beside PQ", lead, tag("div", *cards, class_="cards"))


def _dagger(found: DaggerQuality) -> Markup:
    told = (
        "PQ with stuff counted by its IoU in each image that has it: a region at an IoU of 0.49 is worth 0.49 instead "
        "of two errors."
    )
    return _card("PQ†", found.all, told, {"things": found.things, "stuff": found.stuff})


def _semantic(found: SemanticQuality) -> Markup:
    told = (
        "Of each class, the pixels that truth and prediction share, over those that either has; the mean over classes. "
        "Instances are not told apart."
    )
    further = {"pixels right": found.pixel_accuracy, "class accuracy": found.mean_accuracy}
    further["weighted by pixels"] = found.weighted_iou
    return _card("mIoU", found.miou, told, further)


def _instances(found: InstanceQuality) -> Markup:
    told = (
        "Things ranked by their scores, at IoUs from 0.50 to 0.95, as COCO counts them. Panoptic maps keep no "
        "overlaps: this is not the AP of an instance segmentation."
    )
    further = {"AP50": found.ap50, "AP75": found.ap75}
    return _card("Mask AP", found.ap, told, further | {size: getattr(found, size) for size in _SIZES})


def _boundary(found: PanopticQuality) -> Markup:
    told = f"PQ whose matches must also agree along their outlines, within {100 * WIDTH:g} % of the image's diagonal."
    return _card("Boundary PQ", found.all.pq, told, {"things": found.things.pq, "stuff": found.stuff.pq})


_SIZES = ("small", "medium", "large")


def _card(name: str, value: float | None, told: str, further: Figures) -> Markup:
    parts = each(tag("div", tag("dt", word), tag("dd", percent(figure))) for word, figure in further.items())
    figure = tag("p", percent(value), class_="figure")
    return tag(
        "article",
        tag("h3", name),
        figure,
        scale(value, None, None),
        tag("p", told, class_="note"),
        tag("dl", parts),
        class_="card small",
    )


def by_class(report: Report) -> dict[str, dict[int, float | None]]:
    """Figures for the table of classes: under each heading, by category id."""
    found = report.measures
    columns: dict[str, dict[int, float | None]] = {}
    if found.semantic:
        columns["IoU"] = {one.category.id: one.iou for one in found.semantic.classes}
    if found.instances:
        columns["AP"] = {one.category.id: one.ap for one in found.instances.classes}
    if found.boundary:
        columns["boundary PQ"] = {one.category.id: one.pq for one in found.boundary.classes}
    return columns
