"""What each picture adds to the score, kept so that a score can be compared and doubted without evaluating again."""

# N pictures, K categories, R rows: one for each class of each picture that adds something

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from yoso_cli.errors import DataError
from yoso_cli.evaluation.matching import Columns, Floats, Matching, by_image
from yoso_cli.evaluation.overlap import Ints
from yoso_cli.panoptic.types import Category

IOU, TP, FP, FN = range(4)
"""What the last axis of `ImageTallies.counts` holds."""

# IoU sums are kept to a hundred thousandth of a percent: full digits would double the file.
_DIGITS = 7


@dataclass(frozen=True, eq=False)
class Parts:
    """Each picture's part in the score, without the classes that it does not have: most of them.

    Attributes:
        images: N, also those without a row.
        cell: (R,) rising, the place of the picture x K + that of the class.
        counts: (R, 4) sum of IoU over matches, true positives, false positives and false negatives.
    """

    images: int
    cell: Ints
    counts: Floats

    @classmethod
    def of(cls, matching: Matching, num_categories: int) -> "Parts":
        """The parts of the pictures of `matching`."""
        true, predicted, t = matching.true, matching.predicted, matching.t

        def counted(segments: Columns, rows: Ints, weights: Floats | None = None) -> Floats:
            cells = by_image(segments, num_categories)[rows]
            return np.bincount(cells, weights, minlength=matching.images * num_categories).astype(np.float64)

        columns = (
            counted(true, t, matching.iou),
            counted(true, t),
            counted(predicted, matching.spurious),
            counted(true, matching.missed),
        )
        dense = np.stack(columns, axis=-1)
        cell = np.flatnonzero(dense.any(-1))
        return cls(matching.images, cell, dense[cell])

    @classmethod
    def total(cls, parts: Sequence["Parts"], num_categories: int) -> "Parts":
        """All pictures of `parts`, of which there is at least one, in their order."""
        before = np.cumsum([0, *(one.images for one in parts)])
        cells = [one.cell + first * num_categories for one, first in zip(parts, before[:-1].tolist(), strict=True)]
        return cls(int(before[-1]), np.concatenate(cells), np.concatenate([one.counts for one in parts]))

    def dense(self, num_categories: int) -> Floats:
        """(N, K, 4)."""
        counts = np.zeros((self.images * num_categories, 4))
        counts[self.cell] = self.counts
        return counts.reshape(self.images, num_categories, 4)


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
    def of(cls, images: Sequence[tuple[int | str, str]], parts: Parts, num_categories: int) -> "ImageTallies":
        """Of the pictures `(id, file)`, in the order of their `parts`."""
        counts = parts.dense(num_categories)
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
            raise DataError("Its per-image figures hold values that cannot be.", hint="Evaluate again.")
        return cls(tuple(image_id for image_id, _ in images), tuple(file for _, file in images), counts)

    def truth_segments(self) -> Ints:
        """(N, K) segments of the truth that count: the same whatever was predicted."""
        found: Ints = (self.counts[..., TP] + self.counts[..., FN]).astype(np.int64)
        return found

    def lost(self) -> Floats:
        """(N,) PQ that is lost on each picture, a fraction; together 1 - PQ.

        A class' loss is shared out by the lacking IoU and the errors on each picture, so a picture weighs more where
        its classes are rare.
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


def panoptic_quality(sums: Floats) -> tuple[Floats, Floats, Floats]:
    """PQ, SQ and RQ, fractions, of sums (..., 4) of IoU, TP, FP, FN; NaN where nothing was seen."""
    iou, tp, fp, fn = (sums[..., part] for part in (IOU, TP, FP, FN))
    found = tp + 0.5 * fp + 0.5 * fn
    with np.errstate(invalid="ignore"):
        pq, rq = iou / found, tp / found
        sq = np.where(tp > 0, iou / np.maximum(tp, 1), np.where(found > 0, 0.0, np.nan))
    return pq, sq, rq


def mean_over_classes(figures: Floats, chosen: npt.NDArray[np.bool_]) -> Floats:
    """(...) mean of figures (..., K) over the `chosen` (K,) classes that were seen; NaN where none was."""
    kept = figures[..., chosen]
    seen = ~np.isnan(kept)
    count = seen.sum(-1)
    with np.errstate(invalid="ignore"):
        mean: Floats = np.where(seen, kept, 0.0).sum(-1) / np.where(count > 0, count, np.nan)
    return mean


def _image_id(value: Any) -> int | str:
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        return value
    raise TypeError
