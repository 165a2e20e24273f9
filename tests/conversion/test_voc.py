"""VOC's folders as the challenge, CVAT and labelme2voc lay them, against their arrays."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from conversion import raw
from conversion.drawn import read_all
from PIL import Image

from yoso_cli.conversion.category_file import CategoryTable
from yoso_cli.conversion.coded_maps import CodedMapsReader
from yoso_cli.conversion.convert import SourcePicture
from yoso_cli.conversion.split_choice import ANY_SPLIT, SplitChoice
from yoso_cli.conversion.voc import VocWriter, open_voc, voc_color
from yoso_cli.errors import DataError, UsageError
from yoso_cli.panoptic.types import Category

CLASSES = np.array([[0, 0, 15, 15, 255], [0, 7, 7, 15, 15], [0, 7, 7, 255, 15]], np.uint8)
OBJECTS = np.array([[0, 0, 1, 1, 255], [0, 2, 2, 3, 3], [0, 2, 2, 255, 3]], np.uint8)


def write_palette(path: Path, values: npt.NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    image.putpalette([part for value in range(256) for part in voc_color(value)])
    image.save(path)


def write_colors(path: Path, values: npt.NDArray[np.uint8], colors: dict[int, tuple[int, int, int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.array([[colors[int(one)] for one in row] for row in values], np.uint8)
    Image.fromarray(pixels).save(path)


def write_voc(root: Path, names: Sequence[str] = ("a", "b"), lists: dict[str, str] | None = None) -> Path:
    for name in names:
        raw.write_photo(root / f"JPEGImages/{name}.jpg", *CLASSES.shape)
        write_palette(root / f"SegmentationClass/{name}.png", CLASSES)
        write_palette(root / f"SegmentationObject/{name}.png", OBJECTS)
    for name, text in (lists or {}).items():
        (root / "ImageSets/Segmentation").mkdir(parents=True, exist_ok=True)
        (root / f"ImageSets/Segmentation/{name}.txt").write_text(text)
    return root


def opened(source: Path, split: SplitChoice = ANY_SPLIT, table: CategoryTable | None = None) -> CodedMapsReader:
    found = open_voc(source, split, None, table)
    assert not found.problems
    return found


def test_the_challenges_maps_are_segments_on_a_background(tmp_path: Path) -> None:
    reader = opened(write_voc(tmp_path / "VOCdevkit/VOC2012", ["a"]).parent.parent)
    (found, _) = read_all(reader)[0]
    names = {category.id: category.name for category in reader.table.categories}
    segments = [(names[one.category_id], one.area, one.iscrowd) for one in found.segments]
    assert segments == [("background", 4, False), ("car", 4, False), ("person", 2, False), ("person", 3, False)]
    assert np.array_equal(found.id_map == 0, CLASSES == 255)


def test_a_list_says_which_pictures_and_others_have_no_labels(tmp_path: Path) -> None:
    root = write_voc(tmp_path, ["a", "b", "c"], {"train": "a\n", "val": "b\nc\n", "trainval": "a\nb\nc\n"})
    raw.write_photo(root / "JPEGImages/unlabelled.jpg", *CLASSES.shape)
    reader = opened(root, SplitChoice(likely="val"))
    assert [picture.stem for picture in reader.pictures] == ["b", "c"]
    assert any("split val is converted; there are also train, trainval" in remark for remark in reader.remarks)
    with pytest.raises(UsageError, match="has several splits: train, trainval, val"):
        opened(root)
    (root / "ImageSets/Segmentation/val.txt").write_text("b\ngone\n")
    problems = open_voc(root, SplitChoice("val"), None, None).problems
    assert any("pictures of the list are not there: 1 (gone)" in problem for problem in problems)


def test_without_lists_pictures_without_maps_are_left_out_and_counted(tmp_path: Path) -> None:
    root = write_voc(tmp_path, ["a"])
    raw.write_photo(root / "JPEGImages/b.jpg", *CLASSES.shape)
    reader = opened(root)
    assert [picture.stem for picture in reader.pictures] == ["a"]
    assert any("pictures without labels are left out: 1 (b)" in remark for remark in reader.remarks)


def test_cvats_colours_and_labelmap(tmp_path: Path) -> None:
    colors = {0: (0, 0, 0), 7: (10, 200, 30), 15: (1, 2, 3), 255: voc_color(255)}
    raw.write_photo(tmp_path / "JPEGImages/a.jpg", *CLASSES.shape)
    write_colors(tmp_path / "SegmentationClass/a.png", CLASSES, colors)
    write_colors(tmp_path / "SegmentationObject/a.png", OBJECTS, {n: voc_color(n) for n in (0, 1, 2, 3, 255)})
    table = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nblue car:10,200,30::\nperson:1,2,3:head,foot:walk\n"
    (tmp_path / "labelmap.txt").write_text(table)
    reader = opened(tmp_path)
    assert [(one.id, one.name, one.isthing) for one in reader.table.categories] == [
        (0, "background", False),
        (1, "blue car", True),
        (2, "person", True),
    ]
    (found, _) = read_all(reader)[0]
    assert [(one.category_id, one.area) for one in found.segments] == [(0, 4), (1, 4), (2, 2), (2, 3)]
    assert np.array_equal(found.id_map == 0, CLASSES == 255)


def test_labelme2vocs_names(tmp_path: Path) -> None:
    raw.write_photo(tmp_path / "JPEGImages/a.jpg", *CLASSES.shape)
    write_palette(tmp_path / "SegmentationClassPNG/a.png", np.where(CLASSES == 15, 1, CLASSES).astype(np.uint8) % 7)
    write_palette(tmp_path / "SegmentationObjectPNG/a.png", OBJECTS)
    (tmp_path / "class_names.txt").write_text("__ignore__\n_background_\nman\nx\ny\nz\n")
    reader = opened(tmp_path)
    assert [(one.id, one.name, one.isthing) for one in reader.table.categories[:2]] == [
        (0, "_background_", False),
        (1, "man", True),
    ]


def test_classes_alone_are_stuff_unless_they_are_said_to_be_things(tmp_path: Path) -> None:
    root = write_voc(tmp_path, ["a"])
    (root / "SegmentationObject/a.png").unlink()
    (root / "SegmentationObject").rmdir()
    reader = opened(root)
    assert not any(category.isthing for category in reader.table.categories)
    assert [one.area for one in read_all(reader)[0][0].segments] == [4, 4, 5]
    with pytest.raises(UsageError, match="SegmentationObject: no such folder; instance maps"):
        opened(root, table=CategoryTable.of([Category(7, "car", True)]))


def test_a_class_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    root = write_voc(tmp_path, ["a"])
    table = CategoryTable.of([Category(0, "background", False), Category(7, "car", True)], {255})
    with pytest.raises(DataError, match=r"a.png: has category ids that the table does not list: 15 \(5 pixels\)"):
        read_all(opened(root, table=table))


def test_what_is_written_is_a_palette_png_that_others_read(tmp_path: Path) -> None:
    """Indices as Pillow reads them, and a list."""
    table = CategoryTable.of([Category(300, "sky", False), Category(9, "car", True)])
    panoptic = raw.panoptic_of(np.array([[0, 5, 5, 8, 9]], np.int32), {5: (300, False), 8: (9, False), 9: (9, True)})
    writer = VocWriter(table, "val")
    stem, lost = writer.write(tmp_path, SourcePicture("x", "sub/a.jpg"), panoptic)
    writer.finish(tmp_path, [stem])
    classes = Image.open(tmp_path / "SegmentationClass/sub/a.png")
    assert classes.mode == "P"
    assert np.asarray(classes).tolist() == [[255, 1, 1, 2, 2]]
    assert classes.convert("RGB").getpixel((1, 0)) == (128, 0, 0)
    assert np.asarray(Image.open(tmp_path / "SegmentationObject/sub/a.png")).tolist() == [[255, 0, 0, 1, 0]]
    assert (tmp_path / "ImageSets/Segmentation/val.txt").read_text() == "sub/a\n"
    lines = (tmp_path / "labelmap.txt").read_text().splitlines()
    assert lines[1:] == ["background:0,0,0::", "sky:128,0,0::", "car:0,128,0::"]
    assert not +lost, "one crowd of a class can be said: a thing without an instance"
