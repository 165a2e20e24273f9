"""Colours that people can tell apart."""

import itertools

import numpy as np
import pytest
from drawing.scenes import CATEGORIES
from hypothesis import example, given, settings
from hypothesis import strategies as st

from yoso_cli.drawing import colors
from yoso_cli.panoptic.types import Category, Segment

RGB = st.tuples(*[st.integers(0, 255)] * 3)


def closest(found):
    """The smallest distance in OKLab between any two colours."""
    points = colors.oklab(found)
    return min(np.linalg.norm(one - other) for one, other in itertools.combinations(points, 2))


def persons(*ids, category_id=1):
    return [Segment(one, category_id, 1000 - one) for one in ids]


def test_oklab_agrees_with_its_publication():
    """White, black, and sRGB red, green and blue as the colour module of CSS 4 lists them."""
    found = colors.oklab([(255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)])
    listed = [(1, 0, 0), (0, 0, 0), (0.628, 0.225, 0.126), (0.866, -0.234, 0.179), (0.452, -0.032, -0.312)]
    assert found == pytest.approx(np.array(listed), abs=1e-3)


def test_colours_of_a_long_list_are_all_different():
    assert len(set(colors.category_colors(133))) == 133


def test_a_category_keeps_its_colour_and_gets_one_where_it_has_none():
    own = Category(1, "cat", True, (5, 6, 7))
    without = Category(2, "dog", True)
    assert colors.colors([own, without])[0] == (5, 6, 7)
    assert colors.colors([own, without])[1] == colors.category_colors(2)[1]


@pytest.mark.parametrize("count", [2, 5, 14, 40])
def test_things_of_one_class_are_told_apart(count):
    found = colors.segment_colors(persons(*range(1, count + 1)), CATEGORIES, by_instance=True)
    assert closest(found.values()) >= 0.07


def test_things_differ_from_the_stuff_and_the_void_of_their_picture():
    stuff = [Segment(900, 3, 5), Segment(901, 4, 5)]
    found = colors.segment_colors([*stuff, *persons(*range(1, 21))], CATEGORIES, by_instance=True)
    assert (found[900], found[901]) == (CATEGORIES[2].color, CATEGORIES[3].color)
    things = [found[one] for one in range(1, 21)]
    for other in (found[900], found[901], colors.void_color(CATEGORIES)):
        assert min(closest([other, one]) for one in things) >= 0.07


def test_the_colour_of_a_class_is_for_all_of_its_segments():
    found = colors.segment_colors(persons(1, 2, 3), CATEGORIES, by_instance=False)
    assert set(found.values()) == {CATEGORIES[0].color}


def test_a_number_keeps_its_colour_from_picture_to_picture():
    """Whatever else is there and whatever ids the segments have."""
    first = colors.segment_colors(persons(1, 2, 3), CATEGORIES, by_instance=True, numbers={1: 1, 2: 2, 3: 3})
    later = [*persons(8, 9), Segment(5, 3, 10)]
    second = colors.segment_colors(later, CATEGORIES, by_instance=True, numbers={9: 2, 8: 40})
    assert second[9] == first[2]
    assert second[8] not in first.values()


def test_numbers_of_one_class_have_different_colours():
    numbers = {one: one for one in range(1, 41)}
    found = colors.segment_colors(persons(*numbers), CATEGORIES, by_instance=True, numbers=numbers)
    assert closest(found.values()) >= 0.06


@given(st.lists(RGB, max_size=140))
@example([(60, 60, 64)])
@example([(value, value, value + 4) for value in range(0, 250, 2)])
@settings(max_examples=60)
def test_void_is_never_the_colour_of_a_class(found):
    categories = [Category(place, f"class {place}", False, color) for place, color in enumerate(found, 1)]
    void = colors.void_color(categories)
    assert colors.void_color(categories) == void
    for color in colors.colors(categories):
        assert np.linalg.norm(colors.oklab([void]) - colors.oklab([color])) > 0.05


@given(RGB)
def test_text_on_any_colour_has_the_contrast_that_wcag_asks_for(color):
    def luminance(rgb):
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (part / 255 for part in rgb)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(color), luminance(colors.ink_on(color))))
    assert (light + 0.05) / (dark + 0.05) >= 4.5
