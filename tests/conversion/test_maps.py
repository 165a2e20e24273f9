"""Semantic and instance maps: values are read as they are stored, and make the segments that the rules say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conversion import raw
from hypothesis import given
from PIL import Image

from yoso_cli.conversion import maps
from yoso_cli.conversion.convert import InformationLoss
from yoso_cli.conversion.number_encoding import NumberEncoding
from yoso_cli.conversion.picture_files import read_names
from yoso_cli.errors import DataError, UsageError
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


def opened(folder: Path, **how: Any) -> maps.MapsReader:
    places = (folder / "images", folder / "semantic", folder / "instances")
    return maps.open_maps(raw.TABLE, *places, maps.MapFiles(**how))


def test_pictures_without_any_map_are_left_out_and_counted(tmp_path: Path) -> None:
    raw.write_maps(tmp_path)
    raw.write_photo(tmp_path / "images" / "d.jpg")
    found = opened(tmp_path)
    assert (found.problems, len(found.pictures)) == ((), 3)
    assert found.remarks == (f"{tmp_path / 'images'}: pictures without labels are left out: 1 (d)",)


def test_a_picture_with_one_of_two_maps_is_a_problem(tmp_path: Path) -> None:
    raw.write_maps(tmp_path)
    (tmp_path / "instances" / "b.png").unlink()
    assert opened(tmp_path).problems == (f"{tmp_path / 'instances'}: has no instance map for pictures: 1 (b)",)
    found = opened(tmp_path, repair=True)
    assert (found.problems, [one.image_id for one in found.pictures]) == ((), ["a", "c"])
    assert "has no instance map for pictures: 1 (b)" in found.repairs[0]


def test_where_no_picture_has_a_map_that_is_the_problem(tmp_path: Path) -> None:
    raw.write_maps(tmp_path, ["a", "b"])
    for kind in ("semantic", "instances"):
        for name in "ab":
            (tmp_path / kind / f"{name}.png").unlink()
    assert "has no semantic map for pictures: 2 (a, b)" in opened(tmp_path).problems[0]


@pytest.mark.parametrize("line", ["b", "b.jpg", " b ", "b  1", "images/b"])
def test_a_list_names_the_pictures(tmp_path: Path, line: str) -> None:
    raw.write_maps(tmp_path)
    raw.write_photo(tmp_path / "images" / "d.jpg")
    names = (tmp_path / "val.txt").write_text(f"\ufeffa\r\n\n{line}\n") and read_names(tmp_path / "val.txt")
    found = opened(tmp_path, names=names)
    if line == "images/b":
        assert found.problems == (f"{tmp_path / 'images'}: pictures of the list are not there: 1 (images/b)",)
        return
    assert (found.problems, [one.image_id for one in found.pictures]) == ((), ["a", "b"])


def test_a_listed_picture_without_maps_is_a_problem(tmp_path: Path) -> None:
    raw.write_maps(tmp_path)
    raw.write_photo(tmp_path / "images" / "d.jpg")
    assert "has no semantic map for pictures: 1 (d)" in opened(tmp_path, names=("a", "d")).problems[0]
    assert opened(tmp_path, names=("a", "z")).problems == (
        f"{tmp_path / 'images'}: pictures of the list are not there: 1 (z)",
    )


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe\xfa"])
def test_a_list_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "l.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"l\.txt: "):
        read_names(tmp_path / "l.txt")


def test_numbers_where_there_are_no_instances_are_counted(tmp_path: Path) -> None:
    raw.write_maps(tmp_path, ["a"])
    raw.write_map(tmp_path / "instances" / "a.png", np.full((4, 6), 9))
    found = opened(tmp_path)
    _, losses = found.read(found.pictures[0])
    assert (losses[InformationLoss.VOID_NUMBERS], losses[InformationLoss.STUFF_NUMBERS]) == (4, 10)


def test_a_crowd_of_kitti_stays_one_where_its_encoding_is_said(tmp_path: Path) -> None:
    raw.write_photo(tmp_path / "images" / "a.jpg", 1, 3)
    raw.write_map(tmp_path / "semantic" / "a.png", [[raw.CAR, raw.CAR, raw.ROAD]])
    raw.write_map(tmp_path / "instances" / "a.png", [[256 * raw.CAR, 256 * raw.CAR + 1, 256 * raw.ROAD]])
    with pytest.raises(UsageError, match=r"a\.png: its values look like class\*256\+number"):
        opened(tmp_path).read(opened(tmp_path).pictures[0])
    for text, crowds in (("class*256+number", 1), ("number", 0)):
        found = opened(tmp_path, encoding=NumberEncoding.of(text))
        segments = found.read(found.pictures[0])[0].segments
        assert [sum(one.iscrowd for one in segments), len(segments)] == [crowds, 3]
