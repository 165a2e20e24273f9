"""Cityscapes' own form: label * 1000 + n, groups below 1000, pictures found by the name in front of the suffix."""

from pathlib import Path

import numpy as np
import pytest
from conversion import raw

from yoso_cli.conversion.category_file import CategoryTable
from yoso_cli.conversion.cityscapes import CityscapesWriter, open_cityscapes
from yoso_cli.conversion.convert import SourcePicture
from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic.types import Category

NAME = "aachen/aachen_000000_000019"
IDS = [[7, 7, 3000, 3001], [0, 9, 3, 12999]]


def root(folder: Path) -> Path:
    raw.write_map(folder / "gtFine" / "train" / f"{NAME}_gtFine_instanceIds.png", IDS)
    raw.write_map(folder / "gtFine" / "train" / f"{NAME}_gtFine_labelIds.png", [[7]], np.uint8)
    raw.write_photo(folder / "leftImg8bit" / "train" / f"{NAME}_leftImg8bit.png", 2, 4)
    return folder / "gtFine" / "train"


def test_the_published_layout_is_found_and_read(tmp_path: Path) -> None:
    source = open_cityscapes(raw.TABLE, root(tmp_path), None)
    assert source.problems == ()
    assert source.pictures == (SourcePicture("aachen_000000_000019", f"{NAME}_leftImg8bit.png"),)
    found, _ = source.read(source.pictures[0])
    assert [(one.category_id, one.area, one.iscrowd) for one in found.segments] == [
        (raw.ROAD, 2, False),
        (raw.CAR, 1, True),
        (raw.CAR, 1, False),
        (raw.CAR, 1, False),
        (raw.PERSON, 1, False),
        (raw.SKY, 1, False),
    ]


def test_a_map_cut_down_to_8_bits_is_refused(tmp_path: Path) -> None:
    folder = root(tmp_path)
    raw.write_map(folder / f"{NAME}_gtFine_instanceIds.png", [[7, 255]], np.uint8)
    source = open_cityscapes(raw.TABLE, folder, None)
    with pytest.raises(DataError, match=r"instanceIds\.png: is an 8-bit grey PNG where 16-bit grey is expected"):
        source.read(source.pictures[0])


def test_a_map_without_its_picture_is_a_problem_and_a_picture_without_its_map_is_left_out(tmp_path: Path) -> None:
    folder = root(tmp_path)
    raw.write_photo(tmp_path / "leftImg8bit" / "train" / "b_leftImg8bit.png")
    raw.write_map(folder / "c_gtFine_instanceIds.png", IDS)
    found = open_cityscapes(raw.TABLE, folder, None)
    assert [one.partition(": ")[2] for one in found.problems] == ["has no picture for maps of instance ids: 1 (c)"]
    assert [one.partition(": ")[2] for one in found.remarks] == ["pictures without labels are left out: 1 (b)"]


def test_missing_pictures_are_asked_for(tmp_path: Path) -> None:
    raw.write_map(tmp_path / "a_gtFine_instanceIds.png", IDS)
    with pytest.raises(UsageError, match="--images"):
        open_cityscapes(raw.TABLE, tmp_path, None)


@pytest.mark.parametrize(
    ("category", "words"),
    [
        (Category(65, "car", True), "allows only 1 to 64 for thing classes"),
        (Category(0, "car", True), "allows only 1 to 64 for thing classes"),
        (Category(256, "road", False), "allows only 0 to 255 for stuff classes"),
    ],
)
def test_an_id_that_the_form_has_no_room_for_is_refused(tmp_path: Path, category: Category, words: str) -> None:
    panoptic = raw.panoptic_of(np.array([[1]], np.int32), {1: (category.id, False)})
    target = CityscapesWriter(CategoryTable.of([category]))
    with pytest.raises(DataError, match=words):
        target.write(tmp_path, SourcePicture("a", "a.jpg"), panoptic)
    assert not list(tmp_path.iterdir())
