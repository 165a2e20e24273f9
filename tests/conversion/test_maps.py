"""Semantic and instance maps: values are read as they are stored, and make the segments that the rules say."""

from pathlib import Path

import numpy as np
import pytest
from conversion import raw
from hypothesis import given
from PIL import Image

from yoso_cli.conversion import maps
from yoso_cli.errors import DataError
from yoso_cli.panoptic.types import Panoptic

NOWHERE = Path("a.png")


def of(semantic: list[list[int]], instances: list[list[int]]) -> Panoptic:
    return maps.maps_to_panoptic(np.array(semantic, np.int32), np.array(instances, np.int32), raw.TABLE, NOWHERE)


def test_classes_and_numbers_make_segments_in_the_order_of_the_table() -> None:
    found = of(raw.SEMANTIC, raw.INSTANCES)
    assert [(one.id, one.category_id, one.area, one.iscrowd) for one in found.segments] == [
        (1, raw.ROAD, 5, False),
        (2, raw.CAR, 1, True),  # no number: a crowd
        (3, raw.CAR, 1, False),  # the car number 2
        (4, raw.CAR, 3, False),  # the car number 300
        (5, raw.PERSON, 5, False),
        (6, raw.SKY, 5, False),
    ]
    assert (found.id_map == 0).sum() == 4, "0 and 255 are void"
    assert found.segments[1].bbox == (5, 0, 1, 1)


def test_the_same_number_in_two_classes_is_two_instances() -> None:
    found = of([[3, 12], [3, 12]], [[1, 1], [1, 1]])
    assert [(one.category_id, one.area) for one in found.segments] == [(raw.CAR, 2), (raw.PERSON, 2)]


def test_numbers_up_to_24_bits_are_told_apart() -> None:
    assert len(of([[3, 3]], [[2**24 - 1, 2**24 - 2]]).segments) == 2


def test_a_category_outside_the_table_is_named_with_the_pixels() -> None:
    with pytest.raises(DataError, match=r"a\.png: has category ids .*: 8 \(2 pixels\), 40000 \(1 pixels\)\.") as caught:
        of([[8, 8, 40000, 7]], [[0, 0, 0, 0]])
    assert "now: 0, 255" in caught.value.hint


def test_maps_of_two_sizes_are_refused() -> None:
    with pytest.raises(DataError, match=r"a\.png: is 2x1 where its instance map is 3x1"):
        of([[7, 7]], [[0, 0, 0]])


@given(raw.panoptics())
def test_maps_of_a_picture_give_the_picture_back(panoptic: Panoptic) -> None:
    things = {category.id for category in raw.TABLE.categories if category.isthing}
    classes, numbers = maps.panoptic_to_classes(panoptic, 255), maps.panoptic_to_numbers(panoptic, things)
    again = maps.maps_to_panoptic(classes, numbers, raw.TABLE, NOWHERE)
    assert raw.described(again) == raw.described(panoptic)


def test_16_bits_stay_16_bits(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    raw.write_map(path, [[300, 65535]])
    assert maps.read_numbers(path).tolist() == [[300, 65535]]
    assert maps.read_classes(path).tolist() == [[300, 65535]]


def test_a_palette_gives_its_indices_and_not_its_colours(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    image = Image.fromarray(np.array([[7, 3]], np.uint8))
    image.putpalette([200, 100, 50] * 256)
    image.save(path)
    assert maps.read_classes(path).tolist() == [[7, 3]]
    assert maps.read_numbers(path).tolist() == [[7, 3]]


def test_colours_are_numbers_of_instances_but_no_classes(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[[1, 2, 3]]], np.uint8)).save(path)
    assert maps.read_numbers(path).tolist() == [[1 + 256 * 2 + 65536 * 3]]
    with pytest.raises(DataError, match=r"a\.png: is an 8-bit RGB PNG where a semantic map is expected"):
        maps.read_classes(path)
