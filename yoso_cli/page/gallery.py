"""The worst pictures: photo, truth, prediction and where the two differ, drawn for the page."""

# H, W height and width of a picture in pixels

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from yoso_cli.drawing.overlay import enlarged, overlay
from yoso_cli.drawing.style import Style
from yoso_cli.errors import DataError
from yoso_cli.evaluation.causes import CAUSES, ERRORS, errors, segment_causes
from yoso_cli.evaluation.matching import LARGEST_ID, Matching, match, overlap
from yoso_cli.evaluation.per_image import ImageTallies
from yoso_cli.panoptic.files import read_panoptic
from yoso_cli.panoptic.photos import read_image
from yoso_cli.panoptic.regions import Ints
from yoso_cli.panoptic.types import Category, IdMap, ImageRecord, Panoptic, PanopticSet, Rgb

Predict = Callable[[ImageRecord], Panoptic]

MOST = 12
"""Images on a page."""

MOST_BYTES = 400_000
"""Of one image in all its views, as the page holds them. Photos of COCO take most of it."""

_LONGEST_EDGE = 640
# WebP's quality, and by how much edges are shortened: the first that the budget allows. Noise fits with the fifth.
_FINENESS = ((78, 1), (60, 1), (40, 1), (40, 2), (40, 4), (40, 8))

FIRST_VIEW = "errors"
"""What each image shows until another view is asked for."""

RIGHT, IMPRECISE, UNLABELLED = 0, len(CAUSES), len(CAUSES) + 1
"""Kinds of pixels in the error map; between the first two stands 1 + the place of a cause in ERRORS."""

COLORS = (
    *((0, 114, 178), (230, 159, 0), (86, 180, 233), (213, 94, 0), (204, 121, 167), (125, 91, 166)),
    *((141, 147, 155), (185, 201, 154), (70, 70, 76)),
)
"""Of the kinds from 1 on, which page.css has too: colours that colour-blind people tell apart (Okabe and Ito, 2008)."""

# Pixels of the picture: wide enough for the colour to be seen, narrow enough for a small segment to show both.
_STRIPE = 4

# A photo that is not there: the segments are drawn on plain grey.
_PAPER = 200


@dataclass(frozen=True)
class Picture:
    """A view of an image: what it shows and a `data:` address."""

    name: str
    address: str


@dataclass(frozen=True)
class Exhibit:
    """One picture of the gallery.

    Attributes:
        file: its name.
        lost: PQ lost on it, a fraction.
        causes: how many true and predicted segments went wrong, by cause.
        categories: the classes of these segments, of truth or prediction.
        views: photo (if there is one), truth, prediction and errors.
    """

    file: str
    lost: float
    causes: dict[str, int]
    categories: tuple[Category, ...]
    views: tuple[Picture, ...]


def exhibits(truth: PanopticSet, tallies: ImageTallies, predict: Predict) -> Iterator[Exhibit]:
    """The pictures on which most was lost, the worst first.

    Args:
        truth: the set; where a photo is not there or cannot be read, plain grey stands for it.
        tallies: of the evaluation of `truth`.
        predict: the prediction that was evaluated.

    Raises:
        DataError: a truth or a prediction cannot be read any more.
    """
    records = {record.image_id: record for record in truth.records}
    lost = tallies.lost()
    for index in tallies.worst(MOST):
        record = records[tallies.image_ids[index]]
        true, predicted = read_panoptic(truth, record), predict(record)
        yield _exhibit(record.image_file, float(lost[index]), _photo(truth, record), true, predicted, truth.categories)


def _exhibit(
    file: str, lost: float, photo: Rgb | None, true: Panoptic, predicted: Panoptic, categories: Sequence[Category]
) -> Exhibit:
    matching = match([overlap(true, predicted)], categories)
    wrong = errors(matching)
    by_cause = (wrong.true + wrong.predicted).sum(0).tolist()
    by_class = (wrong.true + wrong.predicted).sum(1).tolist()
    step = max(1, -(-max(true.id_map.shape) // _LONGEST_EDGE))
    small_true, small_predicted = shrunk(true, step), shrunk(predicted, step)
    ground = _fitted(photo, small_true.id_map.shape)
    kinds = error_kinds(small_true.id_map, small_predicted.id_map, matching)
    scale = max(1, _LONGEST_EDGE // max(ground.shape[:2]))
    large = enlarged(ground, scale)
    # A class has one colour in truth and prediction.
    style = Style(color="class", alpha=0.55, legend=False, scale=scale)
    drawn = {
        "photo": large if photo is not None else None,
        "truth": overlay(ground, small_true, categories, style),
        "prediction": overlay(ground, small_predicted, categories, style),
        "errors": error_map(large, kinds.repeat(scale, 1).repeat(scale, 2)),
    }
    return Exhibit(
        file,
        lost,
        {cause: count for cause, count in zip(ERRORS, by_cause, strict=True) if count},
        tuple(category for category, count in zip(categories, by_class, strict=True) if count),
        views_of({name: picture for name, picture in drawn.items() if picture is not None}),
    )


def views_of(drawn: dict[str, Rgb]) -> tuple[Picture, ...]:
    """The pictures of one shape as addresses, which together take no more than MOST_BYTES."""
    for quality, factor in _FINENESS:
        views = tuple(Picture(name, address(picture, quality, factor)) for name, picture in drawn.items())
        if sum(len(view.address) for view in views) <= MOST_BYTES:
            break
    return views


def _photo(truth: PanopticSet, record: ImageRecord) -> Rgb | None:
    try:
        photo = read_image(truth.image_path(record))
    except DataError:
        return None
    return photo if photo.shape[:2] == (record.height, record.width) else None


def shrunk(panoptic: Panoptic, step: int) -> Panoptic:
    """Every `step`-th pixel; a segment that falls between them is not drawn."""
    id_map = np.ascontiguousarray(panoptic.id_map[::step, ::step])
    kept = set(np.unique(id_map).tolist())
    return Panoptic(id_map, tuple(segment for segment in panoptic.segments if segment.id in kept))


def _fitted(photo: Rgb | None, shape: tuple[int, ...]) -> Rgb:
    height, width = shape
    if photo is None:
        return np.full((height, width, 3), _PAPER, np.uint8)
    if photo.shape[:2] == shape:
        return photo
    return np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.LANCZOS))


def error_kinds(true_map: IdMap, predicted_map: IdMap, matching: Matching) -> IdMap:
    """(2, H, W) what is wrong with each pixel, by its true and by its predicted segment.

    Each pixel of a segment that is an error has its cause, so that whatever is counted is seen as well. A pixel of two
    errors has two kinds, all others have one twice.
    """
    kinds, true, predicted = kind_table(matching), matching.true, matching.predicted
    return kinds[:, places(true.id, true_map), places(predicted.id, predicted_map)]


def kind_table(matching: Matching) -> IdMap:
    """(2, S + 1, T + 1) the two kinds of the pixels that a true and a predicted segment share; the last are of none."""
    true = matching.true
    of_true, of_predicted = (np.append(1 + cause, RIGHT) for cause in segment_causes(matching))
    first, second = np.meshgrid(of_true, of_predicted, indexing="ij")
    kinds = np.stack([np.where(first, first, second), np.where(second, second, first)]).astype(np.int32)
    outside = np.append(true.iscrowd, True)[:, None]
    kinds[:, (first + second == RIGHT) & outside] = UNLABELLED
    kinds[:, (first + second == RIGHT) & ~outside] = IMPRECISE
    kinds[:, matching.t, matching.p] = RIGHT
    return kinds


def places(ids: Ints, id_map: IdMap) -> Ints:
    """(H, W) the place of each pixel's id in `ids`, -1 where it is not there."""
    order = np.argsort(ids)
    # The last place is beyond every id.
    rising, rows = np.append(ids[order], LARGEST_ID + 1), np.append(order, -1)
    found = np.searchsorted(rising, id_map)
    return np.where(rising[found] == id_map, rows[found], -1)


def error_map(photo: Rgb, kinds: IdMap) -> Rgb:
    """A pale photo (H, W, 3), wrong pixels in the colours of their `kinds` (2, H, W), striped where the two differ."""
    grey = photo.mean(axis=2, keepdims=True)
    pale = 150 + 0.4 * grey + np.zeros(3)
    shade = 0.75 + 0.25 * (grey / 255)
    height, width = grey.shape[:2]
    striped = (np.arange(height)[:, None] + np.arange(width)) // _STRIPE % 2
    shown = np.where(striped, kinds[1], kinds[0])
    wrong = shown != RIGHT
    pale[wrong] = np.array(COLORS)[shown[wrong] - 1] * shade[wrong]
    painted: Rgb = pale.clip(0, 255).astype(np.uint8)
    return painted


def address(picture: Rgb, quality: int, factor: int = 1) -> str:
    """A picture (H, W, 3) as a `data:` address that a page can hold, its edges `factor` times shorter."""
    buffer = io.BytesIO()
    Image.fromarray(picture).reduce(factor).save(buffer, "WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
