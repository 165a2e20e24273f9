"""Pictures for people: sizes, colours and files."""

import numpy as np
import pytest
from PIL import Image

from yoso_cli.datasets.shapes import CATEGORIES, draw_scene
from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic import draw, files
from yoso_cli.panoptic.photos import read_image
from yoso_cli.panoptic.types import Category, Panoptic, Segment


def plain(category_id, size=600, color=200):
    image = np.full((size, size, 3), color, np.uint8)
    return image, Panoptic(np.full((size, size), 4, np.int32), (Segment(4, category_id, size * size),))


def test_colours_of_a_long_list_are_all_different():
    assert len(set(draw.category_colors(133))) == 133


def test_a_category_keeps_its_colour_and_gets_one_where_it_has_none():
    own = Category(1, "cat", True, (5, 6, 7))
    without = Category(2, "dog", True)
    assert draw.colors([own, without])[0] == (5, 6, 7)
    assert draw.colors([own, without])[1] == draw.category_colors(2)[1]


def test_a_small_picture_is_enlarged_and_a_large_one_is_not():
    image, panoptic = draw_scene(0, 0, 128, 96)
    assert draw.overlay(image, panoptic, CATEGORIES, legend=False).shape == (512, 384, 3)
    image, panoptic = plain(1)
    assert draw.overlay(image, panoptic, CATEGORIES, legend=False).shape == (600, 600, 3)


@pytest.mark.parametrize("size", [(64, 300), (300, 64)])
def test_the_legend_adds_room_and_leaves_the_picture(size):
    image, panoptic = draw_scene(3, 0, *size)
    bare = draw.overlay(image, panoptic, CATEGORIES, legend=False)
    full = draw.overlay(image, panoptic, CATEGORIES)
    height, width = bare.shape[:2]
    assert full.shape[0] > height or full.shape[1] > width
    assert np.array_equal(full[:height, :width], bare)


def test_alpha_goes_from_the_photo_in_grey_to_the_plain_colour():
    image, panoptic = plain(CATEGORIES[-1].id)
    corner = (slice(20, 60), slice(20, 60))
    assert (draw.overlay(image, panoptic, CATEGORIES, alpha=0)[corner] == 200).all()
    assert (draw.overlay(image, panoptic, CATEGORIES, alpha=1)[corner] == CATEGORIES[-1].color).all()


def test_instances_of_one_class_differ_in_colour():
    id_map = np.repeat(np.array([[1, 2]], np.int32), 300, axis=1).repeat(600, axis=0)
    panoptic = Panoptic(id_map, (Segment(1, 1, 1), Segment(2, 1, 1)))
    drawn = draw.overlay(np.full((600, 600, 3), 128, np.uint8), panoptic, CATEGORIES, legend=False)
    assert drawn[30, 30].tolist() != drawn[30, 570].tolist()
    assert (drawn[300, 299] == 255).all()  # the border between them


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (3, 40)])
def test_pictures_of_odd_sizes_are_drawn(shape):
    panoptic = Panoptic(np.full(shape, 9, np.int32), (Segment(9, 1, 1, iscrowd=True),))
    assert draw.overlay(np.zeros((*shape, 3), np.uint8), panoptic, CATEGORIES).dtype == np.uint8


def test_a_picture_without_segments_is_drawn():
    panoptic = Panoptic(np.zeros((40, 40), np.int32), ())
    assert draw.overlay(np.zeros((40, 40, 3), np.uint8), panoptic, CATEGORIES).shape[0] == 520


def test_a_photo_of_another_size_is_refused():
    image, panoptic = plain(1)
    with pytest.raises(DataError, match="600x590"):
        draw.overlay(image[10:], panoptic, CATEGORIES)


def test_the_real_sample_is_drawn(coco_sample):
    annotations = coco_sample / "annotations"
    found = files.read_coco(
        annotations / "panoptic_val2017.json",
        annotations / "panoptic_val2017",
        coco_sample / "val2017",
        name="coco",
        split="val2017",
    )
    record = found.records[0]
    image = read_image(found.image_path(record))
    drawn = draw.overlay(image, files.read_panoptic(found, record), found.categories)
    assert drawn.shape[0] > record.height
    assert drawn.shape[1] == record.width


def test_a_sheet_holds_all_pictures_under_their_titles():
    rows = [[np.full((40, 40, 3), 10, np.uint8), np.full((300, 300, 3), 20, np.uint8)]] * 3
    page = draw.sheet(rows, ["photo", "truth"])
    assert page.shape[1] > 600
    assert page.shape[0] > 900
    assert (page == 10).all(axis=2).sum() >= 3 * 290**2  # the small one was made as wide as the large one
    assert (page[:28] < 100).any()  # titles


def test_a_picture_is_written_in_the_format_of_its_name(tmp_path):
    image = np.full((4, 5, 3), 77, np.uint8)
    for name, kind in (("a.png", "PNG"), ("a.JPG", "JPEG"), ("deep/a.jpeg", "JPEG")):
        draw.write_picture(tmp_path / name, image)
        with Image.open(tmp_path / name) as found:
            assert (found.format, found.size) == (kind, (5, 4))


@pytest.mark.parametrize("name", ["a", "a.gif", "a.txt"])
def test_a_name_of_no_picture_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match=r"ends in \.png"):
        draw.write_picture(tmp_path / name, np.zeros((4, 5, 3), np.uint8))
    assert not list(tmp_path.iterdir())
