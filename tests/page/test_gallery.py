"""The gallery holds the pictures on which most is lost, and its error map says what is wrong with each pixel."""

import base64
import io
import re
from importlib import resources
from pathlib import Path

import build
import numpy as np
import pytest
from evaluation.test_score import disturbed
from page import pages
from PIL import Image

from yoso_cli.evaluation.causes import CAUSES, ERRORS, errors
from yoso_cli.evaluation.matching import match, overlap
from yoso_cli.page import gallery
from yoso_cli.page.gallery import COLORS, IMPRECISE, RIGHT, UNLABELLED, error_kinds, error_map, exhibits
from yoso_cli.panoptic.types import Panoptic, Segment, measured


def opened(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


def test_the_worst_come_first_with_all_views_of_one_shape(tmp_path: Path) -> None:
    truth = pages.truth_in(tmp_path)
    predictions = pages.predictions_of(truth)
    tallies = pages.report_of(truth, predictions).measures.tallies
    shown = list(exhibits(truth, tallies, lambda record: predictions[record.image_id]))
    lost = [one.lost for one in shown]
    assert lost == sorted(lost, reverse=True)
    assert sum(lost) <= tallies.lost().sum() + 1e-9
    for one in shown:
        names = [view.name for view in one.views]
        photo = ["photo"] if one.file != truth.records[0].image_file else []
        assert names == [*photo, "truth", "prediction", "errors"]
        shapes = {opened(view.address).width / opened(view.address).height for view in one.views}
        assert shapes == {64 / 48}
        assert sum(one.causes.values()) > 0
        assert one.categories


def test_a_perfect_prediction_has_no_worst_picture(tmp_path: Path) -> None:
    truth = pages.truth_in(tmp_path)
    perfect = {record.image_id: pages.read_panoptic(truth, record) for record in truth.records}
    tallies = pages.report_of(truth, perfect).measures.tallies
    assert list(exhibits(truth, tallies, lambda record: perfect[record.image_id])) == []


def kind(cause: str) -> int:
    return 1 + ERRORS.index(cause)


def test_each_pixel_is_told_what_is_wrong_with_it() -> None:
    rows = np.array([[0, 1, 1, 1, 1, 2, 2, 2, 3, 3], [4, 4, 4, 4, 4, 4, 4, 4, 4, 4]], np.int32)
    seen = np.array([[7, 7, 7, 7, 0, 5, 5, 6, 6, 6], [8, 8, 8, 8, 8, 8, 8, 8, 8, 8]], np.int32)
    kinds = {1: 1, 2: 1, 3: 3, 4: 1}
    true = tuple(Segment(one, kinds[one], int((rows == one).sum()), iscrowd=one == 4) for one in kinds)
    predicted = tuple(Segment(one, category, 1) for one, category in {5: 1, 6: 1, 7: 1, 8: 1}.items())
    found = match([overlap(Panoptic(rows, true), Panoptic(seen, predicted))], pages.CATEGORIES)
    told = error_kinds(rows, seen, found)
    wrong = kind("wrong_class")
    upper = [UNLABELLED, *[RIGHT] * 3, IMPRECISE, RIGHT, RIGHT, wrong, wrong, wrong]
    assert told.tolist() == [[upper, [UNLABELLED] * 10]] * 2


def test_a_region_of_another_class_is_wrong_class_only_where_the_card_says_so() -> None:
    """Regions of two classes with an IoU of 0.5 or less are a missed and a spurious segment, in stripes."""
    for shift, causes in ((1, {"wrong_class", "missed"}), (5, {"missed", "spurious"})):
        rows, seen = np.full((4, 20), 2, np.int32), np.zeros((4, 20), np.int32)
        rows[:, :8], seen[:, shift : shift + 8] = 1, 1
        true = Panoptic(rows, (Segment(1, 1, 32), Segment(2, 1, 48)))
        predicted = Panoptic(seen, (Segment(1, 3, 32),))
        found = match([overlap(true, predicted)], pages.CATEGORIES)
        told = set(np.unique(error_kinds(rows, seen, found)).tolist()) - {RIGHT, UNLABELLED}
        counted = {ERRORS[c] for c in np.flatnonzero((errors(found).true + errors(found).predicted).sum(0))}
        assert (counted, told) == (causes, {kind(cause) for cause in causes})


def test_the_causes_of_a_card_are_those_of_its_error_map() -> None:
    for seed in range(40):
        random = np.random.default_rng(seed)
        true = build.blocks(random, 48, 64, pages.CATEGORIES[:4])
        predicted = disturbed(true, pages.CATEGORIES[:4], random)
        found = match([overlap(true, predicted)], pages.CATEGORIES)
        told = set(np.unique(error_kinds(true.id_map, predicted.id_map, found)).tolist())
        counted = (errors(found).true + errors(found).predicted).sum(0)
        assert told - {RIGHT, IMPRECISE, UNLABELLED} == {1 + int(cause) for cause in np.flatnonzero(counted)}


def test_pixels_of_two_errors_are_striped_in_the_colours_of_the_page() -> None:
    kinds = np.zeros((2, 16, 16), np.int32)
    kinds[0, :8], kinds[1, :8] = kind("missed"), kind("spurious")
    painted = error_map(np.full((16, 16, 3), 255, np.uint8), kinds)
    shown = {tuple(color) for color in painted[:8].reshape(-1, 3).tolist()}
    assert shown == {COLORS[kind("missed") - 1], COLORS[kind("spurious") - 1]}
    style = (resources.files("yoso_cli.page") / "page.css").read_text()
    ours = ["#{:02x}{:02x}{:02x}".format(*color) for color in COLORS]
    assert [re.findall(rf"--c-{name}: (.*);", style) for name in (*CAUSES, "unlabelled")] == [[one] for one in ours]


def test_large_pictures_are_made_small(tmp_path: Path) -> None:
    id_map = np.ones((1500, 2600), np.int32)
    id_map[:, :5] = 2
    panoptic = Panoptic(id_map, (Segment(1, 1, 1), Segment(2, 3, 1)))
    small = gallery.shrunk(panoptic, 5)
    assert small.id_map.shape == (300, 520)
    assert [one.id for one in small.segments] == [1, 2]
    assert [one.id for one in gallery.shrunk(panoptic, 26).segments] == [2, 1][::-1]
    assert len(gallery.address(np.zeros((300, 520, 3), np.uint8), 78)) < 2000


@pytest.mark.parametrize("shape", [(640, 640), (640, 1), (12, 640)])
def test_pictures_of_noise_keep_to_their_budget_and_to_one_shape(shape: tuple[int, int]) -> None:
    """Nothing is harder to pack than noise; what is easily packed is not made any coarser."""
    random = np.random.default_rng(0)
    names = ("photo", "truth", "prediction", "errors")
    views = gallery.views_of({name: random.integers(0, 256, (*shape, 3), dtype=np.uint8) for name in names})
    assert sum(len(view.address) for view in views) <= gallery.MOST_BYTES
    assert len({opened(view.address).size for view in views}) == 1
    (plain,) = gallery.views_of({"truth": np.full((*shape, 3), 90, np.uint8)})
    assert opened(plain.address).size == shape[::-1]


def test_a_huge_picture_becomes_a_small_exhibit(tmp_path: Path) -> None:
    """A photo of 6 megapixels of noise, with a segment in each square of its map."""
    random = np.random.default_rng(0)
    id_map = (np.arange(2000 * 3000, dtype=np.int32).reshape(2000, 3000) // 500) % 8 + 1
    panoptic = Panoptic(id_map, measured(id_map, [Segment(one, 1 + one % 2, 1) for one in range(1, 9)]))
    image = random.integers(0, 256, (2000, 3000, 3), dtype=np.uint8)
    truth = build.write_set(tmp_path / "huge" / "val", pages.CATEGORIES, [(image, panoptic)])
    nothing = Panoptic(np.zeros_like(id_map), ())
    (one,) = exhibits(truth, pages.report_of(truth, {0: nothing}).measures.tallies, lambda _: nothing)
    assert sum(len(view.address) for view in one.views) <= gallery.MOST_BYTES
    assert opened(one.views[0].address).width > 100
