"""Shapes that cannot be read, in each format that people draw in: named, or dropped and listed with --repair."""

from collections.abc import Callable
from pathlib import Path

import pytest
from conversion import test_cvat, test_label_studio, test_labelme, test_via, test_yolo_seg

from yoso_cli.conversion.background import with_background
from yoso_cli.conversion.convert import LabelReader
from yoso_cli.conversion.drawn_shapes import ShapesReader
from yoso_cli.errors import DataError


def labelme(folder: Path) -> ShapesReader:
    good, nameless = (test_labelme.shape(name, test_labelme.SQUARE) for name in ("car", ""))
    test_labelme.write_labels(folder / "a.json", good, {**good, "points": [[1, 1], [2, 2]]}, nameless)
    return test_labelme.opened(folder)


def cvat(folder: Path) -> ShapesReader:
    polygon = '<polygon {} points="{}"></polygon>'
    shapes = [("1,1;9,1;9,9", 'label="car"'), ("1,1;2", 'label="car"'), ("1,1;9,1;9,9", "")]
    entry = test_cvat.picture("a.png", *(polygon.format(label, points) for points, label in shapes))
    test_cvat.write_xml(folder, entry)
    return test_cvat.opened(folder)


def label_studio(folder: Path) -> ShapesReader:
    made = test_label_studio
    regions = made.polygon("car"), made.polygon("car", [[1, 1], [2, 2]]), made.polygon("")
    return made.opened(made.write_export(folder, made.task("a.png", made.annotation(*regions))))


def via(folder: Path) -> ShapesReader:
    good = test_via.region("polygon", **test_via.POLYGON)
    short = test_via.region("polygon", all_points_x=[1], all_points_y=[1])
    nameless = test_via.region("polygon", {"type": ""}, **test_via.POLYGON)
    return test_via.opened(test_via.write_project(folder, good, short, nameless))


def yolo(folder: Path) -> ShapesReader:
    square = test_yolo_seg.SQUARE
    root = test_yolo_seg.write_yaml(folder, train="images")
    labels = root / "labels/a.txt"
    test_yolo_seg.write_picture(root / "images/a.png", labels, f"0 {square}", "0 0.1 0.2", f"7 {square}")
    return test_yolo_seg.opened(root)


FORMATS = [labelme, cvat, label_studio, via, yolo]


@pytest.mark.parametrize("made", FORMATS)
def test_the_first_is_named_and_the_others_are_counted(made: Callable[[Path], LabelReader], tmp_path: Path) -> None:
    reader = made(tmp_path)
    with pytest.raises(DataError, match=r"polygon|points|point.*, and 1 more shape\.$"):
        reader.read(reader.pictures[0])


@pytest.mark.parametrize("made", FORMATS)
def test_repairing_drops_them_alone(made: Callable[[Path], LabelReader], tmp_path: Path) -> None:
    reader = made(tmp_path)
    panoptic, _, dropped = reader.read_repaired(reader.pictures[0])
    assert len(panoptic.segments) == 1
    assert len(dropped) == 2
    assert all(one.startswith("dropped ") and str(tmp_path) in one for one in dropped)


def test_no_dropped_shape_becomes_background(tmp_path: Path) -> None:
    reader, _ = with_background(yolo(tmp_path), "rest")
    with pytest.raises(DataError, match="and 1 more shape"):
        reader.read_repaired(reader.pictures[0])
