"""The worst pictures: photo, truth, prediction and where the two differ, drawn and laid out for the page."""

# H, W height and width of a picture in pixels

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from yoso_cli.errors import DataError
from yoso_cli.evaluation.causes import ERRORS, NAMES, errors
from yoso_cli.evaluation.matching import LARGEST_ID, Matching, match, overlap
from yoso_cli.evaluation.per_image import ImageTallies
from yoso_cli.page.document import Markup, choice, cut, name_of, section, swatch, tag
from yoso_cli.panoptic.draw import enlarged, overlay
from yoso_cli.panoptic.files import read_image, read_panoptic
from yoso_cli.panoptic.regions import Ints
from yoso_cli.panoptic.types import Category, IdMap, ImageRecord, Panoptic, PanopticSet, Rgb
from yoso_cli.runtime.words import counted

Predict = Callable[[ImageRecord], Panoptic]

MOST = 12
"""Images on a page."""

MOST_BYTES = 400_000
"""Of one image in all its views, as the page holds them. Photos of COCO take most of it."""

_LONGEST_EDGE = 640
# WebP's quality, and by how much edges are shortened: the first that the budget allows. Noise fits with the fifth.
_FINENESS = ((78, 1), (60, 1), (40, 1), (40, 2), (40, 4), (40, 8))

NOTHING, OTHER_CLASS, OTHER_SEGMENT, UNLABELLED = range(1, 5)
COLORS = {NOTHING: (0, 114, 178), OTHER_CLASS: (213, 94, 0), OTHER_SEGMENT: (204, 121, 167), UNLABELLED: (70, 70, 76)}
"""What the error map shows, in colours that colour-blind people tell apart (Okabe and Ito, 2008)."""

# Of which the gallery can be asked for the errors: more are found by no eye in a list.
_MOST_CLASSES = 300

_FIRST = "errors"
_LEGEND = {
    NOTHING: "nothing predicted",
    OTHER_CLASS: "wrong class",
    OTHER_SEGMENT: "right class, no match",
    UNLABELLED: "void or crowd: does not count",
}

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
    scale = max(1, _LONGEST_EDGE // max(kinds.shape))
    large = enlarged(ground, scale)
    drawn = {
        "photo": large if photo is not None else None,
        "truth": overlay(ground, small_true, categories, alpha=0.55, legend=False),
        "prediction": overlay(ground, small_predicted, categories, alpha=0.55, legend=False),
        "errors": error_map(large, kinds.repeat(scale, 0).repeat(scale, 1)),
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
    """(H, W) what is wrong with each pixel; 0 is nothing."""
    true, predicted = matching.true, matching.predicted
    # By the rows of the two segments; the last row and column stand for none.
    kinds = np.full((len(true.id) + 1, len(predicted.id) + 1), NOTHING, np.int32)
    kinds[:-1, :-1] = np.where(true.category[:, None] == predicted.category, OTHER_SEGMENT, OTHER_CLASS)
    kinds[matching.t, matching.p] = 0
    kinds[np.append(true.iscrowd, True)] = UNLABELLED
    return kinds[_places(true.id, true_map), _places(predicted.id, predicted_map)]


def _places(ids: Ints, id_map: IdMap) -> Ints:
    """(H, W) the place of each pixel's id in `ids`, -1 where it is not there."""
    order = np.argsort(ids)
    # The last place is beyond every id.
    rising, places = np.append(ids[order], LARGEST_ID + 1), np.append(order, -1)
    found = np.searchsorted(rising, id_map)
    return np.where(rising[found] == id_map, places[found], -1)


def error_map(photo: Rgb, kinds: IdMap) -> Rgb:
    """A pale photo (H, W, 3) with each wrong pixel in the colour of its kind; whatever is right stays pale."""
    grey = photo.mean(axis=2, keepdims=True)
    pale = 150 + 0.4 * grey + np.zeros(3)
    shade = 0.75 + 0.25 * (grey / 255)
    for kind, color in COLORS.items():
        at = kinds == kind
        pale[at] = (np.array(color) * shade)[at]
    painted: Rgb = pale.clip(0, 255).astype(np.uint8)
    return painted


def address(picture: Rgb, quality: int, factor: int = 1) -> str:
    """A picture (H, W, 3) as a `data:` address that a page can hold, its edges `factor` times shorter."""
    buffer = io.BytesIO()
    Image.fromarray(picture).reduce(factor).save(buffer, "WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def gallery(exhibits: Sequence[Exhibit], images: int) -> Markup | None:
    """The pictures with switches: how to look at them, and of which class the errors."""
    if not exhibits:
        return None
    names = list(dict.fromkeys(view.name for one in exhibits for view in one.views))
    shown = ", ".join(names)
    lead = (
        f"The {len(exhibits)} of {counted(images, 'image')} on which most PQ is lost. Switch between {shown} "
        "here for all, or below each; press an image to see it large."
    )
    views = choice("data_view", names, _FIRST, "Show for all images", id="view-all")
    classes = list({one.id: one for exhibit in exhibits for one in exhibit.categories}.values())[:_MOST_CLASSES]
    count = tag("output", counted(len(exhibits), "image"), id="gallery-count", for_="gallery-class")
    controls = tag("div", views, _class_choice(classes), count, class_="controls")
    figures = tag("div", *map(_figure, range(len(exhibits)), exhibits), class_="gallery", id="gallery-grid")
    return section("gallery", "Worst images", lead, controls, _legend(), figures, _dialog())


def _class_choice(classes: Sequence[Category]) -> Markup:
    options = (tag("option", cut(one.name), value=one.id) for one in sorted(classes, key=lambda one: one.name))
    return tag("label", "Errors of ", tag("select", tag("option", "any class", value=""), *options, id="gallery-class"))


def _legend() -> Markup:
    marks = (
        tag("li", tag("span", class_="swatch", style=f"background:rgb{COLORS[kind]}", aria_hidden="true"), words)
        for kind, words in _LEGEND.items()
    )
    return tag("ul", *marks, class_="legend", aria_label="Colours of the view of errors")


def _figure(place: int, one: Exhibit) -> Markup:
    pictures = (_picture(view, one.file) for view in one.views)
    opener = tag("button", *pictures, type="button", class_="open", aria_label=f"Show {cut(one.file)} large")
    views = choice("data_view", [view.name for view in one.views], _FIRST, "Show", class_="choice small")
    causes = (
        tag("li", swatch(f"c-{cause}"), f"{count} {NAMES[cause]}")
        for cause, count in sorted(one.causes.items(), key=lambda item: -item[1])
    )
    title = tag("p", name_of(one.file), tag("b", f"−{100 * one.lost:.2f} PQ"), class_="title")
    caption = tag("figcaption", title, views, tag("ul", *causes, class_="marks"))
    ids = " ".join(str(category.id) for category in one.categories[:_MOST_CLASSES])
    return tag("figure", opener, caption, data_place=place, data_classes=ids)


def _picture(view: Picture, file: str) -> Markup:
    told, hidden = f"{view.name} of {cut(file)}", view.name != _FIRST
    return tag("img", src=view.address, alt=told, data_view=view.name, hidden=hidden, decoding="async")


def _dialog() -> Markup:
    keys = "← → other image · 1 2 3 4 other view · Esc close"
    buttons = (tag("button", name, type="button", id=f"large-{name}") for name in ("previous", "next", "close"))
    bar = tag("div", tag("p", "", id="large-title", class_="title"), *buttons, class_="bar")
    views = tag("div", class_="choice", id="large-views", role="group", aria_label="Show")
    picture, note = tag("img", id="large-picture", alt=""), tag("p", keys, class_="note")
    return tag("dialog", bar, views, picture, note, id="large", aria_labelledby="large-title")
