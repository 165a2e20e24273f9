"""What pictures are filtered and sorted by: classes, sizes, counts, and where there is a prediction, errors and scores.

All of it is columns, so that a hundred thousand pictures take little room and the page can filter them by itself.
"""

# N pictures, K categories, R rows: a class that a picture has, E kinds of error

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from yoso_cli.errors import DataError
from yoso_cli.evaluation.causes import ERRORS, NAMES, errors
from yoso_cli.evaluation.matching import match, overlap
from yoso_cli.evaluation.per_image import FN, FP, IOU, TP, ImageCounts, ImageTallies
from yoso_cli.inspection.census import LARGE, SMALL
from yoso_cli.panoptic.files import read_panoptic
from yoso_cli.panoptic.packed_segments import SegmentTable
from yoso_cli.panoptic.types import Category, ImageRecord, PanopticSet

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SIZES = ("small", "medium", "large")
"""Of a segment, by COCO's bounds: the bits of `Facts.sizes`."""

REPORTED = ("missed", "false")
"""What a report knows of the errors of one picture: true segments not found, predictions of nothing."""


class PictureErrors(NamedTuple):
    """The errors of one picture.

    Attributes:
        counts: its part in the score.
        kinds: (K, E) errors of each class and cause, of truth and prediction together.
        lowest: the lowest score of a predicted segment; None where none has one.
    """

    counts: ImageCounts
    kinds: Ints
    lowest: float | None


@dataclass(frozen=True)
class Compared:
    """Compares a picture with its prediction; can be sent to another process.

    Attributes:
        truth: its folders and categories.
        predictions: the same.
    """

    truth: PanopticSet
    predictions: PanopticSet

    def __call__(self, pair: tuple[ImageRecord, ImageRecord | None]) -> PictureErrors | str:
        """The errors, or why they cannot be told."""
        record, predicted = pair
        if predicted is None:
            return f"{record.image_file}: has no prediction."
        try:
            both = read_panoptic(self.truth, record), read_panoptic(self.predictions, predicted)
            matching = match([overlap(*both)], self.truth.categories)
        except DataError as error:
            return error.message
        wrong = errors(matching)
        scores = [one.score for one in both[1].segments if one.score is not None]
        return PictureErrors(ImageCounts.of(matching), wrong.true + wrong.predicted, min(scores, default=None))


@dataclass(frozen=True, eq=False)
class Facts:
    """The pictures of a set.

    Attributes:
        segments: (N,) how many the truth has, crowds not counted.
        image: (R,) the picture of each row, rising.
        category: (R,) its class, a place in the list of categories.
        sizes: (R,) bits of SIZES: which sizes its true segments of the class have.
        kinds: (R,) bits of `names`: which errors of the class it has.
        names: of the kinds of error; empty without predictions.
        lost: (N,) PQ lost on each, a fraction; None without predictions.
        lowest: (N,) lowest score of a prediction, NaN for none; None without scores.
    """

    segments: Ints
    image: Ints
    category: Ints
    sizes: Ints
    kinds: Ints
    names: tuple[str, ...] = ()
    lost: Floats | None = None
    lowest: Floats | None = None

    @classmethod
    def of_truth(cls, truth: PanopticSet) -> "Facts":
        """What its JSON says."""
        table = SegmentTable.of(truth.records)
        whole = ~table.iscrowd
        known, places = _places(truth.categories, table.category_id)
        size = np.digitize(table.area, (SMALL, LARGE))
        bits = np.where(whole, 1 << size, 0)
        image, category, sizes = _joined(table.image[known], places[known], bits[known], len(truth.categories))
        segments = np.bincount(table.image[whole], minlength=len(truth.records))
        return cls(segments, image, category, sizes, np.zeros_like(sizes))

    def with_errors(self, found: Sequence[PictureErrors | None], num_categories: int) -> "Facts":
        """The same with the errors of each picture; None where they are unknown."""
        seen = [(place, one) for place, one in enumerate(found) if one is not None]
        images = [np.full(np.count_nonzero(one.kinds.any(axis=1)), place) for place, one in seen]
        rows = [np.flatnonzero(one.kinds.any(axis=1)) for _, one in seen]
        bits = [
            ((one.kinds > 0) @ (1 << np.arange(len(ERRORS))))[row] for (_, one), row in zip(seen, rows, strict=True)
        ]
        counts = [(np.full(len(one.counts.category), place), one.counts) for place, one in seen]
        lost = _lost(
            len(found),
            np.concatenate([np.zeros(0, np.int64), *(image for image, _ in counts)]),
            np.concatenate([np.zeros(0, np.int64), *(one.category for _, one in counts)]),
            np.concatenate([np.zeros((0, 4)), *(one.counts for _, one in counts)]),
        )
        lowest = np.full(len(found), np.nan)
        for place, one in seen:
            lowest[place] = np.nan if one.lowest is None else one.lowest
        return self._with(
            np.concatenate([np.zeros(0, np.int64), *images]),
            np.concatenate([np.zeros(0, np.int64), *rows]),
            np.concatenate([np.zeros(0, np.int64), *bits]),
            tuple(NAMES[cause] for cause in ERRORS),
            lost,
            None if np.isnan(lowest).all() else lowest,
            num_categories,
        )

    def with_report(self, records: Sequence[ImageRecord], tallies: ImageTallies) -> "Facts":
        """The same with what a report says of these pictures. Raises DataError when it is of other ones."""
        place = {image_id: row for row, image_id in enumerate(tallies.image_ids)}
        if place.keys() != {one.image_id for one in records}:
            raise DataError("The report is of other pictures.", hint="Evaluate again.")
        rows = [place[one.image_id] for one in records]
        counts = tallies.counts[rows]
        bits = (counts[..., FN] > 0) + 2 * (counts[..., FP] > 0)
        image, category = np.nonzero(bits)
        lost = tallies.lost()[rows]
        return self._with(image, category, bits[image, category], REPORTED, lost, None, counts.shape[1])

    def _with(
        self,
        image: Ints,
        category: Ints,
        kinds: Ints,
        names: tuple[str, ...],
        lost: Floats,
        lowest: Floats | None,
        num_categories: int,
    ) -> "Facts":
        """Joins rows of errors, whose classes the truth of their picture may lack."""
        # Both in one column of bits: sizes below, kinds above them.
        bits = np.concatenate([self.sizes, kinds << len(SIZES)])
        images, categories = np.concatenate([self.image, image]), np.concatenate([self.category, category])
        image, category, joined = _joined(images, categories, bits, num_categories)
        sizes = joined & ((1 << len(SIZES)) - 1)
        return Facts(self.segments, image, category, sizes, joined >> len(SIZES), names, lost, lowest)

    def worst_first(self) -> list[int]:
        """The places of all pictures: most lost first where that is known, else in their order."""
        if self.lost is None:
            return list(range(len(self.segments)))
        order: list[int] = np.argsort(-self.lost, kind="stable").tolist()
        return order


def _places(categories: Sequence[Category], ids: Ints) -> tuple[npt.NDArray[np.bool_], Ints]:
    """Which ids are of a category, and its place."""
    known = np.array([one.id for one in categories], np.int64)
    order = np.argsort(known)
    found = order[np.searchsorted(known, ids, sorter=order).clip(max=len(known) - 1)]
    return known[found] == ids, found


def _joined(image: Ints, category: Ints, bits: Ints, num_categories: int) -> tuple[Ints, Ints, Ints]:
    """One row for each picture and class, with all the bits of its rows."""
    cells, row = np.unique(image * num_categories + category, return_inverse=True)
    joined = np.zeros(len(cells), np.int64)
    np.bitwise_or.at(joined, row, bits)
    return (*np.divmod(cells, num_categories), joined)


def _lost(images: int, image: Ints, category: Ints, counts: Floats) -> Floats:
    """(N,) as `ImageTallies.lost`, without the classes that a picture does not have."""
    weight = np.bincount(category, counts[:, TP] + (counts[:, FP] + counts[:, FN]) / 2)
    seen = max(1, int(np.count_nonzero(weight)))
    missing = counts[:, TP] - counts[:, IOU] + (counts[:, FP] + counts[:, FN]) / 2
    of_row = missing / np.where(weight > 0, weight, 1)[category] if len(category) else missing
    return np.bincount(image, of_row, minlength=images) / seen
