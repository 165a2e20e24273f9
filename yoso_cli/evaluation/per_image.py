"""Counts per picture, and bootstrap confidence intervals over pictures.

Pictures are resampled with replacement, as many as there are, and the score is computed for each resample (Efron and
Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13: the percentile interval). Whole pictures are resampled
because the segments of a picture are correlated. Resamples are the same for all sets of the same number of pictures, so
that two models are compared on the same ones: a picture that is hard for one is hard for the other, and the difference
varies less than either score.

The interval does not include the variation between trainings of the same recipe, nor between kinds of pictures.
"""

# N pictures, K categories, R resamples, G groups (all, things, stuff), P rows: the classes that each picture has

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from yoso_cli.errors import DataError
from yoso_cli.evaluation.matching import Columns, Floats, Matching, by_image
from yoso_cli.evaluation.quality import Figures
from yoso_cli.panoptic.regions import Bools, Ints
from yoso_cli.panoptic.types import Category

Kind = TypeVar("Kind")

IOU, TP, FP, FN = range(4)
"""What the last axis of `ImageTallies.counts` holds."""

# IoU sums are kept to a hundred thousandth of a percent: full digits would double the file.
_DIGITS = 7

LEVEL = 0.95
_ENDS = (1 - LEVEL) / 2, (1 + LEVEL) / 2
RESAMPLES = 2000
SEED = 0

GROUPS = ("all", "things", "stuff")
FIGURES = ("pq", "sq", "rq")

HOW: dict[str, Any] = {"level": LEVEL, "resamples": RESAMPLES, "seed": SEED}
"""How an interval was made, for JSON."""

# Resamples are drawn in blocks of so many pictures in total, which bounds memory.
_AT_ONCE, _MOST_DRAWS = 250_000, 200


@dataclass(frozen=True, eq=False)
class ImageCounts:
    """Each picture's part in the score, without the classes that it does not have: most of them.

    Attributes:
        images: N, also those without a row.
        image: (P,) the place of the picture.
        category: (P,) that of the class.
        counts: (P, 4) sum of IoU over matches, true positives, false positives and false negatives.
    """

    images: int
    image: Ints
    category: Ints
    counts: Floats

    @classmethod
    def of(cls, matching: Matching) -> "ImageCounts":
        """Of the pictures of `matching`."""
        true, predicted, t = matching.true, matching.predicted, matching.t
        images, k = len(matching.pictures), len(matching.categories)

        def counted(segments: Columns, rows: Ints, weights: Floats | None = None) -> Floats:
            cells = by_image(segments, k)[rows]
            return np.bincount(cells, weights, minlength=images * k).astype(np.float64)

        columns = (
            counted(true, t, matching.iou),
            counted(true, t),
            counted(predicted, matching.spurious),
            counted(true, matching.missed),
        )
        dense = np.stack(columns, axis=-1)
        present = np.flatnonzero(dense.any(-1))
        return cls(images, *np.divmod(present, k), dense[present])

    @classmethod
    def total(cls, parts: Sequence["ImageCounts"]) -> "ImageCounts":
        """All pictures of `parts`, of which there is at least one, in their order."""
        ends = np.cumsum([one.images for one in parts])
        image = np.concatenate([one.image + end - one.images for one, end in zip(parts, ends.tolist(), strict=True)])
        category, counts = (np.concatenate([getattr(one, name) for one in parts]) for name in ("category", "counts"))
        return cls(int(ends[-1]), image, category, counts)

    def dense(self, num_categories: int) -> Floats:
        """(N, K, 4)."""
        counts = np.zeros((self.images, num_categories, 4))
        counts[self.image, self.category] = self.counts
        return counts


@dataclass(frozen=True, eq=False)
class ImageTallies:
    """The pictures of an evaluation and their part in it.

    Attributes:
        image_ids: N of them, in the order of evaluation.
        files: the name of each picture's file.
        counts: (N, K, 4) sum of IoU over matches, true positives, false positives and false negatives.
    """

    image_ids: tuple[int | str, ...]
    files: tuple[str, ...]
    counts: Floats

    @classmethod
    def of(cls, images: Sequence[tuple[int | str, str]], counted: ImageCounts, num_categories: int) -> "ImageTallies":
        """Of the pictures `(id, file)`, in the order of what was `counted`."""
        counts = counted.dense(num_categories)
        counts.round(_DIGITS, out=counts)
        return cls(tuple(image_id for image_id, _ in images), tuple(file for _, file in images), counts)

    def to_list(self, categories: Sequence[Category]) -> list[dict[str, Any]]:
        """For JSON: each picture, PQ lost on it in percent, and a row for each class in it.

        A row is `[category id, sum of IoU, TP, FP, FN]`.
        """
        ids = [category.id for category in categories]
        found = []
        lost = (100 * self.lost()).round(_DIGITS).tolist()
        for image_id, file, points, counts in zip(self.image_ids, self.files, lost, self.counts, strict=True):
            present = np.flatnonzero(counts.any(-1)).tolist()
            rows = [[ids[k], float(counts[k, IOU]), *map(int, counts[k, TP:])] for k in present]
            found.append({"id": image_id, "file": file, "lost": points, "classes": rows})
        return found

    @classmethod
    def from_list(cls, entries: Any, categories: Sequence[Category]) -> "ImageTallies":
        """The reverse of `to_list`. Raises DataError when `entries` is not what that wrote."""
        place = {category.id: index for index, category in enumerate(categories)}
        try:
            counts = np.zeros((len(entries), len(categories), 4))
            for row, entry in zip(counts, entries, strict=True):
                for category_id, *figures in entry["classes"]:
                    row[place[category_id]] = figures
            images = [(_image_id(entry["id"]), str(entry["file"])) for entry in entries]
        except (TypeError, KeyError, ValueError):
            raise DataError("Its per-image figures are damaged.", hint="Evaluate again.") from None
        if not np.isfinite(counts).all() or (counts < 0).any():
            raise DataError("Its per-image figures have invalid values.", hint="Evaluate again.")
        return cls(tuple(image_id for image_id, _ in images), tuple(file for _, file in images), counts)

    def truth_segments(self) -> Ints:
        """(N, K) segments of the truth that count: the same whatever was predicted."""
        found: Ints = (self.counts[..., TP] + self.counts[..., FN]).astype(np.int64)
        return found

    def lost(self) -> Floats:
        """(N,) PQ that is lost on each picture, a fraction; together 1 - PQ.

        The loss of a class is divided by the missing IoU and the errors on each picture, so pictures with rare classes
        weigh more.
        """
        total = self.counts.sum(0)
        weight = total @ [0, 1, 0.5, 0.5]  # (K,)
        missing = self.counts @ [-1, 1, 0.5, 0.5]  # (N, K)
        seen = weight > 0
        lost: Floats = (missing[:, seen] / weight[seen]).sum(-1) / max(1, seen.sum())
        return lost

    def worst(self, most: int) -> list[int]:
        """The places of at most `most` pictures on which something is lost, the worst first."""
        lost = self.lost()
        order: list[int] = np.argsort(-lost, kind="stable")[:most].tolist()
        return [place for place in order if lost[place] > 0]

    def in_order_of(self, image_ids: Sequence[int | str]) -> "ImageTallies":
        """The same pictures in another order; `image_ids` holds each of them once."""
        place = {image_id: index for index, image_id in enumerate(self.image_ids)}
        rows = [place[image_id] for image_id in image_ids]
        return ImageTallies(tuple(image_ids), tuple(self.files[row] for row in rows), self.counts[rows])


class Interval(NamedTuple):
    """The 95 % interval of a figure; fractions 0..1, or -1..1 for a difference."""

    low: float
    high: float


@dataclass(frozen=True)
class Measured:
    """One side of a comparison: its name, its dataset, and the counts of each picture."""

    name: str
    dataset: str
    categories: tuple[Category, ...]
    tallies: ImageTallies


@dataclass(frozen=True)
class Trio(Figures, Generic[Kind]):
    """The same of a group's PQ, SQ and RQ."""

    pq: Kind
    sq: Kind
    rq: Kind


GroupIntervals = Trio[Interval | None]
"""None where there is no figure."""


@dataclass(frozen=True)
class Confidence(Figures):
    """The intervals of a score: its groups' PQ, SQ and RQ, and each class' PQ in the order of the categories."""

    all: GroupIntervals
    things: GroupIntervals
    stuff: GroupIntervals
    classes: tuple[Interval | None, ...]

    def to_dict(self) -> dict[str, Any]:
        """With how they were made."""
        return HOW | super().to_dict()


def confidence(tallies: ImageTallies, categories: Sequence[Category]) -> Confidence:
    """The 95 % intervals of a score; each is None for fewer than two pictures."""
    groups, classes = draws(tallies.counts, members_of(categories))
    all_, things, stuff = (GroupIntervals(*map(interval_of, groups[:, group].T)) for group in range(len(GROUPS)))
    return Confidence(all_, things, stuff, _intervals_of(classes))


def members_of(categories: Sequence[Category]) -> Bools:
    """(G, K) which classes belong to all, things and stuff."""
    things = np.array([category.isthing for category in categories], np.bool_)
    return np.stack([np.ones_like(things), things, ~things])


def scores(sums: Floats, members: Bools) -> tuple[Floats, Floats]:
    """Figures, NaN where nothing was seen: (..., G, 3) PQ, SQ, RQ of the groups and (..., K) PQ of the classes.

    Args:
        sums: (..., K, 4) IoU, TP, FP and FN over pictures.
        members: (G, K) from `members_of`.
    """
    by_class = panoptic_quality(sums)
    groups = [np.stack([mean_over_classes(figure, chosen) for figure in by_class], -1) for chosen in members]
    return np.stack(groups, -2), by_class[0]


def draws(counts: Floats, members: Bools) -> tuple[Floats, Floats]:
    """The `scores`, with R in front, of R draws of the pictures whose counts are (N, ..., K, 4).

    With fewer than two pictures, all is NaN.
    """
    if len(counts) < 2:
        return scores(np.zeros((1, *counts.shape[1:])), members)
    flat = counts.reshape(len(counts), -1)
    blocks = [scores((times @ flat).reshape(-1, *counts.shape[1:]), members) for times in _times_drawn(len(flat))]
    return np.concatenate([groups for groups, _ in blocks]), np.concatenate([classes for _, classes in blocks])


def interval_of(drawn: Floats) -> Interval | None:
    """The interval of a figure from its draws (R,); draws without the class are ignored."""
    seen = drawn[~np.isnan(drawn)]
    if not seen.size:
        return None
    low, high = _ends_of(seen)
    return Interval(float(low), float(high))


def _intervals_of(drawn: Floats) -> tuple[Interval | None, ...]:
    """The `interval_of` each of K figures (R, K); those that every draw has are computed together, in a third."""
    whole = np.count_nonzero(np.isnan(drawn), axis=0) == 0
    together = map(Interval, *(one.tolist() for one in _ends_of(drawn[:, whole])))
    return tuple(next(together) if each else interval_of(drawn[:, k]) for k, each in enumerate(whole.tolist()))


def _ends_of(drawn: Floats) -> tuple[Floats, Floats]:
    """The ends of the interval of draws (R, ...), bit for bit those of np.quantile, which imports numpy.ma for it."""
    rising = np.sort(drawn, axis=0)

    def quantile(share: float) -> Floats:
        place = share * (len(rising) - 1)
        below = int(place)
        low, high, part = rising[below], rising[min(below + 1, len(rising) - 1)], place - below
        found: Floats = high - (high - low) * (1 - part) if part >= 0.5 else low + (high - low) * part
        return found

    return quantile(_ENDS[0]), quantile(_ENDS[1])


def panoptic_quality(sums: Floats) -> tuple[Floats, Floats, Floats]:
    """PQ, SQ and RQ, fractions, of sums (..., 4) of IoU, TP, FP, FN; NaN where nothing was seen."""
    iou, tp, fp, fn = (sums[..., part] for part in (IOU, TP, FP, FN))
    found = tp + 0.5 * fp + 0.5 * fn
    with np.errstate(invalid="ignore"):
        pq, rq = iou / found, tp / found
        sq = np.where(tp > 0, iou / np.maximum(tp, 1), np.where(found > 0, 0.0, np.nan))
    return pq, sq, rq


def mean_over_classes(figures: Floats, chosen: Bools) -> Floats:
    """(...) mean of figures (..., K) over the `chosen` (K,) classes that were seen; NaN where none was."""
    kept = figures[..., chosen]
    seen = ~np.isnan(kept)
    count = seen.sum(-1)
    with np.errstate(invalid="ignore"):
        mean: Floats = np.where(seen, kept, 0.0).sum(-1) / np.where(count > 0, count, np.nan)
    return mean


def _times_drawn(images: int) -> Iterator[Floats]:
    """Blocks of resamples: how often each contains each picture, (block, N)."""
    random = np.random.default_rng(SEED)
    at_once = min(_MOST_DRAWS, max(1, _AT_ONCE // images))
    for start in range(0, RESAMPLES, at_once):
        block = min(at_once, RESAMPLES - start)
        drawn = random.integers(0, images, (block, images))
        drawn += np.arange(block)[:, None] * images
        yield np.bincount(drawn.ravel(), minlength=block * images).reshape(block, images).astype(np.float64)


def _image_id(value: Any) -> int | str:
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        return value
    raise TypeError
