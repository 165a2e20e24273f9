"""The legend tells what is in the picture, and nothing of it is cut off."""

import numpy as np
import pytest
from drawing.scenes import CATEGORIES, scene

from yoso_cli.drawing.colors import segment_colors
from yoso_cli.drawing.font import font_of
from yoso_cli.drawing.legend import PAPER, Entry, entries, legend


def listed(panoptic, *, by_instance, void=None):
    found = segment_colors(panoptic.segments, CATEGORIES, by_instance=by_instance)
    return found, entries(panoptic.segments, CATEGORIES, found, void=void)


def test_stuff_comes_first_then_things_each_by_size():
    _, panoptic = scene("ssoo", "oopq", "cc..", size=5)
    _, found = listed(panoptic, by_instance=False, void=(1, 2, 3))
    assert [one.text for one in found] == ["road, route", "sky", "person (2)", "car", "unlabelled"]
    assert found[-1].colors == ((1, 2, 3),)
    assert found[2].colors == (CATEGORIES[0].color,)


def test_a_class_of_several_instances_shows_their_colours():
    _, panoptic = scene("ppqr", size=5)
    colors, (person,) = listed(panoptic, by_instance=True)
    assert person.colors == tuple(colors[ord(one)] for one in "pqr")


def test_crowds_are_not_counted_as_one():
    _, panoptic = scene("pqr", size=5, crowds="r")
    assert [one.text for one in listed(panoptic, by_instance=True)[1]] == ["person (2 + crowd)"]
    _, panoptic = scene("r", size=5, crowds="r")
    assert [one.text for one in listed(panoptic, by_instance=True)[1]] == ["person"]


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (40, 300), (300, 40), (600, 600)])
@pytest.mark.parametrize("count", [1, 7, 133])
def test_no_word_is_cut_off(size, count):
    """The outermost pixels of the panel are paper, whatever the picture's shape, and all swatches are there."""
    height, width = size
    lines = [Entry(((place + 1, 0, 200),), f"a class with a long name {place}") for place in range(count)]
    panel, below = legend(lines, font_of(14), height, width)
    assert (panel.shape[1] >= width) if below else (panel.shape[0] >= height)
    rim = np.concatenate([panel[0], panel[-1], panel[:, 0], panel[:, -1]])
    assert (rim == PAPER).all()
    swatches = panel[(panel[..., 1] == 0) & (panel[..., 2] == 200), 0]
    assert np.bincount(swatches)[1 : count + 1].min() > 100
