"""Labels: inside the picture, never on one another, and none is dropped where there is room."""

import numpy as np
from drawing.scenes import CATEGORIES, scene, scenes
from hypothesis import assume, given, settings

from yoso_cli.drawing.labels import font_sizes, numbered, text_of
from yoso_cli.drawing.placement import Spot, placements
from yoso_cli.panoptic.types import Panoptic, Segment


def spots(panoptic: Panoptic, size: tuple[int, int]) -> list[Spot]:
    found = []
    for one in panoptic.segments:
        left, top, width, height = one.bbox
        rows, columns = np.nonzero(panoptic.id_map == one.id)
        pixel = (int(columns[0]), int(rows[0]))
        box = (left, top, left + width, top + height)
        found.append(Spot(one.id, size, one.category_id < 3, box, pixel, one.area))
    return found


def overlapping(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@given(scenes())
@settings(max_examples=80)
def test_labels_are_inside_the_picture_and_apart(drawn):
    _, panoptic = drawn
    height, width = panoptic.id_map.shape
    for size in ((12, 8), (60, 11)):
        found = placements(panoptic.id_map, spots(panoptic, size))
        boxes = [placement.box for placement in found.values()]
        for place, (left, top, right, bottom) in enumerate(boxes):
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            assert (right - left, bottom - top) == size
            assert not any(overlapping(boxes[place], other) for other in boxes[:place])


@given(scenes(segments=12))
@settings(max_examples=50)
def test_every_segment_has_its_label_where_there_is_room(drawn):
    """Enlarged, so that labels take less than a tenth of the picture."""
    _, panoptic = drawn
    scale = -(-500 // min(panoptic.id_map.shape))
    assume(max(panoptic.id_map.shape) * scale <= 4000)
    large = panoptic.id_map.repeat(scale, 0).repeat(scale, 1)
    whole = Panoptic(
        large,
        tuple(
            Segment(one.id, one.category_id, one.area * scale**2, tuple(scale * edge for edge in one.bbox))
            for one in panoptic.segments
        ),
    )
    found = placements(large, spots(whole, (90, 20)))
    assert found.keys() == {one.id for one in panoptic.segments}
    for one, placement in found.items():
        if placement.anchor is not None:
            x, y = placement.anchor
            assert large[y, x] == one, "a line leads to its segment"


def test_a_label_stands_in_a_large_segment_and_a_sliver_has_a_line():
    _, panoptic = scene("s" * 40, *["s" * 39 + "o"] * 20, size=10)
    found = placements(panoptic.id_map, spots(panoptic, (60, 20)))
    sky, road = found[ord("s")], found[ord("o")]
    assert sky.anchor is None
    assert (panoptic.id_map[sky.box[1] : sky.box[3], sky.box[0] : sky.box[2]] == ord("s")).all()
    assert road.anchor is not None


def test_a_label_larger_than_the_picture_is_left_out():
    _, panoptic = scene("ss", "ss", size=4)
    assert placements(panoptic.id_map, spots(panoptic, (9, 4))) == {}


def test_things_of_a_class_are_numbered_from_left_to_right_where_there_are_several():
    _, panoptic = scene("qq.pp.rr", "........", "cc..ssss", size=3, crowds="r")
    assert numbered(panoptic.segments, CATEGORIES) == {ord("q"): 1, ord("p"): 2}


def test_a_label_says_what_was_asked_for():
    person = Segment(17, 1, 5, score=0.926)
    category = CATEGORIES[0]
    assert text_of(person, category, 2, ("name",)) == "person 2"
    assert text_of(person, category, None, ("score", "name", "id")) == "0.93 person #17"
    assert text_of(Segment(17, 1, 5), category, None, ("name", "score")) == "person"
    assert text_of(Segment(17, 1, 5, iscrowd=True), category, 1, ("name", "id")) == "person (crowd) #17"
    assert text_of(Segment(1, 3, 5), CATEGORIES[2], None, ("name",)) == "sky"


def test_letters_grow_with_the_picture_and_have_smaller_sizes_for_where_there_is_no_room():
    assert font_sizes(1, 1)[0] == 12
    assert font_sizes(3000, 4000)[0] == 64
    for height, width in ((1, 1), (300, 400), (3000, 4000)):
        sizes = font_sizes(height, width)
        assert list(sizes) == sorted(sizes, reverse=True)
        assert sizes[-1] >= 10


def test_labels_go_anywhere_where_there_is_no_room_around():
    """Of 196 pixels side by side, whose labels take a third of the picture."""
    id_map = np.zeros((1000, 1000), np.int32)
    id_map[500:514, 500:514] = 1 + np.arange(196).reshape(14, 14)
    found = [Segment(one, 1, 1, (500 + (one - 1) % 14, 500 + (one - 1) // 14, 1, 1)) for one in range(1, 197)]
    placed = placements(id_map, spots(Panoptic(id_map, tuple(found)), (90, 20)))
    assert len(placed) == 196
