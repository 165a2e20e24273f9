"""LabelMe's JSON files, written here as LabelMe writes them, read by its own rules and by supervision."""

import base64
import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import oracle
from conversion import raw
from conversion.drawn import read_all
from PIL import Image

from yoso_cli.conversion.category_file import CategoryTable
from yoso_cli.conversion.convert import InformationLoss
from yoso_cli.conversion.labelme import LabelmeReader, open_labelme
from yoso_cli.errors import DataError
from yoso_cli.panoptic.types import Category

HEIGHT, WIDTH = 40, 60


def shape(label: str, points: list[list[float]], kind: str = "polygon", **more: Any) -> dict[str, Any]:
    found = {"label": label, "points": points, "group_id": None, "description": "", "shape_type": kind, "flags": {}}
    return {**found, "mask": None, **more}


def write_labels(path: Path, *shapes: dict[str, Any], photo: str = "", **more: Any) -> None:
    raw.write_photo(path.with_suffix(".jpg"), HEIGHT, WIDTH)
    content = {"version": "5.4.1", "flags": {}, "shapes": list(shapes), "imagePath": photo or f"{path.stem}.jpg"}
    content |= {"imageData": None, "imageHeight": HEIGHT, "imageWidth": WIDTH, **more}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def png(mask: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def opened(folder: Path, table: CategoryTable | None = None) -> LabelmeReader:
    found = open_labelme(folder, None, table)
    assert not found.problems
    return found


SQUARE = [[10.0, 10.0], [20.0, 10.0], [20.0, 20.0], [10.0, 20.0]]


def test_all_kinds_of_shapes_that_have_an_area(tmp_path: Path) -> None:
    ring = np.ones((5, 4), bool)
    ring[1:3, 1:3] = False
    write_labels(
        tmp_path / "a.json",
        shape("car", SQUARE),
        shape("car", [[30, 8], [25, 2]], "rectangle"),
        shape("wheel", [[45.5, 20.5], [50.5, 20.5]], "circle"),
        shape("ring", [[2, 30], [5, 34]], "mask", mask=png(ring)),
        shape("car", [[50, 30], [55, 30], [55, 35], [50, 35]], "oriented_rectangle"),
        shape("lane", [[0, 0], [5, 5], [9, 9]], "linestrip"),
        shape("tip", [[0, 0]], "point"),
    )
    reader = opened(tmp_path, None)
    ((panoptic, losses),) = read_all(reader)
    names = {category.id: category.name for category in reader.table.categories}
    assert set(names.values()) == {"car", "wheel", "ring"}
    found = [(names[one.category_id], one.area, one.bbox) for one in panoptic.segments]
    assert found == [
        ("car", 100, (10, 10, 10, 10)),
        ("car", 30, (25, 2, 5, 6)),
        found[2],
        ("ring", 16, (2, 30, 4, 5)),
        ("car", 25, (50, 30, 5, 5)),
    ]
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    assert np.array_equal(panoptic.id_map == 3, np.hypot(x - 45.5, y - 20.5) <= 5)
    assert +losses == {InformationLoss.WITHOUT_AREA: 2}


def test_a_group_is_one_instance_and_ignored_is_void_and_flags_say_crowd(tmp_path: Path) -> None:
    write_labels(
        tmp_path / "a.json",
        shape("car", SQUARE, group_id=1),
        shape("car", [[30, 10], [40, 10], [40, 20], [30, 20]], group_id=1),
        shape("person", SQUARE, group_id=1, flags={"iscrowd": True}),
        shape("__ignore__", [[32, 12], [34, 12], [34, 14], [32, 14]]),
    )
    reader = opened(tmp_path)
    ((panoptic, _),) = read_all(reader)
    assert [category.name for category in reader.table.categories] == ["car", "person"]
    assert [(one.area, one.iscrowd) for one in panoptic.segments] == [(196, False)], "the crowd lies below"


def test_supervision_reads_the_same_boxes_and_classes(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="OpenCV")
        supervision = oracle("supervision")
    crown = [[3.2, 24.0], [20.5, 28.1], [40.0, 24.9], [37.5, 36.6], [5.0, 35.0]]
    box = [[50, 5], [58, 9]]
    write_labels(tmp_path / "b.json", shape("car", SQUARE), shape("tree", crown), shape("car", box, "rectangle"))
    theirs = supervision.DetectionDataset.from_labelme(str(tmp_path), str(tmp_path), force_masks=True)
    ((_, _, found),) = list(theirs)
    reader = opened(tmp_path)
    assert theirs.classes == [category.name for category in reader.table.categories]
    ((panoptic, _),) = read_all(reader)
    assert [one.category_id - 1 for one in panoptic.segments] == found.class_id.tolist()
    for one, (left, top, right, bottom) in zip(panoptic.segments, found.xyxy.tolist(), strict=True):
        x, y, width, height = one.bbox
        assert np.abs(np.array([x, y, x + width, y + height]) - [left, top, right, bottom]).max() <= 1


@pytest.mark.parametrize(
    "written", ["..\\photos\\a.jpg", "C:\\data\\photos\\A.JPG", "/home/x/photos/a.jpg", "../../../a.jpg"]
)
def test_the_photo_is_found_below_the_folder_whatever_path_another_computer_wrote(tmp_path: Path, written: str) -> None:
    write_labels(tmp_path / "set/labels/a.json", shape("car", SQUARE), photo=written)
    (tmp_path / "set/photos").mkdir()
    (tmp_path / "set/labels/a.jpg").rename(tmp_path / "set/photos/a.jpg")
    raw.write_photo(tmp_path / "a.jpg", HEIGHT, WIDTH)
    raw.write_photo(tmp_path / "set/photos/b.jpg", HEIGHT, WIDTH)
    reader = opened(tmp_path / "set")
    assert [picture.image_file for picture in reader.pictures] == ["photos/a.jpg"]
    assert any("1 photo without labels left out: photos/b.jpg" in remark for remark in reader.remarks)


def test_a_picture_without_shapes_stays_and_old_files_without_a_size_are_read(tmp_path: Path) -> None:
    write_labels(tmp_path / "a.json")
    write_labels(tmp_path / "b.json", shape("car", SQUARE, shape_type=None), imageHeight=None, imageWidth=None)
    (tmp_path / "labels.json").write_text('{"car": 1}')
    reader = opened(tmp_path)
    (empty, _), (panoptic, _) = read_all(reader)
    assert not empty.segments
    assert [one.area for one in panoptic.segments] == [100]
    assert any("not LabelMe's left out: labels.json" in remark for remark in reader.remarks)


def test_classes_of_a_yaml(tmp_path: Path) -> None:
    write_labels(tmp_path / "a.json", shape("road", SQUARE), shape("road", [[0, 0], [5, 0], [5, 5]]))
    table = CategoryTable.of([Category(7, "road", False), Category(9, "car", True)])
    reader = opened(tmp_path, table)
    ((panoptic, _),) = read_all(reader)
    assert [(one.category_id) for one in panoptic.segments] == [7]


def spoilt(**more: Any) -> Callable[[Path], None]:
    return lambda path: write_labels(path, {**shape("car", SQUARE), **more})


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (spoilt(points=[[1, 1], [2, 2]]), r"a.json: shapes\[0\] \('car'\) has a polygon that is not three"),
        (spoilt(points=[[1, 1], [2]]), r"has the point \[2\], which is not x, y"),
        (spoilt(points="x"), "has 'points' of type str"),
        (spoilt(points=[[1e9, 1], [2, 2], [3, 3]]), "far outside the picture of 60x40"),
        (spoilt(points=[[True, 1], [2, 2], [3, 3]]), "has True where a number is expected"),
        (spoilt(shape_type="star"), "has the kind 'star', which is none of LabelMe's"),
        (spoilt(shape_type="mask", points=SQUARE[:2]), "has null for 'mask'"),
        (spoilt(shape_type="rectangle", points=[[1, 1]]), "is a rectangle of 1 point, not of 2"),
        (spoilt(shape_type="mask", points=[[0, 0], [4, 4]], mask="?"), "has a mask that is not base64"),
        (spoilt(shape_type="mask", points=[[0, 0], [4, 4]], mask="aGFsbG8="), "has a mask that is not a picture"),
        (spoilt(shape_type="mask", points=[[0, 0], [4, 4]], mask=png(np.ones((3, 3), bool))), "does not fit its box"),
        (spoilt(shape_type="mask", points=[[58, 0], [60, 2]], mask=png(np.ones((3, 3), bool))), "leaves the picture"),
    ],
)
def test_a_shape_that_is_wrong_is_named(tmp_path: Path, write: Callable[[Path], None], words: str) -> None:
    write(tmp_path / "a.json")
    with pytest.raises(DataError, match=words):
        list(read_all(opened(tmp_path)))


def test_files_that_are_wrong_are_problems_of_the_set(tmp_path: Path) -> None:
    write_labels(tmp_path / "a.json", shape("car", SQUARE))
    write_labels(tmp_path / "c.json", shape("car", SQUARE), photo="a.jpg")
    write_labels(tmp_path / "d.json", shape("car", SQUARE), photo="gone.gif")
    (tmp_path / "d.jpg").unlink()
    (tmp_path / "e.json").write_text('{"shapes": [')
    problems = "\n".join(open_labelme(tmp_path, None, None).problems)
    assert "c.json: names the picture 'a.jpg', and so does" in problems
    assert "d.json: names the picture 'gone.gif', which is not in" in problems
    assert "e.json: is not valid JSON" in problems
