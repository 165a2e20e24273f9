"""Comparing two evaluations: paired differences on the same pictures, with bootstrap intervals."""

# N pictures, K categories, R resamples

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yoso_cli.errors import DataError
from yoso_cli.evaluation.matching import Floats
from yoso_cli.evaluation.per_image import (
    FIGURES,
    GROUPS,
    HOW,
    LEVEL,
    ImageTallies,
    Interval,
    Measured,
    Trio,
    draws,
    interval_of,
    members_of,
    scores,
)
from yoso_cli.evaluation.quality import Figures
from yoso_cli.evaluation.summary import in_percent, shortened
from yoso_cli.panoptic.types import Category
from yoso_cli.runtime.words import counted

# Bootstrap intervals of fewer images than these are unreliable.
FEW = 30


@dataclass(frozen=True)
class Difference(Figures):
    """A figure of A, of B, and B - A with its interval; fractions, None where a side has no figure."""

    a: float | None
    b: float | None
    interval: Interval | None

    @property
    def value(self) -> float | None:
        """B - A."""
        return None if self.a is None or self.b is None else self.b - self.a

    @property
    def moved(self) -> bool:
        """Whether the two differ on any image."""
        return self.interval is not None and not self.interval.low == self.interval.high == 0

    @property
    def could_be_noise(self) -> bool:
        """Whether the 95 % interval contains 0."""
        return self.interval is None or self.interval.low <= 0 <= self.interval.high

    def to_dict(self) -> dict[str, Any]:
        """In percent."""
        told, value = super().to_dict(), None if self.value is None else 100 * self.value
        return {"a": told["a"], "b": told["b"], "difference": value, **told, "could_be_noise": self.could_be_noise}


GroupDifferences = Trio[Difference]
"""The differences of a group of classes."""


@dataclass(frozen=True)
class ClassDifference:
    """The difference of one class in PQ."""

    category: Category
    pq: Difference

    def to_dict(self) -> dict[str, Any]:
        """In percent."""
        named = {"id": self.category.id, "name": self.category.name, "isthing": self.category.isthing}
        return {**named, **self.pq.to_dict()}


@dataclass(frozen=True)
class Comparison:
    """B against A on the same pictures.

    Attributes:
        a: what A is called.
        b: what B is called.
        dataset: both were measured on it.
        images: how many pictures.
        all: of all classes.
        things: of the countable ones.
        stuff: of the others.
        classes: in the order of the categories.
    """

    a: str
    b: str
    dataset: str
    images: int
    all: GroupDifferences
    things: GroupDifferences
    stuff: GroupDifferences
    classes: tuple[ClassDifference, ...]

    @property
    def too_few(self) -> bool:
        """Whether there are too few pictures for a reliable interval."""
        return self.images < FEW

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, in percent, with how the intervals were made."""
        named = {"a": self.a, "b": self.b, "dataset": self.dataset, "images": self.images, "too_few": self.too_few}
        groups = {name: getattr(self, name).to_dict() for name in GROUPS}
        return {**named, **HOW, **groups, "classes": [one.to_dict() for one in self.classes]}


def compared(a: Measured, b: Measured) -> Comparison:
    """B against A with paired intervals: both are scored on the same draws of the pictures.

    Raises:
        DataError: they were not measured on the same pictures, classes and truth.
    """
    second = _aligned(a, b)
    members = members_of(a.categories)
    sides = np.stack([a.tallies.counts, second.counts], axis=1)  # (N, 2, K, 4)
    groups, classes = scores(sides.sum(0), members)  # (2, G, 3), (2, K)
    # Two equal columns of one matrix product may differ in their last bits.
    moved_groups, moved_classes = ((found[:, 1] - found[:, 0]).round(12) for found in draws(sides, members))
    all_, things, stuff = (
        GroupDifferences(*(_difference(groups[:, g, f], moved_groups[:, g, f]) for f in range(len(FIGURES))))
        for g in range(len(GROUPS))
    )
    by_class = (_difference(classes[:, k], moved_classes[:, k]) for k in range(len(a.categories)))
    differences = tuple(map(ClassDifference, a.categories, by_class))
    return Comparison(a.name, b.name, a.dataset, len(sides), all_, things, stuff, differences)


def _difference(sides: Floats, moved: Floats) -> Difference:
    """Of the figures of A and B (2,) and the drawn differences (R,)."""
    a, b = (None if np.isnan(figure) else float(figure) for figure in sides.tolist())
    return Difference(a, b, interval_of(moved) if a is not None and b is not None else None)


def _aligned(a: Measured, b: Measured) -> ImageTallies:
    """B's tallies in the order of A's pictures."""
    apart = f"{a.name} and {b.name} cannot be compared:"
    hint = "Evaluate both on the same split of the same dataset."
    classes_a, classes_b = ([(one.id, one.name) for one in side.categories] for side in (a, b))
    if classes_a != classes_b:
        odd = sorted({name for _, name in set(classes_a) ^ set(classes_b)})
        what = f"not shared: {_some(odd)}" if odd else "they come in another order"
        counts = f"the one knows {counted(len(classes_a), 'class')}, the other {len(classes_b)}"
        raise DataError(f"{apart} {counts}; {what}.", hint=hint)
    ids_a, ids_b = set(a.tallies.image_ids), set(b.tallies.image_ids)
    if ids_a != ids_b:
        first, second = len(ids_a - ids_b), len(ids_b - ids_a)
        where = f"A ({a.dataset}) has {counted(first, 'image')} that B lacks, B ({b.dataset}) has {second} that A lacks"
        raise DataError(f"{apart} {where}.", hint=hint)
    second_side = b.tallies.in_order_of(a.tallies.image_ids)
    differing = (a.tallies.truth_segments() != second_side.truth_segments()).any(-1)
    if differing.any():
        files = [a.tallies.files[index] for index in np.flatnonzero(differing)]
        raise DataError(
            f"{apart} the truth of {counted(len(files), 'image')} is not the same: {_some(files)}.", hint=hint
        )
    return second_side


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


# More would push the headline off the screen.
_MOST_CLASSES = 12
_NAME_WIDTH = 24


def table(found: Comparison) -> str:
    """The comparison as plain text of at most 80 columns, which ends with a verdict."""
    groups = {"All": found.all, "Things": found.things, "Stuff": found.stuff}
    lines = [
        f"Panoptic quality on {found.dataset}, {counted(found.images, 'image')}, in percent",
        f"A: {found.a}",
        f"B: {found.b}",
        "",
        f"{'':<10}{'A':>7}{'B':>7}{'B - A':>8}{'95 % interval':>18}",
    ]
    for name, group in groups.items():
        for figure in FIGURES if name == "All" else FIGURES[:1]:
            lines.append(_row(f"{name} {figure.upper()}", getattr(group, figure), width=10, too_few=found.too_few))
    if any(one.pq.value or one.pq.moved for one in found.classes):
        lines += ["", *_class_lines(found.classes, found.too_few)]
    lines += ["", *textwrap.wrap(_verdict(found), 79)]
    return "\n".join(line.rstrip() for line in lines)


def _row(name: str, one: Difference, *, width: int, too_few: bool) -> str:
    value, interval = one.value, one.interval
    moved = "-" if value is None else f"{100 * value:+.2f}"
    span = "-" if interval is None else f"{100 * interval.low:+.2f} .. {100 * interval.high:+.2f}"
    return f"{name:<{width}}{in_percent(one.a):>7}{in_percent(one.b):>7}{moved:>8}{span:>18}  {_words(one, too_few)}"


def _words(one: Difference, too_few: bool) -> str:
    if one.value is None or one.interval is None:
        return ""
    if not one.moved:
        return "the same"
    if too_few and not one.could_be_noise:
        return "too few images"
    return "could be noise" if one.could_be_noise else "B better" if one.value > 0 else "A better"


def _class_lines(classes: Sequence[ClassDifference], too_few: bool) -> list[str]:
    """Significant changes first, then by size."""
    both = [one for one in classes if one.pq.value is not None]
    both.sort(key=lambda one: (one.pq.could_be_noise, -abs(one.pq.value or 0.0)))
    clear = sum(not one.pq.could_be_noise for one in both)
    by_chance = round((1 - LEVEL) * len(both))
    expected = f" (about {by_chance} by chance)" if clear and by_chance else ""
    told = f"PQ changed significantly in {clear or 'none'} of {len(both)} classes{expected}:"
    lines = ["PQ of each class that changed:" if too_few else told]
    moved = [one for one in both if one.pq.value or one.pq.moved]
    shown = moved[:_MOST_CLASSES]
    lines += [
        _row(shortened(one.category.name, _NAME_WIDTH - 1), one.pq, width=_NAME_WIDTH, too_few=too_few) for one in shown
    ]
    if len(moved) > _MOST_CLASSES:
        lines.append(f"  ... {len(moved) - _MOST_CLASSES} more; --json has all ...")
    if len(moved) < len(both):
        lines.append(f"The same in both: {len(both) - len(moved)} of {len(both)}.")
    return [line for long in lines[:1] for line in textwrap.wrap(long, 79)] + lines[1:]


def _verdict(found: Comparison) -> str:
    pq = found.all.pq
    if pq.value is None or pq.interval is None:
        return "There is not enough data to compare."
    low, high = 100 * pq.interval.low, 100 * pq.interval.high
    if not pq.moved:
        return "Both score the same on every image."
    if found.too_few:
        return f"{found.images} images are too few: intervals from fewer than {FEW} are unreliable. Use more images."
    if pq.could_be_noise:
        return (
            f"The difference could be noise: the 95 % interval of B - A is {low:+.2f} to {high:+.2f} PQ (paired "
            "bootstrap over images). More images would narrow it."
        )
    better, low, high = ("B", low, high) if pq.value > 0 else ("A", -high, -low)
    return (
        f"{better} is better by {low:.2f} to {high:.2f} PQ (95 % interval, paired bootstrap over images). This does "
        "not cover the variation between training runs."
    )
