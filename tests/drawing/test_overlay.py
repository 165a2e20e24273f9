"""Pictures for people: sizes, colours, what is drawn and what is left alone."""

from dataclasses import replace

import numpy as np
import pytest
from drawing.scenes import CATEGORIES, scene, scenes
from hypothesis import given, settings
from hypothesis import strategies as st

from yoso_cli.datasets.shapes import CATEGORIES as SHAPES
from yoso_cli.datasets.shapes import draw_scene
from yoso_cli.drawing.colors import segment_colors, void_color
from yoso_cli.drawing.overlay import overlay
from yoso_cli.drawing.style import BACKGROUNDS, Style
from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic import files
from yoso_cli.panoptic.photos import read_image
from yoso_cli.panoptic.types import Panoptic, Segment

BARE = Style((), legend=False, scale=1)


def plain(category_id, size=600, color=200):
    image = np.full((size, size, 3), color, np.uint8)
    return image, Panoptic(np.full((size, size), 4, np.int32), (Segment(4, category_id, size * size),))


def painted(image, id_map, found, alpha):
    """The photo under the colours as a formula: what is left of it is the greyer the less is left."""
    colors = np.zeros((id_map.max() + 1, 3))
    for one, color in found.items():
        colors[one] = color
    own = (1 - alpha) ** 3
    return alpha * colors[id_map] + own * image + (1 - alpha - own) * image.mean(axis=2, keepdims=True)


def bordered(id_map):
    """The pixels within one step of another segment."""
    edges = np.zeros(id_map.shape, bool)
    for axis in (0, 1):
        differs = np.diff(id_map, axis=axis) != 0
        before = [(0, 0), (0, 0)]
        before[axis] = (1, 0)
        edges |= np.pad(differs, before) | np.pad(differs, [pair[::-1] for pair in before])
    return edges


@given(scenes(), st.sampled_from([0, 0.1, 0.5, 0.77, 1]), st.booleans())
@settings(max_examples=60)
def test_colours_are_mixed_as_the_formula_says(drawn, alpha, by_instance):
    image, panoptic = drawn
    color = "instance" if by_instance else "class"
    found = overlay(image, panoptic, CATEGORIES, Style((), color, alpha, legend=False, scale=1))
    of_segments = segment_colors(panoptic.segments, CATEGORIES, by_instance=by_instance)
    expected = painted(image, panoptic.id_map, {0: void_color(CATEGORIES), **of_segments}, alpha)
    crowds = [one.id for one in panoptic.segments if one.iscrowd]
    inside = ~bordered(panoptic.id_map) & ~np.isin(panoptic.id_map, crowds)
    assert np.abs(found[inside] - expected[inside]).max(initial=0) <= 3


@given(scenes())
@settings(max_examples=30)
def test_no_colour_leaves_the_photo(drawn):
    image, panoptic = drawn
    found = overlay(image, panoptic, CATEGORIES, Style((), alpha=0, legend=False, scale=1))
    inside = ~bordered(panoptic.id_map)
    assert np.array_equal(found[inside], image[inside])


def test_things_have_a_light_outline_and_stuff_a_dark_one():
    image, panoptic = scene("ssoo", "sspp", size=20)
    found = overlay(image, panoptic, CATEGORIES, BARE)
    person = panoptic.id_map == ord("p")
    edge = bordered(panoptic.id_map)
    assert (found[edge & person] == 255).all()
    assert found[edge & ~person].mean() < 0.7 * found[~edge & ~person].mean()


def test_a_narrow_thing_is_not_covered_by_its_outline():
    image, panoptic = scene("s" * 60, "s" * 29 + "p" + "s" * 30, "s" * 60, size=3)
    found = overlay(image, panoptic, CATEGORIES, BARE)
    assert not (found[panoptic.id_map == ord("p")] == 255).all(axis=1).any()


def test_crowds_are_hatched():
    image, panoptic = scene("pppp", size=30, crowds="p")
    found = overlay(image, panoptic, CATEGORIES, BARE)
    share = (found == (250, 250, 248)).all(axis=2).mean()
    assert 0.2 < share < 0.3


@given(scenes(most=40), st.sampled_from([None, *BACKGROUNDS]), st.sampled_from([(), ("person",), ("sky", "car")]))
@settings(max_examples=40)
def test_any_picture_can_be_drawn_in_any_style_and_always_alike(drawn, background, only):
    image, panoptic = drawn
    for sides in (False, True):
        style = Style(("name", "id", "score"), legend=True, side_by_side=sides, only=only, background=background)
        found = overlay(image, panoptic, CATEGORIES, style)
        assert found.dtype == np.uint8
        assert found.shape[2] == (4 if background == "transparent" else 3)
        assert np.array_equal(found, overlay(image, panoptic, CATEGORIES, style))


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (3, 40), (2000, 7)])
@pytest.mark.parametrize("scale", [1, None])
def test_pictures_of_odd_sizes_are_drawn(shape, scale):
    panoptic = Panoptic(np.full(shape, 9, np.int32), (Segment(9, 1, 1, iscrowd=True),))
    style = Style(("name",), side_by_side=True, scale=scale)
    found = overlay(np.zeros((*shape, 3), np.uint8), panoptic, CATEGORIES, style)
    assert found.shape[0] >= shape[0]
    assert found.shape[1] > 2 * shape[1]


@given(scenes(), st.sampled_from(["name", "none"]))
@settings(max_examples=40)
def test_outside_the_chosen_classes_the_photo_is_untouched(drawn, labels):
    image, panoptic = drawn
    style = Style.of(labels=labels, only="person", legend=False, scale=1)
    found = overlay(image, panoptic, CATEGORIES, style)
    outside = ~np.isin(panoptic.id_map, [one.id for one in panoptic.segments if one.category_id == 1])
    if labels == "none":
        assert np.array_equal(found[outside], image[outside])
    if outside.all():
        assert np.array_equal(found, image)


@given(scenes())
@settings(max_examples=40)
def test_a_cut_out_is_opaque_where_its_segments_are_and_keeps_nothing_else(drawn):
    image, panoptic = drawn
    shown = np.isin(panoptic.id_map, [one.id for one in panoptic.segments if one.category_id < 3])
    found = overlay(image, panoptic, CATEGORIES, Style(background="transparent", scale=1))
    assert np.array_equal(found[..., 3], shown * np.uint8(255))
    assert np.array_equal(found[shown, :3], image[shown])
    assert not found[~shown, :3].any()
    white = overlay(image, panoptic, CATEGORIES, Style(background="white", scale=1))
    assert np.array_equal(white, np.where(shown[..., None], image, 255))
    blurred = overlay(image, panoptic, CATEGORIES, Style(background="blur", scale=1))
    assert np.array_equal(blurred[shown], image[shown])


def test_a_blurred_background_has_less_detail_and_the_same_light():
    image, panoptic = scene("ssss", "sspp", size=50)
    found = overlay(image, panoptic, CATEGORIES, Style(background="blur", scale=1))
    sky = panoptic.id_map == ord("s")
    assert found[sky].std() < 0.2 * image[sky].std()
    assert found[sky].mean() == pytest.approx(image[sky].mean(), abs=3)


def test_labels_of_a_transparent_picture_are_opaque():
    image, panoptic = scene("ssss", "spps", "ssss", size=60)
    found = overlay(image, panoptic, CATEGORIES, Style(("name",), background="transparent", scale=1))
    bare = overlay(image, panoptic, CATEGORIES, Style((), background="transparent", scale=1))
    changed = (found != bare).any(axis=2)
    assert changed.any()
    assert (found[changed, 3] == 255).all()


def test_a_small_picture_is_enlarged_and_a_large_one_is_not():
    image, panoptic = draw_scene(0, 0, 128, 96)
    assert overlay(image, panoptic, SHAPES, Style(legend=False)).shape == (512, 384, 3)
    assert overlay(image, panoptic, SHAPES, Style(legend=False, scale=1)).shape == (128, 96, 3)
    assert overlay(image, panoptic, SHAPES, Style(legend=False, scale=3)).shape == (384, 288, 3)
    image, panoptic = plain(1)
    assert overlay(image, panoptic, SHAPES, Style(legend=False)).shape == (600, 600, 3)


@pytest.mark.parametrize("size", [(64, 300), (300, 64)])
def test_the_legend_adds_room_and_leaves_the_picture(size):
    image, panoptic = draw_scene(3, 0, *size)
    bare = overlay(image, panoptic, SHAPES, Style(legend=False))
    full = overlay(image, panoptic, SHAPES)
    height, width = bare.shape[:2]
    assert full.shape[0] > height or full.shape[1] > width
    assert np.array_equal(full[:height, :width], bare)


def test_side_by_side_the_photo_is_at_the_left():
    image, panoptic = scene("ssss", "sspp", size=150)
    found = overlay(image, panoptic, CATEGORIES, Style(legend=False, side_by_side=True))
    alone = overlay(image, panoptic, CATEGORIES, Style(legend=False))
    assert np.array_equal(found[:, :600], image)
    assert np.array_equal(found[:, -600:], alone)


def test_numbers_are_kept_and_shown_even_for_a_single_thing():
    image, panoptic = scene("ssss", "spps", "ssss", size=60)
    plainly = overlay(image, panoptic, CATEGORIES, Style(alpha=0, legend=False))
    first = overlay(image, panoptic, CATEGORIES, Style(alpha=0, legend=False), numbers={ord("p"): 7})
    again = overlay(image, panoptic, CATEGORIES, Style(alpha=0, legend=False), numbers={ord("p"): 7})
    assert np.array_equal(first, again)
    assert not np.array_equal(first, plainly)


def test_ids_that_no_segment_has_are_drawn_as_void():
    image, panoptic = scene("s..", size=20)
    odd = Panoptic(np.where(panoptic.id_map == 0, 77, panoptic.id_map).astype(np.int32), panoptic.segments)
    assert np.array_equal(overlay(image, odd, CATEGORIES, BARE), overlay(image, panoptic, CATEGORIES, BARE))


def test_more_than_256_segments_are_drawn_each_in_its_colour():
    id_map = (np.arange(400, dtype=np.int32) + 1).reshape(20, 20).repeat(9, 0).repeat(9, 1)
    panoptic = Panoptic(id_map, tuple(Segment(one, 1 + one % 4, 81) for one in range(1, 401)))
    found = overlay(np.zeros((180, 180, 3), np.uint8), panoptic, CATEGORIES, Style((), "class", 1, False, scale=1))
    assert found[4::9, 4::9].reshape(-1, 3).tolist() == [list(CATEGORIES[one % 4].color) for one in range(1, 401)]


def test_names_of_any_length_and_letters_are_drawn():
    """As an untrusted JSON may have them: over several lines, empty, endless, of no font."""
    image, panoptic = scene("ssoo", "ccpp", size=40)
    names = ("two\nlines", "", "x" * 10_000, "\u202e\U0001f600\x00")
    odd = [replace(one, name=name) for one, name in zip(CATEGORIES, names, strict=True)]
    assert overlay(image, panoptic, odd, Style(("name", "id"))).shape[1] < 3000


def test_a_picture_without_segments_is_drawn():
    panoptic = Panoptic(np.zeros((40, 40), np.int32), ())
    assert overlay(np.zeros((40, 40, 3), np.uint8), panoptic, CATEGORIES).shape[0] == 520


def test_a_photo_of_another_size_is_refused():
    image, panoptic = plain(1)
    with pytest.raises(DataError, match="600x590"):
        overlay(image[10:], panoptic, CATEGORIES)


def test_a_class_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="Did you mean 'person'"):
        overlay(*plain(1), CATEGORIES, Style(only=("persons",)))


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
    drawn = overlay(image, files.read_panoptic(found, record), found.categories)
    assert drawn.shape[0] > record.height
    assert drawn.shape[1] == record.width
