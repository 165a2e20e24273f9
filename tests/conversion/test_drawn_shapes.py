"""Shapes over one another become segments that do not overlap."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from yoso_cli.conversion.category_file import CategoryTable, write_table
from yoso_cli.conversion.convert import InformationLoss
from yoso_cli.conversion.drawn_shapes import Drawing, Shape, flattened, named_classes
from yoso_cli.conversion.rasterization import Region, box_region
from yoso_cli.errors import DataError
from yoso_cli.panoptic.types import Category

TABLE = CategoryTable.of([Category(1, "road", False), Category(2, "car", True)])
SIZE = (4, 6)


def box(left: float, top: float, right: float, bottom: float) -> Region:
    return box_region(left, top, right, bottom, *SIZE)


def rows(*shapes: Shape) -> tuple[list[list[int]], Counter[InformationLoss]]:
    panoptic, losses = flattened(Drawing(*SIZE, shapes), TABLE)
    for one in panoptic.segments:
        assert one.area == np.count_nonzero(panoptic.id_map == one.id)
    return panoptic.id_map.tolist(), +losses


def test_the_smallest_has_the_pixel_and_of_two_of_one_size_the_later_one() -> None:
    found, losses = rows(Shape("car", box(0, 0, 2, 2)), Shape("car", box(0, 0, 6, 4)), Shape("car", box(1, 0, 3, 2)))
    assert found == [[1, 3, 3, 2, 2, 2]] * 2 + [[2] * 6] * 2
    assert losses == {InformationLoss.OVERLAP: 6}, "pixels, however many claim them"


def test_stuff_lies_below_and_crowds_below_instances() -> None:
    small_stuff, crowd = Shape("road", box(0, 0, 1, 1)), Shape("car", box(0, 0, 2, 1), iscrowd=True)
    found, _ = rows(small_stuff, crowd, Shape("car", box(0, 0, 6, 1)))
    assert found[0] == [3] * 6
    found, losses = rows(Shape("car", box(0, 0, 3, 4)), Shape("road", box(0, 0, 6, 1)), Shape("road", box(0, 0, 6, 2)))
    assert found[0] == [1, 1, 1, 2, 2, 2], "all of a stuff class is one segment"
    assert found[3] == [1, 1, 1, 0, 0, 0]
    assert not losses, "what lies below an instance is none"


def test_what_a_format_says_of_above_comes_first() -> None:
    found, losses = rows(Shape("car", box(0, 0, 1, 1)), Shape("car", box(0, 0, 6, 4), above=1))
    assert found == [[2] * 6] * 4
    assert losses == {InformationLoss.OVERLAP: 1, InformationLoss.HIDDEN: 1}


def test_parts_of_a_group_are_one_instance_and_overlap_without_loss() -> None:
    parts = [Shape("car", box(0, 0, 2, 2), group=5), Shape("car", box(1, 0, 3, 2), group=5)]
    found, losses = rows(*parts, Shape("car", box(5, 0, 6, 1), group=6), Shape("road", box(4, 0, 5, 1), group=5))
    assert found[0] == [1, 1, 1, 0, 3, 2]
    assert not losses


def test_void_shapes_are_void() -> None:
    found, losses = rows(Shape("car", box(0, 0, 6, 4)), Shape(None, box(1, 1, 2, 2)))
    assert found[1] == [1, 0, 1, 1, 1, 1]
    assert not losses
    found, losses = rows(Shape("car", box(0.1, 0.1, 0.2, 0.2)))
    assert losses == {InformationLoss.EMPTY: 1}


def test_classes_come_from_the_user_or_the_yaml_beside_or_the_list_or_the_names(tmp_path: Path) -> None:
    used = Counter({"zebra": 2, "car": 1})
    table, remark = named_classes(used, None, tmp_path, tmp_path)
    assert table.categories == (Category(1, "car", True), Category(2, "zebra", True))
    assert "2 classes by name, all taken for things: car, zebra." in remark
    own = (Category(0, "zebra", True), Category(1, "car", True))
    assert named_classes(used, None, tmp_path, tmp_path, listed=own)[0].categories == own
    (tmp_path / "categories.yaml").write_text(write_table(TABLE))
    assert named_classes(Counter({"car": 1}), None, tmp_path, tmp_path) == (TABLE, "")
    with pytest.raises(DataError, match=r"labels that the classes do not list: 'cat' \(3 shapes\).*Did you mean 'car'"):
        named_classes(Counter({"cat": 3, "car": 1}), TABLE, tmp_path, tmp_path)
