"""An evaluation as one screen of text: figures with intervals, beside the paper's, and the classes by PQ."""

import textwrap
from collections.abc import Iterator, Mapping

from yoso_cli.evaluation.causes import NAMES, mistaken
from yoso_cli.evaluation.per_image import Interval
from yoso_cli.evaluation.quality import SIZES, ClassQuality
from yoso_cli.evaluation.report import Report
from yoso_cli.runtime.words import counted

# More classes than this would push the headline off the screen; then the ends of the list are shown.
_ROWS = 24
_ENDS = 7
_NAME_WIDTH = 29

# What would read as 0.0.
_LEAST_LOSS = 0.0005

# Worst pictures, and confused pairs of classes, that are named.
_NAMED = 3


def table(report: Report) -> str:
    """The report as plain text of at most 80 columns: headline figures, their explanation, and the classes by PQ."""
    parts = [[_title(report)], _headline(report), _meaning(report), _void(report), _lost(report), _further(report)]
    blocks = [list(part) for part in (*parts, _class_rows(report.quality.classes))]
    return "\n\n".join("\n".join(line.rstrip() for line in block) for block in blocks if block)


def _title(report: Report) -> str:
    place = f"{report.dataset} {report.split}".strip()
    return f"Panoptic quality on {place}, {counted(report.images, 'image')}, in percent"


def _headline(report: Report) -> Iterator[str]:
    quality, sure, paper = report.quality, report.measures.confidence, report.paper
    groups = {
        "All": (quality.all, sure.all),
        "Things": (quality.things, sure.things),
        "Stuff": (quality.stuff, sure.stuff),
    }
    published = (paper.pq, paper.pq_things, paper.pq_stuff) if paper else (None, None, None)
    beside = "  | paper PQ  ours - paper" if paper else ""
    yield f"{'':<7}{'PQ':>6}{'95 % interval':>16}{'SQ':>7}{'RQ':>7}{'classes':>9}{beside}"
    for (name, (group, intervals)), theirs in zip(groups.items(), published, strict=True):
        row = f"{name:<7}{in_percent(group.pq):>6}{_span(intervals.pq):>16}"
        row += f"{in_percent(group.sq):>7}{in_percent(group.rq):>7}{group.n:>9}"
        yield row + (_beside(group.pq, theirs) if paper else "")
    if paper and paper.table:
        yield f"Paper: {paper.table}"
    if report.settings and len(report.settings.views) > 1:
        yield f"Test-time augmentation: {', '.join(report.settings.views)}"
    yield from _merge(report)


def _merge(report: Report) -> Iterator[str]:
    """PQ of the fast merge compared with the exact one."""
    if not (exact := report.exact_merge):
        return
    quality = report.quality
    pairs = {
        "PQ": (quality.all.pq, exact.pq),
        "things": (quality.things.pq, exact.pq_things),
        "stuff": (quality.stuff.pq, exact.pq_stuff),
    }
    costs = [
        f"{name} {100 * ours - theirs:+.2f}"
        for name, (ours, theirs) in pairs.items()
        if ours is not None and theirs is not None
    ]
    yield from _wrapped(
        f"Fast merge: {', '.join(costs) or 'nothing'} compared with the exact merge of the same outputs."
    )


def _further(report: Report) -> Iterator[str]:
    """One line for each measure besides PQ."""
    found = report.measures
    at_size = {size: getattr(found.sizes, size).all.pq for size in SIZES}
    yield f"{'PQ by segment size':<20}{_named(at_size)}"
    yield f"{'PQ† (stuff by IoU)':<20}{_named({'all': found.dagger.all, 'stuff': found.dagger.stuff})}"
    if one := found.boundary:
        yield f"{'Boundary PQ':<20}{_named({'all': one.all.pq, 'things': one.things.pq, 'stuff': one.stuff.pq})}"
    if mask := found.instances:
        yield f"{'Mask AP of things':<20}{_named({'AP': mask.ap, 'AP50': mask.ap50, 'AP75': mask.ap75})}"
        yield f"{'  by segment size':<20}{_named({size: getattr(mask, size) for size in SIZES})}"
    if rated := found.cityscapes_ap:
        yield f"{'AP as Cityscapes':<20}{_named({'AP': rated.ap, 'AP50': rated.ap50})}"
    if pixels := found.semantic:
        figures = {"mIoU": pixels.miou, "weighted": pixels.weighted_iou, "pixel accuracy": pixels.pixel_accuracy}
        yield f"{'Semantic (pixels)':<20}{_named(figures)}"


def _named(figures: Mapping[str, float | None]) -> str:
    return "  ".join(f"{name} {in_percent(figure)}" for name, figure in figures.items())


def _beside(ours: float | None, theirs: float | None) -> str:
    if theirs is None:
        return f"  | {'-':>8}{'-':>14}"
    difference = "-" if ours is None else f"{100 * ours - theirs:+.1f}"
    return f"  | {theirs:>8.1f}{difference:>14}"


def _span(interval: Interval | None) -> str:
    return "-" if interval is None else f"{100 * interval.low:.1f} - {100 * interval.high:.1f}"


def _lost(report: Report) -> list[str]:
    """The PQ loss by error type, the largest first."""
    losses = sorted(report.measures.losses.all, key=lambda one: -one.pq)
    told = [f"{NAMES[one.cause]} {100 * one.pq:.1f}" for one in losses if one.pq >= _LEAST_LOSS]
    if not told:
        return []
    lost = f"PQ loss {100 * sum(one.pq for one in losses):.1f}: {', '.join(told)}"
    return [*_wrapped(lost), *_wrapped(_worst(report)), *_wrapped(_confused(report))]


def _worst(report: Report) -> str:
    """The pictures with the largest PQ loss."""
    tallies = report.measures.tallies
    lost = 100 * tallies.lost()
    told = [f"{shortened(tallies.files[place])} ({lost[place]:.2f})" for place in tallies.worst(_NAMED)]
    return f"  worst images: {', '.join(told)}" if told else ""


def _confused(report: Report) -> str:
    """The classes that are confused most often."""
    told = [
        f"{shortened(true.name)} as {shortened(guess.name)} ({count})"
        for true, guess, count in mistaken(report.measures.confusion)[:_NAMED]
    ]
    return f"  wrong class: {', '.join(told)}" if told else ""


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 79, subsequent_indent="    ")


def _meaning(report: Report) -> list[str]:
    """An explanation of the rows above."""
    told = [
        "PQ = SQ x RQ for each class; the rows are means over classes. Things are countable (a car), stuff is not (the "
        "sky). SQ is the mean IoU of matched segments, RQ the F1 score of the matching.",
    ]
    if report.measures.confidence.all.pq:
        told.append("The interval is a bootstrap over images.")
    classes = len(report.quality.classes)
    if report.quality.all.n < classes:
        unseen = classes - report.quality.all.n
        told.append(f"{unseen} of {classes} classes are in neither truth nor prediction and do not count.")
    return textwrap.wrap(" ".join(told), 79)


def _void(report: Report) -> list[str]:
    """What does not count, where that is anything, and what it means where only things are labelled."""
    found = report.measures.void
    if not found.share and not found.ignored:
        return []
    told = f"Void: {in_percent(found.share)} % of the true pixels; predicted segments there or in crowds, which do not "
    lines = textwrap.wrap(f"{told}count: {found.ignored:,}", 79)
    if found.hides_errors:
        told = "Only things are labelled in this truth: false detections anywhere else cost nothing. `yoso convert "
        lines += textwrap.wrap(f"{told}--background NAME` makes the rest a stuff class; then they count.", 79)
    return lines


def _class_rows(classes: tuple[ClassQuality, ...]) -> Iterator[str]:
    seen = sorted((one for one in classes if one.pq is not None), key=lambda one: -(one.pq or 0.0))
    if not seen:
        yield "There are no segments to evaluate."
        return
    figures = f"{'PQ':>7}{'SQ':>7}{'RQ':>7}{'TP':>7}{'FP':>7}{'FN':>7}"
    yield f"{'Class, best first':<{_NAME_WIDTH}} {'kind':<6}{figures}"
    if len(seen) <= _ROWS:
        yield from map(_class_row, seen)
        return
    yield from map(_class_row, seen[:_ENDS])
    yield f"  ... {len(seen) - 2 * _ENDS} more; --json has all ..."
    yield from map(_class_row, seen[-_ENDS:])


def _class_row(one: ClassQuality) -> str:
    kind = "thing" if one.category.isthing else "stuff"
    figures = f"{in_percent(one.pq):>7}{in_percent(one.sq):>7}{in_percent(one.rq):>7}"
    return f"{shortened(one.category.name):<{_NAME_WIDTH}} {kind:<6}{figures}{one.tp:>7}{one.fp:>7}{one.fn:>7}"


def shortened(name: str, width: int = _NAME_WIDTH) -> str:
    """The end of a name that is too long: Mapillary's names are paths."""
    return name if len(name) <= width else "..." + name[3 - width :]


def in_percent(fraction: float | None) -> str:
    """In percent, with one decimal."""
    return "-" if fraction is None else f"{100 * fraction:.1f}"
