"""The gallery holds the pictures on which most is lost, and its error map says what is wrong with each pixel."""

import base64
import io
from pathlib import Path

import build
import numpy as np
import pytest
from page import pages
from PIL import Image

from yoso_cli.evaluation.matching import match, overlap
from yoso_cli.page import gallery
from yoso_cli.page.gallery import NOTHING, OTHER_CLASS, OTHER_SEGMENT, UNLABELLED, exhibits
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


def test_each_pixel_is_told_what_is_wrong_with_it() -> None:
    rows = np.array([[0, 1, 1, 1, 1, 2, 2, 2, 3, 3], [4, 4, 4, 4, 4, 4, 4, 4, 4, 4]], np.int32)
    seen = np.array([[7, 7, 7, 7, 0, 5, 5, 6, 6, 6], [8, 8, 8, 8, 8, 8, 8, 8, 8, 8]], np.int32)
    kinds = {1: 1, 2: 1, 3: 3, 4: 1}
    true = tuple(Segment(one, kinds[one], int((rows == one).sum()), iscrowd=one == 4) for one in kinds)
    predicted = tuple(Segment(one, category, 1) for one, category in {5: 1, 6: 1, 7: 1, 8: 1}.items())
    found = match([overlap(Panoptic(rows, true), Panoptic(seen, predicted))], pages.CATEGORIES)
    told = gallery.error_kinds(rows, seen, found)
    wrong = [UNLABELLED, 0, 0, 0, NOTHING, 0, 0, OTHER_SEGMENT, OTHER_CLASS, OTHER_CLASS]
    assert told.tolist() == [wrong, [UNLABELLED] * 10]


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
